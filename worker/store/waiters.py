"""Who waits for an item, under which options and why still; and for which other items with a similar id people wait."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Label, Row, Select, func, select, text, union_all
from sqlmodel import col

from worker.domain.catalog import Item
from worker.store import lists, quiet_hours
from worker.store.requests import R, W, waiting
from worker.store.sql import Sql

MOST_NEAR = 3
_ITEM = Sql(
    "SELECT id, out_at FROM item WHERE app_id = :app AND catalog_item_id = :item",
    id="uuid",
    out_at="time",
)
_ENDED = Sql(
    """SELECT r.status, count(*) AS n FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    JOIN item AS i ON i.id = w.item_id
    WHERE i.app_id = :app AND i.catalog_item_id = :item AND r.status <> 'RECEIVED'
    GROUP BY r.status ORDER BY r.status"""
)
# Each condition is that of one partial index of `request`.
_EACH_ONE_INDEX = (
    f"{lists.IN_LINE} AND r.ordered_at IS NULL",
    f"{lists.IN_LINE} AND r.ordered_at IS NOT NULL",
    "r.status = 'RECEIVED' AND r.not_before IS NOT NULL",
)
# Blanks and case do not count. One id may be a part of the other (a prefix like `sku-`), unless it is very short.
_NEAR = Sql(
    """SELECT near.app_id, near.catalog_item_id, count(*) AS n FROM (
        SELECT id, app_id, catalog_item_id, lower(replace(catalog_item_id, ' ', '')) AS folded FROM item) AS near
    JOIN waiting_list AS w ON w.item_id = near.id
    JOIN request AS r ON r.waiting_list_id = w.id AND r.status = 'RECEIVED'
    WHERE (near.app_id <> :app OR near.catalog_item_id <> :item) AND (near.folded = :folded
        OR length(near.folded) > 2 AND replace(:folded, near.folded, '') <> :folded
        OR length(:folded) > 2 AND replace(near.folded, :folded, '') <> near.folded)
    GROUP BY near.app_id, near.catalog_item_id, near.folded
    ORDER BY CASE WHEN near.folded = :folded THEN 0 ELSE 1 END, n DESC, near.catalog_item_id, near.app_id LIMIT :most"""
)


def item(c: Connection, which: Item) -> Row[Any] | None:
    """Returns the id of an item, and when the whole item last went out of stock. None: nobody named it yet."""
    return next(iter(_ITEM(c, app=which.app_id, item=which.catalog_item_id)), None)


def of_item(c: Connection, item_id: UUID) -> Sequence[Row[Any]]:
    """Returns for each list of an item how many RECEIVED requests wait, by their reason as `requests show` says it.

    Those whom an admin has ordered to be told are counted apart (`is_ordered`).
    """
    reason = waiting(is_quiet=quiet_hours.quiet_until(c) is not None).label("waiting")
    each = union_all(*(_those(item_id, reason, condition) for condition in _EACH_ONE_INDEX)).subquery()
    columns = each.c.id, each.c.options, each.c.waiting, each.c.is_ordered, each.c.in_stock, each.c.settles_at
    return c.execute(select(*columns, func.count().label("n")).group_by(*columns).order_by(*columns[1:])).all()


def _those(item_id: UUID, reason: Label[str], condition: str) -> Select[*tuple[Any, ...]]:
    return (
        select(
            col(W.id),
            col(W.options),
            col(W.in_stock),
            col(W.settles_at),
            reason,
            col(R.ordered_at).is_not(None).label("is_ordered"),
        )
        .select_from(R)
        .join(W, col(W.id) == col(R.waiting_list_id))
        .where(col(W.item_id) == item_id, text(condition))
    )


def ended(c: Connection, which: Item) -> dict[str, int]:
    """Returns how many requests for an item do not wait: being sent, told already, or failed. Reads all requests."""
    return {row.status: row.n for row in _ENDED(c, app=which.app_id, item=which.catalog_item_id)}


def near(c: Connection, which: Item) -> Sequence[Row[Any]]:
    """Returns the items with a similar id that people wait for, those that differ in case, blanks or app only first.

    It reads the ids of all items, so it is for a person who asks, and not for the line.
    """
    folded = which.catalog_item_id.replace(" ", "").lower()
    return _NEAR(c, app=which.app_id, item=which.catalog_item_id, folded=folded, most=MOST_NEAR)
