"""Applies reports about mails: each once, guarded by the state of the mail's request. Each is one row of `report`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.returned import Cause, Kind
from worker.models import PASSING_REPORT, Status
from worker.store.bouncing import Bounce, bounce, chunks, lock_seats, with_others
from worker.store.sql import Sql
from worker.store.suppression import suppress

EARLY_SECONDS = 3600.0
"""So long a report waits for the outcome of its mail to be recorded."""
KEEP_SECONDS = 30 * 86_400.0
"""So long reports are kept from which nothing followed, or for which nobody was found."""
MOST_ROWS = 5000
"""One sweep looks at no more rows than that."""

_MAILS = Sql(
    """SELECT r.id, r.contact_id, r.email, r.status, r.claim_no, r.auto_notified, r.mail_id, c.suppressed_why
    FROM request AS r JOIN contact AS c ON c.id = r.contact_id WHERE r.id IN ROWS(id uuid)""",
    id="uuid",
    contact_id="uuid",
    mail_id="uuid",
)
_BESIDE = Sql(
    """SELECT r.id, r.mail_id, r.contact_id, r.email, r.status, c.suppressed_why
    FROM request AS r JOIN contact AS c ON c.id = r.contact_id
    WHERE r.mail_id IN ROWS(id uuid) AND r.mail_id IS NOT NULL ORDER BY r.id""",
    id="uuid",
    contact_id="uuid",
    mail_id="uuid",
)
_CONTACTS = Sql("SELECT id, address, suppressed_why FROM contact WHERE id IN ROWS(id uuid)", id="uuid")
_KNOWN = Sql("SELECT key FROM report WHERE key IN ROWS(key text)")
# In the order of the keys, so that two readers of the same reports wait for each other, and not in a circle.
_ADD = Sql(
    """INSERT INTO report (key, at, kind, code, status, words, source, request_id, contact_id, claim_no, open_until)
    SELECT key, stockbell_now(0), kind, code, status, words, CAST(:source AS text), request_id, contact_id, claim_no,
        CASE WHEN is_early THEN stockbell_now(:early) END
    FROM ROWS(key text, kind text, code int, status text, words text, request_id uuid, contact_id uuid, claim_no int,
        is_early bool)
    WHERE true ORDER BY key ON CONFLICT DO NOTHING RETURNING key"""
)
# All contacts at once: contacts are locked before requests, and in the order of their keys.
_LOCK_CONTACTS = Sql("SELECT id FROM contact WHERE id IN ROWS(id uuid) ORDER BY id FOR NO KEY UPDATE", id="uuid")
# Those for whose mail the outcome is known by now, whatever it is, or whose time is over.
_RIPE = Sql(
    """SELECT p.key, p.kind, p.words, p.status, p.request_id, p.claim_no
    FROM report AS p LEFT JOIN request AS r ON r.id = p.request_id
    WHERE p.open_until IS NOT NULL AND (p.open_until <= stockbell_now(0) OR r.id IS NULL OR r.claim_no <> p.claim_no
        OR r.status IN ('NOTIFICATION_SENT', 'FAILED'))
    ORDER BY p.key LIMIT :most FOR NO KEY UPDATE OF p SKIP LOCKED""",
    request_id="uuid",
)
_CLOSE = Sql("UPDATE report SET open_until = NULL WHERE key IN ROWS(key text)")
_FORGET = Sql(
    f"""WITH old AS MATERIALIZED (
        SELECT key AS old_key FROM report WHERE at < stockbell_now(-:keep) AND ({PASSING_REPORT})
        ORDER BY at LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM report WHERE key IN (SELECT old_key FROM old) RETURNING key"""
)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail of ours as far as it can be known from the rows.

    If its request was deleted, there is only its contact; or, by what else the mail told of, also the request's id.
    """

    contact_id: UUID
    address: str = field(repr=False)
    """whom it went to"""
    suppressed_why: str | None
    request_id: UUID | None = None
    status: Status | None = None
    claim_no: int = 0
    auto_notified: bool = False
    is_beside: bool = False
    """whether its request was last told in the mail of another one, so that this mail is an earlier one"""
    others: Sequence[UUID] = ()
    """what else it told of, as far as that is told by it now"""

    @property
    def is_gone(self) -> bool:
        """Whether its request was deleted."""
        return self.status is None


@dataclass(frozen=True, slots=True)
class Entry:
    """A report as it is stored, with what it does."""

    key: str
    kind: Kind
    code: int | None = None
    status: str | None = None
    words: str = ""
    request_id: UUID | None = None
    contact_id: UUID | None = None
    claim_no: int | None = None
    cause: Cause | None = None
    """why its contact is suppressed, if it is"""
    bounces: bool = False
    """what its mail told of becomes FAILED, BOUNCED, if its request is still told by the same claim, or is gone"""
    is_early: bool = False
    """the outcome of its mail is not recorded yet"""

    @property
    def suppression(self) -> tuple[UUID, Cause] | None:
        """Who is suppressed, and why."""
        return (self.contact_id, self.cause) if self.contact_id and self.cause else None


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of the mails and contacts that reports name."""

    mails: Mapping[UUID, Mail]
    """by the request's id"""
    contacts: Mapping[UUID, Mail]


@dataclass(slots=True)
class Applied:
    """What changed."""

    new: set[str] = field(default_factory=set)
    """the keys of those that had not been applied before"""
    suppressed: set[tuple[UUID, Cause]] = field(default_factory=set)
    bounced: dict[UUID, UUID] = field(default_factory=dict)
    """requests that became FAILED, BOUNCED: of each the request whose mail it was"""
    ended: set[UUID] = field(default_factory=set)
    """requests that waited and became FAILED, SUPPRESSED"""


def find(c: Connection, request_ids: Iterable[UUID], contact_ids: Iterable[UUID]) -> Found:
    """Returns which of these exist. Locks nothing: whoever acts on a state names it again."""
    ids = set(request_ids)
    rows = {row.id: row for row in _by_id(c, _MAILS, ids)}
    beside: dict[UUID, list[Any]] = {}
    for row in _by_id(c, _BESIDE, ids):
        beside.setdefault(row.mail_id, []).append(row)
    mails = {id_: _mail(row, beside.get(id_, ())) for id_, row in rows.items()}
    mails |= {id_: _mail_of_others(id_, others) for id_, others in beside.items() if id_ not in rows}
    contacts = {row.id: Mail(row.id, row.address, row.suppressed_why) for row in _by_id(c, _CONTACTS, contact_ids)}
    return Found(mails, contacts)


def _mail(row: Any, others: Sequence[Any]) -> Mail:
    is_told = row.status == Status.NOTIFICATION_SENT
    return Mail(
        row.contact_id,
        row.email,
        row.suppressed_why,
        row.id,
        Status(row.status),
        row.claim_no,
        bool(row.auto_notified),
        is_told and row.mail_id is not None,
        _told(others) if is_told else (),
    )


def _mail_of_others(request_id: UUID, others: Sequence[Any]) -> Mail:
    one = others[0]
    return Mail(one.contact_id, one.email, one.suppressed_why, request_id, others=_told(others))


def _told(others: Sequence[Any]) -> Sequence[UUID]:
    return [row.id for row in others if row.status == Status.NOTIFICATION_SENT]


def known(c: Connection, keys: Sequence[str]) -> set[str]:
    """Returns which of these reports have been applied."""
    return {row.key for row in _KNOWN(c, rows=[{"key": key} for key in keys])}


def apply(c: Connection, entries: Sequence[Entry], source: str) -> Applied:
    """Stores those that are new, and does what follows from them: suppresses contacts, and moves requests to FAILED."""
    done = Applied()
    if not entries:
        return done
    # Items are locked before contacts and requests.
    bounces = with_others(c, list(_bounces(entry for entry in entries if entry.bounces)))
    held = lock_seats(c, bounces)
    done.new = {row.key for row in _ADD(c, rows=[_row(entry) for entry in entries], source=source, early=EARLY_SECONDS)}
    new = [entry for entry in entries if entry.key in done.new]
    _suppress(c, new, source, done)
    done.bounced = bounce(c, [each for each in bounces if each.key in done.new], held)
    return done


def retry_early(c: Connection) -> set[UUID]:
    """Applies the early reports whose mails' outcomes are recorded by now. Returns the requests that bounced."""
    ripe = [
        Entry(row.key, Kind(row.kind), None, row.status, row.words or "", row.request_id, claim_no=row.claim_no)
        for row in _RIPE(c, most=MOST_ROWS)
    ]
    if not ripe:
        return set()
    bounces = with_others(c, list(_bounces(ripe)))
    held = lock_seats(c, bounces)
    _CLOSE(c, rows=[{"key": entry.key} for entry in ripe])
    return set(bounce(c, bounces, held))


def forget(c: Connection) -> int:
    """Deletes old reports that are of no use any more. Returns how many."""
    return len(_FORGET(c, keep=KEEP_SECONDS, most=MOST_ROWS))


def _by_id(c: Connection, statement: Sql, ids: Iterable[UUID]) -> Sequence[Any]:
    rows = [{"id": id_} for id_ in set(ids)]
    return statement(c, rows=rows) if rows else ()


def _row(entry: Entry) -> dict[str, object]:
    return {
        "key": entry.key,
        "kind": entry.kind.value,
        "code": entry.code,
        "status": entry.status,
        "words": entry.words or None,
        "request_id": entry.request_id,
        "contact_id": entry.contact_id,
        "claim_no": entry.claim_no,
        "is_early": entry.is_early,
    }


def _suppress(c: Connection, entries: Sequence[Entry], source: str, done: Applied) -> None:
    wanted: dict[Cause, set[UUID]] = {}
    for entry in entries:
        if entry.suppression:
            contact_id, cause = entry.suppression
            wanted.setdefault(cause, set()).add(contact_id)
    _by_id(c, _LOCK_CONTACTS, set[UUID]().union(*wanted.values()))
    for cause, ids in wanted.items():
        for some in chunks(sorted(ids)):
            suppressed = suppress(c, some, cause, source)
            done.suppressed |= {(id_, cause) for id_ in suppressed.contacts}
            done.ended |= set(suppressed.requests)


def _bounces(entries: Iterable[Entry]) -> Iterator[Bounce]:
    for entry in entries:
        if entry.request_id:
            yield Bounce(entry.request_id, entry.claim_no, entry.request_id, entry.key, _reason(entry))


def _reason(entry: Entry) -> str:
    return entry.words or " ".join(filter(None, (entry.status, "a report said that the mail did not arrive")))
