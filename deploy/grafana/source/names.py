"""What Prometheus calls our metrics and their attributes, and the PromQL that is asked of them again and again."""

from __future__ import annotations

from voicespan import conventions as c

_UNITS = {"s": "_seconds", "By": "_bytes", "USD": "_USD"}
# What a viewer chose above the panels. A metric of the process, not of its sessions, has no model.
_OF_SESSIONS = 'job=~"$job", gen_ai_request_model=~"$model"'
_OF_PROCESS = 'job=~"$job"'


def series(metric: str) -> str:
    """The name of a metric's series, as Prometheus makes it of OTLP; a histogram's lacks its _bucket or _count."""
    row = c.METRICS[metric]
    name = label(metric) + _UNITS.get(row.unit, "")
    return name + "_total" if row.instrument == "counter" else name


def label(attribute: str) -> str:
    """The name of an attribute's label."""
    return attribute.replace(".", "_")


def selector(metric: str, suffix: str = "", **where: str) -> str:
    """The series of a metric for the job and the model that were chosen; `where` has PromQL matchers by label."""
    matchers = [_OF_PROCESS if metric.startswith(c.OF_PROCESS) else _OF_SESSIONS]
    matchers += [f"{name}{matcher}" for name, matcher in where.items()]
    return f"{series(metric)}{suffix}{{{', '.join(matchers)}}}"


def rate(metric: str, *by: str, suffix: str = "", **where: str) -> str:
    """How fast a counter, or a histogram's _count or _sum, grows per second."""
    return f"sum{_by(*by)} (rate({selector(metric, suffix, **where)}[$__rate_interval]))"


def increase(metric: str, *by: str, suffix: str = "", **where: str) -> str:
    """By how much a counter grew in the time that is shown."""
    return f"sum{_by(*by)} (increase({selector(metric, suffix, **where)}[$__range]))"


def quantile(of: float, metric: str, *by: str, **where: str) -> str:
    """A quantile of a histogram."""
    buckets = f"rate({selector(metric, '_bucket', **where)}[$__rate_interval])"
    return f"histogram_quantile({of:g}, sum{_by(*by, 'le')} ({buckets}))"


def mean(metric: str, *by: str, **where: str) -> str:
    """The mean of a histogram."""
    return f"{rate(metric, *by, suffix='_sum', **where)} / {rate(metric, *by, suffix='_count', **where)}"


def share(part: str, whole: str) -> str:
    """One sum by another: 0 where there is nothing of the part, nothing where there is nothing of the whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def _by(*labels: str) -> str:
    return f" by ({', '.join(label(each) for each in labels)})" if labels else ""
