"""Delivery: whether what is told arrives, from the application's store to the backends."""

from __future__ import annotations

from deploy.grafana.source.names import rate, selector
from deploy.grafana.source.panels import Board, Panel, Query, Row

from voicespan import conventions as c

_SENT = (
    'sum by (exporter) (rate({__name__=~"otelcol_exporter_sent_(spans|metric_points|log_records)"}[$__rate_interval]))'
)
_REFUSED = '{__name__=~"otelcol_exporter_send_failed_(spans|metric_points|log_records)"}'


def _collector(name: str, *by: str, where: str = "") -> str:
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouping} (rate({name}{where}[$__rate_interval]))"


DELIVERY = Board(
    "voicespan-delivery",
    "Voice: pipeline health",
    "Whether telemetry arrives: the application's store and senders, the collector's legs.",
    [
        Row(
            "The application",
            [
                Panel(
                    "Waiting to be sent",
                    "In the store on disk, by signal.",
                    [Query(f"sum by (voicespan_signal) ({selector(c.METRIC_STORE_QUEUED)})", "{{voicespan_signal}}")],
                    width=8,
                ),
                Panel(
                    "The oldest has waited",
                    "Seconds are normal, minutes say that the collector is away.",
                    [Query(f"max by (voicespan_signal) ({selector(c.METRIC_STORE_OLDEST)})", "{{voicespan_signal}}")],
                    "s",
                    width=8,
                ),
                Panel(
                    "Store on disk",
                    "The largest of a service's. Workers of one server share one, and each tells of all of it.",
                    [Query(f"max by (job) ({selector(c.METRIC_STORE_SIZE)})", "{{job}}")],
                    "bytes",
                    width=8,
                ),
                Panel(
                    "Records per second",
                    "Written to the store, and accepted by the collector.",
                    [
                        Query(rate(c.METRIC_STORE_WRITTEN), "written"),
                        Query(rate(c.METRIC_SENDER_SENT, c.SIGNAL), "sent {{voicespan_signal}}"),
                    ],
                    width=8,
                ),
                Panel(
                    "Lost or put off, per minute",
                    "Dropped: a bound of the store. Rejected: refused for good. Failed: requests that are tried again. "
                    "Errors: telemetry's own, swallowed.",
                    [
                        Query(f"60 * {rate(c.METRIC_STORE_DROPPED)}", "dropped"),
                        Query(f"60 * {rate(c.METRIC_SENDER_REJECTED, c.SIGNAL)}", "rejected {{voicespan_signal}}"),
                        Query(f"60 * {rate(c.METRIC_SENDER_FAILED, c.SIGNAL)}", "failed {{voicespan_signal}}"),
                        Query(f"60 * {rate(c.METRIC_ERRORS)}", "errors"),
                    ],
                    width=8,
                ),
                Panel(
                    "Sessions of processes that died",
                    "Closed from the journal by the processes that run now, since they began.",
                    [Query(f"sum by (job) ({selector(c.METRIC_STORE_RECOVERED)})", "{{job}}")],
                    width=8,
                ),
            ],
        ),
        Row(
            "The collector",
            [
                Panel(
                    "Taken in per second",
                    "Accepted and refused, by signal.",
                    [
                        Query(_collector("otelcol_receiver_accepted_spans", "transport"), "spans {{transport}}"),
                        Query(_collector("otelcol_receiver_accepted_metric_points"), "metric points"),
                        Query(_collector("otelcol_receiver_accepted_log_records"), "log records"),
                        Query(_collector("otelcol_receiver_refused_spans"), "refused spans"),
                    ],
                    width=8,
                ),
                Panel(
                    "Delivered per second, by leg",
                    "Spans, metric points and log records.",
                    [Query(_SENT, "{{exporter}}")],
                    width=8,
                ),
                Panel(
                    "Refused for good",
                    "Spans, metric points and log records that a backend will never have, since the collector began.",
                    [
                        Query(
                            f"sum by (exporter, error_type) ({_REFUSED})",
                            "{{exporter}} {{error_type}}",
                        )
                    ],
                    width=8,
                ),
                Panel(
                    "Queues, filled",
                    "Above 60 %, a backend takes less than it is sent.",
                    [
                        Query(
                            "max by (exporter) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
                            "{{exporter}}",
                        )
                    ],
                    "percentunit",
                    width=8,
                    ceiling=1,
                ),
                Panel(
                    "Requests on their way",
                    "One that stays is being tried again: its backend is away.",
                    [
                        Query("sum by (exporter) (otelcol_exporter_in_flight_requests)", "{{exporter}}"),
                    ],
                    width=8,
                ),
                Panel(
                    "Not for Langfuse, per second",
                    "Spans that the projection drops: HTTP servers', and those without a session's identity.",
                    [
                        Query(
                            _collector(
                                "otelcol_processor_filter_spans_filtered", where='{filter="filter/genai_projection"}'
                            ),
                            "dropped",
                        )
                    ],
                    width=8,
                ),
                Panel(
                    "The collector answers",
                    "1: it can be scraped.",
                    [Query('min by (job) (up{job="otel-collector"})', "{{job}}")],
                    width=8,
                ),
                Panel(
                    "Memory",
                    "Of the collector's process.",
                    [Query("sum by (job) (otelcol_process_memory_rss)", "{{job}}")],
                    "bytes",
                    width=8,
                ),
                Panel(
                    "CPU",
                    "Cores in use.",
                    [Query("sum by (job) (rate(otelcol_process_cpu_seconds[$__rate_interval]))", "{{job}}")],
                    width=8,
                ),
            ],
        ),
    ],
    by_model=False,
)
