"""Looks ahead for some waiting lists, within a transaction that is rolled back: what a dry run needs beside the claim.

The database's clock can't be moved. So time passes by moving what is stored into the past.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.ledger import most_seats
from worker.domain.policies import Policies
from worker.store import clock, lists, quiet_hours, resting, seats
from worker.store.sql import Sql

TOGETHER: Final = timedelta(seconds=5)
"""Lists that open so soon after each other are told of together, since the sweep rings for them at once."""

_SAME_ITEMS: Final = "(SELECT item_id FROM waiting_list WHERE id IN ROWS(list_id uuid))"
_ALL_OF: Final = Sql(f"SELECT w.id FROM waiting_list AS w WHERE w.item_id IN {_SAME_ITEMS} ORDER BY w.id", id="uuid")
_LISTS_OF: Final = Sql(
    "SELECT DISTINCT waiting_list_id FROM request WHERE id IN ROWS(request_id uuid)", waiting_list_id="uuid"
)
_CLOSED: Final = Sql(
    f"""SELECT w.opens_at, w.settles_at FROM waiting_list AS w
    WHERE w.id IN ROWS(list_id uuid) AND {lists.SENDING} AND NOT ({lists.IS_OPEN})
      AND EXISTS (SELECT 1 FROM request AS r
        WHERE r.waiting_list_id = w.id AND {lists.IN_LINE} AND {lists.IS_WOKEN})""",
    opens_at="time",
    settles_at="time",
)
_DOORS: Final = Sql(
    """SELECT w.id, w.opens_at, w.settles_at FROM waiting_list AS w
    WHERE w.id IN ROWS(list_id uuid) AND (w.opens_at IS NOT NULL OR w.settles_at IS NOT NULL)""",
    id="uuid",
    opens_at="time",
    settles_at="time",
)
_SET_DOORS: Final = Sql(
    """UPDATE waiting_list AS w SET opens_at = rows.opens, settles_at = rows.settles
    FROM ROWS(list_id uuid, opens timestamptz, settles timestamptz) WHERE w.id = rows.list_id"""
)
_SEATS: Final = Sql(
    f"""SELECT s.item_id, s.options, s.seat_at FROM stock AS s
    WHERE s.seat_at IS NOT NULL AND s.item_id IN {_SAME_ITEMS}""",
    item_id="uuid",
    seat_at="time",
)
_SET_SEATS: Final = Sql(
    """UPDATE stock AS s SET seat_at = rows.taken_at FROM ROWS(its_item uuid, about text, taken_at timestamptz)
    WHERE s.item_id = rows.its_item AND s.options = rows.about"""
)


class Opening(NamedTuple):
    """When the first of some closed lists are open, and what time it is."""

    at: datetime
    now: datetime


class Waves(NamedTuple):
    """How an item's waves go on if nothing is sold and nothing is added."""

    seats: int
    seconds: float
    """from the last seat of a wave to the next wave"""


def all_of_their_items(c: Connection, list_ids: Iterable[UUID]) -> list[UUID]:
    """Returns all waiting lists of the items that these lists are of: they may share the seats."""
    return [row.id for row in _ALL_OF(c, rows=lists.rows_of(list_ids))]


def lock(c: Connection, request_ids: Iterable[UUID], policies: Policies) -> None:
    """Locks the items of these requests that have seats, in key order: claims would do it one after the other."""
    found = _LISTS_OF(c, rows=[{"request_id": request_id} for request_id in request_ids])
    limited = seats.limited(c, [row.waiting_list_id for row in found], policies)
    lists.lock_items(c, {item for item, _ in limited.values()})


def ignore_quiet_hours(c: Connection) -> None:
    """Lets this connection, which is used for nothing else, tell why requests wait as if it were not in quiet hours."""
    c.execution_options(**{quiet_hours.OPTION: None})


def next_opening(c: Connection, list_ids: Collection[UUID]) -> Opening | None:
    """Returns when the first of these lists open for which somebody waits, or when the first of them has rested.

    None: time alone changes nothing.
    """
    opening = [
        max(at for at in (row.opens_at, row.settles_at) if at) for row in _CLOSED(c, rows=lists.rows_of(list_ids))
    ]
    opening += resting.ends(c, list_ids)
    if not opening:
        return None
    soon = min(opening) + TOGETHER
    return Opening(max(at for at in opening if at <= soon), clock.now(c))


def let_pass(c: Connection, list_ids: Collection[UUID], span: timedelta, policies: Policies) -> None:
    """Lets so much time pass for these lists, for those who rest, and for the seats of their items."""
    rows = lists.rows_of(list_ids)
    doors = [
        {"list_id": row.id, "opens": _earlier(row.opens_at, span), "settles": _earlier(row.settles_at, span)}
        for row in _DOORS(c, rows=rows)
    ]
    taken = [
        {"its_item": row.item_id, "about": row.options, "taken_at": _earlier(row.seat_at, span)}
        for row in _SEATS(c, rows=rows)
    ]
    _SET_DOORS(c, rows=doors)
    _SET_SEATS(c, rows=taken)
    resting.let_pass(c, list_ids, span, is_digest=policies.digest)


def waves_of(c: Connection, list_ids: Collection[UUID], policies: Policies) -> Waves | None:
    """Returns how the waves of these lists' one item go on. None: it has no seats."""
    limited = seats.limited(c, list_ids, policies)
    if not limited:
        return None
    item, its = next(iter(limited.values()))
    item_id = lists.lock_items(c, [item])[item]
    levels = lists.levels(c, [item_id]).get(item_id, {}).values()
    each = [most_seats(its, level.quantity) or 0 for level in levels if level.in_stock]
    return Waves(sum(each), its.wave_seconds)


def _earlier(at: datetime | None, span: timedelta) -> datetime | None:
    return at and at - span
