"""Calls that are told, not made: what happens in them goes through the library as a live session's would.

A call of a minute takes a few milliseconds, because its times are said rather than waited for. They lie in the future
by up to the call's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from voicespan import Close, Event, ToolOutcome, Usage, VoiceSession
from voicespan import events as ev

CHUNK_S = 0.2


@dataclass(frozen=True)
class Manner:
    """How the calls of a service go: means in seconds, and the share of turns in which something happens."""

    turns: int = 5
    endpointing_s: float = 1.05
    model_s: float = 0.6
    tool_share: float = 0.4
    tool_s: float = 0.4
    tool_fails: float = 0.03
    answer_s: float = 4.0
    barge_in_share: float = 0.08
    heard_share: float = 0.5
    stall_share: float = 0.01
    noise_share: float = 0.02
    lost_share: float = 0.02
    context_tokens: int = 1_500
    go_away_share: float = 0.3
    reconnect_s: float = 0.3
    refused: str = ""
    odd_share: float = 0.02


CLEAN = Manner()


class Teller:
    """Tells calls of one manner. The same seed tells the same calls."""

    def __init__(self, manner: Manner, seed: int) -> None:
        self._manner = manner
        self._random = Random(seed)

    def tell(self, session: VoiceSession) -> None:
        """A whole call, from dialling to the hang-up."""
        told = _Call(session, self._random)
        manner = self._manner
        session.audio_sent(bytes(32_000))
        told.now(ev.Dialing())
        if manner.refused:
            told.after(0.2, ev.Disconnected(Close(1006, "refused"), manner.refused))
            told.close(1011, "server")
            return
        told.about(0.25, ev.Connected())
        for number in range(manner.turns):
            self._turn(told)
            if number == manner.turns // 2 and self._random.random() < manner.go_away_share:
                self._replace_connection(told)
        told.close(1000, "client")

    def _turn(self, told: _Call) -> None:
        manner, chance = self._manner, self._random.random
        told.after(1.5, ev.ActivityStart("server"))
        if chance() < manner.noise_share:
            # The provider took it for speech, began a turn, and took it back.
            told.after(0.5, ev.InputTranscript(" "))
            told.after(0.1, ev.Interrupted())
            told.now(ev.UsageReport(self._usage(0.0, told.turns), completes_turn=True))
            told.now(ev.TurnComplete())
            told.turns += 1
            return
        told.after(2.0, ev.EndOfSpeech())
        told.about(manner.endpointing_s, ev.ActivityEnd("server"))
        told.now(ev.InputTranscript("Is there a cafe near here?"))
        if chance() < manner.stall_share:
            told.after(11.0, ev.Tick())
            told.turns += 1
            return
        if chance() < manner.tool_share:
            self._tool(told)
        self._answer(told)

    def _tool(self, told: _Call) -> None:
        manner = self._manner
        failed = self._random.random() < manner.tool_fails
        name = self._random.choice(["search_nearby", "navigate_to_location"])
        call_id = f"call-{told.turns}"
        told.about(0.2, ev.ToolCall(call_id, name, {"query": "cafe"}))
        outcome = ToolOutcome.ERROR if failed else ToolOutcome.OK
        error = "the map did not answer" if failed else None
        told.about(manner.tool_s, ev.ToolResponse(call_id, outcome, {"found": 1}, error))

    def _answer(self, told: _Call) -> None:
        manner = self._manner
        told.turns += 1
        told.about(manner.model_s, ev.ModelAudio(CHUNK_S, leading_silence_s=0.05))
        told.after(0.05, ev.PlaybackStarted(told.turns))
        if self._random.random() < manner.lost_share:
            told.after(0.5, ev.Disconnected(Close(1011, "internal error"), "close_1011"))
            self._dial_again(told)
            return
        chunks = round(manner.answer_s / CHUNK_S)
        for _ in range(chunks - 1):
            told.after(CHUNK_S / 4, ev.ModelAudio(CHUNK_S))
        told.now(ev.OutputTranscript("There is one around the corner."))
        played_s = manner.answer_s * manner.heard_share
        if self._random.random() < manner.barge_in_share:
            told.after(0.3, ev.ActivityStart("server"))
            told.now(ev.Interrupted())
            told.after(0.15, ev.PlaybackStopped(told.turns, played_s))
        else:
            told.now(ev.GenerationComplete())
        told.after(0.2, ev.UsageReport(self._usage(manner.answer_s, told.turns), completes_turn=True))
        told.now(ev.TurnComplete())
        if self._random.random() < manner.odd_share:
            told.now(ev.Unreadable("ValueError"))
            told.now(ev.InputDropped(0.2))

    def _replace_connection(self, told: _Call) -> None:
        told.after(0.5, ev.GoAway(9.5))
        told.after(9.5, ev.Disconnected(Close(1006, "connection lost")))
        self._dial_again(told)

    def _dial_again(self, told: _Call) -> None:
        told.now(ev.Dialing(resumed=True, handle_age_s=4.0))
        told.about(self._manner.reconnect_s, ev.Connected())

    def _usage(self, answer_s: float, turns: int) -> Usage:
        context = self._manner.context_tokens * (1 + turns // 2)
        return Usage(
            input_text=context,
            input_audio=75,
            input_cached=context // 10,
            output_audio=round(answer_s * 25),
            output_reasoning=20 if answer_s else 0,
            provider_total=context + context // 10 + 75 + round(answer_s * 25),
        )


class _Call:
    """The clock of a call that is told."""

    def __init__(self, session: VoiceSession, random: Random) -> None:
        self._feed: Callable[[Event, int], None] = session.feed
        self._now_ns = session.began_ns
        self._random = random
        self.turns = 0

    def now(self, event: Event) -> None:
        self._feed(event, self._now_ns)

    def after(self, seconds: float, event: Event) -> None:
        self._now_ns += round(seconds * 1e9)
        self.now(event)

    def about(self, seconds: float, event: Event) -> None:
        """After that many seconds, give or take a fifth."""
        self.after(seconds * self._random.uniform(0.8, 1.2), event)

    def close(self, code: int, initiator: ev.Initiator) -> None:
        self.after(0.5, ev.SessionClosed(Close(code, "bye", initiator)))
