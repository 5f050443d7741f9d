"""Copies: where a mailer's text ends, and the mail that it returns begins.

Pure. Most mailers put a line in between, in their language. Some put nothing, and then the mail's header fields tell.
"""

import re
from dataclasses import dataclass
from typing import Final

from worker.feedback.phrases import in_small_letters, phrases

_LINE_LIMIT: Final = 100
"""Characters of a line that stands before a copy, at most."""

# A copy of the mail without a line before it: fields that only servers write, and more fields after them.
_COPY: Final = re.compile(
    r"^(?=Received:|Return-Path:|DKIM-Signature:|MIME-Version:|Message-ID:|ARC-Seal:)"
    r"(?:[A-Za-z][\w-]{1,40}:[^\n]*\n(?:[ \t][^\n]*\n){0,30}){3}",
    re.MULTILINE | re.IGNORECASE,
)
STATUS_FIELDS: Final = re.compile(r"^[ \t>]{0,8}(?:reporting-mta|final-recipient)[ \t]*:", re.MULTILINE | re.IGNORECASE)
"""Fields of delivery status (RFC 3464) that stand in a text."""


@dataclass(frozen=True, slots=True)
class Told:
    """A mailer's text, and the copy of the mail that follows it."""

    text: str
    copy: str = ""


def without_copy(text: str) -> Told:
    """Returns a text in two: what the mailer tells, and the copy of the mail if there is one."""
    small = in_small_letters(text)
    places = [place for phrase in phrases().copies if (place := _at_line_start(small, phrase)) is not None]
    if fields := _COPY.search(text, _end_of_status(text)):
        places.append(fields.start())
    place = min(places, default=len(text))
    return Told(text[:place], text[place:])


def _end_of_status(text: str) -> int:
    """Returns where the last fields of delivery status begin that a text has. No copy is before them."""
    return max((match.end() for match in STATUS_FIELDS.finditer(text)), default=0)


def _at_line_start(small: str, phrase: str) -> int | None:
    """Returns where a line begins with the phrase (behind dashes and the like), or None."""
    place = small.find(phrase)
    while place >= 0:
        begin = small.rfind("\n", 0, place) + 1
        is_first = not any(map(str.isalnum, small[begin:place]))
        if is_first and not small.startswith(tuple(phrases().no_copies), place) and _is_short_line(small, place):
            return begin
        place = small.find(phrase, place + len(phrase))
    return None


def _is_short_line(text: str, place: int) -> bool:
    end = text.find("\n", place)
    return (end if end >= 0 else len(text)) - place <= _LINE_LIMIT
