"""Delivery status: the machine-readable part of a report (RFC 3464; RFC 6533 for addresses beyond ASCII).

Pure. Real reports write its fields into plain text too, leave blank lines out or put them in, and add what they like.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from worker.feedback.addresses import of_field, without_xtext
from worker.feedback.diagnoses import Diagnosis, collapsed, diagnosis, is_generic
from worker.feedback.findings import RECIPIENT_LIMIT, Finding, finding

Group = dict[str, str]

# A line that is indented goes on, but where a whole report is indented in a text.
_NAME: Final = (
    r"(?:final-|original-)recipient|action|status|diagnostic-code|(?:remote|reporting)-mta|[a-z]+(?:-[a-z]+)*-date"
)
_FIELD: Final = re.compile(
    rf"^[ \t>]{{0,8}}([a-z][a-z0-9-]{{1,40}})[ \t]*:[ \t]*(.*(?:\n[ \t]+(?!(?:{_NAME})[ \t]*:)\S.*)*)",
    re.MULTILINE | re.IGNORECASE,
)
_BLANK: Final = re.compile(r"\n[ \t>]*\n\s*")
_STATUS: Final = re.compile(r"\s*([245]\.[0-9]{1,3}\.[0-9]{1,3})\s*(?:\((.*)\))?", re.DOTALL)
_TYPED: Final = re.compile(r"\s*((?!\d{3})[A-Za-z0-9-]{1,40})\s*;\s*(.*)", re.DOTALL)
_ABOUT_RECIPIENT: Final = frozenset(
    {"final-recipient", "original-recipient", "action", "status", "diagnostic-code", "remote-mta"}
)
_NAMES: Final = ("original-recipient", "final-recipient")
ACTIONS: Final = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})


def findings(text: str) -> list[Finding]:
    """Returns what the fields say of each recipient."""
    fields = groups(text)
    reporter = next((_host(group) for group in fields if "reporting-mta" in group), None)
    return list(islice((_finding(group, reporter) for group in _recipients(fields)), RECIPIENT_LIMIT + 1))


def groups(text: str) -> list[Group]:
    """Returns the groups of fields, which blank lines divide. Names are in lower case."""
    return [group for piece in _BLANK.split(text) for group in _groups(piece)]


def _groups(piece: str) -> Iterator[Group]:
    group: Group = {}
    for match in _FIELD.finditer(piece):
        name = match[1].lower()
        if name in group and name == "final-recipient":  # the blank line is missing
            yield group
            group = {}
        group.setdefault(name, match[2].strip())
    if group:
        yield group


def _recipients(fields: list[Group]) -> Iterator[Group]:
    """Yields one group for each recipient. A blank line too many may have torn a group apart."""
    open_group: Group = {}
    for group in fields:
        if not _ABOUT_RECIPIENT & group.keys():
            continue
        is_next = bool(open_group.keys() & group.keys() & _ABOUT_RECIPIENT)
        if is_next or (_is_named(open_group) and _is_named(group)):
            yield open_group
            open_group = {}
        open_group = {**group, **open_group}
    if open_group:
        yield open_group


def _is_named(group: Mapping[str, str]) -> bool:
    return any(name in group for name in _NAMES)


def _finding(group: Mapping[str, str], reporter: str | None) -> Finding:
    status, comment = _status(group.get("status", ""))
    action = group.get("action", "").lower().split(maxsplit=1)
    found = _preferred(_diagnosis(group), status, comment)
    return finding(
        recipient(group), found, action[0] if action and action[0] in ACTIONS else None, _host(group) or reporter
    )


def _status(value: str) -> tuple[str | None, str]:
    match = _STATUS.match(value)
    return (match[1], match[2] or "") if match else (None, "")


def _diagnosis(group: Mapping[str, str]) -> Diagnosis:
    value = " ".join(map(str.strip, group.get("diagnostic-code", "").split("\n")))
    typed = _TYPED.match(value)
    return diagnosis(typed[2] if typed else value)


def _preferred(found: Diagnosis, status: str | None, comment: str) -> Diagnosis:
    """Returns the diagnosis with the better status: the server's own is nearer to the cause."""
    return replace(
        found,
        status=status if is_generic(found.status) and status else found.status,
        words=found.words or collapsed(comment),
    )


def recipient(group: Mapping[str, str]) -> str | None:
    """Returns whom a group is about, as the sender named him if it says so."""
    original = without_xtext(group.get("original-recipient", ""))
    return of_field(original) or of_field(group.get("final-recipient", ""))


def _host(group: Mapping[str, str]) -> str | None:
    value = group.get("remote-mta") or group.get("reporting-mta") or ""
    name = value.rpartition(";")[2].split()
    return name[0].lower()[:255] if name else None
