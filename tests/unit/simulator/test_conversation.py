from voicespan_simulator.conversation import Conversation, Handles
from voicespan_simulator.scenario import Answer, Loss, Scenario, Turn
from voicespan_simulator.tokens import Tokens

TURNS = (Turn("One.", Answer("1"), ending=Loss()), Turn("Two.", Answer("2")))


def conversation() -> Conversation:
    return Conversation(Scenario("test", "a test", TURNS), Tokens(text=3))


def test_a_handle_restores_the_conversation_as_it_was_when_the_handle_was_given() -> None:
    handles, now = Handles(), conversation()
    handle = handles.save(now)
    now.take_turn()
    now.context += Tokens(audio=5)
    then = handles.load(handle)
    assert then is not None
    assert (then.next_turn, then.context) == (0, Tokens(text=3))
    then.take_turn()
    again = handles.load(handle)
    assert again is not None
    assert again.next_turn == 0


def test_what_ended_a_connection_does_not_happen_again_to_the_resumed_call() -> None:
    handles, now = Handles(), conversation()
    handle = handles.save(now)
    assert now.take_turn().ending == Loss()
    now.mark_ended()
    then = handles.load(handle)
    assert then is not None
    assert then.take_turn().ending is None
    assert then.take_turn().said == "Two."


def test_a_turn_taken_back_is_taken_again() -> None:
    now = conversation()
    first = now.take_turn()
    now.take_back_turn()
    assert now.take_turn() == first
    assert now.utterances == 1


def test_the_oldest_handles_are_forgotten() -> None:
    handles, now = Handles(most=2), conversation()
    oldest, middle, newest = (handles.save(now) for _ in range(3))
    assert handles.load(oldest) is None
    assert handles.load(middle) is not None
    assert handles.load(newest) is not None
    assert handles.load("forged") is None
