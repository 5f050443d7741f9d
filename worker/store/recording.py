"""Records the outcomes of claims in batches: sent, failed, deferred or released. Also writes the attempt log."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from psycopg.errors import DivisionByZero
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from worker.domain.outcomes import FailureCode
from worker.domain.verdicts import Tries
from worker.models import uuid7
from worker.store import breaker, resting, seats, suppression, tally
from worker.store.claims import BY_KEY, CLAIMS, LET_GO, MINE, OWNED, Claim
from worker.store.database import Database
from worker.store.outbox import NEWS
from worker.store.restocks import Restock, give_back
from worker.store.seats import Seat
from worker.store.sql import Sql, array


def _tell(mail: str, column: str = "") -> str:
    # A late reply may find that its row was rescued but not claimed again. Recording it then avoids a second mail.
    return f"""UPDATE request AS r SET status = 'NOTIFICATION_SENT', auto_notified = true,
        notified_date = stockbell_now(0), not_before = NULL, failure_code = NULL, failure_reason = NULL,
        failed_at = NULL, receipt = rows.receipt, extras = NULL, mail_id = {mail}, {LET_GO}, {NEWS}
    FROM ROWS(request_id uuid, no int, owner uuid, receipt text{column})
    WHERE {BY_KEY} AND (r.status || '' = 'RECEIVED' OR {OWNED}) RETURNING id"""


_TELL = _tell("NULL")
_TELL_TOGETHER = _tell("rows.mail", ", mail uuid")
"""Some of them went in the mail of another one."""
_TOLD, _TOLD_TOGETHER = Sql(_TELL, id="uuid"), Sql(_TELL_TOGETHER, id="uuid")
_ALL_TOLD, _ALL_TOLD_TOGETHER = Sql(tally.counting_all(_TELL)), Sql(tally.counting_all(_TELL_TOGETHER))
_PART = Sql(
    """UPDATE request SET mail_id = NULL WHERE id IN ROWS(id uuid)
    AND EXISTS (SELECT 1 FROM request AS head WHERE head.id = request.mail_id)"""
)
_TRIES = "attempts = rows.attempts, unknowns = rows.unknowns, policy_refusals = rows.policy_refusals"
_TRIES_ROWS = """ROWS(request_id uuid, no int, owner uuid, attempts int, unknowns int, policy_refusals int,
    code text, reason text, delay float8, doubtful bool)"""
_FAILED = Sql(
    f"""UPDATE request AS r SET status = 'FAILED', auto_notified = true, not_before = NULL,
        failed_at = stockbell_now(0), failure_code = rows.code, failure_reason = rows.reason, {_TRIES},
        {seats.NO_SEAT}, {LET_GO}, {NEWS}
    FROM {_TRIES_ROWS} WHERE {MINE} RETURNING id""",
    id="uuid",
)
_DEFER = Sql(
    f"""UPDATE request AS r SET {suppression.back("rows.code", "rows.reason")},
        not_before = CASE WHEN NOT {suppression.IS_SUPPRESSED} THEN stockbell_now(rows.delay) END, {_TRIES}, {LET_GO},
        judged_from = CASE WHEN rows.doubtful THEN stockbell_now(:margin) ELSE r.judged_from END
    FROM {_TRIES_ROWS} CROSS JOIN {suppression.CONTACT} WHERE {MINE} AND {suppression.ITS_CONTACT}
    RETURNING id, status""",
    id="uuid",
)
_RELEASE = Sql(
    f"""UPDATE request AS r SET {suppression.back("r.failure_code", "r.failure_reason")}, {LET_GO}
    FROM {CLAIMS} CROSS JOIN {suppression.CONTACT} WHERE {MINE} AND {suppression.ITS_CONTACT} RETURNING id, status""",
    id="uuid",
)
_LOG = Sql(
    """INSERT INTO attempt (id, request_id, at, owner, event, smtp_code, enhanced_code, reply)
    SELECT id, request_id, stockbell_now(0), owner, event, smtp_code, enhanced_code, reply
    FROM ROWS(id uuid, request_id uuid, owner uuid, event text, smtp_code int, enhanced_code text, reply text)"""
)


_LOCK = Sql("SELECT r.id FROM request AS r WHERE r.id IN ROWS(request_id uuid) ORDER BY r.id FOR NO KEY UPDATE")

UNKNOWN: Final = "unknown"
"""The event in the attempt log, and the kind in the tally, of a mail whose reply was lost."""
MARGIN_SECONDS = 2.0
"""A mail proves something about a refusal only if it was taken so much later: its time is known that exactly."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A claim that failed or was deferred: its spent attempts, the code and reason, and the delay if deferred."""

    claim: Claim
    tries: Tries
    code: str | None
    reason: str
    delay: float = 0.0
    """seconds"""
    is_doubtful: bool = False
    """Whether the refusal may be about us."""


@dataclass(slots=True)
class Ends:
    """The outcomes of a batch of claims. `record` writes them in one transaction."""

    told: list[Claim] = field(default_factory=list)
    """PROCESSING -> NOTIFICATION_SENT. Of one mail either all of its claims or none."""
    receipts: list[str | None] = field(default_factory=list)
    """What the relay said to each of `told`, in their order. Empty: nothing is known."""
    seconds: list[float | None] = field(default_factory=list)
    """How long after the wake-up the relay took each of `told`, in their order. Empty: nothing is known."""
    firsts: set[UUID] = field(default_factory=set)
    """Those of `told` that were the first mail of a restock."""
    failed: list[Ended] = field(default_factory=list)
    """PROCESSING -> FAILED"""
    deferred: list[Ended] = field(default_factory=list)
    """PROCESSING -> RECEIVED, tried again after a delay; FAILED, if the contact is suppressed meanwhile"""
    released: list[Claim] = field(default_factory=list)
    """PROCESSING -> RECEIVED, no attempt spent; FAILED, if the contact is suppressed meanwhile"""
    log: list["Try"] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """The relay's words where they may mean us."""
    untold: list[Restock] = field(default_factory=list)
    """Restocks whose first claim has told nobody."""

    @property
    def are_all_told(self) -> bool:
        """Whether there is nothing else, so that `record_told` may record them."""
        more = (self.failed, self.deferred, self.released, self.log, self.refusals, self.untold)
        return bool(self.told) and not any(more)


class Fenced(Exception):
    """Some of these claims do not hold any more. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Try:
    """An entry of the attempt log."""

    claim: Claim
    event: str
    smtp_code: int | None
    enhanced_code: str | None
    reply: str


def write(database: Database, ends: Ends, *, is_sign_of_life: bool = False, notes_mails: bool = False) -> set[UUID]:
    """Does what `record` does in a transaction. At full speed, when the relay just takes mails, it is one statement."""
    if ends.are_all_told and not is_sign_of_life and not notes_mails:
        with suppress(Fenced):
            return database.write_at_once(record_told, ends)
    return database.write(record, ends, is_sign_of_life=is_sign_of_life, notes_mails=notes_mails)


def record(c: Connection, ends: Ends, *, is_sign_of_life: bool = False, notes_mails: bool = False) -> set[UUID]:
    """Writes the outcomes of a batch of claims and its attempt log. Returns the ids of the changed rows.

    An id that is missing in the result was fenced off: its row was rescued, was deleted, or has another owner now.
    With `is_sign_of_life` it also records that the relay took mail, and with `notes_mails` (there is a contact
    interval) which customers have had one.
    """
    seated = _seats_to_give_back(ends)
    seats.lock_for(c, seated.values(), [restock.list_id for restock in ends.untold])
    if notes_mails:
        resting.note_mailed(c, _mailed(ends))
    _lock_in_order(c, ends)
    told, others = _told(c, ends), _tried(c, ends) | _released(c, ends.released)
    seats.give_back(c, [seat for request_id, seat in seated.items() if request_id in others])
    written = told | others
    if ends.untold:
        give_back(c, ends.untold)
    _log(c, [entry for entry in ends.log if entry.claim.id in written])
    if ends.refusals:
        breaker.note_refusals(c, len(ends.refusals), ends.refusals[-1])
    if is_sign_of_life:
        breaker.note_sign_of_life(c)
    return written


def record_told(c: Connection, ends: Ends) -> set[UUID]:
    """Does what `record` does, in one statement on PostgreSQL, if the relay took all of these mails and says no more.

    Raises Fenced.
    """
    if c.dialect.name == "sqlite":
        return record(c, ends)
    counts = _told_counts(ends)
    kinds, numbers = array(list(counts)), array(list(counts.values()))
    is_together = _are_together(ends.told)
    statement = _ALL_TOLD_TOGETHER if is_together else _ALL_TOLD
    rows = _rows_together(ends) if is_together else _told_rows(ends)
    try:
        statement(c, rows=rows, many=len(ends.told), kinds=kinds, numbers=numbers)
    except DBAPIError as error:
        if isinstance(error.orig, DivisionByZero):
            raise Fenced from None
        raise
    return {claim.id for claim in ends.told}


def _lock_in_order(c: Connection, ends: Ends) -> None:
    """Locks the requests in the order of their keys, as others do who wait for several.

    `record_told` does without: the rows of its only statement are in that order, and are found one by one unless the
    table is tiny.
    """
    claims = [*ends.told, *(end.claim for end in (*ends.failed, *ends.deferred)), *ends.released]
    if len(claims) > 1 and c.dialect.name != "sqlite":
        _LOCK(c, rows=[{"request_id": claim.id} for claim in claims])


def _told(c: Connection, ends: Ends) -> set[UUID]:
    if not ends.told:
        return set()
    is_together = _are_together(ends.told)
    if not is_together:
        written = {row.id for row in _TOLD(c, rows=_told_rows(ends))}
    else:
        written = {row.id for row in _TOLD_TOGETHER(c, rows=_rows_together(ends))}
        _part(c, ends.told, written)
    tally.add(c, _told_counts(ends, written))
    return written


def _told_rows(ends: Ends) -> list[dict[str, object]]:
    return [_told_row(claim, receipt) for claim, receipt in _in_key_order(ends)]


def _told_row(claim: Claim, receipt: str | None) -> dict[str, object]:
    return {"request_id": claim.id, "no": claim.claim_no, "owner": claim.owner, "receipt": receipt}


def _rows_together(ends: Ends) -> list[dict[str, object]]:
    told = {claim.id for claim in ends.told}
    return [
        {**_told_row(claim, receipt), "mail": claim.mail_id if claim.mail_id in told else None}
        for claim, receipt in _in_key_order(ends)
    ]


def _in_key_order(ends: Ends) -> list[tuple[Claim, str | None]]:
    """Returns the told with their receipts, in the order in which they are locked."""
    return sorted(zip(ends.told, ends.receipts or [None] * len(ends.told), strict=True), key=_key_of_told)


def _key_of_told(told: tuple[Claim, str | None]) -> int:
    return told[0].id.int  # compared faster than a UUID


def _are_together(told: Sequence[Claim]) -> bool:
    """Whether some of them went in the mail of another one."""
    return any(claim.mail_id is not None for claim in told)


def _part(c: Connection, told: Sequence[Claim], written: Collection[UUID]) -> None:
    """Of a mail whose first request does not stand as told by it, the others do not name that one.

    It may be told by a later mail, and a report about that one must not end those who got the earlier. If it was
    deleted there is no later one, and a report still finds them.
    """
    parted = [claim.id for claim in told if claim.mail_id and claim.id in written and claim.mail_id not in written]
    if parted:
        _PART(c, rows=[{"id": id_} for id_ in parted])


def _told_counts(ends: Ends, written: Collection[UUID] | None = None) -> dict[str, int]:
    """Returns what is to be counted of the told mails: of all, or of those that were written."""
    told = list(zip(ends.told, ends.seconds or [None] * len(ends.told), strict=True))
    if written is not None:
        told = [(claim, seconds) for claim, seconds in told if claim.id in written]
    firsts = [seconds for claim, seconds in told if claim.id in ends.firsts] if ends.firsts else []
    return tally.of_told([seconds for _, seconds in told], firsts)


def _seats_to_give_back(ends: Ends) -> dict[UUID, Seat]:
    """Returns the seats of those who were surely not told, by their requests. Who may have been told keeps it.

    Of several claims of one request only the last one can still hold.
    """
    lost = {entry.claim.id for entry in ends.log if entry.event == UNKNOWN}
    untold = [*(end.claim for end in (*ends.failed, *ends.deferred) if end.claim.id not in lost), *ends.released]
    return {claim.id: claim.seat for claim in sorted(untold, key=attrgetter("claim_no")) if claim.seat}


def _mailed(ends: Ends) -> set[UUID]:
    """Returns the contacts who were told or may have been, also by claims that do not hold any more."""
    lost = {entry.claim.contact_id for entry in ends.log if entry.event == UNKNOWN}
    gone = {end.claim.contact_id for end in ends.failed if end.code == FailureCode.OUTCOME_UNKNOWN}
    return {claim.contact_id for claim in ends.told} | lost | gone


def _released(c: Connection, released: Sequence[Claim]) -> set[UUID]:
    if not released:
        return set()
    rows = [{"request_id": claim.id, "no": claim.claim_no, "owner": claim.owner} for claim in released]
    changed = _RELEASE(c, rows=rows)
    tally.add(c, Counter(tally.back(row.status) for row in changed))
    return {row.id for row in changed}


def _tried(c: Connection, ends: Ends) -> set[UUID]:
    failed = _with_tries(c, _FAILED, ends.failed)
    deferred = _with_tries(c, _DEFER, ends.deferred, margin=MARGIN_SECONDS)
    ended = {end.claim.id: end for end in (*ends.failed, *ends.deferred)}
    lost = {entry.claim.id for entry in ends.log if entry.event == UNKNOWN}
    kinds = {row.id: f"failed:{ended[row.id].code}" for row in failed}
    kinds |= {row.id: tally.back(row.status, UNKNOWN if row.id in lost else "deferred") for row in deferred}
    tally.add(c, Counter(kinds.values()))
    return set(kinds)


def _log(c: Connection, tries: Sequence[Try]) -> None:
    if tries:
        _LOG(c, rows=[_log_row(entry) for entry in tries])


def _log_row(entry: Try) -> dict[str, object]:
    return {
        "id": uuid7(),
        "request_id": entry.claim.id,
        "owner": entry.claim.owner,
        "event": entry.event,
        "smtp_code": entry.smtp_code,
        "enhanced_code": entry.enhanced_code,
        "reply": entry.reply,
    }


def _with_tries(c: Connection, statement: Sql, ended: Sequence[Ended], **params: float) -> Sequence[Any]:
    if not ended:
        return ()
    rows = [
        {
            "request_id": end.claim.id,
            "no": end.claim.claim_no,
            "owner": end.claim.owner,
            "attempts": end.tries.attempts,
            "unknowns": end.tries.unknowns,
            "policy_refusals": end.tries.policy_refusals,
            "code": end.code,
            "reason": end.reason,
            "delay": end.delay,
            "doubtful": end.is_doubtful,
        }
        for end in ended
    ]
    return statement(c, rows=rows, **params)
