"""Applies a batch of inventory events: stock, item details, waiting lists; one transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from worker import stock
from worker.catalog import Item, Options, options_from_text, options_text
from worker.events import Event
from worker.stock import ItemStock, Order
from worker.store import lists
from worker.store.database import Sql

_NOW = Sql("SELECT stockbell_now(0) AS now", now="time")
_ITEMS = Sql(
    """SELECT id, name, price, currency, image_url, url, out_at, out_entry FROM item
    WHERE id IN ROWS(item_id uuid)""",
    id="uuid",
    out_at="time",
)
_WAITING = Sql(
    """SELECT id, item_id, options, in_stock FROM waiting_list
    WHERE item_id IN ROWS(item_id uuid)""",
    id="uuid",
    item_id="uuid",
    in_stock="bool",
)
_SAVE_ITEMS = Sql(
    """UPDATE item SET name = rows.new_name, price = rows.new_price, currency = rows.new_currency,
        image_url = rows.new_image, url = rows.new_url, out_at = rows.new_out_at, out_entry = rows.new_out_entry
    FROM ROWS(item_id uuid, new_name text, new_price text, new_currency text, new_image text, new_url text,
        new_out_at timestamptz, new_out_entry text)
    WHERE id = rows.item_id"""
)
_SAVE_LEVELS = Sql(
    """INSERT INTO stock (item_id, options, in_stock, quantity, occurred_at, entry_id, last_in_stock_at)
    SELECT item_id, options, in_stock, quantity, occurred_at, entry_id, seen FROM ROWS(item_id uuid, options text,
        in_stock bool, quantity bigint, occurred_at timestamptz, entry_id text, seen timestamptz)
    WHERE true ON CONFLICT (item_id, options) DO UPDATE SET
        in_stock = excluded.in_stock, quantity = excluded.quantity, occurred_at = excluded.occurred_at,
        entry_id = excluded.entry_id, last_in_stock_at = excluded.last_in_stock_at"""
)
_SAVE_LISTS = Sql(
    """WITH changed AS MATERIALIZED (
        SELECT w.id AS list_id, rows.now_in_stock, rows.woken FROM waiting_list AS w
        JOIN ROWS(list_id uuid, now_in_stock bool, woken bool) ON rows.list_id = w.id
        ORDER BY w.id FOR NO KEY UPDATE OF w)
    UPDATE waiting_list SET in_stock = changed.now_in_stock,
        last_in_stock_at = CASE WHEN changed.woken THEN :now ELSE last_in_stock_at END,
        woken_at = CASE WHEN changed.woken AND woken_at IS NULL THEN :now ELSE woken_at END
    FROM changed WHERE id = changed.list_id"""
)

_DETAILS = {
    "name": "name",
    "price": "price",
    "currency": "currency",
    "image": "image_url",
    "url": "url",
}


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did."""

    woken: Mapping[Item, Sequence[UUID]]
    """per item: its waiting lists that are in stock and that an in-stock event concerned"""
    stale: Collection[str]
    """the entry ids of events that were dropped because something newer, or the same, was known"""


def apply(c: Connection, events: Sequence[Event], minimum: int) -> Applied:
    """Applies events in their own order, whatever order they came in; repeating it changes nothing.

    `minimum` is how many pieces count as in stock.
    """
    groups = stock.by_item(events)
    ids = lists.lock_items(c, groups)
    states = _load(c, ids.values())
    now: datetime = _NOW(c)[0].now
    for key, item in ids.items():
        states[item].apply(groups[key], minimum=minimum, now=now)
    changed = {item: state for item, state in states.items() if state.touched}
    _save(c, changed)
    woken = _save_lists(c, changed, now)
    stale = {event.entry_id for state in states.values() for event in state.stale}
    return Applied({key: woken[item] for key, item in ids.items() if item in woken}, stale)


def _load(c: Connection, items: Iterable[UUID]) -> dict[UUID, ItemStock]:
    wanted = _item_rows(items)
    known = lists.levels(c, (row["item_id"] for row in wanted))
    states = {}
    for row in _ITEMS(c, rows=wanted):
        out: Order | None = (row.out_at, lists.entry_order(row.out_entry)) if row.out_at else None
        details = {name: getattr(row, name) for name in _DETAILS.values()}
        states[row.id] = ItemStock(known.get(row.id, {}), out, details)
    return states


def _save(c: Connection, changed: Mapping[UUID, ItemStock]) -> None:
    if not changed:
        return
    _SAVE_ITEMS(
        c,
        rows=[
            {
                "item_id": item,
                **{f"new_{short}": state.details[name] for short, name in _DETAILS.items()},
                "new_out_at": state.out and state.out[0],
                "new_out_entry": state.out and _entry_id(state.out),
            }
            for item, state in changed.items()
        ],
    )
    _SAVE_LEVELS(
        c,
        rows=[_level_row(item, about, state) for item, state in changed.items() for about in state.touched],
    )


def _level_row(item: UUID, about: Options, state: ItemStock) -> dict[str, object]:
    level = state.levels[about]
    return {
        "item_id": item,
        "options": options_text(about),
        "in_stock": level.in_stock,
        "quantity": level.quantity,
        "occurred_at": level.order[0],
        "entry_id": _entry_id(level.order),
        "seen": level.last_in_stock_at,
    }


def _save_lists(c: Connection, changed: Mapping[UUID, ItemStock], now: datetime) -> dict[UUID, list[UUID]]:
    """Brings the waiting lists up to date; returns those concerned by an in-stock event, per item."""
    rows, concerned = [], dict[UUID, list[UUID]]()
    for item, waiting in _waiting(c, changed).items():
        state = changed[item]
        woken = state.woken(waiting.keys())
        for wanted, (list_id, was_in_stock) in waiting.items():
            in_stock = stock.available(wanted, state.levels)
            if in_stock != was_in_stock or wanted in woken:
                rows.append({"list_id": list_id, "now_in_stock": in_stock, "woken": wanted in woken})
            if in_stock and wanted in woken:
                concerned.setdefault(item, []).append(list_id)
    if rows:
        _SAVE_LISTS(c, rows=rows, now=now)
    return concerned


def _waiting(c: Connection, items: Iterable[UUID]) -> dict[UUID, dict[Options, tuple[UUID, bool]]]:
    waiting: dict[UUID, dict[Options, tuple[UUID, bool]]] = {}
    for row in _WAITING(c, rows=_item_rows(items)):
        waiting.setdefault(row.item_id, {})[options_from_text(row.options)] = (row.id, row.in_stock)
    return waiting


def _item_rows(items: Iterable[UUID]) -> list[dict[str, UUID]]:
    return [{"item_id": item} for item in items]


def _entry_id(order: Order) -> str:
    return "-".join(map(str, order[1]))
