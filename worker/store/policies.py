"""The sending policies that an item has of its own, and what follows at once when they change."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Item
from worker.domain.policies import NOTHING_OWN, Own, Policies
from worker.store.sql import Sql

COLUMNS = "i.min_quantity, i.per_unit, i.wave_seconds, i.settle_seconds"
"""SQL for what an item `i` has of its own, for `own_of`."""
_NOTHING = (None, None, None, None)
_OF_ROW = Sql(f"SELECT {COLUMNS} FROM item AS i WHERE i.id = :item_id")
_OF_ITEM = Sql(f"SELECT {COLUMNS} FROM item AS i WHERE i.app_id = :app AND i.catalog_item_id = :item")

_HAS_OWN = "coalesce(i.min_quantity, i.per_unit, i.wave_seconds, i.settle_seconds) IS NOT NULL"
_COUNT = Sql(f"SELECT count(*) AS n FROM item AS i WHERE {_HAS_OWN}")
_WITH_OWN = Sql(
    f"""SELECT i.app_id, i.catalog_item_id, {COLUMNS} FROM item AS i
    WHERE {_HAS_OWN} ORDER BY i.app_id, i.catalog_item_id"""
)
_SET = Sql(
    """UPDATE item SET min_quantity = :min_quantity, per_unit = :per_unit, wave_seconds = :wave_seconds,
        settle_seconds = :settle_seconds WHERE id = :item_id"""
)
_LATEST = "CASE WHEN :seconds > 0 THEN stockbell_now(:seconds) END"
_SETTLE_LISTS = Sql(
    f"""WITH settling AS MATERIALIZED (
        SELECT w.id AS list_id FROM waiting_list AS w
        WHERE w.item_id = :item_id AND w.settles_at > stockbell_now(:seconds)
        ORDER BY w.id FOR NO KEY UPDATE)
    UPDATE waiting_list SET settles_at = {_LATEST} FROM settling WHERE id = settling.list_id"""
)
_SETTLE_STOCK = Sql(
    f"UPDATE stock SET settles_at = {_LATEST} WHERE item_id = :item_id AND settles_at > stockbell_now(:seconds)"
)


def own_of(row: Any) -> Own:
    """Returns what a row with `COLUMNS` says."""
    said = row.min_quantity, row.per_unit, row.wave_seconds, row.settle_seconds
    return NOTHING_OWN if said == _NOTHING else Own(*said)  # as of most items, in batches of many


def policies_of(c: Connection, item: Item, shop: Policies) -> Policies:
    """Returns what holds for an item, which may be unknown, in a shop with these policies."""
    rows = _OF_ITEM(c, app=item.app_id, item=item.catalog_item_id)
    return shop.of(own_of(rows[0])) if rows else shop


def own(c: Connection, item_id: UUID) -> Own:
    """Returns what an item has of its own."""
    return own_of(_OF_ROW(c, item_id=item_id)[0])


def count_own(c: Connection) -> int:
    """Returns how many items have policies of their own. Reads all items: it is for a person who asks."""
    return int(_COUNT(c)[0].n)


def with_own(c: Connection) -> Sequence[Any]:
    """Returns the items that have policies of their own, in key order. Reads all items: it is for a person who asks."""
    return _WITH_OWN(c)


def set_own(c: Connection, item_id: UUID, policies: Own) -> None:
    """Writes what an item, which is locked, has of its own."""
    _SET(
        c,
        item_id=item_id,
        min_quantity=policies.min_quantity,
        per_unit=policies.per_unit,
        wave_seconds=policies.wave_seconds,
        settle_seconds=policies.settle_seconds,
    )


def settle_sooner(c: Connection, item_id: UUID, seconds: float) -> None:
    """Lets nobody of a locked item wait longer from now than `seconds` for it to settle."""
    _SETTLE_LISTS(c, item_id=item_id, seconds=seconds)
    _SETTLE_STOCK(c, item_id=item_id, seconds=seconds)
