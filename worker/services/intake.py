"""Takes a batch of decoded events in: commits stock, waiting lists and bells, rings, and says what became of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from worker.domain.catalog import Item
from worker.domain.errors import RedisAway
from worker.domain.events import Event
from worker.queue.bell import Bell
from worker.store import lists, stock
from worker.store.database import Connection, Database

EACH_HAS_A_LINE = 20
"""Up to so many events in a batch are logged one by one. In a flood only those that woke somebody are."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch."""

    woken: Mapping[str, int]
    """by entry id: on how many waiting lists an event found somebody who may be told now"""
    stale: Collection[str]
    """entry ids of events older than what was known, or repeated"""
    rung: Sequence[UUID]
    """the waiting lists to ring for"""


def take_events(database: Database, events: Sequence[Event], minimum: int) -> Taken:
    """Commits what the events say; `minimum` pieces count as in stock. Raises DatabaseAway."""
    return database.write(_apply, events, minimum)


def ring_for(bell: Bell, taken: Taken) -> None:
    """Rings for those whom a batch woke. A bell that Redis doesn't take is rung by the next sweep."""
    if not taken.rung:
        return
    try:
        bell.ring(taken.rung)
    except RedisAway as away:
        log.warning("bells.lost", lists=len(taken.rung), reason=str(away))


def report(events: Sequence[Event], taken: Taken) -> None:
    """Logs what became of each event; of many only those that woke somebody, and how many others there were."""
    each = len(events) <= EACH_HAS_A_LINE
    say = log.bind()  # once, since the logger that a module has looks for its settings at every call
    for event in events:
        lists_woken = taken.woken.get(event.entry_id, 0)
        if event.entry_id in taken.stale:
            if each:
                say.info("event.stale", entry_id=event.entry_id, catalog_item_id=_item_id(event))
        elif lists_woken or each:
            say.info(
                "event.accepted",
                entry_id=event.entry_id,
                event_id=event.event_id,
                catalog_item_id=_item_id(event),
                woke_lists=lists_woken,
                **_oddities(event),
            )
    if not each:
        say.info("events.taken", **_counts(events, taken))


def _item_id(event: Event) -> str:
    return event.reference.item.catalog_item_id


def _oddities(event: Event) -> dict[str, object]:
    return ({"clamped": True} if event.clamped else {}) | ({"ignored": event.ignored} if event.ignored else {})


def _counts(events: Sequence[Event], taken: Taken) -> dict[str, int]:
    return {
        "accepted": len(events) - len(taken.stale),
        "stale": len(taken.stale),
        "woke_somebody": len(taken.woken),
        "clamped": sum(event.clamped for event in events),
        "with_parts_ignored": sum(bool(event.ignored) for event in events),
    }


def _apply(c: Connection, events: Sequence[Event], minimum: int) -> Taken:
    applied = stock.apply(c, events, minimum)
    concerned = [list_id for list_ids in applied.woken.values() for list_id in list_ids]
    waiting = set(lists.with_work(c, concerned)) if concerned else set[UUID]()
    # In the same transaction: it ends on the disk once, and a bell that counts as rung is one for stock that is there.
    rung = lists.ring(c, waiting) if waiting else []
    woken = {item: len(waiting.intersection(list_ids)) for item, list_ids in applied.woken.items()}
    return Taken(_by_event(events, minimum, woken, applied.stale), applied.stale, rung)


def _by_event(
    events: Sequence[Event], minimum: int, woken: Mapping[Item, int], stale: Collection[str]
) -> dict[str, int]:
    """How many lists each event woke: of several in-stock events about an item the newest speaks for all."""
    newest: dict[Item, Event] = {}
    for event in events:
        item = event.reference.item
        if woken.get(item) and event.entry_id not in stale and event.is_in_stock(minimum):
            newest[item] = max(newest.get(item, event), event, key=lambda event: event.order)
    return {event.entry_id: woken[item] for item, event in newest.items()}
