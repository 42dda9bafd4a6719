"""Sessions: calls, and their connections to the model."""

from __future__ import annotations

from deploy.grafana.source.names import increase, mean, quantile, rate, selector, share
from deploy.grafana.source.panels import Board, Panel, Query, Row

from voicespan import conventions as c

_FAILED = {"error_type": '!=""'}

SESSIONS = Board(
    "voicespan-sessions",
    "Voice: sessions and connections",
    "Calls, how they end, and the connections to the model behind them.",
    [
        Row(
            "Calls",
            [
                Panel(
                    "Calls now",
                    "In progress.",
                    [Query(f"sum({selector(c.METRIC_SESSIONS_ACTIVE)})", "calls")],
                    "short",
                    "stat",
                    6,
                ),
                Panel(
                    "Ended",
                    "In the time that is shown.",
                    [Query(increase(c.METRIC_SESSION_DURATION, suffix="_count"), "calls")],
                    "short",
                    "stat",
                    6,
                ),
                Panel(
                    "Turns per call",
                    "One or none: callers give up.",
                    [
                        Query(
                            share(increase(c.METRIC_TURNS), increase(c.METRIC_SESSION_DURATION, suffix="_count")),
                            "turns",
                        )
                    ],
                    "short",
                    "stat",
                    6,
                ),
                Panel(
                    "Ended by the caller",
                    "The others ended by the server, the provider, or the process.",
                    [
                        Query(
                            share(
                                increase(
                                    c.METRIC_SESSION_DURATION,
                                    suffix="_count",
                                    voicespan_session_close_initiator='="client"',
                                ),
                                increase(c.METRIC_SESSION_DURATION, suffix="_count"),
                            ),
                            "share",
                        )
                    ],
                    "percentunit",
                    "stat",
                    6,
                ),
                Panel(
                    "In progress",
                    "By model and by what answers; a simulator is one.",
                    [
                        Query(
                            f"sum by (gen_ai_request_model, voicespan_backend) ({selector(c.METRIC_SESSIONS_ACTIVE)})",
                            "{{gen_ai_request_model}} {{voicespan_backend}}",
                        )
                    ],
                    kind="stacked",
                    width=8,
                ),
                Panel(
                    "Ends per minute",
                    "By the close code and by who closed. 1000 and 1001 by the client is a hang-up.",
                    [
                        Query(
                            "60 * "
                            + rate(
                                c.METRIC_SESSION_DURATION,
                                c.SESSION_CLOSE_CODE,
                                c.SESSION_CLOSE_INITIATOR,
                                suffix="_count",
                            ),
                            "{{voicespan_session_close_code}} {{voicespan_session_close_initiator}}",
                        )
                    ],
                    kind="stacked",
                    width=8,
                ),
                Panel(
                    "Duration",
                    "From accept to close.",
                    [
                        Query(quantile(0.5, c.METRIC_SESSION_DURATION), "p50"),
                        Query(quantile(0.95, c.METRIC_SESSION_DURATION), "p95", exemplars=True),
                    ],
                    "s",
                    width=8,
                ),
            ],
        ),
        Row(
            "Connections to the model",
            [
                Panel(
                    "Dial and setup, p95",
                    "Of first connections, and of those that resume: for these, about the gap that a caller hears.",
                    [
                        Query(
                            quantile(0.95, c.METRIC_SETUP_DURATION, c.CONNECTION_RESUMED),
                            "resumed {{voicespan_connection_resumed}}",
                            exemplars=True,
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Refused per minute, by error",
                    "By the model: 429 is out of quota or too many sessions at once. By the server: who may not call, "
                    "or no longer (overloaded, budget, rate_limited, unauthorized and so on).",
                    [
                        Query(
                            f"60 * {rate(c.METRIC_SETUP_DURATION, c.ERROR_TYPE, suffix='_count', **_FAILED)}",
                            "{{error_type}}",
                        ),
                        Query(f"60 * {rate(c.METRIC_REFUSED, c.ERROR_TYPE)}", "by the server: {{error_type}}"),
                    ],
                    kind="stacked",
                ),
                Panel(
                    "goAway and reconnections per minute",
                    "A notice should be followed by a reconnection that resumes; one that does not has lost the "
                    "conversation.",
                    [
                        Query(f"60 * {rate(c.METRIC_GO_AWAYS)}", "goAway"),
                        Query(
                            f"60 * {rate(c.METRIC_RECONNECTS, c.CONNECTION_RESUMED)}",
                            "reconnected, resumed {{voicespan_connection_resumed}}",
                        ),
                    ],
                ),
                Panel(
                    "Closes per minute, by code",
                    "Of connections that served. 1006: lost without a word.",
                    [
                        Query(
                            f"60 * {rate(c.METRIC_CLOSES, c.CONNECTION_CLOSE_CODE)}",
                            "{{voicespan_connection_close_code}}",
                        )
                    ],
                    kind="stacked",
                ),
            ],
        ),
        Row(
            "Audio and the server",
            [
                Panel(
                    "Seconds of audio per second",
                    "To the model and from it. A call's is counted when the call ends: look at hours, not at peaks.",
                    [Query(rate(c.METRIC_AUDIO, c.AUDIO_DIRECTION), "{{voicespan_audio_direction}}")],
                    width=8,
                ),
                Panel(
                    "Dropped audio and odd messages per minute",
                    "Seconds that the model did not take in time, told at the end of a call; odd messages by kind.",
                    [
                        Query(f"60 * {rate(c.METRIC_DROPPED_AUDIO)}", "dropped seconds"),
                        Query(f"60 * {rate(c.METRIC_ANOMALIES, c.ANOMALY)}", "{{voicespan_anomaly}}"),
                    ],
                    width=8,
                ),
                Panel(
                    "Event loop, late by",
                    "Above 50 ms callers hear it: too many calls for this process.",
                    [
                        Query(quantile(0.99, c.METRIC_LOOP_LAG), "p99"),
                        Query(mean(c.METRIC_LOOP_LAG), "mean"),
                    ],
                    "s",
                    width=8,
                ),
            ],
        ),
    ],
)
