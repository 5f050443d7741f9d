"""Whom an in-stock event would reach, by the same matching as events: waiting lists, and how many wait in them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import CatalogReference, Item, Options, compared_options
from worker.domain.stock import Level, with_stock
from worker.store import lists
from worker.store.sql import Sql

_LISTS = Sql(
    """SELECT w.id, w.item_id, w.options, i.app_id, i.catalog_item_id
    FROM ROWS(app text, item text)
    JOIN item AS i ON i.app_id = rows.app AND i.catalog_item_id = rows.item
    JOIN waiting_list AS w ON w.item_id = i.id""",
    id="uuid",
    item_id="uuid",
)
_ITEMS = Sql(
    """SELECT DISTINCT i.app_id, i.catalog_item_id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    JOIN item AS i ON i.id = w.item_id WHERE r.id IN ROWS(request_id uuid)"""
)
_FILL = Sql(
    """UPDATE item SET name = coalesce(name, rows.new_name), price = coalesce(price, rows.new_price),
        image_url = coalesce(image_url, rows.new_image)
    FROM ROWS(app text, item text, new_name text, new_price text, new_image text)
    WHERE app_id = rows.app AND catalog_item_id = rows.item
      AND (name IS NULL OR price IS NULL OR (image_url IS NULL AND rows.new_image IS NOT NULL))"""
)


def _counted(condition: str) -> str:
    return f"""SELECT r.waiting_list_id, r.status, count(*) AS n FROM request AS r
        WHERE r.waiting_list_id IN ROWS(list_id uuid) AND {condition} GROUP BY r.waiting_list_id, r.status"""


# Each condition is that of one partial index of `request`. What was told has none, and is not counted.
_COUNT = Sql(
    " UNION ALL ".join(
        map(
            _counted,
            (
                f"{lists.IN_LINE} AND r.ordered_at IS NULL",
                f"{lists.IN_LINE} AND r.ordered_at IS NOT NULL",
                "r.status = 'RECEIVED' AND r.not_before IS NOT NULL",
                "r.status = 'PROCESSING'",
                "r.status = 'FAILED'",
            ),
        )
    ),
    waiting_list_id="uuid",
)


def lists_of(c: Connection, references: Iterable[CatalogReference]) -> dict[CatalogReference, list[UUID]]:
    """Returns for each reference the waiting lists that an in-stock event about it would wake now."""
    wanted = dict.fromkeys(references)
    waiting: dict[Item, list[tuple[UUID, Options]]] = {}
    ids: dict[Item, UUID] = {}
    for row in _LISTS(c, rows=[_key(item) for item in dict.fromkeys(each.item for each in wanted)]):
        item = Item(row.app_id, row.catalog_item_id)
        ids[item] = row.item_id
        waiting.setdefault(item, []).append((row.id, compared_options(row.options)))
    levels = lists.levels(c, ids.values())
    return {
        each: _woken(levels.get(ids[each.item], {}), each.options, waiting[each.item]) if each.item in ids else []
        for each in wanted
    }


def _woken(levels: Mapping[Options, Level], about: Options, waiting: Sequence[tuple[UUID, Options]]) -> list[UUID]:
    after = with_stock(levels, about)
    return [list_id for list_id, wanted in waiting if after.woken(wanted)]


def counts(c: Connection, list_ids: Iterable[UUID]) -> dict[UUID, Counter[str]]:
    """Returns how many requests of each list are RECEIVED, PROCESSING and FAILED. Lists without any are left out."""
    found: dict[UUID, Counter[str]] = {}
    for row in _COUNT(c, rows=[{"list_id": list_id} for list_id in list_ids]):
        found.setdefault(row.waiting_list_id, Counter())[str(row.status)] += row.n
    return found


def items_of(c: Connection, request_ids: Iterable[UUID]) -> list[Item]:
    """Returns the items that these requests are about."""
    rows = _ITEMS(c, rows=[{"request_id": request_id} for request_id in request_ids])
    return [Item(row.app_id, row.catalog_item_id) for row in rows]


def fill(c: Connection, item: Item, name: str | None, price: str | None, image_url: str | None) -> None:
    """Gives an item those of these details of which it has none. Every event is newer."""
    _FILL(c, rows=[{**_key(item), "new_name": name, "new_price": price, "new_image": image_url}])


def _key(item: Item) -> dict[str, str]:
    return {"app": item.app_id, "item": item.catalog_item_id}
