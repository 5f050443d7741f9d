"""Records the outcomes of claims in batches: sent, failed, deferred or released. Also writes the attempt log."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.verdicts import Tries
from worker.models import uuid7
from worker.store import breaker, suppression
from worker.store.claims import BY_KEY, CLAIMS, LET_GO, MINE, OWNED, Claim, fenced
from worker.store.outbox import NEWS
from worker.store.sql import Sql

# A late reply may find that its row was rescued but not claimed again. Recording it then avoids a second mail.
_TOLD = Sql(
    f"""UPDATE request AS r SET status = 'NOTIFICATION_SENT', auto_notified = true, notified_date = stockbell_now(0),
        not_before = NULL, failure_code = NULL, failure_reason = NULL, failed_at = NULL, receipt = rows.receipt,
        extras = NULL, {LET_GO}, {NEWS}
    FROM ROWS(request_id uuid, no int, owner uuid, receipt text)
    WHERE {BY_KEY} AND (r.status || '' = 'RECEIVED' OR {OWNED}) RETURNING id""",
    id="uuid",
)
_TRIES = "attempts = rows.attempts, unknowns = rows.unknowns, policy_refusals = rows.policy_refusals"
_TRIES_ROWS = """ROWS(request_id uuid, no int, owner uuid, attempts int, unknowns int, policy_refusals int,
    code text, reason text, delay float8, doubtful bool)"""
_FAILED = Sql(
    f"""UPDATE request AS r SET status = 'FAILED', auto_notified = true, not_before = NULL,
        failed_at = stockbell_now(0), failure_code = rows.code, failure_reason = rows.reason, {_TRIES}, {LET_GO}, {NEWS}
    FROM {_TRIES_ROWS} WHERE {MINE} RETURNING id""",
    id="uuid",
)
_DEFER = Sql(
    f"""UPDATE request AS r SET {suppression.back("rows.code", "rows.reason")},
        not_before = CASE WHEN NOT {suppression.IS_SUPPRESSED} THEN stockbell_now(rows.delay) END, {_TRIES}, {LET_GO},
        judged_from = CASE WHEN rows.doubtful THEN stockbell_now(:margin) ELSE r.judged_from END
    FROM {_TRIES_ROWS} CROSS JOIN {suppression.CONTACT} WHERE {MINE} AND {suppression.ITS_CONTACT} RETURNING id""",
    id="uuid",
)
_RELEASE = Sql(
    f"""UPDATE request AS r SET {suppression.back("r.failure_code", "r.failure_reason")}, {LET_GO}
    FROM {CLAIMS} CROSS JOIN {suppression.CONTACT} WHERE {MINE} AND {suppression.ITS_CONTACT} RETURNING id""",
    id="uuid",
)
_LOG = Sql(
    """INSERT INTO attempt (id, request_id, at, owner, event, smtp_code, enhanced_code, reply)
    SELECT id, request_id, stockbell_now(0), owner, event, smtp_code, enhanced_code, reply
    FROM ROWS(id uuid, request_id uuid, owner uuid, event text, smtp_code int, enhanced_code text, reply text)"""
)


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
    """PROCESSING -> NOTIFICATION_SENT"""
    receipts: list[str | None] = field(default_factory=list)
    """What the relay said to each of `told`, in their order. Empty: nothing is known."""
    failed: list[Ended] = field(default_factory=list)
    """PROCESSING -> FAILED"""
    deferred: list[Ended] = field(default_factory=list)
    """PROCESSING -> RECEIVED, tried again after a delay; FAILED, if the contact is suppressed meanwhile"""
    released: list[Claim] = field(default_factory=list)
    """PROCESSING -> RECEIVED, no attempt spent; FAILED, if the contact is suppressed meanwhile"""
    log: list["Try"] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """The relay's words where they may mean us."""

    @property
    def is_one_statement(self) -> bool:
        """Whether `record` runs only one statement, so that it needs no explicit transaction."""
        return sum(map(bool, (self.told, self.failed, self.deferred, self.released, self.log))) == 1


@dataclass(frozen=True, slots=True)
class Try:
    """An entry of the attempt log."""

    claim: Claim
    event: str
    smtp_code: int | None
    enhanced_code: str | None
    reply: str


def record(c: Connection, ends: Ends, *, is_sign_of_life: bool = False) -> set[UUID]:
    """Writes the outcomes of a batch of claims and its attempt log. Returns the ids of the changed rows.

    An id that is missing in the result was fenced off: its row was rescued, was deleted, or has another owner now.
    With `is_sign_of_life` it also records that the relay took mail.
    """
    written = (
        _told(c, ends.told, ends.receipts)
        | _with_tries(c, _FAILED, ends.failed)
        | _with_tries(c, _DEFER, ends.deferred, margin=MARGIN_SECONDS)
        | fenced(c, _RELEASE, ends.released)
    )
    _log(c, [entry for entry in ends.log if entry.claim.id in written])
    if ends.refusals:
        breaker.note_refusals(c, len(ends.refusals), ends.refusals[-1])
    if is_sign_of_life:
        breaker.note_sign_of_life(c)
    return written


def _told(c: Connection, told: Sequence[Claim], receipts: Sequence[str | None]) -> set[UUID]:
    if not told:
        return set()
    rows = [
        {"request_id": claim.id, "no": claim.claim_no, "owner": claim.owner, "receipt": receipt}
        for claim, receipt in zip(told, receipts or (None,) * len(told), strict=True)
    ]
    return {row.id for row in _TOLD(c, rows=rows)}


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


def _with_tries(c: Connection, statement: Sql, ended: Sequence[Ended], **params: float) -> set[UUID]:
    if not ended:
        return set()
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
    return {row.id for row in statement(c, rows=rows, **params)}
