"""What was seen to go wrong with Gemini Live, and what the server makes of it: the tests of docs/hazards.md.

Each is a whole call: a client that the test is, the real google-genai client, the simulator.
"""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from support.call_bench import CallBench, Simulated, eventually
from voicespan.events import Close
from voicespan_server import warm_up as warm
from voicespan_server.live import SOCKET_OPTIONS, connect_to
from voicespan_server.places.embedded import EmbeddedPlaces
from voicespan_server.places.geo import Position
from voicespan_server.places.provider import Place
from voicespan_server.quiet_logs import keep_frames_out_of_logs
from voicespan_server.settings import Settings


class SlowPlaces(EmbeddedPlaces):
    """A map that answers a search when it is told to."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Event()

    async def search(self, query: str, near: Position, radius_m: float) -> list[Place]:
        self.asked.set()
        await self.may_answer.wait()
        return await super().search(query, near, radius_m)


def reasons(bench: CallBench) -> list[str]:
    return [str(message["reason"]) for message in bench.of("turn.completed")]


# --- D1: the receive loop ends with every turn ------------------------------------------------------------------------


async def test_a_call_goes_on_after_each_of_its_turns(simulated: Simulated) -> None:
    async with simulated.call("plain") as bench:
        for turn in (1, 2, 3):
            assert (await bench.ask())["turn"] == turn
        await bench.hang_up()
    assert len(await simulated.deeds(1)) == 1


# --- D2: a setup that is not answered, or answered by an error --------------------------------------------------------


async def test_a_setup_that_is_never_answered_ends_the_call_in_time(simulated: Simulated) -> None:
    async with simulated.call("setup_mute", setup_timeout_s=0.3) as bench:
        ended = await bench.end()
        (error,) = bench.of("error")
    assert ended.close.code == 4504
    assert (error["code"], error["retryable"]) == ("model_timeout", True)
    assert len(bench.spans("Live Connection")) == 2, "it was tried once more"


async def test_an_error_in_place_of_the_setups_answer_is_no_session(simulated: Simulated) -> None:
    async with simulated.call("setup_error") as bench:
        ended = await bench.end()
        (error,) = bench.of("error")
    assert ended.close.code == 4502
    assert (error["code"], error["retryable"]) == ("model_closed", False)
    assert not bench.of("ready")


# --- D3: keepalives that kill, and a receive loop that waits ----------------------------------------------------------


async def test_the_model_is_heard_while_a_tool_runs(simulated: Simulated) -> None:
    places = SlowPlaces()
    async with simulated.call("non_blocking", places=places) as bench:
        bench.say()
        await places.asked.wait()
        await bench.until(lambda b: b.audio_bytes > 0)
        assert not bench.of("tool.completed")
        places.may_answer.set()
        await bench.told("tool.completed")


@pytest.mark.parametrize("waits", [False, True])
async def test_nobody_waits_for_the_services_pongs(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setitem(SOCKET_OPTIONS, "ping_interval", 0.1)
    if waits:
        monkeypatch.setitem(SOCKET_OPTIONS, "ping_timeout", 0.2)
    async with simulated.call("no_pongs") as bench:
        await bench.told("ready")
        if waits:
            # Whoever does loses a healthy session.
            await bench.told("session.reconnecting")
        else:
            await asyncio.sleep(0.5)
            assert (await bench.ask())["reason"] == "completed"
            assert not bench.of("session.reconnecting")


@pytest.mark.parametrize("scenario", ["no_pongs", "plain"])
async def test_a_connection_over_which_nothing_comes_is_left_and_one_that_answers_pings_is_not(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    monkeypatch.setitem(SOCKET_OPTIONS, "ping_interval", 0.1)
    async with simulated.call(scenario, dead_after_s=0.8) as bench:
        await bench.told("ready")
        if scenario == "no_pongs":
            assert (await bench.told("session.resumed"))["restored"] is True
        else:
            await asyncio.sleep(2)
            assert not bench.of("session.reconnecting")
        assert (await bench.ask())["reason"] == "completed"


# --- D4: messages of more than a megabyte -----------------------------------------------------------------------------


async def test_an_answer_in_one_large_message_is_heard(simulated: Simulated) -> None:
    async with simulated.call("one_message") as bench:
        assert (await bench.ask())["reason"] == "completed"
        assert bench.audio_bytes * 4 / 3 > 1 << 20
        await bench.hang_up()
    assert len(await simulated.deeds(1)) == 1


# --- D5: 1007 ---------------------------------------------------------------------------------------------------------


async def test_a_session_that_is_invalid_is_begun_afresh_once_and_then_ended(simulated: Simulated) -> None:
    async with simulated.call("close_1007") as bench:
        await bench.ask()
        assert (await bench.told("session.resumed"))["restored"] is False
        await bench.ask()
        ended = await bench.end()
        (error,) = bench.of("error")
    assert ended.close.code == 4502
    assert (error["code"], error["retryable"]) == ("model_closed", False)
    assert [deed.handle for deed in await simulated.deeds(2)] == ["none", "none"]


async def test_a_handle_that_is_refused_is_dropped(simulated: Simulated) -> None:
    async with simulated.call("refused_handle") as bench:
        await bench.ask()
        assert (await bench.told("session.resumed"))["restored"] is False
        assert len(bench.of("session.reconnecting")) == 1
        assert (await bench.ask())["reason"] == "completed"
    # The scenario begins afresh too, and so do its accidents.
    assert [deed.handle for deed in await simulated.deeds(3)][:3] == ["none", "refused", "none"]


# --- D6: 1008, and audio while a tool runs ----------------------------------------------------------------------------


async def microphone_in_a_tool(simulated: Simulated, policy: str) -> CallBench:
    places = SlowPlaces()
    async with simulated.call("quiet_tools", places=places, audio_during_tools=policy) as bench:
        bench.type_text()
        await places.asked.wait()
        bench.say(0, silence_s=0.4)
        if policy == "keep":
            await bench.told("session.resumed")
            bench.type_text()
        else:
            await eventually(bench.client.incoming.empty)
        places.may_answer.set()
        await bench.until(lambda b: "completed" in reasons(b))
        await bench.hang_up()
    return bench


async def test_audio_that_a_tool_cannot_stand_waits_for_the_tool(simulated: Simulated) -> None:
    bench = await microphone_in_a_tool(simulated, "hold")
    assert reasons(bench) == ["completed"]
    (deed,) = await simulated.deeds(1)
    assert deed.audio_ms > 0


async def test_where_it_does_not_wait_the_session_is_resumed(simulated: Simulated) -> None:
    bench = await microphone_in_a_tool(simulated, "keep")
    assert reasons(bench) == ["error", "completed"]
    cut, second = await simulated.deeds(2)
    assert cut.closed
    assert (cut.closed.code, second.handle) == (1008, "resumed")
    (orphan,) = [span for span in bench.spans("tool-") if span.attributes["voicespan.tool.outcome"] == "orphaned"]
    assert orphan.attributes["gen_ai.tool.call.id"]


async def test_a_session_that_is_aborted_in_a_tool_is_resumed(simulated: Simulated) -> None:
    async with simulated.call("close_1008", places=SlowPlaces()) as bench:
        assert (await bench.ask())["reason"] == "error"
        assert (await bench.told("session.resumed"))["restored"] is True
        assert [m["status"] for m in bench.of("tool.completed")] == ["orphaned"]
        await bench.hang_up()
    assert [deed.handle for deed in await simulated.deeds(2)] == ["none", "resumed"]


# --- D7: closes by code and by words ----------------------------------------------------------------------------------


async def test_cuts_of_every_kind_are_survived(simulated: Simulated) -> None:
    async with simulated.call("closes") as bench:
        resumed = 0
        # How each turn ends, and whether the connection does with it. Of a turn that was complete the cut may come any
        # time later: what is said before it is known goes to a service that hears nothing more.
        for reason, cut in (
            ("error", True),
            ("completed", False),
            ("completed", True),
            ("error", True),
            ("completed", False),
            ("error", True),
            ("completed", False),
            ("error", True),
            ("completed", False),
            ("completed", False),
            ("completed", False),
        ):
            assert (await bench.ask())["reason"] == reason
            if cut:
                resumed += 1
                await bench.told("session.resumed", resumed)
        assert len(bench.of("session.reconnecting")) == resumed
        await bench.hang_up()
        assert all(message["restored"] for message in bench.of("session.resumed"))
    closes = [(d.closed.code, d.closed.reason) for d in await simulated.deeds(6) if d.closed]
    assert closes == [
        (1000, "The operation was cancelled."),
        (1011, "Resource has been exhausted (e.g. check quota)."),
        (1011, "The service is currently unavailable."),
        (1011, "Deadline expired before operation could complete."),
        (None, ""),
        (1000, ""),
    ]


async def test_a_service_that_is_away_for_a_moment_is_dialled_again(simulated: Simulated) -> None:
    async with simulated.call("unavailable") as bench:
        await bench.ask()
        assert (await bench.told("session.resumed"))["restored"] is True
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
        assert len(bench.of("session.reconnecting")) == 1, "told once, however many attempts it takes"
    assert [deed.handle for deed in await simulated.deeds(3)] == ["none", "refused", "resumed"]


async def test_a_service_that_stays_away_ends_the_call_in_plain_words(simulated: Simulated) -> None:
    async with simulated.call("unavailable", reconnect_budget_s=0) as bench:
        await bench.ask()
        ended = await bench.end()
        (error,) = bench.of("error")
    assert (ended.close.code, ended.close.initiator) == (4502, "provider")
    assert error["message"] == "the model ended the session: The service is currently unavailable."
    assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("model_closed", True, 8_000)


# --- D8: goAway -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["go_away", "go_away_mid_answer", "go_away_in_tools"])
async def test_a_connection_that_will_be_cut_is_replaced_when_nobody_waits_for_anything(
    simulated: Simulated, scenario: str
) -> None:
    async with simulated.call(scenario) as bench:
        assert (await bench.ask())["reason"] == "completed"
        assert (await bench.told("session.resumed"))["restored"] is True
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
        kinds = [m["type"] for m in bench.messages]
        assert kinds.index("turn.completed") < kinds.index("session.reconnecting") < kinds.index("session.resumed")
    assert [deed.handle for deed in await simulated.deeds(2)] == ["none", "resumed"]


async def test_what_was_being_said_when_the_connection_was_cut_is_over(simulated: Simulated) -> None:
    async with simulated.call("abrupt_loss") as bench:
        assert (await bench.ask())["reason"] == "error"
        await bench.told("session.resumed")
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    second = bench.spans("Live Connection 2")[0]
    assert second.attributes["voicespan.connection.resumed"] is True
    assert second.attributes["voicespan.connection.gap_duration"] > 0  # type: ignore[operator]


# --- D9: handles ------------------------------------------------------------------------------------------------------


async def test_while_a_handle_is_withheld_the_one_before_holds_and_none_is_written_down(
    simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keep_frames_out_of_logs()
    handles = set()
    async with simulated.call("withheld_handle") as bench:
        await bench.ask()
        await bench.until(lambda b: b.call.handle is not None)
        assert bench.call.handle
        handles.add(bench.call.handle.value)
        assert (await bench.ask())["reason"] == "error"
        assert (await bench.told("session.resumed"))["restored"] is True
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
        assert repr(bench.call.handle).find(bench.call.handle.value) < 0
    for handle in handles:
        assert handle not in caplog.text
        assert handle not in repr(bench.recorder.spans())
        assert handle not in repr(bench.messages)


# --- D10: silence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        ("no_answer", "no_answer"),
        ("no_generation", "no_generation"),
        ("unfinished", "unfinished"),
        ("tool_answer_ignored", "tool_response_ignored"),
    ],
)
async def test_an_answer_that_does_not_come_is_told_and_the_connection_made_anew(
    simulated: Simulated, scenario: str, kind: str
) -> None:
    async with simulated.call(scenario, stall_after_s=0.4) as bench:
        bench.say()
        assert (await bench.told("warning"))["kind"] == kind
        assert (await bench.told("session.resumed"))["restored"] is True
        await bench.hang_up()
    first, second = await simulated.deeds(2)
    assert first.closed
    assert (first.closed.by, second.handle) == ("client", "resumed")


async def test_a_resumed_connection_that_is_dead_is_left_for_another(simulated: Simulated) -> None:
    async with simulated.call("dead_connection", stall_after_s=0.4) as bench:
        await bench.ask()
        await bench.told("session.resumed")
        bench.say()
        assert (await bench.told("warning"))["kind"] == "resumed_dead"
        await bench.told("session.resumed", 2)
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    assert [deed.dead for deed in await simulated.deeds(3)] == [False, True, False]


async def test_a_turn_with_nothing_in_it_is_told_and_the_connection_kept(simulated: Simulated) -> None:
    async with simulated.call("empty_turn") as bench:
        assert (await bench.ask())["reason"] == "stalled"
        assert (bench.of("warning")[0]["code"], bench.of("warning")[0]["kind"]) == ("model_silent", "empty_turn")
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    assert len(await simulated.deeds(1)) == 1


async def test_a_stall_may_be_told_alone(simulated: Simulated) -> None:
    async with simulated.call("no_generation", stall_after_s=0.4, on_stall="tell") as bench:
        bench.say()
        await bench.told("warning")
        assert (await bench.ask())["reason"] == "stalled"
        assert (await bench.told("turn.completed", 2))["reason"] == "completed"
        await bench.hang_up()
    assert len(await simulated.deeds(1)) == 1


# --- D11: an answer that is cut short ---------------------------------------------------------------------------------


async def test_an_answer_with_far_less_audio_than_words_is_told(simulated: Simulated) -> None:
    async with simulated.call("cut_short") as bench:
        await bench.ask()
        await bench.ask()
        await bench.hang_up()
    assert [(m["code"], m["turn"]) for m in bench.of("warning")] == [("answer_cut_short", 1)]


# --- D12: interruptions in any order ----------------------------------------------------------------------------------


async def test_an_interruption_after_the_turn_was_complete_ends_no_turn_twice(simulated: Simulated) -> None:
    async with simulated.call("late_interruption") as bench:
        await bench.ask()
        await bench.ask()
        await bench.hang_up()
    assert [m["turn"] for m in bench.of("turn.completed")] == [1, 2]
    assert [m["turn"] for m in bench.of("interrupted")] == [1]


async def test_unsent_audio_of_an_interrupted_answer_is_dropped_before_the_client_is_told(simulated: Simulated) -> None:
    async with simulated.call("barge_in") as bench:
        await bench.told("ready")
        bench.client.reads.clear()
        bench.say()
        await eventually(lambda: bench.call.downlink.waiting_bytes > 100_000)
        bench.say()
        await eventually(lambda: any('"interrupted"' in str(item) for item in bench.call.downlink._items))
        bench.client.reads.set()
        await bench.told("interrupted")
        before = bench.client.sent[: next(i for i, x in enumerate(bench.client.sent) if '"interrupted"' in str(x))]
    # One chunk was in the writer's hands already.
    assert sum(isinstance(item, bytes) for item in before) <= 1


# --- D13: tools -------------------------------------------------------------------------------------------------------


async def test_a_tool_that_hangs_is_answered_for_by_its_timeout(simulated: Simulated) -> None:
    async with simulated.call("one_tool", places=SlowPlaces(), tool_timeout_s=0.1) as bench:
        assert (await bench.ask())["reason"] == "completed"
        assert bench.of("tool.completed")[0]["status"] == "timeout"
        await bench.hang_up()
    ((call,),) = [turn.calls for deed in await simulated.deeds(1) for e in deed.exchanges for turn in e.turns]
    assert [answer.response for answer in call.answers] == [{"error": "search_nearby did not answer within 0.1 s"}]


async def test_a_call_that_was_taken_back_is_never_answered(simulated: Simulated) -> None:
    places = SlowPlaces()
    async with simulated.call("cancelled_tool", places=places) as bench:
        assert (await bench.ask())["reason"] == "completed"
        assert {m["status"] for m in bench.of("tool.completed")} == {"ok", "cancelled"}
        places.may_answer.set()
        await bench.ask()
        await bench.hang_up()
    calls = [call for deed in await simulated.deeds(1) for e in deed.exchanges for t in e.turns for call in t.calls]
    assert [len(call.answers) for call in calls] == [1, 0, 1]
    assert [call.cancelled_ns is not None for call in calls] == [False, True, True]


async def test_each_call_is_answered_exactly_once(simulated: Simulated) -> None:
    async with simulated.call("same_tool_twice") as bench:
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    calls = [call for deed in await simulated.deeds(1) for e in deed.exchanges for t in e.turns for call in t.calls]
    assert [len(call.answers) for call in calls] == [1, 1]


# --- D14: usage -------------------------------------------------------------------------------------------------------


async def test_usage_that_is_missing_is_no_zero_and_the_sum_is_the_sessions(simulated: Simulated) -> None:
    async with simulated.call("usage_reports") as bench:
        for _ in range(5):
            await bench.ask()
        await asyncio.sleep(0)
        await bench.hang_up()
    turns = bench.spans("Turn ")
    assert [turn.attributes["voicespan.usage.source"] for turn in turns] == [
        *("provider", "estimated", "provider", "provider", "provider"),
    ]
    reported = [int(str(turn.attributes.get("voicespan.usage.provider_total_tokens", 0))) for turn in turns]
    (session,) = bench.spans("WebSocket Session")
    assert session.attributes["voicespan.session.provider_total_tokens"] == sum(reported)
    assert bench.of("turn.completed")[1]["usage"] is None


# --- D15: quota at the upgrade ----------------------------------------------------------------------------------------


async def test_a_service_without_room_says_when_to_come_back(simulated: Simulated) -> None:
    async with simulated.call("quota") as bench:
        ended = await bench.end()
        (error,) = bench.of("error")
    assert ended.close.code == 4429
    assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("quota", True, 7_000)
    assert bench.spans("Live Connection 1")[0].attributes["error.type"] == "429"


async def test_a_key_that_is_refused_is_not_tried_again(simulated: Simulated) -> None:
    async with simulated.call("bad_key") as bench:
        ended = await bench.end()
        (error,) = bench.of("error")
    assert ended.close.code == 4502
    assert (error["code"], error["retryable"]) == ("model_refused", False)
    assert len(bench.spans("Live Connection")) == 1


# --- D16: messages of a kind that nobody knows ------------------------------------------------------------------------


async def test_a_strange_message_is_skipped_and_told(simulated: Simulated) -> None:
    async with simulated.call("strange_message") as bench:
        assert (await bench.ask())["reason"] == "completed"
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    (deed,) = await simulated.deeds(1)
    assert deed.strange_messages == 1
    (session,) = bench.spans("WebSocket Session")
    anomalies = [
        event.attributes["voicespan.anomaly"] for event in session.events if "voicespan.anomaly" in event.attributes
    ]
    assert anomalies == ["unreadable_message"]


# --- D17: what holds every call up ------------------------------------------------------------------------------------


async def test_what_google_genai_builds_at_first_use_is_built_before_the_first_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings(backend="gemini", gemini_api_key="none")
    assert await warm.warm_up(connect_to(settings), settings) == len(warm.MESSAGES)
    assert not caplog.records


async def test_a_call_does_not_wait_for_another_ones_tool(simulated: Simulated) -> None:
    places = SlowPlaces()
    async with simulated.call("one_tool", places=places) as waiting, simulated.call("plain") as other:
        waiting.say()
        await places.asked.wait()
        assert (await other.ask())["reason"] == "completed"
        assert not waiting.of("tool.completed")
        places.may_answer.set()
        await waiting.told("turn.completed")


# --- D19: a client that is gone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["idle", "answer", "tool"])
async def test_the_models_connection_does_not_outlive_the_client(simulated: Simulated, moment: str) -> None:
    places = SlowPlaces()
    async with simulated.call("one_tool", places=places) as bench:
        await bench.told("ready")
        if moment != "idle":
            bench.say()
            await places.asked.wait()
        if moment == "answer":
            places.may_answer.set()
            await bench.until(lambda b: b.audio_bytes > 0)
        gone_ns = time.time_ns()
        ended = await bench.vanish()
    assert ended.close == Close(1006, "", "client")
    (deed,) = await simulated.deeds(1)
    assert deed.closed
    assert deed.closed.by == "client"
    assert (deed.closed.at_ns - gone_ns) / 1e9 < 1
    assert {span.name for span in bench.recorder.spans()} >= {"WebSocket Session", "Live Connection 1"}


async def test_a_client_that_leaves_while_the_model_is_dialled_leaves_nothing_behind(simulated: Simulated) -> None:
    async with simulated.call("setup_mute") as bench:
        # The upgrade is through when the setup's answer is what it waits for.
        await asyncio.sleep(0.2)
        assert (await bench.vanish()).close.code == 1006
    (deed,) = await simulated.deeds(1)
    assert deed.closed


# --- D20: words and keys where they do not belong ---------------------------------------------------------------------


async def test_what_is_said_and_the_key_stay_out_of_logs_and_spans(
    simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keep_frames_out_of_logs()
    async with simulated.call("plain") as bench:
        await bench.ask()
        bench.type_text("My secret is plum.")
        await bench.told("turn.completed", 2)
        await bench.hang_up()
    assert any("Hello there." in str(message) for message in bench.of("transcript")), "it comes unasked"
    for words in ("Hello there", "plum", "I am a simulator", "x-goog-api-key"):
        assert words not in caplog.text
        assert words not in repr(bench.recorder.spans())
