"""Pause and resume. A pause stops sending for everything or for one item. The waiting lists are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from worker.domain.catalog import WIX_STORES, CatalogReference, compared_options, options_text
from worker.store import lists
from worker.store.sql import Sql

ALL = "all"

_PAUSE = Sql(
    """INSERT INTO pause (key, item_id, options, since) VALUES (:key, :item_id, :options, stockbell_now(0))
    ON CONFLICT (key) DO NOTHING"""
)
_RESUME = Sql("DELETE FROM pause WHERE key = :key")
_OF_ITEM = Sql("SELECT key, options FROM pause WHERE item_id = :item_id")
_IS_PAUSED = Sql("SELECT 1 FROM pause WHERE key = :key")
_ITEM = Sql("SELECT id FROM item WHERE app_id = :app AND catalog_item_id = :item", id="uuid")
_SPELLING = Sql("SELECT options FROM waiting_list WHERE item_id = :item_id AND options_key = :key")
_KNOWN = Sql(
    """SELECT options FROM waiting_list WHERE item_id = :item_id
    UNION SELECT options FROM stock WHERE item_id = :item_id"""
)
_READ = Sql(
    """SELECT p.key, p.options, i.app_id, i.catalog_item_id FROM pause AS p LEFT JOIN item AS i ON i.id = p.item_id
    ORDER BY i.catalog_item_id"""
)


@dataclass(frozen=True, slots=True)
class Paused:
    """The current pauses: whether everything is paused, and the paused items."""

    everything: bool
    items: Sequence[str]


def pause(c: Connection, reference: CatalogReference | None) -> bool:
    """Pauses sending for an item (None: for all). Returns False if it was paused already.

    Without options all variants of the item are paused, with options only that variant. The item may be unknown.
    """
    if reference is None:
        return _PAUSE.count(c, key=ALL, item_id=None, options=options_text(())) > 0
    item = lists.lock_items(c, [reference.item])[reference.item]
    if _known_key(c, reference):
        return False
    options = _spelling(c, item, reference)
    return _PAUSE.count(c, key=f"{item}:{options}", item_id=item, options=options) > 0


def resume(c: Connection, reference: CatalogReference | None) -> bool:
    """Ends the pause that has the same reference. Returns False if there is none."""
    key = ALL if reference is None else _known_key(c, reference)
    return key is not None and _RESUME.count(c, key=key) > 0


def is_known(c: Connection, reference: CatalogReference) -> bool:
    """Whether a request or an event has ever named this item. With options: exactly this variant."""
    item = _find(c, reference)
    known = _KNOWN(c, item_id=item) if item is not None else ()
    return any(not reference.options or compared_options(row.options) == reference.options for row in known)


def wider(c: Connection, reference: CatalogReference) -> str | None:
    """Returns the wider pause that also stops this item or variant, as text: of everything, or of the whole item."""
    if _IS_PAUSED(c, key=ALL):
        return "everything"
    whole = _known_key(c, CatalogReference(reference.item)) if reference.options else None
    return "the whole item" if whole else None


def read(c: Connection) -> Paused:
    """Returns the current pauses."""
    rows = _READ(c)
    return Paused(any(row.key == ALL for row in rows), [_item_text(row) for row in rows if row.key != ALL])


def _item_text(row: Row[Any]) -> str:
    options = "" if row.options == "{}" else f" {row.options}"
    app = "" if row.app_id == WIX_STORES else f" (app {row.app_id})"
    return f"{row.catalog_item_id}{options}{app}"


def _spelling(c: Connection, item: UUID, reference: CatalogReference) -> str:
    """Returns the options as the waiting list has them, or else as they are compared: `lists.PAUSED` knows both."""
    key = options_text(reference.options)
    found = _SPELLING(c, item_id=item, key=key)
    return str(found[0].options) if found else key


def _known_key(c: Connection, reference: CatalogReference) -> str | None:
    """Returns the key of the pause that has this reference."""
    item = _find(c, reference)
    pauses = _OF_ITEM(c, item_id=item) if item is not None else ()
    return next((row.key for row in pauses if compared_options(row.options) == reference.options), None)


def _find(c: Connection, reference: CatalogReference) -> UUID | None:
    found = _ITEM(c, app=reference.item.app_id, item=reference.item.catalog_item_id)
    return found[0].id if found else None
