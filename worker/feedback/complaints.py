"""Complaints: feedback reports of mailbox providers (RFC 5965, 6430, 6591), and Outlook.com's older form.

Pure. Providers redact the addresses in them (RFC 6590), so a recipient is there for comparing at most.
"""

from collections.abc import Iterator
from typing import Final

from worker.domain.replies import one_line
from worker.domain.returned import Kind, Returned
from worker.feedback.addresses import of_field
from worker.feedback.findings import RECIPIENT_LIMIT, kind_of
from worker.feedback.headers import Headers, parse_head
from worker.feedback.parts import Message

_REPORT: Final = "message/feedback-report"
_OUTLOOK_RECIPIENT: Final = "x-hmxmroriginalrecipient"
_OUTLOOK_SUBJECT: Final = "complaint about message from"


def complaints(message: Message) -> list[Returned]:
    """Returns what a feedback report says; nothing if the message is none."""
    report = next((part for part in message.leaves if part.kind == _REPORT), None)
    if report is not None:
        return _of_report(parse_head(report.octets.lstrip(b"\n")))
    return list(_of_outlook(message))


def _of_report(fields: Headers) -> list[Returned]:
    feedback = fields.get("feedback-type").strip().lower()
    kind = kind_of(feedback)
    words = " ".join(filter(None, [f"feedback: {feedback or 'of no type'}", fields.get("auth-failure")]))
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
