"""Phrases: the words in `phrases.toml` by which reports and automatic answers are known.

The file is read when it is first needed: only what reads reports needs it.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("phrases.toml")


@dataclass(frozen=True, slots=True)
class Phrases:
    """The lists of the file, which are explained there. All are in small letters."""

    systems: Mapping[str, Sequence[str]]
    said: Sequence[str]
    subjects: Sequence[str]
    reporters: Sequence[str]
    reasons: Sequence[str]
    delays: Sequence[str]
    finals: Sequence[str]
    arrivals: Sequence[str]
    copies: Sequence[str]
    no_copies: Sequence[str]
    diagnostics: Sequence[str]
    auto_replies: Sequence[str]
    answers: tuple[str, ...]


@cache
def phrases() -> Phrases:
    """Returns the phrases of the file."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return Phrases(
        systems=table["systems"],
        said=table["said"]["phrases"],
        subjects=table["subjects"]["phrases"],
        reporters=table["reporters"]["phrases"],
        reasons=table["reasons"]["phrases"],
        delays=table["delays"]["phrases"],
        finals=table["finals"]["phrases"],
        arrivals=table["arrivals"]["phrases"],
        copies=table["copies"]["phrases"],
        no_copies=table["copies"]["no_copies"],
        diagnostics=table["diagnostics"]["phrases"],
        auto_replies=table["auto_replies"]["subjects"],
        answers=tuple(table["answers"]["phrases"]),
    )


def is_any_in(candidates: Sequence[str], text: str) -> bool:
    """Whether one of the phrases occurs in a text in small letters."""
    return any(phrase in text for phrase in candidates)


def end_of_first(candidates: Sequence[str], text: str) -> int | None:
    """Returns where the first of the phrases (the longest, if several begin there) ends in a text.

    The text has to be in small letters. None: there is no such phrase.
    """
    places = [(place, -len(phrase)) for phrase in candidates if (place := text.find(phrase)) >= 0]
    return min(places)[0] - min(places)[1] if places else None


def in_small_letters(text: str) -> str:
    """Returns the text in small letters, at the same places: a few letters become two, and then nothing is changed."""
    small = text.lower().replace("\u2019", "'")
    return small if len(small) == len(text) else text
