"""Messages that came back, read: a bounce, a complaint, a vacation notice, a wish to leave, or none of these.

Pure. `read` takes any octets, looks at the first of them (`parts.READ_LIMIT`), and never raises. Each reader below
knows one form of message, and the first that recognises a message decides. What a mailer says of a recipient is judged
by `domain.bounces`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from worker.domain.bounces import judge
from worker.domain.replies import one_line
from worker.domain.returned import Clues, Kind, Report, Returned
from worker.feedback import delivery_status, mailer_texts
from worker.feedback.automatic import has_subject_of_answer, is_automatic, wants_to_leave
from worker.feedback.clues import clues, destinations, names_a_contact
from worker.feedback.complaints import complaints
from worker.feedback.contents import Contents
from worker.feedback.findings import RECIPIENT_LIMIT, Finding
from worker.feedback.headers import Headers
from worker.feedback.notifications import notification
from worker.feedback.parts import parse
from worker.feedback.phrases import in_small_letters, is_any_in, phrases

_RECEIPT: Final = "message/disposition-notification"
ARRIVAL_LIMIT: Final = 200
"""Characters of what makes a report different from others."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a reader made of a message, and where clues are."""

    form: str
    returned: Sequence[Returned]
    reports: Sequence[str] = ()
    copies: Sequence[str] = ()
    heads: Sequence[Headers] = ()


def read(message: bytes) -> Report:
    """Returns what a message says. What is no report has one `Returned` of Kind.OTHER. Never raises."""
    contents = Contents(parse(message))
    reading = next(found for reader in _READERS if (found := reader(contents)) is not None)
    trouble = contents.message.trouble
    if len(reading.returned) > RECIPIENT_LIMIT:
        trouble = f"is about over {RECIPIENT_LIMIT} recipients, of whom the first were looked at"
    return Report(
        returned=reading.returned[:RECIPIENT_LIMIT],
        clues=_clues(contents, reading),
        arrival=_arrival(contents.headers),
        form=reading.form,
        trouble=trouble,
    )


def _clues(contents: Contents, reading: _Reading) -> Clues:
    return clues(contents.headers, reading.reports, [*contents.returned, *reading.heads], reading.copies)


def _arrival(headers: Headers) -> str:
    """Returns what this report alone has: its Message-ID, or else its date with its first host's id of it."""
    own = headers.get("message-id").strip().strip("<>")
    return (own or " ".join(filter(None, [headers.get("date"), headers.get("received")])))[:ARRIVAL_LIMIT]


# One reader for each form


def _complaint(contents: Contents) -> _Reading | None:
    found = complaints(contents.message)
    texts = [part.text for part in contents.message.leaves if part.kind == "message/feedback-report"]
    form = "RFC 5965" if texts else "Outlook.com's complaint"
    return _Reading(form, found, reports=texts) if found else None


def _read_receipt(contents: Contents) -> _Reading | None:
    if not any(part.kind == _RECEIPT for part in contents.message.leaves):
        return None
    return _Reading("RFC 8098", [Returned(Kind.AUTO_REPLY, words="read receipt")])


def _delivery_report(contents: Contents) -> _Reading | None:
    if not contents.statuses or not (contents.is_multipart_report or contents.is_of_mailer):
        return None  # what people forward is their own mail
    found = [each for text in contents.statuses for each in delivery_status.findings(text)]
    if not found:
        return None
    told, subject = contents.told, contents.headers.words("subject")
    completed = [mailer_texts.completed(each, subject, told.text) for each in found[: RECIPIENT_LIMIT + 1]]
    return _Reading("RFC 3464", _judged(completed), [*contents.statuses, told.text], [told.copy])


def _notification(contents: Contents) -> _Reading | None:
    found = notification(contents.told.text + contents.told.copy)
    if found is None or not found.findings:
        return None
    if found.kind is None:
        returned = _judged(found.findings)
    else:
        returned = [
            Returned(found.kind, words=one_line(each.said.words), recipient=each.recipient) for each in found.findings
        ]
    return _Reading("Amazon SNS", returned, heads=[Headers(found.returned)])


def _wish_to_leave(contents: Contents) -> _Reading | None:
    headers = contents.headers
    if contents.is_multipart_report or contents.failed:
        return None
    is_addressed = names_a_contact([*destinations(headers), headers.words("subject")])
    if is_addressed or (wants_to_leave(headers) and not is_automatic(headers)):
        return _Reading("RFC 2369", [Returned(Kind.UNSUBSCRIBE, words="mail to the unsubscribe address")])
    return None


def _vacation(contents: Contents) -> _Reading | None:
    """Recognises the subjects of vacation notices, before the words in them are taken for a mailer's."""
    if contents.is_multipart_report or contents.failed or not has_subject_of_answer(contents.headers):
        return None
    return _automatic(contents)


def _mailers_text(contents: Contents) -> _Reading | None:
    if not _is_mailers(contents):
        return None
    told = contents.told
    subject = contents.headers.words("subject")
    found = mailer_texts.findings(told, subject, contents.failed, contents.own_addresses)
    form = mailer_texts.form(told.text) or "text"
    if (inner := _report_within(contents, found)) is not None:
        return inner
    return _Reading(form, _judged(found), [told.text], [told.copy])


def _is_mailers(contents: Contents) -> bool:
    """Whether two things say that a mail system wrote it: the sender, the subject, the words."""
    if contents.failed or (
        contents.is_multipart_report and contents.headers.parameter("report-type").lower() == "delivery-status"
    ):
        return True
    words = contents.told.text
    if contents.answers_or_forwards and not (contents.has_null_return_path and mailer_texts.form(words)):
        return False
    subject = is_any_in(phrases().subjects, in_small_letters(contents.headers.words("subject")))
    is_told = mailer_texts.is_report(words)
    if is_automatic(contents.headers) and not contents.is_named_as_mailer:  # perhaps a vacation notice
        return subject and is_told and (contents.has_null_return_path or mailer_texts.form(words) is not None)
    return contents.is_of_mailer + subject + is_told >= 2


def _report_within(contents: Contents, found: Sequence[Finding]) -> _Reading | None:
    """Returns the report that a mailer passes on, where it has nothing to say itself."""
    if any(each.said.code or each.said.status for each in found):
        return None
    for part in contents.enclosed:
        inner = Contents(parse(part.octets))
        if inner.is_multipart_report and (reading := _delivery_report(inner)) is not None:
            return replace(reading, heads=inner.returned)
    return None


def _automatic(contents: Contents) -> _Reading | None:
    if not is_automatic(contents.headers):
        return None
    return _Reading("RFC 3834", [Returned(Kind.AUTO_REPLY, words=one_line(contents.headers.words("subject")))])


def _other(_contents: Contents) -> _Reading | None:
    return _Reading("", [Returned(Kind.OTHER)])


_READERS: Final = (
    _complaint,
    _read_receipt,
    _delivery_report,
    _notification,
    _wish_to_leave,
    _vacation,
    _mailers_text,
    _automatic,
    _other,
)


def _judged(found: Sequence[Finding]) -> list[Returned]:
    return [_returned(each) for each in found]


def _returned(found: Finding) -> Returned:
    said = found.said
    judged = judge(said)
    words = one_line(f"{said.code or ''} {said.words}")
    return Returned(judged.kind, said.status, said.code, words, found.recipient, judged.rule)
