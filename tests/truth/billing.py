"""Tokens by bucket, from a usage report as it was sent."""

from __future__ import annotations

from collections.abc import Iterable

from voicespan_simulator.wire_json import JsonObject, pick, pick_list


def buckets(report: JsonObject) -> dict[str, int]:
    """A report's tokens, each in one bucket: what no modality claims is `other`, thoughts are beside the total."""
    prompt = _modalities(report, "promptTokensDetails")
    stem = "response" if "responseTokenCount" in report else "candidates"
    response = _modalities(report, f"{stem}TokensDetails")
    found = {f"input_{name}": count for name, count in prompt.items()}
    found |= {f"output_{name}": count for name, count in response.items()}
    found["input_other"] = tokens_in(report, "promptTokenCount") - sum(prompt.values())
    found["output_other"] = tokens_in(report, f"{stem}TokenCount") - sum(response.values())
    found["output_reasoning"] = tokens_in(report, "thoughtsTokenCount")
    return {name: count for name, count in found.items() if count}


def _modalities(report: JsonObject, key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in pick_list(report, key):
        name, count = pick(item, "modality"), pick(item, "tokenCount")
        if isinstance(name, str) and isinstance(count, int):
            found[name.lower()] = found.get(name.lower(), 0) + count
    return found


def tokens_in(report: JsonObject, key: str) -> int:
    """A count of a report; 0 where it has none."""
    value = report.get(key)
    return value if isinstance(value, int) else 0


def total_of(many: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sum of some."""
    total: dict[str, int] = {}
    for buckets in many:
        for name, count in buckets.items():
            total[name] = total.get(name, 0) + count
    return total
