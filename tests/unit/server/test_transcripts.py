"""What the client is told of the words of both sides."""

from __future__ import annotations

from voicespan_server.protocol import Message
from voicespan_server.transcripts import Transcripts


def told(*messages: list[Message]) -> list[tuple[object, ...]]:
    flat = [message for some in messages for message in some]
    return [(m["role"], m["text"], m["turn"], m["final"]) for m in flat]


def test_pieces_and_then_the_word_that_no_more_will_come() -> None:
    words = Transcripts()
    assert told(words.piece("user", "Is there ", 1), words.piece("user", "a cafe?", 1), words.complete("user")) == [
        ("user", "Is there ", 1, False),
        ("user", "a cafe?", 1, False),
        ("user", "", 1, True),
    ]


def test_of_nothing_said_nothing_is_complete() -> None:
    words = Transcripts()
    words.piece("user", "Hello.", 1)
    assert told(words.complete("assistant"), words.complete("user"), words.complete("user")) == [("user", "", 1, True)]


def test_words_of_the_next_turn_complete_those_of_the_one_before() -> None:
    words = Transcripts()
    words.piece("assistant", "All right", 1)
    assert told(words.piece("assistant", "Yes", 2)) == [("assistant", "", 1, True), ("assistant", "Yes", 2, False)]


def test_words_that_come_late_are_told_all_the_same() -> None:
    words = Transcripts()
    words.piece("user", "Hello.", 1)
    words.complete("user")
    assert told(words.piece("user", "Hello again.", 1), words.complete("user")) == [
        ("user", "Hello again.", 1, False),
        ("user", "", 1, True),
    ]
