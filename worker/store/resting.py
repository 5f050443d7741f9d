"""Requests that rest: their customers had a mail a while ago (see *contact interval* in `docs/glossary.md`).

A resting request is RECEIVED with `not_before` at the end of the rest, and has the code INTERVAL. So the indexes of
what may be claimed leave it out, and the sweep puts it in line again, as it does after a backoff.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import INTERVAL, TEMPLATE_ERROR
from worker.store import lists
from worker.store.sql import Sql
from worker.store.suppression import NEVER

MOST_ROWS: Final = 5000
"""One transaction moves at most this many rows."""
MOST_ENDS: Final = 1000
"""A dry run knows no more times than that at which somebody has rested."""
REASON: Final = "the customer had a mail a while ago"

_HELD: Final = f"failure_code IN ('{INTERVAL}', '{TEMPLATE_ERROR}')"
NOT_HELD: Final = f"""failure_reason = CASE WHEN {_HELD} THEN NULL ELSE failure_reason END,
    failure_code = CASE WHEN {_HELD} THEN NULL ELSE failure_code END"""
"""SQL for a request that is in line again: what has held it until then holds it no more."""
RESTS: Final = f"r.status = 'RECEIVED' AND r.not_before < {NEVER} AND r.failure_code = '{INTERVAL}'"
"""SQL for a request `r` that rests."""

_NOTE_MAILED = Sql(
    """WITH mailed AS MATERIALIZED (
        SELECT id AS contact_id FROM contact WHERE id IN ROWS(contact_id uuid) ORDER BY id FOR NO KEY UPDATE)
    UPDATE contact SET mailed_at = stockbell_now(0) FROM mailed WHERE id = mailed.contact_id"""
)
# `|| ''`: see `claims.BY_KEY`. Who is locked by somebody else is passed over: nobody waits for a request.
_REST = Sql(
    f"""WITH free AS MATERIALIZED (
        SELECT r.id AS free_id FROM request AS r WHERE r.id IN ROWS(request_id uuid)
          AND r.status || '' = 'RECEIVED' AND r.not_before IS NULL AND r.ordered_at IS NULL FOR UPDATE SKIP LOCKED)
    UPDATE request AS r SET not_before = rows.until, failure_code = '{INTERVAL}', failure_reason = '{REASON}'
    FROM ROWS(request_id uuid, until timestamptz)
    WHERE r.id = rows.request_id AND r.id IN (SELECT free_id FROM free) RETURNING id""",
    id="uuid",
)
_LATER = Sql(
    f"""SELECT r.id, r.not_before, s.mailed_at, stockbell_now(0) AS now
    FROM request AS r JOIN contact AS s ON s.id = r.contact_id
    WHERE {RESTS} AND r.not_before >= :after AND (r.not_before > :after OR r.id > :after_id)
    ORDER BY r.not_before, r.id LIMIT :most FOR NO KEY UPDATE OF r SKIP LOCKED""",
    id="uuid",
    not_before="time",
    mailed_at="time",
    now="time",
)
_UNTIL: Final = """not_before = rows.until,
        in_line_at = CASE WHEN rows.until IS NULL THEN stockbell_now(0) ELSE r.in_line_at END,
        failure_reason = CASE WHEN rows.until IS NULL THEN NULL ELSE r.failure_reason END,
        failure_code = CASE WHEN rows.until IS NULL THEN NULL ELSE r.failure_code END"""
_SHORTEN = Sql(
    f"""UPDATE request AS r SET {_UNTIL}
    FROM ROWS(request_id uuid, until timestamptz)
    WHERE r.id = rows.request_id AND r.status || '' = 'RECEIVED' AND r.failure_code = '{INTERVAL}' RETURNING id""",
    id="uuid",
)
_END = Sql(
    f"""WITH resting AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r WHERE {RESTS} LIMIT :most FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE request AS r SET {lists.BACK_IN_LINE}, failure_code = NULL, failure_reason = NULL
    FROM resting WHERE r.id = resting.request_id RETURNING id""",
    id="uuid",
)
_IN_LINE_OF = Sql(
    f"""SELECT r.id, stockbell_now(:seconds) AS until FROM request AS r
    WHERE r.contact_id IN ROWS(contact_id uuid) AND r.waiting_list_id IN ROWS(list_id uuid) AND {lists.IN_LINE}
      AND r.status IN ('RECEIVED', 'PROCESSING') AND r.ordered_at IS NULL""",
    id="uuid",
    until="time",
)
_OF_LISTS: Final = f"r.waiting_list_id IN ROWS(list_id uuid) AND {RESTS}"
_NEXT_ENDS = Sql(
    f"""SELECT DISTINCT r.not_before AS until FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    WHERE {_OF_LISTS} AND {lists.IS_WOKEN} AND {lists.SENDING} ORDER BY until LIMIT :most""",
    until="time",
)
# What else the same customers rest for. The index on unresolved requests has this condition, and the customer first.
_BESIDE: Final = f"""{RESTS} AND r.status IN ('RECEIVED', 'PROCESSING')
    AND r.contact_id IN (SELECT r.contact_id FROM request AS r WHERE {_OF_LISTS})"""


class _Ends(NamedTuple):
    """When requests have rested, and the statement that lets time pass for them."""

    known: Sql
    move: Sql


def _ends_of(these: str) -> _Ends:
    return _Ends(
        Sql(
            f"SELECT DISTINCT r.not_before AS until, stockbell_now(0) AS now FROM request AS r WHERE {these}",
            until="time",
            now="time",
        ),
        Sql(
            f"""UPDATE request AS r SET {_UNTIL}
            FROM ROWS(list_id uuid, was timestamptz, until timestamptz) WHERE r.not_before = rows.was AND {these}"""
        ),
    )


_ENDS: Final = _ends_of(_OF_LISTS)
_ENDS_BESIDE: Final = _ends_of(_BESIDE)


class Rest(NamedTuple):
    """Until when a request has to wait."""

    request_id: UUID
    until: datetime


class Place(NamedTuple):
    """How far `shorten` has come: it goes on behind this request."""

    not_before: datetime
    id: UUID


START: Final = Place(datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


def note_mailed(c: Connection, contact_ids: Iterable[UUID]) -> None:
    """Notes that these customers were mailed now, or may have been. Contacts are locked before requests."""
    rows = [{"contact_id": id_} for id_ in set(contact_ids)]
    if rows:
        _NOTE_MAILED(c, rows=rows)


def rest(c: Connection, rests: Sequence[Rest]) -> set[UUID]:
    """Lets requests wait that are in line, unless they were ordered. They hold no seat. Returns those that rest now."""
    return {row.id for row in _REST(c, rows=[each._asdict() for each in rests])} if rests else set()


def shorten(c: Connection, seconds: float | None, place: Place = START) -> Place | None:
    """Lets nobody wait longer than `seconds` after their last mail, or at all (None): the settings may have changed.

    It moves some at a time. Returns where it goes on, or None at the end. A longer interval counts for who is claimed
    next.
    """
    if seconds is None:
        return place if len(_END(c, most=MOST_ROWS)) == MOST_ROWS else None
    rows = _LATER(c, after=place.not_before, after_id=place.id, most=MOST_ROWS)
    ends = {row.id: row.mailed_at and row.mailed_at + timedelta(seconds=seconds) for row in rows}
    later = [(row, ends[row.id]) for row in rows if (end := ends[row.id]) is None or end < row.not_before]
    if later:
        _SHORTEN(c, rows=[{"request_id": row.id, "until": end and _ahead(end, row.now)} for row, end in later])
    return Place(rows[-1].not_before, rows[-1].id) if len(rows) == MOST_ROWS else None


def _ahead(at: datetime, now: datetime) -> datetime | None:
    return at if at > now else None


# for dry runs


def rest_others(c: Connection, contact_ids: Collection[UUID], list_ids: Collection[UUID], seconds: float) -> None:
    """Lets all rest that these customers wait for in these lists, as if each had had a mail now."""
    rows = [{"contact_id": id_, "list_id": None} for id_ in contact_ids]
    rows += [{"contact_id": None, "list_id": id_} for id_ in list_ids]
    rest(c, [Rest(row.id, row.until) for row in _IN_LINE_OF(c, rows=rows, seconds=seconds)])


def ends(c: Connection, list_ids: Collection[UUID]) -> list[datetime]:
    """Returns when the first of those who rest are in line again in these lists, and could be told then."""
    return [row.until for row in _NEXT_ENDS(c, rows=lists.rows_of(list_ids), most=MOST_ENDS)]


def let_pass(c: Connection, list_ids: Collection[UUID], span: timedelta, *, is_digest: bool) -> None:
    """Lets so much time pass for the requests of these lists that rest. Whose rest is over is in line again.

    `is_digest`: and for whatever else their customers rest for, since that goes in the same mail.
    """
    statements = _ENDS_BESIDE if is_digest else _ENDS
    rows: list[dict[str, object]] = [{"list_id": id_, "was": None, "until": None} for id_ in list_ids]
    found = statements.known(c, rows=rows)
    rows += [{"list_id": None, "was": row.until, "until": _ahead(row.until - span, row.now)} for row in found]
    if found:
        statements.move(c, rows=rows)
