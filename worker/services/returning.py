"""Takes reports: finds the mails that they are about, does what follows from them, and remembers them.

A report acts on the customer whom the mail went to, whatever recipients it names. See `domain.recognition` for what is
believed, and *What a report does* in `docs/feedback.md` for what follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final
from uuid import UUID

import structlog

from worker.domain.outcomes import FailureCode
from worker.domain.recognition import Recognizer
from worker.domain.returned import Kind, Report
from worker.services.report_plans import CAUSES, FAILURES, Plan, plan
from worker.store import reports
from worker.store.database import Connection, Database
from worker.store.reports import Applied

_SAYS: Final = {
    Kind.DEAD: "the address is dead",
    Kind.FAILED: "the mail did not arrive, but the address may be fine",
    Kind.DELAYED: "the mail is delayed",
    Kind.DELIVERED: "the mail arrived",
    Kind.COMPLAINT: "a complaint",
    Kind.UNSUBSCRIBE: "no more mail is wanted",
    Kind.FEEDBACK: "feedback that is no complaint",
    Kind.AUTO_REPLY: "an automatic reply",
    Kind.OTHER: "no report",
}

log = structlog.get_logger()


class Result(StrEnum):
    """What became of a report."""

    ACTED = auto()
    """A customer was suppressed, or a request is FAILED now."""
    NOTED = auto()
    """It stands with its customer, and there was nothing to change."""
    COUNTED = auto()
    """Nothing follows from such a report."""
    EARLY = auto()
    """The mail's outcome is not recorded yet. The report is kept, and the sweep tries it again for an hour."""
    UNMATCHED = auto()
    """It proves nothing about any mail of ours, or is no report."""
    REPEATED = auto()
    """It was taken before."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a report did, or would do."""

    report: Report
    result: Result
    request_id: UUID | None
    contact_id: UUID | None
    reason: str
    """what it says and what follows, as one line for people"""


class Intake:
    """Takes reports from whoever reads them."""

    def __init__(self, database: Database, recognizer: Recognizer) -> None:
        self._database = database
        self._recognizer = recognizer

    def take(self, found: Sequence[tuple[str, Report]], source: str) -> Sequence[Taken]:
        """Does what these reports ask for, in one transaction. What was taken before is not done again.

        With each report comes what names its message where it was read, or "". `source` is stored: imap, maildir, mbox,
        stdin, or a provider. Raises DatabaseAway, and then nothing is done.
        """
        plans, done = self._database.write(self._apply, found, source)
        _log(done, source)
        return _taken(plans, done)

    def judge(self, found: Sequence[tuple[str, Report]]) -> Sequence[Taken]:
        """Says what `take` would do, and only reads. Raises DatabaseAway."""
        plans, done = self._database.read(self._foretell, found)
        return _taken(plans, done)

    def _apply(self, c: Connection, found: Sequence[tuple[str, Report]], source: str) -> tuple[list[Plan], Applied]:
        plans = self._plans(c, found)
        return plans, reports.apply(c, [each.entry for each in plans], source)

    def _foretell(self, c: Connection, found: Sequence[tuple[str, Report]]) -> tuple[list[Plan], Applied]:
        plans = self._plans(c, found)
        keys = {each.entry.key for each in plans}
        return plans, _foretold(plans, keys - reports.known(c, sorted(keys)))

    def _plans(self, c: Connection, found: Sequence[tuple[str, Report]]) -> list[Plan]:
        named = [self._recognizer.named(report.clues) for _, report in found]
        rows = reports.find(
            c,
            {mail.request_id for each in named for mail in each.mails},
            {contact_id for each in named for contact_id in each.contacts},
        )
        return [plan(key, report, each, rows) for (key, report), each in zip(found, named, strict=True)]


def _foretold(plans: Sequence[Plan], new: set[str]) -> Applied:
    done = Applied(new)
    for each in plans:
        entry = each.entry
        if entry.key in new and entry.suppression and each.mail and not each.mail.suppressed_why:
            done.suppressed.add(entry.suppression)
        if entry.key in new and entry.bounces and entry.request_id and each.mail:
            own = () if each.mail.is_gone else (entry.request_id,)
            done.bounced |= dict.fromkeys((*own, *each.mail.others), entry.request_id)
    return done


def _taken(plans: Sequence[Plan], done: Applied) -> list[Taken]:
    """Says of each report what it did. Of two that ask for the same, it was the first."""
    left = Applied(set(done.new), set(done.suppressed), dict(done.bounced))
    return [_one_taken(each, left) for each in plans]


def _one_taken(each: Plan, left: Applied) -> Taken:
    entry = each.entry
    is_new = entry.key in left.new
    suppresses = is_new and entry.suppression in left.suppressed
    mail_id = entry.request_id if is_new and entry.bounces else None
    failed = [request_id for request_id, whose in left.bounced.items() if whose == mail_id]
    left.new.discard(entry.key)
    left.suppressed -= {entry.suppression} if suppresses else set()
    for request_id in failed:
        del left.bounced[request_id]
    result = _result(each, is_new=is_new, has_acted=suppresses or bool(failed))
    reason = _reason(each, result, suppresses=suppresses, fails=_fails(entry.request_id, failed))
    return Taken(each.report, result, entry.request_id, entry.contact_id, reason)


def _result(each: Plan, *, is_new: bool, has_acted: bool) -> Result:
    kind = each.entry.kind
    if not each.is_proved:
        return Result.UNMATCHED
    if not is_new:
        return Result.REPEATED
    if each.entry.is_early:
        return Result.EARLY
    if has_acted:
        return Result.ACTED
    return Result.NOTED if kind in FAILURES or kind in CAUSES else Result.COUNTED


def _fails(request_id: UUID | None, failed: Sequence[UUID]) -> str:
    others = len(failed) - (request_id in failed)
    own = "the request" if request_id in failed else ""
    rest = f"{others} other{'' if others == 1 else 's'} of its mail" if others else ""
    who = " and ".join(filter(None, (own, rest)))
    return who and f"{who} {'is' if len(failed) == 1 else 'are'} FAILED, BOUNCED"


def _reason(each: Plan, result: Result, *, suppresses: bool, fails: str) -> str:
    says = _SAYS[each.entry.kind]
    if result is Result.REPEATED:
        return f"{says}: taken before"
    if result is Result.UNMATCHED:
        return says if each.entry.kind is Kind.OTHER else f"{says}: it proves nothing about a mail of ours"
    parts = (
        "the customer is suppressed" if suppresses else "",
        fails,
        "the mail's outcome is not recorded yet" if result is Result.EARLY else "",
        each.remark,
    )
    return f"{says}: {'; '.join(filter(None, parts)) or 'nothing to change'}"


def _log(done: Applied, source: str) -> None:
    for contact_id, cause in sorted(done.suppressed):
        log.info("contact.suppressed", contact_id=str(contact_id), cause=cause.value, source=source)
    log_failed(set(done.bounced), FailureCode.BOUNCED)
    log_failed(done.ended, FailureCode.SUPPRESSED)


def log_failed(request_ids: set[UUID], code: FailureCode) -> None:
    """Logs requests that became FAILED because of a report."""
    for request_id in sorted(request_ids):
        log.warning("mail.failed", request_id=str(request_id), code=code.value)
