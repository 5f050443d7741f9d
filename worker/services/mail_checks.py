"""What can be told of a mail before it is sent: the rules for senders, and what is easily forgotten in a template.

Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from html import unescape
from typing import Final

from worker.domain.errors import TemplateBroken
from worker.mail.sources import Sources
from worker.services.sender_rules import Point, points_of

SUBJECT_SHOWN: Final = 70
"""Characters of a subject that most programs show on a wide screen; a phone shows about half."""
SUBJECT_MOST: Final = 150
"""Beyond that nobody shows it, and filters find it odd."""
LINES_AROUND: Final = 3

_BROKEN: Final = re.compile(r"template (?P<file>[^:\s]+): line (?P<line>\d+):")


@dataclass(frozen=True, slots=True)
class Opened:
    """A mail as a program for mail shows it."""

    subject: str
    text: str
    html: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a template's file."""

    number: int
    text: str
    is_meant: bool
    """whether an error is in it"""


def opened(message: bytes) -> Opened:
    """Returns subject, text and HTML of a message, decoded; what is missing is empty."""
    parsed = message_from_bytes(message, policy=policy.default)
    text, html = (str(body.get_content()) if (body := parsed.get_body((kind,))) else "" for kind in ("plain", "html"))
    return Opened(str(parsed["Subject"] or ""), text, html, str(parsed["Content-Language"] or ""))


def checks_of(message: bytes, return_path: str, item_url: str | None) -> Sequence[Point]:
    """Returns what a mail keeps and misses. `item_url` is where it should lead."""
    mail = opened(message)
    return [parts(mail), subject(mail.subject), link(mail, item_url), *points_of(message, return_path)]


def lacking(mail: Opened) -> Sequence[str]:
    """Returns what a mail lacks that people can read: a part, or a subject of use."""
    return [point.text for point in (parts(mail), subject(mail.subject)) if point.is_kept is False]


def parts(mail: Opened) -> Point:
    """Returns whether there is a plain text and HTML: a mail with HTML alone looks like an advertisement to filters."""
    missing = [name for name, body in (("plain text", mail.text), ("HTML", mail.html)) if not body.strip()]
    if missing:
        return Point("parts", False, f"there is no {' and no '.join(missing)}")
    return Point("parts", True, "plain text and HTML are there")


def subject(words: str) -> Point:
    """Returns whether people can read all of the subject."""
    length = f"the subject has {len(words)} characters"
    if not words.strip():
        return Point("subject", False, "the subject is empty")
    if len(words) > SUBJECT_MOST:
        return Point("subject", False, f"{length}; at most {SUBJECT_MOST} are of use")
    if len(words) > SUBJECT_SHOWN:
        return Point("subject", None, f"{length}; most programs show {SUBJECT_SHOWN} of them, phones half of that")
    return Point("subject", True, length)


def link(mail: Opened, item_url: str | None) -> Point:
    """Returns whether both bodies lead to the item."""
    bodies = {"plain text": mail.text, "HTML": unescape(mail.html)}
    if not item_url:
        return Point("link", False, "there is no link to the item: no event, request or setting has named one")
    without = [name for name, body in bodies.items() if item_url not in body]
    if without:
        return Point("link", False, f"the {' and the '.join(without)} has no link to the item")
    return Point("link", True, "both parts lead to the item")


def excerpt(sources: Sources, words: str) -> tuple[str, Sequence[Line]] | None:
    """Returns the file, and the lines around the one that an error of a template names; None if it names none."""
    found = _BROKEN.search(words)
    if found is None:
        return None
    number = int(found["line"])
    try:
        lines = sources.text(found["file"]).splitlines()
    except TemplateBroken:
        return None
    first = max(1, number - LINES_AROUND)
    shown = enumerate(lines[first - 1 : number + LINES_AROUND], first)
    return found["file"], [Line(each, text, each == number) for each, text in shown]
