"""Phrases in replies: the one form in which texts and phrases are compared, and the search for a phrase.

Only letters and digits count, in any case. A text is its words with one blank around each, so a phrase with a blank at
both ends matches whole words only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.domain.replies import Reply

_FOLD: Final = bytes(ord(chr(byte).lower()) if chr(byte).isalnum() else 0x20 for byte in range(128)) + bytes(128)
_NO_LETTERS: Final = re.compile(r"[\W_]+")
_DOMAIN: Final = re.compile(r"@[^\s<>():;,]*")
# An enhanced code somewhere in a text, but no part of an IP address or a version.
_ENHANCED: Final = re.compile(r"(?<![\w.])([45])\.[0-9]{1,3}\.[0-9]{1,3}(?!\.?\w)")
_ADDRESSES: Final = 8
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
"""What a local part is cut off with: up to a blank, or to a letter of a script that has no blanks."""
_LOOKED_AT: Final = 2000
"""How many characters of a reply are compared. The longest that are known have 700."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase: the pieces between its asterisks. A blank at the end of a piece is the end of a word."""

    pieces: tuple[str, ...]

    def is_in(self, text: str) -> bool:
        """Whether the pieces occur in this order in a text that `words_of` and blanks made."""
        place = 0
        for piece in self.pieces:
            found = text.find(piece, place)
            if found < 0:
                return False
            place = found + len(piece) - piece.endswith(" ")
        return True

    @property
    def words(self) -> Iterator[str]:
        """The whole words in it. An asterisk in a word leaves none of that word."""
        for piece in self.pieces:
            first, last = not piece.startswith(" "), not piece.endswith(" ")
            words = piece.split()
            yield from words[first : len(words) - last]


def parse_phrase(text: str) -> Phrase:
    """Parses a phrase as a row of the table has it. It has no pieces if there is no letter and no digit."""
    return Phrase(tuple(_pieces(text)))


def _pieces(text: str) -> Iterator[str]:
    parts = text.split("*")
    for place, part in enumerate(parts):
        if words := " ".join(words_of(part)):
            begins_inside = place > 0 and part[0].isalnum()
            ends_inside = place < len(parts) - 1 and part[-1].isalnum()
            yield ("" if begins_inside else " ") + words + ("" if ends_inside else " ")


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case."""
    if text.isascii():
        return text.encode().translate(_FOLD).decode().split()
    return _NO_LETTERS.sub(" ", text.lower()).split()


def told(reply: Reply) -> str:
    """Returns what the reply says on one line, without the code that each line repeats and without addresses."""
    text = reply.text[:_LOOKED_AT]
    if "\n" in text:
        text = text.replace(f"\n{reply.enhanced}", " ").replace("\n", " ")
    return _without_addresses(text) if "@" in text else text


def _without_addresses(text: str) -> str:
    # The words in addresses say nothing. More than a few addresses are in no real reply.
    for _ in range(_ADDRESSES):
        if (domain := _DOMAIN.search(text)) is None:
            break
        text = text[: domain.start()].rstrip(_VISIBLE) + text[domain.end() :]
    return text


def enhanced_within(reply: Reply, text: str) -> str | None:
    """Returns an enhanced code that stands elsewhere than at the beginning: "sorry, no mailbox here (#5.1.1)".

    `text` is the reply in the form in which phrases are searched.
    """
    digit = reply.code // 100
    if (" 5 " if digit == 5 else " 4 ") not in text:  # most have none, and this is quick to see
        return None
    return next((match[0] for match in _ENHANCED.finditer(reply.text) if int(match[1]) == digit), None)
