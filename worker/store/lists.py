"""Waiting lists: the requests that may be sent now, and the bells that wake the workers for them.

A request may be claimed where `SENDING` holds and either `WOKEN` or `ORDERED`. Claim, sweep, listener and status share
these SQL conditions. Their aliases are `r` (request) and `w` (its waiting list). `WOKEN` and `ORDERED` have one partial
index each, and share one of those with priority.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import CatalogReference, Item, Options, compared_options, options_text
from worker.domain.events import entry_order
from worker.domain.ledger import NO_SEATS, Seats
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.stock import Level, Levels
from worker.models import uuid7
from worker.store import clock
from worker.store.sql import Sql

IN_LINE = "r.status = 'RECEIVED' AND r.not_before IS NULL"
IS_WOKEN = "r.ordered_at IS NULL AND w.in_stock AND r.created_date < w.last_in_stock_at"
HAS_SETTLED = "(w.settles_at IS NULL OR w.settles_at <= stockbell_now(0))"
HAS_SEAT = "(w.opens_at IS NULL OR w.opens_at <= stockbell_now(0))"
"""The door of a list, by the sending policies of its item: see `domain.ledger`."""
IS_OPEN = f"{HAS_SETTLED} AND {HAS_SEAT}"
WOKEN = f"{IN_LINE} AND {IS_WOKEN} AND {IS_OPEN}"
BACK_IN_LINE = "not_before = NULL, in_line_at = stockbell_now(0)"
"""SQL that puts a request in line again. Nobody could tell its customer before."""
IS_ORDERED = "r.ordered_at IS NOT NULL"
ORDERED = f"{IN_LINE} AND {IS_ORDERED}"
PAUSED = """EXISTS (SELECT 1 FROM pause AS p WHERE p.item_id IS NULL
    OR (p.item_id = w.item_id AND p.options IN ('{}', w.options, w.options_key)))"""
RELAY_UP = "NOT EXISTS (SELECT 1 FROM relay WHERE state = 'open')"
SENDING = f"{RELAY_UP} AND NOT {PAUSED}"

BELL_SECONDS = 30.0
"""A bell counts as queued for this many seconds after it was rung."""
AHEAD_SECONDS = 1.0
"""A bell dated further than this in the future is ignored: the database's clock was set back after it was rung."""

# That a list is open is said before the subquery, too: else SQLite reads everybody who waits behind a closed door.
HAS_WORK = f"""(w.in_stock AND {IS_OPEN}
    AND EXISTS (SELECT 1 FROM request AS r WHERE r.waiting_list_id = w.id AND {WOKEN})
    OR w.id IN (SELECT r.waiting_list_id FROM request AS r WHERE {ORDERED}))"""
"""Whether a list has somebody who may be told, if mails go out."""
_WITH_WORK = f"SELECT w.id FROM waiting_list AS w WHERE {SENDING} AND {HAS_WORK}"
_ALL_WITH_WORK = Sql(_WITH_WORK, id="uuid")
_SOME_WITH_WORK = Sql(f"{_WITH_WORK} AND w.id IN ROWS(list_id uuid)", id="uuid")
_WOKEN_LISTS = Sql(
    f"""SELECT w.id, CASE WHEN {IS_OPEN} THEN 1 ELSE 0 END AS is_open FROM waiting_list AS w
    WHERE w.id IN ROWS(list_id uuid) AND {SENDING} AND w.in_stock
      AND EXISTS (SELECT 1 FROM request AS r WHERE r.waiting_list_id = w.id AND {IN_LINE} AND {IS_WOKEN})""",
    id="uuid",
    is_open="bool",
)

_RING = Sql(
    """WITH due AS MATERIALIZED (
        SELECT w.id AS list_id FROM waiting_list AS w
        WHERE w.id IN ROWS(list_id uuid)
          AND (w.bell_at IS NULL OR NOT w.bell_at BETWEEN stockbell_now(-:recent) AND stockbell_now(:ahead))
        ORDER BY w.id FOR NO KEY UPDATE)
    UPDATE waiting_list SET bell_at = stockbell_now(0) FROM due WHERE id = due.list_id RETURNING id""",
    id="uuid",
)
# All are locked here, also those of which no bell was rung: the claim may change any of them at its end.
_TAKE_BELLS = Sql(
    """WITH rung AS MATERIALIZED (
        SELECT w.id AS list_id, w.bell_at AS was FROM waiting_list AS w WHERE w.id IN ROWS(list_id uuid)
        ORDER BY w.id FOR NO KEY UPDATE)
    UPDATE waiting_list SET bell_at = NULL FROM rung WHERE id = rung.list_id AND rung.was IS NOT NULL"""
)
_DRAINED = Sql(
    """WITH served AS MATERIALIZED (
        SELECT w.id AS list_id FROM waiting_list AS w
        WHERE w.id IN ROWS(list_id uuid) AND w.woken_at IS NOT NULL
        ORDER BY w.id FOR NO KEY UPDATE)
    UPDATE waiting_list SET woken_at = NULL FROM served WHERE id = served.list_id"""
)

_FIND = Sql(
    """SELECT w.id, i.app_id, i.catalog_item_id, w.options, w.options_key FROM ROWS(app text, item text, options text)
    JOIN item AS i ON i.app_id = rows.app AND i.catalog_item_id = rows.item
    JOIN waiting_list AS w ON w.item_id = i.id AND w.options_key = rows.options""",
    id="uuid",
)
_WITHOUT_KEY = Sql(
    "SELECT id, item_id, options FROM waiting_list WHERE options_key IS NULL AND item_id IN ROWS(item_id uuid)",
    id="uuid",
    item_id="uuid",
)
_GIVE_KEY = Sql(
    """UPDATE waiting_list SET options_key = :key WHERE id = :id AND NOT EXISTS (
        SELECT 1 FROM waiting_list AS same WHERE same.item_id = :item_id AND same.options_key = :key)"""
)
_ENSURE_ITEMS = Sql(
    """INSERT INTO item (id, app_id, catalog_item_id) SELECT id, app, item FROM ROWS(id uuid, app text, item text)
    WHERE true ON CONFLICT DO NOTHING"""
)
_LOCK_ITEMS, _LOCK_FREE_ITEMS = (
    Sql(
        f"""SELECT rows.n, i.id FROM item AS i
        JOIN ROWS(n int, app text, item text) ON i.app_id = rows.app AND i.catalog_item_id = rows.item
        ORDER BY rows.n FOR NO KEY UPDATE OF i {of_others}""",
        id="uuid",
    )
    for of_others in ("", "SKIP LOCKED")
)
# A program from before 0003 leaves `follows_item` as it was when it stores a newer event of a variant.
_LEVELS = Sql(
    """SELECT item_id, options, in_stock, quantity, occurred_at, entry_id, last_in_stock_at, details,
        CASE WHEN follows_item AND NOT in_stock
            THEN occurred_at <= (SELECT out_at FROM item WHERE item.id = stock.item_id) END AS follows_item,
        said, seats, seat_limit, granted, wave, seat_at, settles_at
    FROM stock WHERE item_id IN ROWS(item_id uuid)""",
    item_id="uuid",
    in_stock="bool",
    occurred_at="time",
    last_in_stock_at="time",
    follows_item="bool",
    said="bool",
    seat_at="time",
    settles_at="time",
)
_ADD = Sql(
    """INSERT INTO waiting_list (id, item_id, options, options_key, in_stock, last_in_stock_at, woken_at, settles_at)
    SELECT id, item_id, options, key, in_stock, seen, CASE WHEN in_stock THEN seen END, settles
    FROM ROWS(id uuid, item_id uuid, options text, key text, in_stock bool, seen timestamptz, settles timestamptz)
    WHERE true ON CONFLICT DO NOTHING"""
)
_UNKNOWN = Levels({})


def is_closed(c: Connection, policies: Policies) -> bool:
    """Whether nobody may be told now, because of quiet hours. Without a send window that costs nothing."""
    return policies.window is not None and not policies.is_open(clock.now(c))


def with_work(c: Connection, lists: Iterable[UUID] | None = None, policies: Policies = NO_POLICIES) -> list[UUID]:
    """Returns those of these waiting lists (None: of all) that have a request that may be claimed now."""
    if is_closed(c, policies):
        return []
    found = _ALL_WITH_WORK(c) if lists is None else _SOME_WITH_WORK(c, rows=rows_of(lists))
    return [row.id for row in found]


def woken(c: Connection, lists: Iterable[UUID]) -> dict[UUID, bool]:
    """Returns those of these waiting lists that have somebody whom an event has woken, and whether it is their turn.

    It is not while the item has to settle, or while there is no seat for them.
    """
    return {row.id: row.is_open for row in _WOKEN_LISTS(c, rows=rows_of(lists))}


def ring(c: Connection, lists: Iterable[UUID], *, recent: float = BELL_SECONDS) -> list[UUID]:
    """Marks the bells of these lists as rung, and returns the lists whose bell was not rung already.

    Callers may publish bells only for the returned lists. An earlier bell counts for `recent` seconds; with 0 every
    bell is rung.
    """
    return [row.id for row in _RING(c, rows=rows_of(lists), recent=recent, ahead=AHEAD_SECONDS)]


def take_bells(c: Connection, lists: Iterable[UUID]) -> None:
    """Clears the bells of these lists when a task starts to serve them. From now on they may be rung again."""
    _TAKE_BELLS(c, rows=rows_of(lists))


def drained(c: Connection, lists: Iterable[UUID]) -> None:
    """Clears `woken_at` of these lists, because a claim found that no more of their requests are due."""
    _DRAINED(c, rows=rows_of(lists))


def find_or_add(c: Connection, references: Iterable[CatalogReference]) -> dict[CatalogReference, UUID]:
    """Returns the waiting list of each reference. Adds missing lists, with their stock as the stock rows have it."""
    return {reference: list_id for reference, (list_id, _) in with_spelling(c, references).items()}


def with_spelling(c: Connection, references: Iterable[CatalogReference]) -> dict[CatalogReference, tuple[UUID, str]]:
    """Like `find_or_add`, but with the options of each list as its first request had them."""
    wanted = dict.fromkeys(references)  # of equal references the first one is kept, with its spelling
    found = find(c, wanted)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        _add(c, missing)
        found |= find(c, missing)
    return found


def lock_items(c: Connection, items: Iterable[Item]) -> dict[Item, UUID]:
    """Adds the missing items, and locks all of them in key order until the transaction ends."""
    ordered = sorted(set(items))
    rows = [{"n": n, "id": uuid7(), "app": item.app_id, "item": item.catalog_item_id} for n, item in enumerate(ordered)]
    locked = _LOCK_ITEMS(c, rows=rows)
    if len(locked) < len(ordered):
        _ENSURE_ITEMS(c, rows=rows)
        locked = _LOCK_ITEMS(c, rows=rows)
    return {ordered[row.n]: row.id for row in locked}


def lock_free_items(c: Connection, items: Iterable[Item]) -> dict[Item, UUID]:
    """Locks those of these items that nobody else has locked. Waits for nobody."""
    ordered = sorted(items)
    rows = [{"n": n, "app": item.app_id, "item": item.catalog_item_id} for n, item in enumerate(ordered)]
    return {ordered[row.n]: row.id for row in _LOCK_FREE_ITEMS(c, rows=rows)}


def levels(c: Connection, items: Iterable[UUID]) -> dict[UUID, dict[Options, Level]]:
    """Returns the stock levels of these items, as events reported them."""
    known: dict[UUID, dict[Options, Level]] = {}
    for item, options, _, level in stored_levels(c, items):
        known.setdefault(item, {})[options] = level
    return known


def stored_levels(c: Connection, items: Iterable[UUID]) -> Iterator[tuple[UUID, Options, str, Level]]:
    """Yields the stock rows of these items: item, options, the options as stored, level.

    Of rows whose options are spelled differently the one with the newest event comes last.
    """
    rows = _LEVELS(c, rows=[{"item_id": item} for item in items])
    found = [(row.item_id, compared_options(row.options), row.options, _level(row)) for row in rows]
    if len({(item, options) for item, options, _, _ in found}) < len(found):
        found.sort(key=lambda row: row[3].order)
    return iter(found)


def _level(row: Any) -> Level:
    return Level(
        row.in_stock,
        (row.occurred_at, entry_order(row.entry_id)),
        row.quantity,
        row.last_in_stock_at,
        details_from_text(row.details),
        bool(row.follows_item),
        row.said,
        NO_SEATS if row.wave == 0 else Seats(row.seats, row.seat_limit, row.granted, row.wave, row.seat_at),
        row.settles_at,
    )


@lru_cache(maxsize=64)  # publishers give the same few details again and again
def details_text(names: frozenset[str]) -> str | None:
    """Names of details as a stock row has them."""
    return " ".join(sorted(names)) or None


@lru_cache(maxsize=64)
def details_from_text(text: str | None) -> frozenset[str]:
    """The opposite of `details_text`."""
    return frozenset(text.split()) if text else frozenset()


def find(c: Connection, wanted: Iterable[CatalogReference]) -> dict[CatalogReference, tuple[UUID, str]]:
    """Returns those waiting lists of these references that there are, each with its options as first written."""
    keys = {(ref.item.app_id, ref.item.catalog_item_id, options_text(ref.options)): ref for ref in wanted}
    rows = [{"app": app, "item": item, "options": options} for app, item, options in keys]
    found = _FIND(c, rows=rows) if rows else ()
    return {keys[row.app_id, row.catalog_item_id, row.options_key]: (row.id, row.options) for row in found}


def _add(c: Connection, missing: Sequence[CatalogReference]) -> None:
    # The lock keeps a batch of events about these items and this transaction apart, so no event is missed.
    items = lock_items(c, (reference.item for reference in missing))
    _give_keys(c, items.values())
    known = {item: Levels(rows) for item, rows in levels(c, items.values()).items()}
    rows = []
    for reference in missing:
        item = items[reference.item]
        about = known.get(item, _UNKNOWN)
        rows.append(
            {
                "id": uuid7(),
                "item_id": item,
                "options": options_text(reference.spelled),
                "key": options_text(reference.options),
                "in_stock": about.available(reference.options),
                "seen": about.last_in_stock_at(reference.options),
                "settles": about.settles_at(reference.options),
            }
        )
    _ADD(c, rows=rows)


def _give_keys(c: Connection, items: Iterable[UUID]) -> None:
    """Gives keys to the lists of these locked items that an older program has added since the migration."""
    for row in _WITHOUT_KEY(c, rows=[{"item_id": item} for item in items]):
        _GIVE_KEY(c, id=row.id, item_id=row.item_id, key=options_text(compared_options(row.options)))


def rows_of(lists: Iterable[UUID]) -> list[dict[str, UUID]]:
    """Returns the parameter for `ROWS(list_id uuid)`."""
    return [{"list_id": list_id} for list_id in lists]
