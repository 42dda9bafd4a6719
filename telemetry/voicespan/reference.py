"""The reference of all names, for people (docs/conventions.md) and for OTel Weaver (docs/registry.yaml)."""

from __future__ import annotations

from collections.abc import Iterable

from voicespan import conventions as c
from voicespan.conventions.tables import OWN, Attribute, Metric

Yaml = str | bool | list["Yaml"] | dict[str, "Yaml"]

_WEAVER_TYPES = {"JSON string": "string"}
_KINDS = {"SERVER": "server", "CLIENT": "client", "INTERNAL": "internal"}


def reference_page() -> str:
    """docs/conventions.md."""
    spans = [f"| `{s.name}` | {s.kind} | {s.brief} | {_listed(_own(s.attributes))} |" for s in c.SPANS.values()]
    events = [f"| `{e.name}` | {e.brief} | {_listed(e.attributes)} | {e.origin} |" for e in c.EVENTS.values()]
    metrics = [
        f"| `{m.name}` | {m.instrument} | {m.unit} | {m.brief} | {_listed(m.attributes)} |" for m in c.METRICS.values()
    ]
    attributes = [
        f"| `{a.name}` | {a.type} | {a.unit or '–'} | {a.brief} | {a.origin} | {a.stability} |"
        for a in c.ATTRIBUTES.values()
    ]
    return "\n".join(
        [
            "# Names",
            "",
            "Made from `telemetry/voicespan/conventions/` by `make docs`; edit that. The same as a registry for",
            "OpenTelemetry Weaver: [registry.yaml](registry.yaml). A session's spans and events with every attribute",
            "explained: [one-session.md](one-session.md).",
            "",
            "## Spans",
            "",
            f"All carry {_listed(c.IDENTITY)} as far as they are known.",
            "",
            "| name | kind | from … to | what of Voicespan's own may stand on it |",
            "|---|---|---|---|",
            *spans,
            "",
            "## Attributes",
            "",
            "| name | type | unit | what | origin | stability |",
            "|---|---|---|---|---|---|",
            *attributes,
            "",
            f"The session span's totals stand once more under `{c.LF_METADATA}*`, where Langfuse can filter by them.",
            "",
            "## Events",
            "",
            "Log events in the context of the session's span, with the session's identity. All but the last two are",
            "span events of `WebSocket Session` too, so that a trace viewer shows them.",
            "",
            "| name | when | attributes | origin |",
            "|---|---|---|---|",
            *events,
            "",
            "## Metrics",
            "",
            f"A session's also carry {_listed(c.METRIC_ATTRIBUTES)}, and none an id.",
            "",
            "| name | instrument | unit | what | attributes |",
            "|---|---|---|---|---|",
            *metrics,
            "",
        ]
    )


def registry() -> dict[str, Yaml]:
    """docs/registry.yaml: a semantic convention registry in OTel Weaver's format. Names of others are references."""
    groups: list[Yaml] = [
        {
            "id": "registry.voicespan",
            "type": "attribute_group",
            "brief": "Attributes of Voicespan's own.",
            "attributes": [_definition(a) for a in c.ATTRIBUTES.values() if a.origin == OWN],
        }
    ]
    for span in c.SPANS.values():
        groups.append(
            {
                "id": f"span.voicespan.{_identifier(span.name)}",
                "type": "span",
                "span_kind": _KINDS[span.kind],
                "stability": "development",
                "brief": f"`{span.name}`: {span.brief}.",
                "attributes": _references(span.attributes),
            }
        )
    for event in c.EVENTS.values():
        groups.append(
            {
                "id": f"event.{event.name}",
                "type": "event",
                "name": event.name,
                "stability": "development",
                "brief": _sentence(event.brief),
                "attributes": _references((*c.IDENTITY, *event.attributes)),
            }
        )
    for metric in c.METRICS.values():
        groups.append(_metric(metric))
    return {"groups": groups}


def _metric(metric: Metric) -> Yaml:
    of_process = metric.name.startswith(c.OF_PROCESS)
    return {
        "id": f"metric.{metric.name}",
        "type": "metric",
        "metric_name": metric.name,
        "instrument": metric.instrument,
        "unit": metric.unit,
        "stability": "development",
        "brief": _sentence(metric.brief),
        "attributes": _references((*(() if of_process else c.METRIC_ATTRIBUTES), *metric.attributes)),
    }


def _definition(attribute: Attribute) -> Yaml:
    unit = f" Unit: {attribute.unit}." if attribute.unit else ""
    return {
        "id": attribute.name,
        "type": _WEAVER_TYPES.get(attribute.type, attribute.type),
        "stability": attribute.stability,
        "brief": _sentence(attribute.brief) + unit,
    }


def _references(names: Iterable[str]) -> list[Yaml]:
    return [{"ref": name} for name in dict.fromkeys(names)]


def _identifier(name: str) -> str:
    """`tool-{name}` -> `tool`, `WebSocket Session` -> `websocket_session`."""
    return name.split("{", maxsplit=1)[0].strip(" -").lower().replace(" ", "_")


def _sentence(brief: str) -> str:
    return f"{brief[:1].upper()}{brief[1:]}."


def _own(names: Iterable[str]) -> list[str]:
    return [name for name in names if c.ATTRIBUTES[name].origin == OWN and name not in c.IDENTITY]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"
