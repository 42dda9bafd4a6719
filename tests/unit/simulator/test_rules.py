import pytest

from voicespan_simulator.rest import generate_content
from voicespan_simulator.rules import FAILED, HELP, call_for, sentence_about
from voicespan_simulator.wire_json import JsonObject, JsonValue, pick, pick_list

BOTH = {"search_nearby", "navigate_to_location"}


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("Is there a cafe near here?", {"query": "cafe", "radius_m": 800}),
        ("find me a pharmacy within 2 km", {"query": "pharmacy", "radius_m": 2000}),
        ("Any restaurants nearby, 300 m at most?", {"query": "restaurant", "radius_m": 300}),
        ("Search for vinyl records near me.", {"query": "vinyl records", "radius_m": 800}),
    ],
)
def test_words_about_what_is_near_search(text: str, args: JsonObject) -> None:
    call = call_for(text, BOTH)
    assert call is not None
    assert (call.name, call.args) == ("search_nearby", args)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("Take me to the cathedral, please.", {"destination": "cathedral"}),
        ("What is the way to Senate Square by bike?", {"destination": "Senate Square", "mode": "bike"}),
        ("drive to the airport", {"destination": "airport", "mode": "car"}),
        ("Navigate to the nearest pharmacy", {"destination": "nearest pharmacy"}),
    ],
)
def test_words_about_going_somewhere_navigate(text: str, args: JsonObject) -> None:
    call = call_for(text, BOTH)
    assert call is not None
    assert (call.name, call.args) == ("navigate_to_location", args)


def test_other_words_and_undeclared_functions_call_nothing() -> None:
    assert call_for("What is love?", BOTH) is None
    assert call_for("Is there a cafe near here?", {"navigate_to_location"}) is None
    assert call_for("Take me to the cathedral", set()) is None


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({"places": [{"name": "Ekberg"}, {"name": "Fazer"}]}, "I found Ekberg, Fazer."),
        ({"result": {"places": []}}, "I found nothing like that nearby."),
        (
            {"destination": {"name": "Cathedral"}, "distance_m": 1234.0, "duration_s": 900},
            "The route to Cathedral is set: 1.2 kilometres, 15 minutes.",
        ),
        ({"error": "no route"}, FAILED),
        ("odd", "That is done."),
    ],
)
def test_an_answer_is_made_from_what_the_tool_said(result: JsonValue, sentence: str) -> None:
    assert sentence_about([result]) == sentence


TOOLS: list[JsonValue] = [{"functionDeclarations": [{"name": "search_nearby"}]}]


def test_generate_content_calls_a_function_then_answers_with_its_result() -> None:
    question: JsonValue = {"role": "user", "parts": [{"text": "Is there a cafe near here?"}]}
    first = generate_content("gemini-x", {"contents": [question], "tools": TOOLS})
    content = pick(pick_list(first, "candidates")[0], "content")
    call = pick_list(content, "parts")[0]
    assert call == {"functionCall": {"name": "search_nearby", "args": {"query": "cafe", "radius_m": 800}}}
    result: JsonValue = {"functionResponse": {"name": "search_nearby", "response": {"places": [{"name": "Fazer"}]}}}
    answer: JsonValue = {"role": "user", "parts": [result]}
    second = generate_content("gemini-x", {"contents": [question, content, answer], "tools": TOOLS})
    assert pick_list(pick(pick_list(second, "candidates")[0], "content"), "parts") == [{"text": "I found Fazer."}]


def test_generate_content_counts_instructions_tools_and_contents() -> None:
    contents: JsonValue = [{"parts": [{"text": "12345678"}]}]
    plain = generate_content("gemini-x", {"contents": contents})
    assert pick(plain, "usageMetadata", "promptTokenCount") == 2
    instruction: JsonValue = {"parts": [{"text": "x" * 400}]}
    told = generate_content("gemini-x", {"contents": contents, "system_instruction": instruction})
    assert pick(told, "usageMetadata", "promptTokenCount") == 102
    parts = pick_list(pick(pick_list(told, "candidates")[0], "content"), "parts")
    assert parts == [{"text": HELP}]
    assert pick(told, "usageMetadata", "totalTokenCount") == 102 + -(-len(HELP) // 4)
