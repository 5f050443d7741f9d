"""The history of events: those that were applied about items which have waiting lists. See *why* in `docs/why.md`.

The listener writes it in the transaction that applies them; sweeps keep it short. Whoever asks why somebody was told,
or was not, reads it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import options_text
from worker.domain.events import Event
from worker.domain.stock import Order
from worker.models import ids_of, uuid7
from worker.store import places
from worker.store.sql import Sql
from worker.store.stock import Newest

MOST_PER_ITEM: Final = 50
"""Of each item so many are kept, the newest ones. One batch's are kept together, so there may be more for a while."""
KEEP_SECONDS: Final = 90 * 86_400.0
MOST_ROWS: Final = 2000
"""One call of `trim` looks at so many new rows."""
MOST_DELETED: Final = 5000
_START: Final = UUID(int=0)
PLACE: Final = "history of events"
"""How far `trim` has come is kept under this name."""

_NOTE = Sql(
    """INSERT INTO stock_event (id, item_id, options, at, occurred_at, entry_id, event_id, in_stock, quantity, woke)
    SELECT id, item_id, options, :now, occurred_at, entry_id, event_id, in_stock, quantity, woke
    FROM ROWS(id uuid, item_id uuid, options text, occurred_at timestamptz, entry_id text, event_id text, in_stock bool,
        quantity bigint, woke int)"""
)
_OF_ITEM = Sql(
    """SELECT options, at, occurred_at, entry_id, event_id, in_stock, quantity, woke FROM stock_event
    WHERE item_id = :item_id ORDER BY at DESC, id DESC LIMIT :most""",
    at="time",
    occurred_at="time",
    in_stock="bool",
)
_NEW = Sql(
    "SELECT id, item_id FROM stock_event WHERE id > :place AND id <= :newest ORDER BY id LIMIT :most",
    id="uuid",
    item_id="uuid",
)
# By the time at which they were applied, which is the same for a batch: all rows of the batch at the limit are kept.
_TRIM = Sql(
    """WITH limits AS MATERIALIZED (
        SELECT rows.item_id AS whose, (SELECT e.at FROM stock_event AS e WHERE e.item_id = rows.item_id
            ORDER BY e.at DESC LIMIT 1 OFFSET :beyond) AS kept_from
        FROM ROWS(item_id uuid)),
    old AS MATERIALIZED (
        SELECT e.id AS old_id FROM limits CROSS JOIN stock_event AS e
        WHERE e.item_id = limits.whose AND e.at < limits.kept_from LIMIT :most FOR UPDATE OF e SKIP LOCKED)
    DELETE FROM stock_event WHERE id IN (SELECT old_id FROM old) RETURNING id"""
)
# The id begins with the time, so that the oldest are found by the primary key.
_FORGET = Sql(
    """WITH old AS MATERIALIZED (
        SELECT e.id AS old_id FROM stock_event AS e WHERE e.id < :before AND e.at < stockbell_now(-:keep)
        ORDER BY e.id LIMIT :most FOR UPDATE OF e SKIP LOCKED)
    DELETE FROM stock_event WHERE id IN (SELECT old_id FROM old) RETURNING id"""
)


def note(c: Connection, newest: Mapping[UUID, Newest], now: datetime, woken: Mapping[str, int]) -> None:
    """Notes the events of a batch that were applied at `now`, by the ids of their items.

    Of many events about one (item, options) only the newest one is noted, and the newest one that says "in stock".
    `woken` says by entry id how many lists an event woke.
    """
    rows = [
        {
            "item_id": item_id,
            "options": options_text(event.reference.spelled),
            "occurred_at": order[0],
            "entry_id": event.entry_id,
            "event_id": event.event_id,
            "in_stock": is_in_stock,
            "quantity": event.quantity,
            "woke": woken.get(event.entry_id, 0) if is_in_stock else 0,
        }
        for item_id, events in newest.items()
        for order, event, is_in_stock in _kept(events)
    ]
    if rows:
        # Rows of one millisecond keep the order of their events.
        ids = sorted([uuid7() for _ in rows])
        _NOTE(c, now=now, rows=[{"id": id_, **row} for id_, row in zip(ids, rows, strict=True)])


def of_item(c: Connection, item_id: UUID, most: int = 4 * MOST_PER_ITEM) -> Sequence[Any]:
    """Returns the newest events of an item that are still kept, newest first."""
    return _OF_ITEM(c, item_id=item_id, most=most)


def trim(c: Connection) -> bool:
    """Deletes what is too much of some items, and what is too old. Returns True if there may be more to do.

    Only items with new events can have too many. They are found by the ids, which are in the order of time: the place
    up to which that was done is kept. One that is later than now is of a clock that was wrong: it begins anew.
    """
    now = datetime.now(UTC)
    before, _ = ids_of(now - timedelta(seconds=KEEP_SECONDS))
    forgotten = len(_FORGET(c, before=before, keep=KEEP_SECONDS, most=MOST_DELETED))
    newest = ids_of(now)[1]
    place = UUID(places.read(c, PLACE) or str(_START))
    if place > newest:
        place = _START
    new = _NEW(c, place=place, newest=newest, most=MOST_ROWS)
    if not new:
        return forgotten == MOST_DELETED
    items = [{"item_id": item_id} for item_id in sorted({row.item_id for row in new})]
    deleted = len(_TRIM(c, rows=items, beyond=MOST_PER_ITEM - 1, most=MOST_DELETED))
    if deleted < MOST_DELETED:
        places.keep(c, PLACE, str(new[-1].id))
    return len(new) == MOST_ROWS or MOST_DELETED in (deleted, forgotten)


def _kept(newest: Newest) -> Sequence[tuple[Order, Event, bool]]:
    """Returns the newest event about each options, and the newest that says "in stock", oldest first."""
    kept = [
        (order, event, is_in_stock)
        for (about, is_in_stock), (order, event) in newest.items()
        if is_in_stock or not ((came := newest.get((about, True))) and came[0] > order)
    ]
    return sorted(kept, key=itemgetter(0)) if len(kept) > 1 else kept
