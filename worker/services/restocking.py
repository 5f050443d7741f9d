"""Reports that items are back, and counts who waits: Wix's Report Items Back In Stock, and Count By Catalog References.

A report reaches whom an in-stock event about the same options would reach, whatever the stock is.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from worker.domain.catalog import CatalogReference, Item
from worker.models import Status
from worker.services.selection import MOST_IDS
from worker.services.verbs import Verbs, about_item
from worker.store import reach, stock
from worker.store.actions import Draft
from worker.store.database import Connection, Database
from worker.store.requests import Filter

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process seldom needs


@dataclass(frozen=True, slots=True)
class Reported:
    """An item that is back, and what the mails about it shall say."""

    about: CatalogReference | Sequence[UUID]
    """the reference, or the requests to be sent"""
    details: Mapping[str, str | None]
    """Its name, price and picture, newer than what events said before. Of several items none takes them."""
    extras: Mapping[str, str]
    """texts for the templates of these mails"""


def report(database: Database, bell: "Bell", reported: Reported, who: str) -> int:
    """Orders the mails to the RECEIVED requests that are meant, and rings for them. Returns how many.

    `who` is named in the audit trail. Unknown ids are ignored. Raises DatabaseAway. If Redis is away, the next sweep
    rings.
    """
    which = database.write(_told, reported)
    extras = json.dumps(reported.extras, separators=(",", ":")) if reported.extras else None
    about = reported.about
    meant = about_item(about) if isinstance(about, CatalogReference) else {"id": [str(id_) for id_ in about[:MOST_IDS]]}
    return Verbs(database, bell).report(which, extras, draft=Draft(who, "report", meant)).changed


def _told(c: Connection, reported: Reported) -> Sequence[UUID] | Filter:
    about = reported.about
    if isinstance(about, CatalogReference):
        stock.learn(c, [about.item], reported.details)
        return Filter(status=Status.RECEIVED, lists=reach.lists_of(c, [about])[about])
    items = reach.items_of(c, about)
    if len(items) == 1:
        stock.learn(c, items, reported.details)
    return about


def counts(c: Connection, references: Sequence[CatalogReference]) -> list[Counter[str]]:
    """Returns for each reference how many requests an in-stock event would reach, by status.

    Those that were told are not counted.
    """
    lists = reach.lists_of(c, references)
    by_list = reach.counts(c, {list_id for each in lists.values() for list_id in each})
    nobody = Counter[str]()
    return [sum((by_list.get(list_id, nobody) for list_id in lists[each]), Counter[str]()) for each in references]


class Gaps:
    """Fills in the details that items lack from what storefronts give when somebody signs up.

    Whatever an event says is newer. An item is looked at once in a while only: many customers sign up for few items.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._seen: set[Item] = set()
        self._most = most

    def is_new(self, item: Item) -> bool:
        """Whether this item was not looked at lately. It counts as looked at from now on."""
        if item in self._seen:
            return False
        if len(self._seen) >= self._most:
            self._seen.clear()
        self._seen.add(item)
        return True

    def forget(self, item: Item) -> None:
        """Has an item looked at again: it could not be filled in."""
        self._seen.discard(item)
