"""NOTIFICATION_SENT -> FAILED, BOUNCED: of what a mail that came back told of.

A mail may have told of several requests (see *digest* in `docs/glossary.md`). A report names the first of them, since
the mail has its id, and is about all: the others have it as `mail_id`. They share its fate, and only while it stands as
told by the mail in question. No other mail can have told them: the first request is told again only after a bounce, and
that one ended the others, too; and `recording` parts what one record did not tell together. So a report about an
earlier mail of it leaves all as they are: who was told must not fail by mistake.

If the first request was deleted, nothing tells its claims apart. Then a report is taken to be about the last mail,
theirs, as one is that quotes only a Message-ID. That the others name it shows that it was mailed, and to whom.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from worker.store import seats, tally
from worker.store.claims import BY_KEY
from worker.store.outbox import NEWS
from worker.store.seats import Held
from worker.store.sql import Sql

T = TypeVar("T")

AT_ONCE: Final = 500
"""So many rows are changed by one statement: PostgreSQL may compare each of them with each of its values."""

# A mail that went by other means has autoNotified false. `|| ''`: see `claims.BY_KEY`.
_IS_TOLD = "{0}.status || '' = 'NOTIFICATION_SENT' AND {0}.auto_notified"

# Those who share the fate of a request that this claim's mail told, or that was deleted.
_SHARING = Sql(
    f"""SELECT r.id, r.claim_no, r.mail_id, rows.no AS named_no
    FROM ROWS(request_id uuid, no int) CROSS JOIN request AS r LEFT JOIN request AS head ON head.id = rows.request_id
    WHERE r.mail_id = rows.request_id AND r.mail_id IS NOT NULL AND {_IS_TOLD.format("r")}
      AND (head.id IS NULL OR head.claim_no = rows.no AND head.mail_id IS NULL AND {_IS_TOLD.format("head")})
    ORDER BY r.id""",
    id="uuid",
    mail_id="uuid",
)
# A report that names who was told in the mail of another one is about a mail before.
_BOUNCE = Sql(
    f"""UPDATE request AS r SET status = 'FAILED', failure_code = 'BOUNCED', failure_reason = rows.reason,
        {seats.NO_SEAT},
        failed_at = stockbell_now(0), {NEWS}
    FROM ROWS(request_id uuid, no int, reason text, is_beside bool)
    WHERE {BY_KEY} AND {_IS_TOLD.format("r")} AND (r.mail_id IS NOT NULL) = rows.is_beside
    RETURNING id, claim_no, mail_id""",
    id="uuid",
    mail_id="uuid",
)
_HELD = seats.held("r.id IN ROWS(request_id uuid) AND r.status || '' = 'NOTIFICATION_SENT'")


@dataclass(frozen=True, slots=True)
class Bounce:
    """A request that a report may move to FAILED, BOUNCED, if it is still told by this claim."""

    request_id: UUID
    claim_no: int | None
    mail_id: UUID
    """the request that the report names: itself, or the one whose mail told of it"""
    key: str
    """of the report"""
    reason: str


def with_others(c: Connection, named: Sequence[Bounce]) -> list[Bounce]:
    """Returns what reports name together with what else these mails told of. Locks nothing."""
    reported: dict[tuple[UUID, int | None], list[Bounce]] = {}
    for each in named:
        reported.setdefault((each.request_id, each.claim_no), []).append(each)
    rows = [{"request_id": id_, "no": claim_no} for id_, claim_no in reported]
    others = [
        replace(each, request_id=row.id, claim_no=row.claim_no)
        for some in chunks(rows)
        for row in _SHARING(c, rows=some)
        for each in reported[row.mail_id, row.named_no]
    ]
    return [*named, *others]


def lock_seats(c: Connection, bouncing: Sequence[Bounce]) -> Held:
    """Returns the seats that may be given back, and locks their items."""
    rows = [{"request_id": id_} for id_ in dict.fromkeys(each.request_id for each in bouncing)]
    held = seats.by_claim(row for some in chunks(rows) for row in _HELD(c, rows=some))
    seats.lock_for(c, held.values())
    return held


def bounce(c: Connection, bouncing: Sequence[Bounce], held: Held) -> dict[UUID, UUID]:
    """Moves them. Of several reports about one mail the first gives the reason.

    Returns the requests that it moved, each with the one whose mail it was.
    """
    first = {(each.request_id, each.claim_no, each.mail_id): each for each in reversed(bouncing)}
    in_order = [_row(each) for each in sorted(first.values(), key=lambda each: str(each.request_id))]
    ended = [row for some in chunks(in_order) for row in _BOUNCE(c, rows=some)]
    seats.give_back_of(c, held, ended)
    tally.add(c, {"bounced": len(ended)})
    return {row.id: row.mail_id or row.id for row in ended}


def _row(each: Bounce) -> dict[str, object]:
    return {
        "request_id": each.request_id,
        "no": each.claim_no,
        "reason": each.reason,
        "is_beside": each.request_id != each.mail_id,
    }


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yields parts that are small enough for one statement."""
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))
