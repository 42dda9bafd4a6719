"""What is known of each name, in four tables that the modules beside this one fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OTEL = "OpenTelemetry semantic conventions"
GENAI = "OpenTelemetry GenAI semantic conventions"
PROPOSED = "proposed for OpenTelemetry GenAI (semantic-conventions-genai, 394)"
LANGFUSE = "Langfuse's OTLP endpoint"
OWN = "Voicespan"

Stability = Literal["stable", "development"]
AttributeType = Literal["string", "int", "double", "boolean", "string[]", "JSON string"]
Kind = Literal["SERVER", "CLIENT", "INTERNAL"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute's name and what its values are. `unit` is a UCUM code, or empty."""

    name: str
    type: AttributeType
    unit: str
    brief: str
    origin: str
    stability: Stability


@dataclass(frozen=True, slots=True)
class SpanName:
    """A span's name (a template where it has a part in braces), kind, what it lasts for, and what may stand on it."""

    name: str
    kind: Kind
    brief: str
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, instrument, unit (UCUM) and, for a histogram, the buckets it advises."""

    name: str
    instrument: Literal["histogram", "counter", "updowncounter", "gauge"]
    unit: str
    brief: str
    origin: str
    attributes: tuple[str, ...]
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class EventName:
    """A log event's name, and what may stand on it. `mirrored`: also a span event of the session span."""

    name: str
    brief: str
    origin: str
    attributes: tuple[str, ...]
    mirrored: bool = True


ATTRIBUTES: dict[str, Attribute] = {}
SPANS: dict[str, SpanName] = {}
METRICS: dict[str, Metric] = {}
EVENTS: dict[str, EventName] = {}
