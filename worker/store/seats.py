"""The seats of stock rows (see `domain.ledger`): which are free, who takes them, and who gives them back.

Whoever changes seats locks the item rows first, in key order, and then the waiting lists by their ids. Events lock in
the same order, so nobody waits crosswise.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Item, Options, compared_options
from worker.domain.ledger import Taking, at_claim
from worker.domain.policies import Policies
from worker.domain.stock import Level, Levels
from worker.store import lists
from worker.store.policies import COLUMNS, own_of
from worker.store.sql import Sql

_SAVE = Sql(
    """UPDATE stock AS s SET seats = rows.free, seat_limit = rows.most, granted = rows.had, wave = rows.which,
        seat_at = rows.taken_at, settles_at = rows.settles
    FROM ROWS(item_id uuid, about text, free bigint, most bigint, had bigint, which int, taken_at timestamptz,
        settles timestamptz)
    WHERE s.item_id = rows.item_id AND s.options = rows.about"""
)
_LIMITED = Sql(
    f"""SELECT w.id, i.app_id, i.catalog_item_id, {COLUMNS}
    FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id
    WHERE w.id IN ROWS(list_id uuid) AND coalesce(i.per_unit, :per_unit) > 0""",
    id="uuid",
)
_ITEMS = Sql("SELECT app_id, catalog_item_id FROM item WHERE id IN ROWS(item_id uuid)")
_LOCK_LISTS, _LOCK_FREE_LISTS = (
    Sql(
        f"""SELECT w.id, w.item_id, w.options, w.opens_at, stockbell_now(0) AS now FROM waiting_list AS w
        WHERE w.item_id IN ROWS(item_id uuid) OR w.id IN ROWS(list_id uuid) ORDER BY w.id
        FOR NO KEY UPDATE {of_others}""",
        id="uuid",
        item_id="uuid",
        opens_at="time",
        now="time",
    )
    for of_others in ("", "SKIP LOCKED")
)
_LISTS = Sql("SELECT w.item_id FROM waiting_list AS w WHERE w.item_id IN ROWS(item_id uuid)", item_id="uuid")
_SET_DOORS = Sql(
    """UPDATE waiting_list AS w SET opens_at = rows.opens FROM ROWS(list_id uuid, opens timestamptz)
    WHERE w.id = rows.list_id"""
)
_GIVE_BACK = Sql(
    """UPDATE stock AS s SET
        seats = CASE WHEN s.seats + rows.n > s.seat_limit THEN s.seat_limit ELSE s.seats + rows.n END
    FROM ROWS(its_item uuid, about text, which int, n bigint)
    WHERE s.item_id = rows.its_item AND s.options = rows.about AND s.wave = rows.which AND s.in_stock
      AND s.seats IS NOT NULL RETURNING item_id""",
    item_id="uuid",
)


def _opening(which: str) -> Sql:
    return Sql(
        f"""WITH closed AS MATERIALIZED (
            SELECT w.id AS list_id FROM waiting_list AS w WHERE w.opens_at IS NOT NULL AND {which}
            ORDER BY w.id FOR NO KEY UPDATE)
        UPDATE waiting_list SET opens_at = NULL FROM closed WHERE id = closed.list_id"""
    )


_OPEN, _OPEN_ALL = _opening("w.item_id IN ROWS(item_id uuid)"), _opening("true")


NO_SEAT: Final = "seat = NULL, seat_wave = NULL"
"""SQL for a request that holds no seat any more."""


class Seat(NamedTuple):
    """A seat that a request holds."""

    item_id: UUID
    options: str
    """of the stock row, as it has them"""
    wave: int


@dataclass(slots=True)
class Ledger:
    """The seats of one locked item, and who may take them."""

    item_id: UUID
    policies: Policies
    taking: Taking
    texts: Mapping[Options, str]
    """the options of each row as it has them"""
    before: Mapping[Options, Level]
    doors: Mapping[UUID, datetime | None]
    """of its lists, as they were"""


def save(c: Connection, rows: Sequence[tuple[UUID, str, Level]]) -> None:
    """Writes the seats of stock rows: of each its item, its options as it has them, and its level."""
    if rows:
        _SAVE(c, rows=[_row(*row) for row in rows])


def _row(item_id: UUID, about: str, level: Level) -> dict[str, object]:
    seats = level.seats
    return {
        "item_id": item_id,
        "about": about,
        "free": seats.left,
        "most": seats.limit,
        "had": seats.granted,
        "which": seats.wave,
        "taken_at": seats.taken_at,
        "settles": level.settles_at,
    }


def limited(c: Connection, list_ids: Iterable[UUID], shop: Policies) -> dict[UUID, tuple[Item, Policies]]:
    """Returns those of these waiting lists whose item tells only so many for each piece, with what holds for it."""
    rows = _LIMITED(c, rows=lists.rows_of(list_ids), per_unit=shop.per_unit or 0)
    return {row.id: (Item(row.app_id, row.catalog_item_id), shop.of(own_of(row))) for row in rows}


def lock(c: Connection, items: Mapping[Item, Policies], list_ids: Collection[UUID]) -> dict[Item, Ledger]:
    """Locks these items, their waiting lists and `list_ids`, and returns the seats as they are for a claim now."""
    ids = lists.lock_items(c, items) if items else {}
    found = _lock_lists(c, ids.values(), list_ids)
    return _ledgers(c, ids, items, found) if ids else {}


def lock_lists(c: Connection, list_ids: Collection[UUID]) -> None:
    """Locks these waiting lists, in the order of their ids. On SQLite whoever writes is alone."""
    if list_ids and c.dialect.name != "sqlite":
        _lock_lists(c, (), list_ids)


def lock_free(c: Connection, items: Mapping[Item, Policies]) -> dict[Item, Ledger]:
    """Does so with those of these items that can be locked, with all of their waiting lists, without waiting."""
    ids = lists.lock_free_items(c, items)
    if not ids:
        return {}
    rows = [{"item_id": item_id, "list_id": None} for item_id in ids.values()]
    there, found = Counter(row.item_id for row in _LISTS(c, rows=rows)), _LOCK_FREE_LISTS(c, rows=rows)
    locked = Counter(row.item_id for row in found)
    return _ledgers(c, {item: id_ for item, id_ in ids.items() if locked[id_] == there[id_]}, items, found)


def _ledgers(
    c: Connection, ids: Mapping[Item, UUID], items: Mapping[Item, Policies], found: Sequence[Any]
) -> dict[Item, Ledger]:
    known: dict[UUID, dict[Options, tuple[str, Level]]] = {}
    for item_id, options, text, level in lists.stored_levels(c, ids.values()):
        known.setdefault(item_id, {})[options] = text, level
    return {
        item: _ledger(item_id, items[item], known.get(item_id, {}), [row for row in found if row.item_id == item_id])
        for item, item_id in ids.items()
    }


def _ledger(
    item_id: UUID, policies: Policies, known: Mapping[Options, tuple[str, Level]], waiting: Sequence[Any]
) -> Ledger:
    now = waiting[0].now
    levels = {options: level for options, (_, level) in known.items()}
    index = Levels(levels)
    seats = {
        options: at_claim(level.seats, level.quantity, policies, now)
        for options, level in levels.items()
        if level.in_stock
    }
    deciding = {row.id: index.deciding(compared_options(row.options)) for row in waiting}
    texts = {options: text for options, (text, _) in known.items()}
    doors = {row.id: row.opens_at for row in waiting}
    return Ledger(item_id, policies, Taking(seats, deciding, now), texts, levels, doors)


def write(c: Connection, ledgers: Collection[Ledger]) -> None:
    """Writes the seats and doors that a claim has changed."""
    save(
        c,
        [
            (ledger.item_id, ledger.texts[options], replace(ledger.before[options], seats=seats))
            for ledger in ledgers
            for options, seats in ledger.taking.seats.items()
            if seats != ledger.before[options].seats
        ],
    )
    doors = [
        {"list_id": list_id, "opens": opens_at}
        for ledger in ledgers
        for list_id, known in ledger.doors.items()
        if (opens_at := ledger.taking.opens_at(list_id, ledger.policies)) != known
    ]
    if doors:
        _SET_DOORS(c, rows=doors)


def held(which: str, more: str = "") -> Sql:
    """A statement for the seats of those requests `r` for which `which` holds; `more` joins what that needs."""
    return Sql(
        f"""SELECT r.id, r.claim_no, w.item_id, r.seat, r.seat_wave FROM request AS r
        JOIN waiting_list AS w ON w.id = r.waiting_list_id {more} WHERE r.seat IS NOT NULL AND {which}""",
        id="uuid",
        item_id="uuid",
    )


Held = Mapping[tuple[UUID, int], Seat]
"""Seats by the claims that hold them: request and claim number."""


def by_claim(rows: Iterable[Any]) -> Held:
    """Returns what `held` has found."""
    return {(row.id, row.claim_no): Seat(row.item_id, row.seat, row.seat_wave) for row in rows}


def lock_for(c: Connection, held: Iterable[Seat], list_ids: Collection[UUID] = ()) -> None:
    """Locks the items of seats that are about to be given back, their waiting lists, and `list_ids`."""
    ids = {seat.item_id for seat in held}
    if ids:
        rows = _ITEMS(c, rows=[{"item_id": item_id} for item_id in ids])
        lists.lock_items(c, [Item(row.app_id, row.catalog_item_id) for row in rows])
    if ids or list_ids:
        _lock_lists(c, ids, list_ids)


def give_back_of(c: Connection, held: Held, ended: Iterable[Any]) -> None:
    """Gives back those of these seats whose claims have `ended`: rows with the request's id and the claim's number."""
    give_back(c, [held[claim] for claim in ((row.id, row.claim_no) for row in ended) if claim in held])


def give_back(c: Connection, held: Iterable[Seat]) -> None:
    """Gives seats back, those whose wave still runs. The doors of their items open: a claim will see for whom."""
    counts = Counter(held)
    if not counts:
        return
    rows = [{"its_item": seat.item_id, "about": seat.options, "which": seat.wave, "n": n} for seat, n in counts.items()]
    open_doors(c, {row.item_id for row in _GIVE_BACK(c, rows=rows)})


def open_doors(c: Connection, item_ids: Collection[UUID]) -> None:
    """Lets the next claim of these locked items find out anew who has a seat. Too early costs one empty claim."""
    if item_ids:
        _OPEN(c, rows=[{"item_id": item_id} for item_id in item_ids])


def open_all(c: Connection) -> None:
    """Does so for all items: for when the settings may have changed."""
    _OPEN_ALL(c)


def _lock_lists(c: Connection, item_ids: Iterable[UUID], list_ids: Iterable[UUID]) -> Sequence[Any]:
    rows = [{"item_id": item_id, "list_id": None} for item_id in item_ids]
    rows += [{"item_id": None, "list_id": list_id} for list_id in list_ids]
    return _LOCK_LISTS(c, rows=rows)
