"""What a client may ask of a call beyond speaking and listening: docs/protocol.md."""

from __future__ import annotations

import base64

import pytest

from support.call_bench import CallBench, Message, Simulated, eventually
from voicespan import events as ev

PICTURE = base64.b64encode(b"\x89PNG" + bytes(100)).decode()


def image(data: str = PICTURE) -> Message:
    return {"type": "image", "mime": "image/png", "data": data}


async def test_push_to_talk(simulated: Simulated) -> None:
    async with simulated.call("plain", turns="manual") as bench:
        for turn in (1, 2):
            bench.send({"type": "activity.start"})
            bench.say(silence_s=0)
            bench.send({"type": "activity.end"})
            assert (await bench.told("turn.completed", turn))["reason"] == "completed"
        await bench.hang_up()
    (deed,) = await simulated.deeds(1)
    assert [exchange.user.how for exchange in deed.exchanges] == ["push_to_talk", "push_to_talk"]
    assert [span.attributes["voicespan.turn.start_source"] for span in bench.spans("Turn ")] == ["activity_end"] * 2


@pytest.mark.parametrize(
    ("turns", "message", "told"),
    [
        ("auto", "activity.start", 'say so in the hello: "input": {"turns": "manual"}'),
        ("auto", "activity.end", 'say so in the hello: "input": {"turns": "manual"}'),
        ("manual", "audio.end", "activity.end ends an utterance"),
    ],
)
async def test_who_says_when_the_user_speaks_is_settled_in_the_hello(
    simulated: Simulated, turns: str, message: str, told: str
) -> None:
    async with simulated.call("plain", turns=turns) as bench:  # type: ignore[arg-type]
        bench.send({"type": message})
        assert (await bench.end()).close.code == 4400
    (error,) = bench.of("error")
    assert told in error["message"]


async def test_a_microphone_that_is_switched_off_ends_an_utterance(simulated: Simulated) -> None:
    async with simulated.call("plain") as bench:
        bench.say(silence_s=0)
        await eventually(lambda: ev.ActivityStart("server") in bench.events)
        bench.send({"type": "audio.end"})
        assert (await bench.told("turn.completed"))["reason"] == "completed"
        await bench.hang_up()
    (turn,) = bench.spans("Turn ")
    assert turn.attributes["voicespan.turn.start_source"] == "audio_stream_end"


async def test_the_model_looks_at_a_picture(simulated: Simulated) -> None:
    async with simulated.call("plain") as bench:
        bench.send(image())
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    (deed,) = await simulated.deeds(1)
    assert [exchange.user.pictures for exchange in deed.exchanges] == [1]


async def test_pictures_that_come_too_fast_are_dropped_and_told(simulated: Simulated) -> None:
    async with simulated.call("plain", max_images_per_s=1) as bench:
        bench.send(*[image()] * 5)
        await bench.told("warning", 3)
        await bench.ask()
        await bench.hang_up()
    assert {warning["code"] for warning in bench.of("warning")} == {"image_dropped"}
    (deed,) = await simulated.deeds(1)
    assert [exchange.user.pictures for exchange in deed.exchanges] == [2]


async def test_a_picture_that_is_too_large_is_refused(simulated: Simulated) -> None:
    async with simulated.call("plain", max_image_bytes=1024) as bench:
        bench.send(image(base64.b64encode(bytes(1025)).decode()))
        assert (await bench.end()).close.code == 4400
    assert "1025 bytes, more than 1024" in bench.of("error")[0]["message"]


def finals(bench: CallBench) -> list[tuple[object, ...]]:
    return [(m["role"], m["turn"]) for m in bench.of("transcript") if m["final"]]


@pytest.mark.parametrize("dialect", ["gemini", "vertex"])
async def test_a_transcript_ends_before_what_follows_it(simulated: Simulated, dialect: str) -> None:
    model = {"gemini": "gemini-3.8-live", "vertex": "gemini-live-2.5-flash"}[dialect]
    async with simulated.call("plain", simulator_dialect=dialect, model=model) as bench:
        await bench.ask()
        await bench.hang_up()
    assert finals(bench) == [("user", 1), ("assistant", 1)]
    kinds = [m["role"] if m["type"] == "transcript" else m["type"] for m in bench.messages]
    assert kinds.index("assistant") > len(kinds) - 1 - kinds[::-1].index("user")
    assert kinds.index("turn.completed") > len(kinds) - 1 - kinds[::-1].index("assistant")


async def test_a_resumed_session_is_gone_on_with(simulated: Simulated) -> None:
    async with simulated.call("one_tool") as bench:
        await bench.ask()
        await bench.until(lambda b: b.call.handle is not None)
        ended = await bench.vanish()
        handle = bench.call.handle
    assert ended.may_go_on
    async with simulated.call("one_tool", handle=handle) as bench:
        assert (await bench.told("ready"))["restored"] is True
        assert (await bench.ask())["reason"] == "completed"
        await bench.hang_up()
    (deed,) = await simulated.deeds(1)
    assert deed.handle == "resumed"
