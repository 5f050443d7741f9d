"""Notifications: what Amazon SES tells by SNS, when a subscription to its topic is by mail.

Pure. The mail's text is the notification that a webhook would get, with the line breaks of a mail in it. Its signature
cannot be checked, since it would have to be taken to the letter: here it is one more report that has to name a mail.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.domain.returned import Kind
from worker.feedback.addresses import plain
from worker.feedback.diagnoses import Diagnosis, diagnosis, is_generic
from worker.feedback.findings import RECIPIENT_LIMIT, Finding, finding, kind_of

_DECODER: Final = json.JSONDecoder(strict=False)  # takes line breaks within strings
_SYSTEM: Final = "amazonses"
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Notification:
    """What a notification says: of a delivery, or that somebody complained."""

    kind: Kind | None
    """what the feedback of a complaint means, or None if the findings have to be judged"""
    findings: Sequence[Finding]
    returned: Sequence[tuple[str, str]]
    """header fields of the mail that it is about"""


def notification(text: str) -> Notification | None:
    """Returns the notification that a text is, or None."""
    event = _object(text)
    if "Message" in event and isinstance(event["Message"], str):  # with SNS's envelope
        event = _object(event["Message"])
    what = event.get("notificationType") or event.get("eventType")
    if not isinstance(what, str) or what not in _READERS:
        return None
    found = list(_READERS[what](_part(event, what.lower())))
    kind = _kind(_part(event, "complaint")) if what == "Complaint" else None
    return Notification(kind, found, list(_fields(_part(event, "mail"))))


def _kind(complaint: Mapping[str, Any]) -> Kind:
    feedback = _text(complaint, "complaintFeedbackType").lower()
    return kind_of(feedback) if feedback else Kind.COMPLAINT


def _object(text: str) -> Mapping[str, Any]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value, _ = _DECODER.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _part(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _listed(part: Mapping[str, Any], name: str) -> list[Any]:
    value = part.get(name)
    return value[:RECIPIENT_LIMIT] if isinstance(value, list) else []


def _text(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else ""


def _bounced(part: Mapping[str, Any]) -> Iterator[Finding]:
    is_final = _text(part, "bounceType") == "Permanent"
    for each in _listed(part, "bouncedRecipients"):
        if isinstance(each, dict):
            found = diagnosis(_text(each, "diagnosticCode").removeprefix("smtp; "))
            status = _STATUS.fullmatch(_text(each, "status").strip())
            better = status[0] if is_generic(found.status) and status else found.status
            action = _text(each, "action").lower() or ("failed" if is_final else None)
            recipient = plain(_text(each, "emailAddress")) or None
            yield finding(recipient, Diagnosis(found.code, better, found.words), action, _SYSTEM)


def _complained(part: Mapping[str, Any]) -> Iterator[Finding]:
    for each in _listed(part, "complainedRecipients"):
        if isinstance(each, dict):
            words = _text(part, "complaintFeedbackType") or "abuse"
            yield finding(
                plain(_text(each, "emailAddress")) or None, Diagnosis(words=f"feedback: {words}"), None, _SYSTEM
            )


def _delivered(part: Mapping[str, Any]) -> Iterator[Finding]:
    said = diagnosis(_text(part, "smtpResponse"))
    for each in _listed(part, "recipients"):
        if isinstance(each, str):
            yield finding(plain(each) or None, said, "delivered", _SYSTEM)


def _fields(mail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in _listed(mail, "headers"):
        if isinstance(each, dict):
            yield _text(each, "name").lower(), _text(each, "value")
    yield "message-id", f"<{_text(_part(mail, 'commonHeaders'), 'messageId').strip('<>')}>"
    tags = _part(mail, "tags").get("stockbell")
    if isinstance(tags, list):
        yield from (("x-ses-message-tags", tag) for tag in tags[:1] if isinstance(tag, str))


_READERS: Final = {"Bounce": _bounced, "Complaint": _complained, "Delivery": _delivered}
