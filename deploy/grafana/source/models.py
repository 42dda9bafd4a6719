"""Model and cost: tokens, money, and the model's own speed."""

from __future__ import annotations

from deploy.grafana.source.names import increase, quantile, rate, share
from deploy.grafana.source.panels import Board, Panel, Query, Row

from voicespan import conventions as c

_FAILED = {"error_type": '!=""'}
_CACHED = {"voicespan_token_bucket": '="input_cached"'}
_MODEL = {"voicespan_latency_part": '="model"'}
_INPUT = {"gen_ai_token_type": '="input"'}

MODELS = Board(
    "voicespan-models",
    "Voice: model and cost",
    "Tokens by bucket, what they cost at list price, and the model's own speed. Simulated calls cost nothing.",
    [
        Row(
            "At a glance",
            [
                Panel(
                    "Cost",
                    "Of what the provider reported, in the time that is shown. Estimates are on spans alone.",
                    [Query(increase(c.METRIC_COST), "USD")],
                    "currencyUSD",
                    "stat",
                    6,
                ),
                Panel(
                    "Cost per turn",
                    "Of all turns, simulated ones too. It grows within a call: every turn is billed the conversation "
                    "so far.",
                    [Query(share(increase(c.METRIC_COST), increase(c.METRIC_TURNS)), "USD")],
                    "currencyUSD",
                    "stat",
                    6,
                ),
                Panel(
                    "Cost per call",
                    "",
                    [
                        Query(
                            share(increase(c.METRIC_COST), increase(c.METRIC_SESSION_DURATION, suffix="_count")),
                            "USD",
                        )
                    ],
                    "currencyUSD",
                    "stat",
                    6,
                ),
                Panel(
                    "Input tokens from a cache",
                    "Of all input tokens.",
                    [
                        Query(
                            share(increase(c.METRIC_TOKENS, **_CACHED), increase(c.METRIC_TOKENS, **_INPUT)),
                            "share",
                        )
                    ],
                    "percentunit",
                    "stat",
                    6,
                ),
            ],
        ),
        Row(
            "Money",
            [
                Panel(
                    "Cost per hour, by bucket",
                    "What is paid for.",
                    [Query(f"3600 * {rate(c.METRIC_COST, c.TOKEN_BUCKET)}", "{{voicespan_token_bucket}}")],
                    "currencyUSD",
                    "stacked",
                ),
                Panel(
                    "Cost per turn, by bucket",
                    "A spike in input_text is the context: long calls, long tool results. In output_audio it is talk.",
                    [
                        Query(
                            f"{rate(c.METRIC_COST, c.TOKEN_BUCKET)} / ignoring(voicespan_token_bucket) group_left "
                            f"{rate(c.METRIC_TURNS)}",
                            "{{voicespan_token_bucket}}",
                        )
                    ],
                    "currencyUSD",
                    "stacked",
                ),
            ],
        ),
        Row(
            "Tokens",
            [
                Panel(
                    "Tokens per second, by bucket",
                    "As the provider reported them.",
                    [Query(rate(c.METRIC_TOKENS, c.TOKEN_BUCKET), "{{voicespan_token_bucket}}")],
                    kind="stacked",
                ),
                Panel(
                    "Tokens of a turn, p95",
                    "Input grows with the conversation.",
                    [
                        Query(
                            quantile(0.95, c.METRIC_TOKEN_USAGE, c.TOKEN_TYPE),
                            "{{gen_ai_token_type}}",
                            exemplars=True,
                        )
                    ],
                ),
            ],
        ),
        Row(
            "The model",
            [
                Panel(
                    "Model's part of the wait",
                    "From the provider's decision that speech had ended to the first audio, less tools.",
                    [
                        Query(quantile(0.5, c.METRIC_LATENCY, **_MODEL), "p50"),
                        Query(quantile(0.95, c.METRIC_LATENCY, **_MODEL), "p95", exemplars=True),
                    ],
                    "s",
                    width=8,
                ),
                Panel(
                    "Generations, p95 by model",
                    "From the first to the last of an answer's output.",
                    [
                        Query(
                            quantile(0.95, c.METRIC_OPERATION_DURATION, c.REQUEST_MODEL),
                            "{{gen_ai_request_model}}",
                            exemplars=True,
                        )
                    ],
                    "s",
                    width=8,
                ),
                Panel(
                    "Failed generations per minute, by error",
                    "",
                    [
                        Query(
                            "60 * " + rate(c.METRIC_OPERATION_DURATION, c.ERROR_TYPE, suffix="_count", **_FAILED),
                            "{{error_type}}",
                        )
                    ],
                    kind="stacked",
                    width=8,
                ),
            ],
        ),
    ],
)
