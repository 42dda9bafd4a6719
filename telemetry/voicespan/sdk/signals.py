"""What a store holds and a sender sends."""

from __future__ import annotations

from enum import StrEnum


class Signal(StrEnum):
    """A kind of record, each with a receiver, an order and a fate of its own."""

    TRACES = "traces"
    LOGS = "logs"
    SCORES = "scores"  # Langfuse's, as JSON
    MEDIA = "media"  # Langfuse's, WAV files
