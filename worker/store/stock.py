"""Applies a batch of inventory events to stock, item details and waiting lists, in one transaction."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain import stock
from worker.domain.catalog import Item, Options, compared_options, options_text
from worker.domain.events import Event, entry_order
from worker.domain.ledger import opens_at
from worker.domain.policies import NO_POLICIES, NOTHING_OWN, Own, Policies
from worker.domain.stock import EntryOrder, ItemStock, Level, Levels, Order
from worker.models import uuid7
from worker.store import clock, lists, seats
from worker.store.lists import details_text
from worker.store.policies import COLUMNS, own_of
from worker.store.sql import Sql

# Items are locked in the order of `n`, which is key order, as in `lists.lock_items`. The columns that are read with the
# lock are as the previous transaction left them.
_LOCK = Sql(
    f"""SELECT rows.n, i.id, i.name, i.price, i.currency, i.image_url, i.url, i.out_at, i.out_entry,
        i.details_at, {COLUMNS} FROM item AS i
    JOIN ROWS(n int, app text, item text) ON i.app_id = rows.app AND i.catalog_item_id = rows.item
    ORDER BY rows.n FOR NO KEY UPDATE OF i""",
    id="uuid",
    out_at="time",
)
_ADD_ITEMS = Sql(
    """INSERT INTO item (id, app_id, catalog_item_id, name, price, currency, image_url, url, out_at, out_entry,
        details_at)
    SELECT item_id, app, item, new_name, new_price, new_currency, new_image, new_url, new_out_at, new_out_entry,
        new_details_at
    FROM ROWS(item_id uuid, app text, item text, new_name text, new_price text, new_currency text, new_image text,
        new_url text, new_out_at timestamptz, new_out_entry text, new_details_at text)
    WHERE true ON CONFLICT DO NOTHING"""
)
_WAITING = Sql(
    """SELECT id, item_id, options, in_stock, opens_at, settles_at FROM waiting_list
    WHERE item_id IN ROWS(item_id uuid)""",
    id="uuid",
    item_id="uuid",
    in_stock="bool",
    opens_at="time",
    settles_at="time",
)
_SAVE_ITEMS = Sql(
    """UPDATE item SET name = rows.new_name, price = rows.new_price, currency = rows.new_currency,
        image_url = rows.new_image, url = rows.new_url, out_at = rows.new_out_at, out_entry = rows.new_out_entry,
        details_at = rows.new_details_at
    FROM ROWS(item_id uuid, new_name text, new_price text, new_currency text, new_image text, new_url text,
        new_out_at timestamptz, new_out_entry text, new_details_at text)
    WHERE id = rows.item_id"""
)
_SAVE_LEVELS = Sql(
    """INSERT INTO stock (item_id, options, in_stock, quantity, occurred_at, entry_id, last_in_stock_at, details,
        follows_item, said)
    SELECT item_id, options, in_stock, quantity, occurred_at, entry_id, seen, given, follows, said FROM ROWS(
        item_id uuid, options text, in_stock bool, quantity bigint, occurred_at timestamptz, entry_id text,
        seen timestamptz, given text, follows bool, said bool)
    WHERE true ON CONFLICT (item_id, options) DO UPDATE SET
        in_stock = excluded.in_stock, quantity = excluded.quantity, occurred_at = excluded.occurred_at,
        entry_id = excluded.entry_id, last_in_stock_at = excluded.last_in_stock_at, details = excluded.details,
        follows_item = excluded.follows_item, said = excluded.said"""
)
# The lists are locked by a statement before. In one step PostgreSQL may find a row as it was before the lock, while a
# sign-up refers to that, and wait for whoever waits for this transaction.
_SAVE_LISTS = Sql(
    """UPDATE waiting_list SET in_stock = rows.now_in_stock, opens_at = rows.opens, settles_at = rows.settles,
        last_in_stock_at = CASE WHEN rows.woken THEN :now ELSE last_in_stock_at END,
        woken_at = CASE WHEN rows.woken AND woken_at IS NULL THEN :now ELSE woken_at END
    FROM ROWS(list_id uuid, now_in_stock bool, woken bool, opens timestamptz, settles timestamptz)
    WHERE id = rows.list_id"""
)
# The conditions say that nobody of this item is woken, and somebody waits under options that are not in stock. What was
# noted within a minute stays: most events repeat others.
_NOTE_UNHEARD = Sql(
    f"""UPDATE item SET unheard_at = stockbell_now(0), unheard_options = rows.about
    FROM ROWS(item_id uuid, about text)
    WHERE id = rows.item_id AND (unheard_at IS NULL OR unheard_at < stockbell_now(-60))
      AND EXISTS (SELECT 1 FROM waiting_list AS w JOIN request AS r ON r.waiting_list_id = w.id
        WHERE w.item_id = rows.item_id AND {lists.IN_LINE} AND r.ordered_at IS NULL AND NOT w.in_stock)
      AND NOT EXISTS (SELECT 1 FROM waiting_list AS w JOIN request AS r ON r.waiting_list_id = w.id
        WHERE w.item_id = rows.item_id AND {lists.IN_LINE} AND {lists.IS_WOKEN})"""
)

_DETAILS = (
    ("new_name", "name"),
    ("new_price", "price"),
    ("new_currency", "currency"),
    ("new_image", "image_url"),
    ("new_url", "url"),
)


Newest = Mapping[tuple[Options, bool], tuple[Order, Event]]
"""`ItemStock.applied`: the newest events by what they are about, and by whether they say "in stock"."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of a batch."""

    woken: Mapping[Item, Sequence[UUID]]
    """the waiting lists of each item that are in stock and were the subject of an in-stock event"""
    stale: Collection[str]
    """the entry ids of events that were dropped because the same or a newer event was known"""
    passed_over: Mapping[Item, tuple[UUID, Options]] = field(default_factory=dict)
    """items that have waiting lists which stayed out of stock: the id of the item, and what is in stock instead"""
    newest: Mapping[UUID, Newest] = field(default_factory=dict, compare=False)
    """what was applied about items that have waiting lists, by the item's id, for `store.history`"""
    came_in: Mapping[Item, str] = field(default_factory=dict, compare=False)
    """the entry id of the newest in-stock event of each item that has waiting lists in stock"""
    at: datetime | None = field(default=None, compare=False)
    """when all of it was applied, by the database's clock"""


@dataclass(frozen=True, slots=True)
class _Row:
    """An item's row: its id, the state after the events, and the details and `out` from before."""

    id: UUID
    state: ItemStock
    details: Mapping[str, str | None]
    out: Order | None
    details_at: Mapping[str, Order]
    texts: dict[Options, str] = field(default_factory=dict)
    """the options of each level as its row has them"""
    own: Own = NOTHING_OWN
    """its own sending policies"""


def apply(
    c: Connection,
    events: Sequence[Event],
    policies: Policies = NO_POLICIES,
    newest_entry: Callable[[], EntryOrder | None] = lambda: None,
) -> Applied:
    """Applies events by their own order, not by the order of arrival. Applying them again changes nothing.

    For `newest_entry` see `ItemStock.apply`.
    """
    groups = stock.by_item(events)
    known = _lock(c, groups)
    new = {item: _Row(uuid7(), ItemStock(), {}, None, {}) for item in groups if item not in known}
    now = clock.now(c)
    _apply(groups, new, policies, now, newest_entry)
    # A new item has no waiting lists and no levels, so it is written once, with its state after the events.
    if new and (late := _add(c, new)):
        known |= late
        new = {item: row for item, row in new.items() if item not in late}
        now = clock.now(c)  # The transactions that added these items may have written later times than the first `now`.
    _load_levels(c, known.values())
    _apply(groups, known, policies, now, newest_entry)
    _save(c, known.values())
    _save_levels(c, new | known, groups)
    waiting = _waiting(c, [row.id for row in known.values() if row.state.touched])
    woken, passed_over = _save_lists(c, {row.id: row for row in known.values()}, waiting, policies, now)
    stale = {event.entry_id for row in (*new.values(), *known.values()) for event in row.state.stale}
    return Applied(
        {item: woken[row.id] for item, row in known.items() if row.id in woken},
        stale,
        {item: (row.id, passed_over[row.id]) for item, row in known.items() if row.id in passed_over},
        {row.id: row.state.applied for row in known.values() if row.id in waiting},
        {item: _newest_entry(row.state.applied) for item, row in known.items() if row.id in woken},
        now,
    )


def _newest_entry(applied: Newest) -> str:
    """Returns the entry id of the newest in-stock event."""
    return max((found for (_, is_in_stock), found in applied.items() if is_in_stock), key=itemgetter(0))[1].entry_id


def judge_again(c: Connection, item: Item, shop: Policies) -> None:
    """Puts the rows of an item in or out of stock by its minimum as it is now, and wakes its lists. See `ItemStock`."""
    known = _lock(c, [item])
    now = clock.now(c)
    _load_levels(c, known.values())
    for row in known.values():
        row.state.judge_again(shop.of(row.own), now)
    _save(c, known.values())
    _save_levels(c, known, {})
    _save_lists(c, {row.id: row for row in known.values()}, _waiting(c, [row.id for row in known.values()]), shop, now)


def learn(c: Connection, items: Iterable[Item], details: Mapping[str, str | None]) -> None:
    """Takes details of these items that were told now and not by an event. Unknown items are left out."""
    known = _lock(c, sorted(items))
    now = clock.now(c)
    order = now, (int(now.timestamp() * 1000), 0)
    _load_levels(c, known.values())
    for row in known.values():
        row.state.learn(details, order)
    _save(c, known.values())


def note_unheard(c: Connection, passed_over: Iterable[tuple[UUID, Options]]) -> None:
    """Notes for `status` which of these in-stock events woke nobody, though people wait for their item."""
    _NOTE_UNHEARD(c, rows=[{"item_id": item, "about": options_text(about)} for item, about in passed_over])


def _lock(c: Connection, items: Iterable[Item]) -> dict[Item, _Row]:
    """Locks those of these items (in key order) that exist, and returns them."""
    wanted = list(items)
    rows = [{"n": n, "app": item.app_id, "item": item.catalog_item_id} for n, item in enumerate(wanted)]
    return {wanted[row.n]: _row(row) for row in _LOCK(c, rows=rows)} if rows else {}


def _row(row: Any) -> _Row:
    out: Order | None = (row.out_at, entry_order(row.out_entry)) if row.out_at else None
    details = {
        "name": row.name,
        "price": row.price,
        "currency": row.currency,
        "image_url": row.image_url,
        "url": row.url,
    }
    details_at = _orders(row.details_at) if row.details_at else {}
    return _Row(row.id, ItemStock({}, out, details.copy(), details_at), details, out, details_at, own=own_of(row))


def _said(row: _Row) -> dict[str, object]:
    """Returns the columns to write for an item."""
    state = row.state
    out_at, out_entry = (state.out[0], _entry_id(state.out)) if state.out else (None, None)
    details = {column: state.details.get(name) for column, name in _DETAILS}
    return {
        **details,
        "new_out_at": out_at,
        "new_out_entry": out_entry,
        "new_details_at": _orders_text(state.details_at),
    }


def _apply(
    groups: Mapping[Item, Sequence[Event]],
    rows: Mapping[Item, _Row],
    policies: Policies,
    now: datetime,
    newest_entry: Callable[[], EntryOrder | None],
) -> None:
    for item, row in rows.items():
        row.state.apply(groups[item], policies=policies.of(row.own), now=now, newest_entry=newest_entry)


def _add(c: Connection, new: Mapping[Item, _Row]) -> dict[Item, _Row]:
    """Adds these items. Locks and returns those that another transaction added in the meantime."""
    keys = [{"item_id": row.id, "app": item.app_id, "item": item.catalog_item_id} for item, row in new.items()]
    rows = [key | _said(row) for key, row in zip(keys, new.values(), strict=True)]
    if _ADD_ITEMS.count(c, rows=rows) == len(rows):
        return {}
    return {item: row for item, row in _lock(c, new).items() if row.id != new[item].id}


def _load_levels(c: Connection, rows: Collection[_Row]) -> None:
    by_id = {row.id: row for row in rows}
    for item, options, text, level in lists.stored_levels(c, by_id) if rows else ():
        row = by_id[item]
        row.state.levels[options] = level
        row.texts[options] = text


def _save(c: Connection, rows: Iterable[_Row]) -> None:
    """Writes the items that changed. Most events repeat the known name, price and so on, and change nothing."""
    changed = [
        {"item_id": row.id, **_said(row)}
        for row in rows
        if (row.state.details, row.state.out, row.state.details_at) != (row.details, row.out, row.details_at)
    ]
    if changed:
        _SAVE_ITEMS(c, rows=changed)


def _save_levels(c: Connection, rows: Mapping[Item, _Row], groups: Mapping[Item, Sequence[Event]]) -> None:
    levels = []
    for item, row in rows.items():
        if row.state.touched - row.texts.keys():
            row.texts.update(_spellings(groups[item]) | row.texts)
        levels += [_level_row(row.id, row.texts[about], row.state.levels[about]) for about in row.state.touched]
    if levels:
        _SAVE_LEVELS(c, rows=levels)
    seats.save(
        c,
        [(row.id, row.texts[about], row.state.levels[about]) for row in rows.values() for about in row.state.reseated],
    )


def _spellings(events: Sequence[Event]) -> dict[Options, str]:
    """Returns the options of new rows as their first event has them."""
    return {event.reference.options: options_text(event.reference.spelled) for event in reversed(events)}


def _level_row(item: UUID, options: str, level: Level) -> dict[str, object]:
    return {
        "item_id": item,
        "options": options,
        "in_stock": level.in_stock,
        "quantity": level.quantity,
        "occurred_at": level.order[0],
        "entry_id": _entry_id(level.order),
        "seen": level.last_in_stock_at,
        "given": details_text(level.details),
        "follows": level.follows_item,
        "said": level.said,
    }


def _save_lists(
    c: Connection, changed: Mapping[UUID, _Row], by_item: "_Waiting", shop: Policies, now: datetime
) -> tuple[dict[UUID, list[UUID]], dict[UUID, Options]]:
    """Updates the waiting lists. Returns for each item the lists that are in stock and had an in-stock event.

    Also returns the items with lists that are still out of stock after an in-stock event, and what that was about.
    """
    rows = list[dict[str, Any]]()
    concerned, passed_over = dict[UUID, list[UUID]](), dict[UUID, Options]()
    for item, waiting in by_item.items():
        state, policies = changed[item].state, shop.of(changed[item].own)
        levels = Levels(state.levels, state.came_in)
        outs = [Levels(each) for each in state.outs]
        about = _newest_in(state)
        for each in waiting:
            in_stock, woken = levels.available(each.options), levels.woken(each.options)
            stayed = each.in_stock and all(out.available(each.options) for out in outs)
            opens_at, settles_at = (
                _door(each, state, levels, policies, now, stayed=stayed) if in_stock else (None, None)
            )
            if in_stock != each.in_stock or woken or (opens_at, settles_at) != (each.opens_at, each.settles_at):
                rows.append(
                    {
                        "list_id": each.id,
                        "now_in_stock": in_stock,
                        "woken": woken,
                        "opens": opens_at,
                        "settles": settles_at,
                    }
                )
            if in_stock and woken:
                concerned.setdefault(item, []).append(each.id)
            elif not in_stock and about is not None:
                passed_over[item] = about
    if rows:
        seats.lock_lists(c, [row["list_id"] for row in rows])
        _SAVE_LISTS(c, rows=rows, now=now)
    return concerned, passed_over


def _door(
    each: "_List", state: ItemStock, levels: Levels, policies: Policies, now: datetime, *, stayed: bool
) -> tuple[datetime | None, datetime | None]:
    """Returns when there is a seat for a list that is in stock, and until when it has to stay in stock.

    `stayed`: it was in stock without a break.
    """
    settles_at = each.settles_at
    if not stayed:
        settles_at = now + timedelta(seconds=policies.settle_seconds) if policies.settle_seconds else None
    if policies.per_unit is None:
        return None, settles_at
    return opens_at([state.levels[about].seats for about in levels.deciding(each.options)], policies), settles_at


def _newest_in(state: ItemStock) -> Options | None:
    """The options of the newest in-stock event that was applied, if they are still in stock."""
    came_in = [about for about in state.came_in if state.levels[about].in_stock]
    return max(came_in, key=lambda about: state.levels[about].order, default=None)


class _List(NamedTuple):
    """A waiting list as it was before the events."""

    options: Options
    id: UUID
    in_stock: bool
    opens_at: datetime | None
    settles_at: datetime | None


_Waiting = Mapping[UUID, Sequence[_List]]


def _waiting(c: Connection, items: Sequence[UUID]) -> _Waiting:
    """Returns the waiting lists of each item that has some."""
    waiting: dict[UUID, list[_List]] = {}
    for row in _WAITING(c, rows=[{"item_id": item} for item in items]) if items else ():
        about = compared_options(row.options)
        waiting.setdefault(row.item_id, []).append(_List(about, row.id, row.in_stock, row.opens_at, row.settles_at))
    return waiting


def _entry_id(order: Order) -> str:
    milliseconds, sequence = order[1]
    return f"{milliseconds}-{sequence}"


def _orders_text(orders: Mapping[str, Order]) -> str | None:
    """Which event set each detail, as the item's row has it: per event its time, its entry and the names."""
    if not orders:
        return None
    names: dict[Order, list[str]] = {}
    for name in sorted(orders):
        names.setdefault(orders[name], []).append(name)
    return ";".join([f"{order[0].isoformat()} {_entry_id(order)} {' '.join(names[order])}" for order in sorted(names)])


def _orders(stored: str) -> dict[str, Order]:
    orders: dict[str, Order] = {}
    for said in stored.split(";"):
        time, entry, *names = said.split(" ")
        orders |= dict.fromkeys(names, (datetime.fromisoformat(time), entry_order(entry)))
    return orders
