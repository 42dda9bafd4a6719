"""What is masked in captured text before it is stored or sent: credentials, mail addresses, card and phone numbers.

The collector masks the same credentials and addresses again (otel-collector.yaml), for spans that are not ours.
Numbers of cards are told by their check digit, which a collector's pattern cannot do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite

# Google's API keys, ephemeral and OAuth tokens, Langfuse's secret keys, bearer tokens, keys in query strings.
SECRETS = (
    r"AIza[0-9A-Za-z_-]{35}",
    r"auth_tokens/[0-9A-Za-z_-]{8,}",
    r"ya29\.[0-9A-Za-z_-]{16,}",
    r"sk-lf-[0-9a-f-]{36}",
    r"(?i:bearer) [A-Za-z0-9._~+/-]{16,}",
    r"[?&](?:key|access_token)=[^&\s]+",
)
# Bounded, as the standard bounds it: without, a long word costs its length squared.
MAIL = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,24}"
# Between groups: spaces, also ones that do not break, and hyphens, also typographic ones.
_SPACE = " \u00a0\u202f"
_HYPHEN = "\u2010-\u2013-"
CARD = rf"\b(?:\d[{_SPACE}{_HYPHEN}]?){{12,18}}\d\b"
# International, or in the groups that a person writes: plain digits are also prices, times and distances.
PHONE = (
    rf"(?<![\w.])(?:(?:\+|00)\d[\d(){_SPACE}./{_HYPHEN}]{{6,20}}\d"
    rf"|\(?\d{{3}}\)?[{_SPACE}.{_HYPHEN}]\d{{3}}[{_SPACE}.{_HYPHEN}]\d{{4}})(?!\w)"
)

# Names, passwords and tokens before a URL's host; before a bare host, too, where that is no mail address among words.
_USER = re.compile(r"(//|^(?=[^\s/?#@]*:|\S*$))[^\s/?#]+@")

_SECRET_KEY = re.compile(r"(?i).*(authorization|api[_-]?key|secret|password|cookie).*")
_SECRETS = re.compile("|".join(SECRETS))
_MAIL = re.compile(MAIL)
_DIGIT = re.compile(r"\d")
_CARD = re.compile(CARD)
_PHONE = re.compile(PHONE)


def redact(text: str) -> str:
    """Mask what looks like a credential, a mail address, a card or a phone number."""
    text = _SECRETS.sub("[secret]", text)
    if "@" in text:
        text = _MAIL.sub("[email]", text)
    if _DIGIT.search(text):
        text = _CARD.sub(lambda found: "[card]" if is_card_number(found[0]) else found[0], text)
        text = _PHONE.sub("[phone]", text)
    return text


def redact_values(value: object, redact_text: Callable[[str], str]) -> object:
    """The same for every string inside a JSON-like value; what stands under a key like `password` goes whole.

    Keys are words too, and what is no JSON is told as the string that encoding would make of it.
    """
    match value:
        case str():
            return redact_text(value)
        case Mapping():
            shown: dict[str, object] = {}
            for key, item in value.items():
                name = redact_text(str(key))
                if name in shown:  # of several addresses each stays
                    name = f"{name} {len(shown) + 1}"
                secret = _SECRET_KEY.fullmatch(str(key))
                shown[name] = "[secret]" if secret else redact_values(item, redact_text)
            return shown
        case list() | tuple():
            return [redact_values(item, redact_text) for item in value]
        case float() if not isfinite(value):
            return str(value)  # Python would write it as NaN or Infinity, which other readers of JSON refuse
        case None | bool() | int() | float():
            return value
        case _:
            return redact_text(str(value))


def without_password(text: str, mask: str = "********") -> str:
    """A URL, a host and port, or words with URLs, as they may be shown, without names, passwords, tokens."""
    return _USER.sub(rf"\g<1>{mask}@", text)


def is_card_number(text: str) -> bool:
    """The check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
