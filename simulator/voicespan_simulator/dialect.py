"""What differs on the wire between the Developer API and Vertex, whatever the model."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the two services."""

    name: str
    audio_mime_type: str
    response_count: str  # key of the response's count; its details are `...sDetails` of the same stem
    response_details: str
    session_id: bool
    grounding_at_turn_end: bool
    uuid_call_ids: bool


DEVELOPER = Dialect(
    name="developer",
    audio_mime_type="audio/pcm;rate=24000",
    response_count="responseTokenCount",
    response_details="responseTokensDetails",
    session_id=False,
    grounding_at_turn_end=False,
    uuid_call_ids=False,
)

VERTEX = Dialect(
    name="vertex",
    audio_mime_type="audio/pcm",
    response_count="candidatesTokenCount",
    response_details="candidatesTokensDetails",
    session_id=True,
    grounding_at_turn_end=True,
    uuid_call_ids=True,
)


def call_ids(dialect: Dialect, model: str) -> Callable[[], str]:
    """A source of function call ids in the form that the service gives them, unique within the source."""
    if dialect.uuid_call_ids:
        return lambda: str(uuid.uuid4())
    prefix = "function-call-" if "2.5" in model else "fc_"
    numbers: Iterator[int] = itertools.count(Random().randrange(10**17, 10**18))
    return lambda: f"{prefix}{next(numbers)}"
