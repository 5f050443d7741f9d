"""Takes a batch of decoded events in: commits stock and waiting lists, then rings for those who wait."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from worker.bell import Bell
from worker.catalog import Item
from worker.errors import RedisAway
from worker.events import Event
from worker.store import lists, stock
from worker.store.database import Connection, Database

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch."""

    woken: Mapping[Item, Sequence[UUID]]
    """per item: the waiting lists on which somebody may be told now"""
    stale: Collection[str]
    """entry ids of events older than what was known, or repeated"""


def take_events(database: Database, events: Sequence[Event], minimum: int) -> Taken:
    """Commits what the events say; `minimum` pieces count as in stock. Raises DatabaseAway."""
    return database.write(_apply, events, minimum)


def ring_for(database: Database, bell: Bell, taken: Taken) -> None:
    """Rings for those whom a batch woke. A bell that Redis doesn't take is rung by the next sweep."""
    woken = [list_id for list_ids in taken.woken.values() for list_id in list_ids]
    if not woken:
        return
    rung = database.write(lists.ring, woken)
    try:
        bell.ring(rung)
    except RedisAway as away:
        log.warning("bells.lost", lists=len(rung), reason=str(away))


def _apply(c: Connection, events: Sequence[Event], minimum: int) -> Taken:
    applied = stock.apply(c, events, minimum)
    concerned = [list_id for list_ids in applied.woken.values() for list_id in list_ids]
    waiting = set(lists.with_work(c, concerned)) if concerned else set()
    woken = {item: [list_id for list_id in list_ids if list_id in waiting] for item, list_ids in applied.woken.items()}
    return Taken({item: list_ids for item, list_ids in woken.items() if list_ids}, applied.stale)
