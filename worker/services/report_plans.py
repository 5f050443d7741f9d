"""What follows from a report, given the rows of what it names. Pure: `returning` reads the rows and does it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from worker.domain.errors import BadAddress
from worker.domain.recognition import Named, NamedMail
from worker.domain.replies import one_line
from worker.domain.returned import Cause, Kind, Report, Returned
from worker.domain.tokens import CLAIMS
from worker.mail.message import envelope_address
from worker.models import Status
from worker.store.contacts import ERASED
from worker.store.reports import Entry, Found, Mail

CAUSES: Final = {
    Kind.DEAD: Cause.BOUNCED,
    Kind.COMPLAINT: Cause.COMPLAINED,
    Kind.UNSUBSCRIBE: Cause.UNSUBSCRIBED,
}
"""Why a customer is suppressed after a report of this kind."""
FAILURES: Final = frozenset({Kind.DEAD, Kind.FAILED})
"""The mail did not arrive, and never will."""

_PRIVATE: Final = frozenset({Kind.AUTO_REPLY, Kind.OTHER})
"""Written by people for people. The words are not kept."""
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A report with what it shall do."""

    report: Report
    entry: Entry
    is_proved: bool = True
    """whether it is believed"""
    mail: Mail | None = None
    remark: str = ""
    """why a mail that failed changes nothing at its request"""


def plan(message_key: str, report: Report, named: Named, rows: Found) -> Plan:
    """Returns what this report does. `named` is what it proves, and `rows` has what exists of that.

    `message_key` tells messages apart that say the same and prove nothing.
    """
    mail = _mail(report, named, rows)
    said = report.about(_recipient_of(mail))
    if said.kind is Kind.OTHER or not (mail or _is_signed(named)):
        return Plan(report, _entry(_key_of_unmatched(message_key, report), said), is_proved=False)
    key = _key(named.mails, named.contacts, said.kind, said.status, said.recipient, report.arrival)
    if mail is None:
        signed = (each.request_id for each in named.mails if each.is_signed)
        entry = replace(_entry(key, said), request_id=next(signed, None))
        return Plan(report, entry, remark="its customer was deleted")
    remark = _remark(mail, named) if said.kind in FAILURES else ""
    return Plan(report, _entry_about(mail, key, said, named, remark), mail=mail, remark=remark)


def _is_signed(named: Named) -> bool:
    """Whether a token proves that the mail was ours, though nothing is left of it."""
    return bool(named.contacts) or any(mail.is_signed for mail in named.mails)


def _mail(report: Report, named: Named, rows: Found) -> Mail | None:
    """Returns the mail that the report is about. A mail to the unsubscribe address names the customer."""
    by_request = next((mail for each in named.mails if (mail := _named_mail(each, rows))), None)
    by_contact = next((rows.contacts[id_] for id_ in named.contacts if id_ in rows.contacts), None)
    if by_request is None or by_contact is None or by_request.contact_id == by_contact.contact_id:
        return by_request or by_contact
    wants_out = any(each.kind is Kind.UNSUBSCRIBE for each in report.returned)
    return by_contact if wants_out else by_request


def _named_mail(named: NamedMail, rows: Found) -> Mail | None:
    """Returns the mail. Who quotes the Message-ID of one that was never sent knows its request, but saw no mail."""
    mail = rows.mails.get(named.request_id)
    return mail if mail and (named.is_signed or mail.claim_no or mail.is_gone) else None


def _recipient_of(mail: Mail | None) -> Callable[[str], bool]:
    own = _in_ascii(mail.address) if mail else None
    return lambda recipient: own is not None and _in_ascii(recipient) == own


def _in_ascii(address: str) -> str:
    try:
        return envelope_address(address).lower()
    except BadAddress:
        return address.lower()


def _remark(mail: Mail, named: Named) -> str:
    """Returns why the request of a failed mail stays as it is; "" if it does not."""
    if mail.is_gone and not mail.others:
        return "its request was deleted"
    if _is_older(mail, named):
        return "about an earlier mail of its request"
    match mail.status:
        case Status.NOTIFICATION_SENT if not mail.auto_notified:
            return "its request was marked as sent"
        case Status.FAILED:
            return "its request is FAILED already"
    return ""


def _is_older(mail: Mail, named: Named) -> bool:
    """Whether tokens name the claim, and it is not the last one; or what was told last was told by another mail."""
    if mail.is_gone:
        return False
    claims = _claims(mail, named)
    return mail.is_beside or (bool(claims) and mail.claim_no % CLAIMS not in claims)


def _claims(mail: Mail, named: Named) -> set[int]:
    return {each.claim_no for each in named.mails if each.request_id == mail.request_id and each.claim_no is not None}


def _entry_about(mail: Mail, key: str, said: Returned, named: Named, remark: str) -> Entry:
    is_failure = said.kind in FAILURES and not remark
    is_told = mail.is_gone or mail.status is Status.NOTIFICATION_SENT
    return replace(
        _entry(key, said, has_words=not mail.address.startswith(ERASED)),
        request_id=mail.request_id,
        contact_id=mail.contact_id,
        claim_no=_claim_no(mail, named),
        cause=CAUSES.get(said.kind),
        bounces=is_failure and is_told,
        is_early=is_failure and not is_told,
    )


def _claim_no(mail: Mail, named: Named) -> int | None:
    """Returns the claim that sent the mail: the last one, unless tokens name others. None: nobody knows."""
    if mail.request_id is None:
        return None
    knows_last = not (mail.is_gone or _is_older(mail, named))
    return mail.claim_no if knows_last else min(_claims(mail, named), default=None)


def _entry(key: str, said: Returned, *, has_words: bool = True) -> Entry:
    """Returns the entry of a report from which nothing follows. The form of what strangers wrote is made sure of.

    `has_words` is False for customers who were erased.
    """
    return Entry(
        key,
        said.kind,
        code=said.code if said.code and 100 <= said.code <= 599 else None,
        status=said.status if said.status and _STATUS.fullmatch(said.status) else None,
        words=one_line(said.words) if has_words and said.kind not in _PRIVATE else "",
    )


def _key(*identity: object) -> str:
    return blake2b(repr(identity).encode(errors="backslashreplace"), digest_size=16).hexdigest()


def _key_of_unmatched(message_key: str, report: Report) -> str:
    """Returns a key that stays the same as long as the message does: it is read again if it is left where it was."""
    if message_key:
        return _key(message_key)
    clues = report.clues
    return _key(
        report.form,
        report.arrival,
        clues.tokens,
        clues.message_ids,
        [(each.recipient, each) for each in report.returned],
    )
