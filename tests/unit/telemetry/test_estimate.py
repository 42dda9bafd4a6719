"""Estimates against what the service was recorded billing: the report is withheld, and the cost compared with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from voicespan import prices_of
from voicespan.estimate import AUDIO_TOKENS_PER_S, Bill, Estimator
from voicespan.operations import EndReason, StartSource, ToolRecord, TurnRecord
from voicespan.usage import Usage

SPOKEN = "Hello, my name is Marcelo."


def turn(usage: Usage, *, said: str = SPOKEN, spoken: bool = True, tools: int = 0) -> TurnRecord:
    """A recorded turn: its report, what was said, and as much audio as the report bills."""
    return TurnRecord(
        index=1,
        start_ns=0,
        end_ns=1,
        source=StartSource.ACOUSTIC,
        end_reason=EndReason.COMPLETED,
        generations=1 + bool(tools),
        usage=usage,
        user_text=said,
        spoken_input=spoken,
        output_audio_s=usage.output_audio / AUDIO_TOKENS_PER_S,
        tools=tuple(ToolRecord(str(n), "get_weather", {}) for n in range(tools)),
    )


# Model, and its turns; the last one's report is withheld.
RECORDED: dict[str, tuple[str, list[TurnRecord]]] = {
    "3.8, spoken": (
        "gemini-3.8-live",
        [turn(Usage(input_text=312, input_audio=287, input_other=27, output_audio=63, output_reasoning=40))],
    ),
    "2.5, spoken": (
        "gemini-2.5-flash-native-audio-preview-09-2025",
        [turn(Usage(input_text=1196, input_audio=1, output_audio=37, output_reasoning=28))],
    ),
    "2.5, typed": (
        "gemini-2.5-flash-native-audio-preview-09-2025",
        [
            turn(
                Usage(input_text=1131, output_audio=26, output_reasoning=24),
                said="What is 2 plus 2, please?",
                spoken=False,
            )
        ],
    ),
    "2.5, two turns": (
        "gemini-2.5-flash-native-audio-preview-09-2025",
        [
            turn(Usage(input_text=1185, output_text=7, output_audio=44), said="x" * 60, spoken=False),
            turn(Usage(input_text=1250, input_audio=1, output_audio=63), said="x" * 60, spoken=False),
        ],
    ),
    "2.5, an interruption and what follows": (
        "gemini-2.5-flash-native-audio-preview-09-2025",
        [
            turn(Usage(input_text=1200, input_audio=1, output_audio=109, output_reasoning=34)),
            turn(Usage(input_text=1345, input_audio=7, output_audio=44, output_reasoning=18)),
        ],
    ),
}


@pytest.mark.parametrize(("model", "turns"), RECORDED.values(), ids=RECORDED)
def test_a_sessions_cost_is_within_a_tenth_when_its_last_report_is_withheld(
    model: str, turns: list[TurnRecord]
) -> None:
    from dataclasses import replace

    prices = prices_of(model, date(2026, 11, 24))
    assert prices is not None
    estimator = Estimator(model, "")
    *reported, withheld = turns
    for record in reported:
        bill = estimator.turn(record)
        assert bill is not None
        assert (bill.usage, bill.estimated) == (record.usage, False)
    estimated = estimator.turn(replace(withheld, usage=None))
    assert estimated is not None
    assert estimated.estimated
    assert withheld.usage is not None
    before = sum(prices.cost(record.usage)["total"] for record in reported if record.usage)
    actual = before + prices.cost(withheld.usage)["total"]
    assert before + prices.cost(estimated.usage)["total"] == pytest.approx(actual, rel=0.10)


def test_a_turn_that_the_model_had_no_part_in_has_no_estimate() -> None:
    silent = replace(turn(Usage()), usage=None, generations=0)
    assert Estimator("gemini-3.8-live", "").turn(silent) is None


def test_estimates_build_on_estimates() -> None:
    from dataclasses import replace

    estimator = Estimator("unheard-of", "x" * 400)
    typed = replace(turn(Usage(), said="x" * 40, spoken=False), usage=None, output_audio_s=4.0)
    first, second = estimator.turn(typed), estimator.turn(typed)
    assert first == Bill(Usage(input_text=110, output_audio=100), 0, estimated=True)
    assert second == Bill(Usage(input_text=220, output_audio=100), 210, estimated=True)


def test_where_a_tool_rounds_calls_are_summed_the_prompt_counts_for_each() -> None:
    from dataclasses import replace

    estimator = Estimator("gemini-3.1-flash-live-preview", "")
    record = replace(turn(Usage(), said="", tools=1), usage=None, output_audio_s=2.0)
    bill = estimator.turn(record)
    assert bill == Bill(Usage(input_text=260, output_text=12, output_audio=50), 130, estimated=True)


def test_what_a_turn_reads_again_is_told_apart_from_what_is_new() -> None:
    estimator = Estimator("gemini-2.5-flash-native-audio-preview-09-2025", "")
    first = estimator.turn(turn(Usage(input_text=1185, output_audio=44)))
    second = estimator.turn(turn(Usage(input_text=1250, input_audio=1, output_audio=63)))
    compressed = estimator.turn(turn(Usage(input_text=400)))
    assert first is not None
    assert second is not None
    assert compressed is not None
    assert (first.fresh_input_tokens, first.rebilled_input_tokens) == (1185, 0)
    assert (second.fresh_input_tokens, second.rebilled_input_tokens) == (1251 - 1229, 1229)
    assert (compressed.fresh_input_tokens, compressed.rebilled_input_tokens) == (0, 400)


def test_of_another_provider_nothing_is_estimated() -> None:
    estimator = Estimator("gpt-realtime", "", "openai")
    reported = estimator.turn(turn(Usage(input_text=100, output_audio=50)))
    assert reported == Bill(Usage(input_text=100, output_audio=50), 0)
    assert estimator.turn(replace(turn(Usage(output_audio=50)), usage=None)) is None
    again = estimator.turn(turn(Usage(input_text=200, output_audio=50)))
    assert again == Bill(Usage(input_text=200, output_audio=50), 150)
