"""Complaints: feedback reports of mailbox providers (RFC 5965, 6430, 6591), and Outlook.com's older form.

Pure. Providers redact the addresses in them (RFC 6590), so a recipient is there for comparing at most.
"""

from collections.abc import Iterator
from typing import Final

from worker.domain.replies import one_line
from worker.domain.returned import Kind, Returned
from worker.feedback.addresses import of_field
from worker.feedback.findings import RECIPIENT_LIMIT
from worker.feedback.headers import Headers, parse_head
from worker.feedback.parts import Message

_REPORT: Final = "message/feedback-report"
_OUTLOOK_RECIPIENT: Final = "x-hmxmroriginalrecipient"
_OUTLOOK_SUBJECT: Final = "complaint about message from"

_KINDS: Final = {
    "abuse": Kind.COMPLAINT,
    "fraud": Kind.COMPLAINT,
    "virus": Kind.COMPLAINT,
    "miscategorized": Kind.FEEDBACK,
    "not-spam": Kind.FEEDBACK,
    "auth-failure": Kind.FEEDBACK,
    "dmarc": Kind.FEEDBACK,
    "opt-out": Kind.UNSUBSCRIBE,
    "opt-out-list": Kind.UNSUBSCRIBE,
}
"""A type that nobody registered is no complaint: what it means is not known."""


def complaints(message: Message) -> list[Returned]:
    """Returns what a feedback report says; nothing if the message is none."""
    report = next((part for part in message.leaves if part.kind == _REPORT), None)
    if report is not None:
        return _of_report(parse_head(report.octets.lstrip(b"\n")))
    return list(_of_outlook(message))


def _of_report(fields: Headers) -> list[Returned]:
    kind_of_feedback = fields.get("feedback-type").strip().lower()
    kind = _KINDS.get(kind_of_feedback, Kind.FEEDBACK)
    words = " ".join(filter(None, [f"feedback: {kind_of_feedback or 'of no type'}", fields.get("auth-failure")]))
    recipients = [of_field(value) for value in fields.all("original-rcpt-to", "removal-recipient")][:RECIPIENT_LIMIT]
    return [Returned(kind, words=one_line(words), recipient=each) for each in dict.fromkeys(recipients or [None])]


def _of_outlook(message: Message) -> Iterator[Returned]:
    """Yields the complaint of Outlook.com's junk mail reporting, which encloses the mail and says no more."""
    enclosed = [part for part in message.leaves if part.kind == "message/rfc822"]
    if not enclosed:
        return
    returned = parse_head(enclosed[0].octets.lstrip(b"\n").partition(b"\n\n")[0])
    if _OUTLOOK_RECIPIENT in returned or message.headers.words("subject").lower().startswith(_OUTLOOK_SUBJECT):
        recipient = of_field(returned.get(_OUTLOOK_RECIPIENT))
        yield Returned(Kind.COMPLAINT, words="junk mail report of Outlook.com", recipient=recipient)
