"""Experience: what a caller noticed, and which part of the way it came from."""

from __future__ import annotations

from deploy.grafana.source.names import increase, mean, quantile, rate, share
from deploy.grafana.source.panels import Board, Panel, Query, Row

from voicespan import conventions as c

_BARGE_IN = {"voicespan_turn_interruption_cause": '="speech"'}


def _quantiles(metric: str, **where: str) -> list[Query]:
    return [
        Query(quantile(0.5, metric, **where), "p50"),
        Query(quantile(0.95, metric, **where), "p95", exemplars=True),
        Query(quantile(0.99, metric, **where), "p99"),
    ]


EXPERIENCE = Board(
    "voicespan-experience",
    "Voice: experience",
    "What callers notice. A point is a turn: click it for its trace.",
    [
        Row(
            "At a glance",
            [
                Panel(
                    "Time to first audio, p95",
                    "From the end of the user's speech. Over the time that is shown.",
                    [
                        Query(
                            # Without the comparison an hour without a turn would show "NaN".
                            quantile(0.95, c.METRIC_TTFA).replace("$__rate_interval", "$__range") + " >= 0",
                            "p95",
                        )
                    ],
                    "s",
                    "stat",
                    6,
                ),
                Panel(
                    "Turns",
                    "That ended in the time that is shown.",
                    [Query(increase(c.METRIC_TURNS), "turns")],
                    "short",
                    "stat",
                    6,
                ),
                Panel(
                    "Barge-ins per turn",
                    "How many answers the caller talked over.",
                    [
                        Query(
                            share(increase(c.METRIC_INTERRUPTIONS, **_BARGE_IN), increase(c.METRIC_TURNS)),
                            "share",
                        )
                    ],
                    "percentunit",
                    "stat",
                    6,
                ),
                Panel(
                    "Answers that never came, per turn",
                    "Stalls of every kind.",
                    [Query(share(increase(c.METRIC_STALLS), increase(c.METRIC_TURNS)), "share")],
                    "percentunit",
                    "stat",
                    6,
                ),
            ],
        ),
        Row(
            "Waiting",
            [
                Panel(
                    "Time to first audio",
                    "From the end of the user's speech to the first 10 ms of the answer. Turns whose start nobody "
                    "measured are not in it.",
                    _quantiles(c.METRIC_TTFA),
                    "s",
                ),
                Panel(
                    "Its parts, mean",
                    "Of all turns, so that they add up. Endpointing: until the provider decided that speech had ended. "
                    "Tool: tools that ran first. Model: from then on. Transport: until the client played it. The part "
                    "that grew is the cause.",
                    [
                        Query(
                            f"{rate(c.METRIC_LATENCY, c.LATENCY_PART, suffix='_sum')}"
                            " / ignoring(voicespan_latency_part) group_left "
                            f"{rate(c.METRIC_TTFA, suffix='_count')}",
                            "{{voicespan_latency_part}}",
                        )
                    ],
                    "s",
                    "stacked",
                ),
                Panel(
                    "Its parts, p95",
                    "As above, at the slow end.",
                    [
                        Query(
                            quantile(0.95, c.METRIC_LATENCY, c.LATENCY_PART),
                            "{{voicespan_latency_part}}",
                            exemplars=True,
                        )
                    ],
                    "s",
                ),
                Panel(
                    "By what the turn began with, p95",
                    "A jump from acoustic to server_activity_end says that the end of speech was not found in the "
                    "audio: noise.",
                    [
                        Query(
                            quantile(0.95, c.METRIC_TTFA, c.TURN_START_SOURCE),
                            "{{voicespan_turn_start_source}}",
                            exemplars=True,
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Time to audible audio",
                    "As time to first audio, plus the silence that the answer begins with.",
                    _quantiles(c.METRIC_TTAA),
                    "s",
                ),
                Panel(
                    "Time to playback",
                    "Until the client said that it plays. Only clients that say so are in it.",
                    _quantiles(c.METRIC_TTP),
                    "s",
                ),
            ],
        ),
        Row(
            "Talking over",
            [
                Panel(
                    "Interruptions per minute",
                    "Speech is a barge-in. Retracted: the provider took noise for speech, and took it back.",
                    [
                        Query(
                            f"60 * {rate(c.METRIC_INTERRUPTIONS, c.TURN_INTERRUPTION_CAUSE)}",
                            "{{voicespan_turn_interruption_cause}}",
                        )
                    ],
                    "short",
                    "stacked",
                    8,
                ),
                Panel(
                    "Heard of an interrupted answer",
                    "Little heard, and many barge-ins: the assistant hears itself.",
                    [
                        Query(quantile(0.5, c.METRIC_HEARD_RATIO, **_BARGE_IN), "p50"),
                        Query(
                            mean(c.METRIC_HEARD_RATIO, **_BARGE_IN),
                            "mean",
                        ),
                    ],
                    "percentunit",
                    width=8,
                    ceiling=1,
                ),
                Panel(
                    "From barge-in to silence",
                    "As the client reported it.",
                    _quantiles(c.METRIC_TIME_TO_SILENCE),
                    "s",
                    width=8,
                ),
            ],
        ),
        Row(
            "Answers",
            [
                Panel(
                    "Stalls per minute, by kind",
                    "no_answer: speech was heard and nothing came. no_generation: it was understood, and nothing came. "
                    "tool_response_ignored: nothing after a tool. unfinished: an answer broke off.",
                    [Query(f"60 * {rate(c.METRIC_STALLS, c.TURN_STALL_KIND)}", "{{voicespan_turn_stall_kind}}")],
                    kind="stacked",
                    width=8,
                ),
                Panel(
                    "Turns per minute, by end",
                    "completed and interrupted are good ends.",
                    [Query(f"60 * {rate(c.METRIC_TURNS, c.TURN_END_REASON)}", "{{voicespan_turn_end_reason}}")],
                    kind="stacked",
                    width=8,
                ),
                Panel(
                    "Pause before the next turn",
                    "From the end of an answer to the next turn's start. It grows where callers are puzzled.",
                    _quantiles(c.METRIC_GAP),
                    "s",
                    width=8,
                ),
            ],
        ),
    ],
)
