"""Records the outcomes of claims in batches: sent, failed, deferred or released. Also writes the attempt log."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.verdicts import Tries
from worker.models import uuid7
from worker.store import breaker, suppression, tally
from worker.store.claims import BY_KEY, CLAIMS, LET_GO, MINE, OWNED, Claim
from worker.store.outbox import NEWS
from worker.store.restocks import Restock, give_back
from worker.store.sql import Sql

# A late reply may find that its row was rescued but not claimed again. Recording it then avoids a second mail.
_TOLD_ROWS = f"""UPDATE request AS r SET status = 'NOTIFICATION_SENT', auto_notified = true,
        notified_date = stockbell_now(0), not_before = NULL, failure_code = NULL, failure_reason = NULL,
        failed_at = NULL, receipt = rows.receipt, extras = NULL, {LET_GO}, {NEWS}
    FROM ROWS(request_id uuid, no int, owner uuid, receipt text, slot int, took int)
    WHERE {BY_KEY} AND (r.status || '' = 'RECEIVED' OR {OWNED}) RETURNING id"""
# A group has few slots (see `_slot`), so what is counted of each mail is added up before it is spread over the kinds.
_BUCKETS = ", ".join(f"'{name}'" for name in tally.BUCKET_NAMES)
_TOLD_COUNTS = f"""SELECT kind, sum(k.n) FROM (
        SELECT (ARRAY[{_BUCKETS}])[slot / 2 + 1] AS bucket, slot % 2 = 1 AS first, n, took
        FROM (SELECT slot, count(*) AS n, sum(took) AS took FROM done GROUP BY slot) AS slots) AS sums
    CROSS JOIN LATERAL (VALUES ('told', n), ('le:' || bucket, n), ('seconds', took),
        ('first', CASE WHEN first THEN n END), ('first_le:' || bucket, CASE WHEN first THEN n END),
        ('first_seconds', CASE WHEN first THEN took END)) AS k(kind, n)
    WHERE kind IS NOT NULL AND k.n IS NOT NULL GROUP BY kind"""
_TOLD = {
    "postgresql": Sql(tally.counting(f"{_TOLD_ROWS}, slot, took", _TOLD_COUNTS)),
    "sqlite": Sql(_TOLD_ROWS, id="uuid"),
}
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
    FROM {_TRIES_ROWS} CROSS JOIN {suppression.CONTACT} WHERE {MINE} AND {suppression.ITS_CONTACT}
    RETURNING id, status""",
    id="uuid",
)
_RELEASE_ROWS = f"""UPDATE request AS r SET {suppression.back("r.failure_code", "r.failure_reason")}, {LET_GO}
    FROM {CLAIMS} CROSS JOIN {suppression.CONTACT} WHERE {MINE} AND {suppression.ITS_CONTACT} RETURNING id, status"""
_RELEASE_COUNTS = """SELECT CASE WHEN status = 'FAILED' THEN 'failed:' || 'SUPPRESSED' ELSE 'released' END, count(*)
    FROM done GROUP BY 1"""
_RELEASE = {
    "postgresql": Sql(tally.counting(_RELEASE_ROWS, _RELEASE_COUNTS)),
    "sqlite": Sql(_RELEASE_ROWS, id="uuid"),
}
_LOG = Sql(
    """INSERT INTO attempt (id, request_id, at, owner, event, smtp_code, enhanced_code, reply)
    SELECT id, request_id, stockbell_now(0), owner, event, smtp_code, enhanced_code, reply
    FROM ROWS(id uuid, request_id uuid, owner uuid, event text, smtp_code int, enhanced_code text, reply text)"""
)


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
    """PROCESSING -> NOTIFICATION_SENT"""
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
    def is_one_statement(self) -> bool:
        """Whether `record` runs only one statement, so that it needs no explicit transaction."""
        is_more = self.failed or self.deferred or self.log or self.untold
        return bool(self.told) != bool(self.released) and not is_more


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
    written = _told(c, ends) | _tried(c, ends) | _released(c, ends.released)
    if ends.untold:
        give_back(c, ends.untold)
    _log(c, [entry for entry in ends.log if entry.claim.id in written])
    if ends.refusals:
        breaker.note_refusals(c, len(ends.refusals), ends.refusals[-1])
    if is_sign_of_life:
        breaker.note_sign_of_life(c)
    return written


def _told(c: Connection, ends: Ends) -> set[UUID]:
    if not ends.told:
        return set()
    unknown = (None,) * len(ends.told)
    rows = [
        {
            "request_id": claim.id,
            "no": claim.claim_no,
            "owner": claim.owner,
            "receipt": receipt,
            "slot": _slot(seconds, claim.id in ends.firsts),
            "took": None if seconds is None else round(1000 * seconds),
        }
        for claim, receipt, seconds in zip(ends.told, ends.receipts or unknown, ends.seconds or unknown, strict=True)
    ]
    written = {row.id for row in _TOLD[c.dialect.name](c, rows=rows)}
    if c.dialect.name == "sqlite":
        tally.add(c, _told_counts(row for row in rows if row["request_id"] in written))
    return written


def _slot(seconds: float | None, is_first: bool) -> int:
    """A mail's bucket, and whether it is the first of a restock, in one number: each array costs the server time."""
    return 2 * tally.bucket(seconds) + is_first


def _told_counts(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Counts what `_TOLD_COUNTS` does."""
    counts = Counter[str]()
    for row in rows:
        kinds = {"told": 1}
        place, is_first = divmod(row["slot"], 2)
        if row["took"] is not None:
            kinds |= {f"le:{tally.BUCKET_NAMES[place]}": 1, "seconds": row["took"]}
        if is_first:
            kinds |= {"first": 1} | {f"first_{kind}": n for kind, n in kinds.items() if kind != "told"}
        counts.update(kinds)
    return counts


def _released(c: Connection, released: Sequence[Claim]) -> set[UUID]:
    if not released:
        return set()
    rows = [{"request_id": claim.id, "no": claim.claim_no, "owner": claim.owner} for claim in released]
    changed = _RELEASE[c.dialect.name](c, rows=rows)
    if c.dialect.name == "sqlite":
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
