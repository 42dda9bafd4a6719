"""API keys: what is read, what is refused, and that no secret is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server.access.keys import ApiKeys, ApiKeysError

ALICE, BOB = "a" * 16, "b" * 32
SECRETS = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=64)


@pytest.mark.parametrize(
    "text",
    [
        f"alice:{ALICE},bob:{BOB}",
        f"# ours\nalice:{ALICE}\n\n  bob : {BOB}  \n",
        f'{{"alice": "{ALICE}", "bob": "{BOB}"}}',
    ],
)
def test_a_key_is_known_by_its_secret(text: str) -> None:
    keys = ApiKeys.parse(text)
    assert (len(keys), keys.identify(ALICE), keys.identify(BOB), keys.identify("c" * 16)) == (2, "alice", "bob", None)
    assert "alice" in keys
    assert "carol" not in keys


def test_an_id_may_have_an_old_and_a_new_secret() -> None:
    keys = ApiKeys.parse(f"alice:{ALICE},alice:{BOB}")
    assert (len(keys), keys.identify(ALICE), keys.identify(BOB)) == (1, "alice", "alice")


def test_the_secret_of_tokens_is_the_same_for_the_same_keys_in_any_order() -> None:
    one, other = ApiKeys.parse(f"alice:{ALICE},bob:{BOB}"), ApiKeys.parse(f"bob:{BOB}\nalice:{ALICE}")
    assert one.derived_secret() == other.derived_secret()
    assert one.derived_secret() != ApiKeys.parse(f"alice:{ALICE}").derived_secret()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("justasecretwithoutid", "id:secret"),
        ("alice:short-secret", "at least 16"),
        (f"{ALICE}:alice", "at least 16"),
        (f"alice:{'ü' * 16}", "printable"),
        ("alice:has a space in the middle", "printable"),
        (f"alice:{ALICE},bob:{ALICE}", "another one"),
        ('{"alice": 17}', "strings"),
        ('{"alice": ', "JSON"),
        (f"al/ice:{ALICE}", "letters"),
    ],
)
def test_what_is_no_key_is_refused_in_words_without_the_secret(text: str, told: str) -> None:
    with pytest.raises(ApiKeysError) as caught:
        ApiKeys.parse(text)
    assert told in str(caught.value)
    for part in text.split(":"):
        assert len(part) < 10 or part not in str(caught.value)


@given(SECRETS, SECRETS)
def test_only_the_whole_secret_will_do(secret: str, other: str) -> None:
    keys = ApiKeys([("k", secret)])
    assert keys.identify(secret) == "k"
    assert keys.identify(other) == ("k" if other == secret else None)
    assert keys.identify(secret[:-1]) is None
    assert secret not in repr(vars(keys))
