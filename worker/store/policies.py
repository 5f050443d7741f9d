"""The sending policies that an item has of its own."""

from typing import Any

from sqlalchemy import Connection

from worker.domain.catalog import Item
from worker.domain.policies import Own, Policies
from worker.store.sql import Sql

COLUMNS = "i.min_quantity, i.per_unit, i.wave_seconds, i.settle_seconds"
"""SQL for what an item `i` has of its own, for `own_of`."""
_OF_ITEM = Sql(f"SELECT {COLUMNS} FROM item AS i WHERE i.app_id = :app AND i.catalog_item_id = :item")


def own_of(row: Any) -> Own:
    """Returns what a row with `COLUMNS` says."""
    return Own(row.min_quantity, row.per_unit, row.wave_seconds, row.settle_seconds)


def policies_of(c: Connection, item: Item, shop: Policies) -> Policies:
    """Returns what holds for an item, which may be unknown, in a shop with these policies."""
    rows = _OF_ITEM(c, app=item.app_id, item=item.catalog_item_id)
    return shop.of(own_of(rows[0])) if rows else shop
