"""google-genai's Live messages and usage reports as neutral events. Another provider is another such file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from voicespan import events as ev
from voicespan.content import encodable
from voicespan.events import Event
from voicespan.onset import leading_silence_s
from voicespan.usage import Usage

if TYPE_CHECKING:
    from google.genai import types

OUTPUT_RATE_HZ = 24_000
_RATE = re.compile(r"rate=(\d+)")
_BEGAN = ("ACTIVITY_START", "VAD_SIGNAL_TYPE_SOS")
_ENDED = ("ACTIVITY_END", "VAD_SIGNAL_TYPE_EOS")


class GeminiTranslator:
    """One session's messages to events.

    `non_blocking` names the functions that were declared so. Without `sound` the model's audio is told by its length
    alone, which will do for a session that is not recorded. It keeps count of calls that came without an id, as they
    may on Vertex, and of whether the current answer has sounded yet.
    """

    __slots__ = ("_non_blocking", "_sound", "_sounded", "_unnamed_calls")

    def __init__(self, non_blocking: Collection[str] = (), *, sound: bool = True) -> None:
        self._non_blocking = frozenset(non_blocking)
        self._sound = sound
        self._unnamed_calls = 0
        self._sounded = False

    def events(self, message: types.LiveServerMessage) -> list[Event]:
        """What a message says, in the order in which it counts: output first, then usage, then boundaries.

        An empty message, which Gemini 3.8 sends ahead of most others, says nothing.
        """
        found: list[Event] = []
        if message.voice_activity or message.voice_activity_detection_signal:
            found += _voice_activity(message)
        turn_complete = interrupted = None
        content = message.server_content
        if content:
            self._content(content, found)
            turn_complete, interrupted = content.turn_complete, content.interrupted
            if turn_complete or interrupted:
                self._sounded = False
        if message.tool_call:
            found += [self._call(call) for call in message.tool_call.function_calls or ()]
        if message.tool_call_cancellation:
            cancelled = message.tool_call_cancellation.ids or ()
            found += [ev.ToolCancelled(encodable(str(call_id))) for call_id in cancelled]
        if interrupted:
            found.append(ev.Interrupted())
        if content and content.generation_complete:
            found.append(ev.GenerationComplete())
        if message.usage_metadata:
            found.append(ev.UsageReport(live_usage(message.usage_metadata), bool(turn_complete)))
        if content and turn_complete:
            found.append(_turn_complete(content))
        if message.session_resumption_update:
            found.append(ev.Resumption(bool(message.session_resumption_update.resumable)))
        if message.go_away:
            found.append(ev.GoAway(_seconds(message.go_away.time_left)))
        return found

    def _call(self, call: types.FunctionCall) -> Event:
        if not call.id:
            self._unnamed_calls += 1
        return ev.ToolCall(
            call_id=encodable(call.id) if call.id else f"unnamed-{self._unnamed_calls}",
            name=encodable(call.name or "unnamed"),
            arguments=call.args or {},
            unnamed=not call.id,
            blocking=call.name not in self._non_blocking,
        )

    def audio(self, pcm: bytes, mime_type: str | None) -> Event:
        """What a message says that holds this chunk of audio and nothing else, for programs that read it themselves."""
        if self._sounded and not self._sound:
            return _more_audio(len(pcm), mime_type)
        rate_hz = _rate_hz(mime_type)
        duration_s = len(pcm) / 2 / rate_hz
        if self._sounded:
            return ev.ModelAudio(duration_s, pcm=pcm, rate_hz=rate_hz)
        # Only the first chunks of an answer are looked into.
        silence_s = leading_silence_s(pcm, rate_hz)
        self._sounded = silence_s is not None
        silence_s = duration_s if silence_s is None else silence_s
        return (
            ev.ModelAudio(duration_s, silence_s, pcm, rate_hz) if self._sound else ev.ModelAudio(duration_s, silence_s)
        )

    def _content(self, content: types.LiveServerContent, found: list[Event]) -> None:
        if (heard := content.input_transcription) and heard.text:
            found.append(ev.InputTranscript(heard.text))
        for part in (said.parts if (said := content.model_turn) else None) or ():
            blob = part.inline_data
            if blob and (pcm := blob.data):
                found.append(self.audio(pcm, blob.mime_type))
            elif part.thought:
                found.append(ev.Thought())
            elif part.text:
                found.append(ev.ModelText(part.text))
        if (spoken := content.output_transcription) and spoken.text:
            found.append(ev.OutputTranscript(spoken.text))
        if (sources := content.grounding_metadata) and (queries := sources.web_search_queries):
            found.append(ev.Grounded(len(queries)))
        if content.waiting_for_input:
            found.append(ev.WaitingForInput())


def _voice_activity(message: types.LiveServerMessage) -> list[Event]:
    """The detector's decision, which Vertex tells those as its other signal whom it has on a list."""
    activity, signal = message.voice_activity, message.voice_activity_detection_signal
    kind = activity.voice_activity_type if activity else signal.vad_signal_type if signal else None
    if kind in _BEGAN:
        return [ev.ActivityStart("server")]
    return [ev.ActivityEnd("server")] if kind in _ENDED else []


def _turn_complete(content: types.LiveServerContent) -> Event:
    reason = content.turn_complete_reason.value if content.turn_complete_reason else ""
    known = reason if reason and not reason.endswith("UNSPECIFIED") else None
    # google-genai has it from 2.18 on.
    status = getattr(content, "interaction_status", None)
    return ev.TurnComplete(in_progress=status == "IN_PROGRESS", reason=known)


# In one report; no model reads as much in a year.
MAX_TOKENS = 10**12


def live_usage(report: types.UsageMetadata) -> Usage:
    """A Live session's usage report. Counts that no modality claims are `other`; thoughts stand outside the total."""
    return _usage(
        prompt=report.prompt_token_count,
        prompt_details=report.prompt_tokens_details,
        cached=report.cached_content_token_count,
        cached_details=report.cache_tokens_details,
        tool_use=report.tool_use_prompt_token_count,
        response=report.response_token_count,
        response_details=report.response_tokens_details,
        thoughts=report.thoughts_token_count,
        total=report.total_token_count,
    )


def content_usage(report: types.GenerateContentResponseUsageMetadata) -> Usage:
    """A generate_content response's usage report."""
    return _usage(
        prompt=report.prompt_token_count,
        prompt_details=report.prompt_tokens_details,
        cached=report.cached_content_token_count,
        cached_details=report.cache_tokens_details,
        tool_use=report.tool_use_prompt_token_count,
        response=report.candidates_token_count,
        response_details=report.candidates_tokens_details,
        thoughts=report.thoughts_token_count,
        total=report.total_token_count,
    )


def _usage(
    *,
    prompt: int | None,
    prompt_details: Iterable[types.ModalityTokenCount] | None,
    cached: int | None,
    cached_details: Iterable[types.ModalityTokenCount] | None,
    tool_use: int | None,
    response: int | None,
    response_details: Iterable[types.ModalityTokenCount] | None,
    thoughts: int | None,
    total: int | None,
) -> Usage:
    prompt, cached, tool_use, response, thoughts, total = map(
        _tokens, (prompt, cached, tool_use, response, thoughts, total)
    )
    fresh = _by_modality(prompt_details)
    if cached or cached_details:
        fresh = _less_cached(fresh, prompt, cached, _by_modality(cached_details))
    unclaimed = max(0, prompt - cached - sum(fresh.values()))
    written = _by_modality(response_details)
    return Usage(
        input_text=fresh.get("TEXT", 0) + fresh.get("DOCUMENT", 0),
        input_audio=fresh.get("AUDIO", 0),
        input_image=fresh.get("IMAGE", 0),
        input_video=fresh.get("VIDEO", 0),
        input_cached=cached,
        input_tool_use=tool_use,
        input_other=unclaimed,
        output_text=written.get("TEXT", 0) + written.get("DOCUMENT", 0),
        output_audio=written.get("AUDIO", 0),
        output_image=written.get("IMAGE", 0) + written.get("VIDEO", 0),
        output_reasoning=thoughts,
        output_other=max(0, response - sum(written.values())),
        provider_total=total,
    )


def _less_cached(read: Mapping[str, int], prompt: int, cached: int, from_cache: Mapping[str, int]) -> dict[str, int]:
    """The modalities of a prompt without the tokens that came from the cache, which are part of it.

    What the details do not take from a modality is taken from what no modality claims, and then from text first.
    """
    fresh = {name: max(0, count - from_cache.get(name, 0)) for name, count in read.items()}
    left = max(0, cached - sum(from_cache.values()) - max(0, prompt - sum(read.values())))
    for name in sorted(fresh, key=lambda name: name != "TEXT") if left else ():
        taken = min(left, fresh[name])
        fresh[name] -= taken
        left -= taken
    return fresh


def _by_modality(details: Iterable[types.ModalityTokenCount] | None) -> dict[str, int]:
    counts: dict[str, int] = {}
    for detail in details or ():
        modality, tokens = detail.modality, detail.token_count
        # A modality without a count, as Vertex sends it, is unknown: its tokens stay in the remainder.
        if modality and tokens:
            counts[modality] = counts.get(modality, 0) + _tokens(tokens)
    return counts


def _tokens(count: int | None) -> int:
    """A count that can be one: a number beyond 64 bits would cost the span, and the store the whole batch."""
    return min(count, MAX_TOKENS) if count and count > 0 else 0


@lru_cache(maxsize=256)
def _more_audio(size_bytes: int, mime_type: str | None) -> ev.ModelAudio:
    """Chunks are of a few sizes, and to make an event takes as long as all else that is done with it."""
    return ev.ModelAudio(size_bytes / 2 / _rate_hz(mime_type))


@lru_cache(maxsize=16)
def _rate_hz(mime_type: str | None) -> int:
    rate = _RATE.search(mime_type or "")
    return (int(rate[1]) if rate else 0) or OUTPUT_RATE_HZ


def _seconds(duration: str | None) -> float | None:
    """`"9.5s"` -> 9.5."""
    try:
        return float((duration or "").removesuffix("s"))
    except ValueError:
        return None
