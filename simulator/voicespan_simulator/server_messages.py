"""The messages of the service, and which of them make a generation, in the order of the model's profile."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from voicespan_simulator.dialect import Dialect
from voicespan_simulator.profiles import Activity, Profile, Transcript
from voicespan_simulator.voice import BYTES_PER_S, RATE_HZ, seconds_of
from voicespan_simulator.wire_json import JsonObject, JsonValue

_THOUGHT = "**Preparing the answer**\n\nThe script says what comes next.\n"
_SINGLE_SAMPLE_BYTES = 2
_AFTER_SINGLE_SAMPLE_S = 0.04
_WORDS_PER_FRAGMENT = 4
_AUDIO_MESSAGES_PER_FRAGMENT = 2.5


@dataclass(frozen=True, slots=True)
class Step:
    """A message, the seconds to wait before it, and what it says of the answer.

    `output` where it holds something that the model put out: audio, words, a thought, a call.
    """

    message: JsonObject
    wait_s: float = 0.0
    audio_bytes: int = 0
    words: str = ""
    output: bool = False


def content(**fields: JsonValue) -> JsonObject:
    """A serverContent message; without fields the empty one that says that the model has begun."""
    return {"serverContent": fields}


def generation_complete() -> JsonObject:
    """The model has produced all of its answer."""
    return content(generationComplete=True)


def interrupted() -> JsonObject:
    """What was not yet played is void."""
    return content(interrupted=True)


def waiting() -> JsonObject:
    """The model chose to stay silent."""
    return content(waitingForInput=True)


def strange() -> JsonObject:
    """What a service might send that is newer than its clients."""
    return {"unheardOf": {"seen": True}}


def cancellation(call_ids: Sequence[str]) -> JsonObject:
    """Calls that are taken back."""
    return {"toolCallCancellation": {"ids": list(call_ids)}}


def turn_complete(
    dialect: Dialect,
    usage: JsonObject | None,
    *,
    answered: bool = True,
    status: str | None = None,
    reason: str | None = None,
) -> JsonObject:
    """The end of a turn, with its usage where the report comes with it."""
    fields: JsonObject = {"turnComplete": True}
    if answered and dialect.grounding_at_turn_end:
        fields["groundingMetadata"] = {}
    if status is not None:
        fields["interactionStatus"] = status
    if reason is not None:
        fields["turnCompleteReason"] = reason
    return content(**fields) if usage is None else {**content(**fields), "usageMetadata": usage}


def resumption_update(handle: str, consumed_messages: int | None) -> JsonObject:
    """A handle that continues the conversation as it is now; the count is for transparent resumption."""
    update: JsonObject = {"newHandle": handle, "resumable": True}
    if consumed_messages is not None:
        update["lastConsumedClientMessageIndex"] = str(consumed_messages)
    return {"sessionResumptionUpdate": update}


def withheld_handle() -> JsonObject:
    """There is no handle now."""
    return {"sessionResumptionUpdate": {"resumable": False}}


def voice_activity(profile: Profile, kind: str, offset_s: float) -> Iterator[JsonObject]:
    """The user's activity, where the model tells of it; the offset is in audio received."""
    activity: JsonObject = {"voiceActivity": {"type": kind, "audioOffset": duration(offset_s)}}
    match profile.shape.activity:
        case Activity.ALONE:
            yield activity
        case Activity.WITH_CONTENT:
            yield {**content(), **activity}
        case Activity.NONE:
            pass


def duration(seconds: float) -> str:
    """A protobuf Duration in JSON: no fraction, or one of three digits."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds:.3f}s"


def input_transcript(profile: Profile, said: str) -> Iterator[JsonObject]:
    """The user's words, whole or in pieces that are to be joined as they are."""
    if profile.shape.input_in_fragments:
        for piece in _pieces_of_words(said):
            yield content(inputTranscription={"text": piece})
        return
    yield content(inputTranscription={"text": said})
    if profile.shape.transcript_markers:
        yield content(inputTranscription={"finished": True})


def _pieces_of_words(said: str) -> Iterator[str]:
    for word in said.split():
        stem = word.rstrip(".,!?")
        half = len(stem) // 2 if len(stem) > 6 else len(stem)
        yield " " + stem[:half]
        yield from (piece for piece in (stem[half:], word[len(stem) :]) if piece)


def opening(profile: Profile, *, spoken: bool, thinks: bool, transcribes: bool) -> Iterator[Step]:
    """What comes ahead of a generation's first output."""
    shape = profile.shape
    for _ in range(shape.empty_contents_after_speech if spoken else shape.empty_contents):
        if shape.empty_before_content:
            yield Step({})
        yield Step(content())
    if thinks and shape.thought_part:
        yield Step(content(modelTurn={"parts": [{"text": _THOUGHT, "thought": True}]}), output=True)
    if transcribes and shape.transcript is Transcript.BEFORE_AUDIO:
        yield Step(content(outputTranscription={}))


def tool_call(profile: Profile, calls: Sequence[JsonValue]) -> Iterator[Step]:
    """Function calls, all in one message."""
    if profile.shape.empty_before_content:
        yield Step({})
    yield Step({"toolCall": {"functionCalls": list(calls)}}, wait_s=0.03, output=True)


def closing_of_tool_call(profile: Profile, *, transcribes: bool) -> Iterator[Step]:
    """What stands between a tool call and its turnComplete where the call has one of its own."""
    if transcribes and profile.shape.transcript is Transcript.BEFORE_AUDIO:
        yield Step(content(outputTranscription={"finished": True}))
    yield Step(generation_complete())


def spoken_answer(
    profile: Profile,
    dialect: Dialect,
    words: str,
    pcm: bytes,
    *,
    transcribes: bool,
    single_sample: bool,
    whole: bool = False,
) -> Iterator[Step]:
    """The audio of an answer and its transcript, up to but without generationComplete."""
    single_sample = single_sample and profile.shape.single_sample_first
    audio = [pcm] if whole else _audio_messages(profile, pcm, single_sample=single_sample)
    texts = _fragments(profile, words, len(audio)) if transcribes else []
    wait_s = profile.timing.first_audio_s
    ahead = _texts_ahead(profile.shape.transcript, texts, len(audio))
    for position, chunk in enumerate(audio):
        here = ahead[position]
        with_audio = profile.shape.transcript is Transcript.WITH_AUDIO
        if not with_audio:
            yield from (_words(text) for text in here)
            if position == 0 and transcribes and profile.shape.transcript is Transcript.BEFORE_AUDIO:
                yield Step(content(outputTranscription={"finished": True}))
        message = _audio_message(profile, dialect, chunk)
        said = "".join(here) if with_audio else ""
        if said:
            message["outputTranscription"] = {"text": said}
        if profile.shape.empty_before_content:
            yield Step({}, wait_s)
            wait_s = 0.0
        yield Step({"serverContent": message}, wait_s, audio_bytes=len(chunk), words=said, output=True)
        wait_s = seconds_of(len(chunk)) / profile.timing.generation_speed
        if len(chunk) == _SINGLE_SAMPLE_BYTES:
            wait_s = _AFTER_SINGLE_SAMPLE_S
    if transcribes and profile.shape.transcript_markers and profile.shape.transcript is Transcript.AHEAD:
        yield Step(content(outputTranscription={"finished": True}))


def transcript(profile: Profile, words: str, pcm: bytes = b"") -> Iterator[Step]:
    """The words of an answer apart from its audio; whole where there is none."""
    size = profile.shape.audio_message_ms * RATE_HZ // 1000 * 2
    yield from (_words(text) for text in (_fragments(profile, words, -(-len(pcm) // size)) if pcm else [words]))


def _words(text: str) -> Step:
    return Step(content(outputTranscription={"text": text}), words=text, output=True)


def _audio_message(profile: Profile, dialect: Dialect, chunk: bytes) -> JsonObject:
    data = base64.b64encode(chunk).decode()
    turn: JsonObject = {"parts": [{"inlineData": {"mimeType": dialect.audio_mime_type, "data": data}}]}
    if profile.shape.model_role:
        turn["role"] = "model"
    return {"modelTurn": turn}


def _audio_messages(profile: Profile, pcm: bytes, *, single_sample: bool) -> list[bytes]:
    size = profile.shape.audio_message_ms * RATE_HZ // 1000 * 2
    assert size < BYTES_PER_S
    first = _SINGLE_SAMPLE_BYTES if single_sample else 0
    chunks = [pcm[begin : begin + size] for begin in range(first, len(pcm), size)]
    return [pcm[:first], *chunks] if first else chunks


def _fragments(profile: Profile, words: str, audio_messages: int) -> list[str]:
    """Pieces that join to the words as they are, the space behind on 3.x and in front on the others."""
    split = words.split(" ")
    size = _WORDS_PER_FRAGMENT
    if profile.shape.transcript is Transcript.WITH_AUDIO:
        size = max(1, round(len(split) * _AUDIO_MESSAGES_PER_FRAGMENT / max(1, audio_messages)))
    groups = [" ".join(split[begin : begin + size]) for begin in range(0, len(split), size)]
    if profile.shape.transcript is Transcript.WITH_AUDIO:
        return [group + " " for group in groups[:-1]] + groups[-1:]
    return groups[:1] + [" " + group for group in groups[1:]]


def _texts_ahead(transcript: Transcript, texts: Sequence[str], audio_messages: int) -> list[list[str]]:
    """The fragments that stand ahead of each audio message, or in it."""
    ahead: list[list[str]] = [[] for _ in range(audio_messages)]
    for number, text in enumerate(texts):
        match transcript:
            case Transcript.BEFORE_AUDIO:
                position = 0
            case Transcript.WITH_AUDIO:
                position = number * audio_messages // len(texts)
            case Transcript.AHEAD:
                # The first third at once, the last one when half of the audio is still to come.
                early = max(1, len(texts) // 3)
                position = 0 if number < early else (number - early + 1) * audio_messages // 2 // len(texts)
        ahead[position].append(text)
    return ahead
