"""Counts of tokens by modality."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by the modality that the service files them under; `unclassified` is in a count but in no detail."""

    text: int = 0
    audio: int = 0
    image: int = 0
    unclassified: int = 0

    @property
    def total(self) -> int:
        """The count that a report states, details or not."""
        return self.text + self.audio + self.image + self.unclassified

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def text_tokens(characters: int) -> int:
    """Tokens of a text of that many characters, roughly: four characters each, and at least one if there are any."""
    return -(-characters // 4)
