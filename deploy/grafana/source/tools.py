"""Tools: what the model calls, how long it takes, how it ends."""

from __future__ import annotations

from deploy.grafana.source.names import increase, quantile, rate, share
from deploy.grafana.source.panels import Board, Panel, Query, Row

from voicespan import conventions as c

_FAILED = {"voicespan_tool_outcome": '=~"error|timeout"'}

TOOLS = Board(
    "voicespan-tools",
    "Voice: tools",
    "From the model's call to the response that was sent back. A caller waits as long in silence.",
    [
        Row(
            "Tools",
            [
                Panel(
                    "Calls",
                    "In the time that is shown.",
                    [Query(increase(c.METRIC_TOOL_DURATION, suffix="_count"), "calls")],
                    "short",
                    "stat",
                    8,
                ),
                Panel(
                    "Failed or timed out",
                    "Of all calls.",
                    [
                        Query(
                            share(
                                increase(c.METRIC_TOOL_DURATION, suffix="_count", **_FAILED),
                                increase(c.METRIC_TOOL_DURATION, suffix="_count"),
                            ),
                            "share",
                        )
                    ],
                    "percentunit",
                    "stat",
                    8,
                ),
                Panel(
                    "Calls per turn",
                    "",
                    [
                        Query(
                            share(increase(c.METRIC_TOOL_DURATION, suffix="_count"), increase(c.METRIC_TURNS)), "calls"
                        )
                    ],
                    "short",
                    "stat",
                    8,
                ),
                Panel(
                    "Duration, p95",
                    "By tool. Click a point for the trace with the call in it.",
                    [
                        Query(
                            quantile(0.95, c.METRIC_TOOL_DURATION, c.TOOL_NAME),
                            "{{gen_ai_tool_name}}",
                            exemplars=True,
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Duration, median",
                    "",
                    [Query(quantile(0.5, c.METRIC_TOOL_DURATION, c.TOOL_NAME), "{{gen_ai_tool_name}}")],
                    "s",
                ),
                Panel(
                    "Calls per minute",
                    "",
                    [
                        Query(
                            f"60 * {rate(c.METRIC_TOOL_DURATION, c.TOOL_NAME, suffix='_count')}",
                            "{{gen_ai_tool_name}}",
                        )
                    ],
                    kind="stacked",
                ),
                Panel(
                    "Not ok per minute, by tool and outcome",
                    "cancelled: the caller spoke, or the model thought better of it. orphaned: nobody was left to take "
                    "the response.",
                    [
                        Query(
                            "60 * "
                            + rate(
                                c.METRIC_TOOL_DURATION,
                                c.TOOL_NAME,
                                c.TOOL_OUTCOME,
                                suffix="_count",
                                voicespan_tool_outcome='!="ok"',
                            ),
                            "{{gen_ai_tool_name}} {{voicespan_tool_outcome}}",
                        )
                    ],
                    kind="stacked",
                ),
            ],
        ),
    ],
)
