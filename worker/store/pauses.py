"""Pause and resume: sending stops for everything or for an item; the waiting lists are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from worker.catalog import CatalogReference, options_text
from worker.store import lists
from worker.store.database import Sql

ALL = "all"

_PAUSE = Sql(
    """INSERT INTO pause (key, item_id, options, since) VALUES (:key, :item_id, :options, stockbell_now(0))
    ON CONFLICT (key) DO NOTHING"""
)
_RESUME = Sql("DELETE FROM pause WHERE key = :key")
_READ = Sql(
    """SELECT p.key, p.options, i.app_id, i.catalog_item_id FROM pause AS p LEFT JOIN item AS i ON i.id = p.item_id
    ORDER BY i.catalog_item_id"""
)


@dataclass(frozen=True, slots=True)
class Paused:
    """What is paused: everything, and which items."""

    everything: bool
    items: Sequence[str]


def pause(c: Connection, reference: CatalogReference | None) -> bool:
    """Stops sending for an item (None: for all); False if it was paused already."""
    item, options = _item(c, reference)
    return _PAUSE.count(c, key=_key(item, options), item_id=item, options=options) > 0


def resume(c: Connection, reference: CatalogReference | None) -> bool:
    """Lets sending go on; False if it was not paused."""
    return _RESUME.count(c, key=_key(*_item(c, reference))) > 0


def read(c: Connection) -> Paused:
    """What is paused now."""
    rows = _READ(c)
    items = [row.catalog_item_id + ("" if row.options == "{}" else f" {row.options}") for row in rows if row.key != ALL]
    return Paused(any(row.key == ALL for row in rows), items)


def _item(c: Connection, reference: CatalogReference | None) -> tuple[UUID | None, str]:
    if reference is None:
        return None, options_text(())
    return lists.lock_items(c, [reference.item])[reference.item], options_text(reference.options)


def _key(item: UUID | None, options: str) -> str:
    return ALL if item is None else f"{item}:{options}"
