"""Handles a batch of decoded events: commits stock, waiting lists and bells, rings the bells, and logs the result."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from uuid import UUID

import structlog

from worker.domain.errors import RedisAway
from worker.domain.events import Event, entry_order
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.stock import EntryOrder
from worker.queue.bell import Bell
from worker.store import history, lists, stock
from worker.store.database import Connection, Database

EACH_HAS_A_LINE = 20
"""A batch of up to this many events has a log line per event. In a larger batch only events that woke a list have one.

This keeps the log short when many events come at once.
"""

FLAWS_LISTED = 10
"""The log line of a large batch lists this many kinds of flaws, the most frequent ones, with their counts."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of a batch."""

    woken: Mapping[str, int]
    """by entry id: the number of waiting lists with requests that may be sent because of the event"""
    stale: Collection[str]
    """entry ids of events that were repeated, or older than a known event"""
    rung: Sequence[UUID]
    """the waiting lists to ring bells for"""


def take_events(
    database: Database,
    events: Sequence[Event],
    policies: Policies = NO_POLICIES,
    newest_id: Callable[[], str | None] = lambda: None,
) -> Taken:
    """Commits the events. Raises DatabaseAway.

    `newest_id` tells the newest entry id that the stream has given. It is asked for late events only, and its errors
    are raised.
    """
    return database.write(_apply, events, policies, newest_id)


def ring_for(bell: Bell, taken: Taken) -> None:
    """Rings the bells of the lists that a batch woke. If Redis is away, the next sweep rings them."""
    if not taken.rung:
        return
    try:
        bell.ring(taken.rung)
    except RedisAway as away:
        log.warning("bells.lost", lists=len(taken.rung), reason=str(away))


def report(events: Sequence[Event], taken: Taken) -> None:
    """Logs the result of each event. For a large batch it logs the events that woke a list, and the counts."""
    each = len(events) <= EACH_HAS_A_LINE
    say = log.bind()  # bound once: a module's logger looks up its configuration at every call
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
                **_corrections(event),
            )
    if not each:
        say.info("events.taken", **_counts(events, taken))
        flaws = Counter(flaw for event in events if event.flaws for flaw in event.flaws)
        if flaws:
            say.info("events.flawed", flaws=dict(flaws.most_common(FLAWS_LISTED)))


def _item_id(event: Event) -> str:
    return event.reference.item.catalog_item_id


def _corrections(event: Event) -> dict[str, object]:
    return ({"clamped": True} if event.clamped else {}) | ({"flaws": event.flaws} if event.flaws else {})


def _counts(events: Sequence[Event], taken: Taken) -> dict[str, int]:
    return {
        "accepted": len(events) - len(taken.stale),
        "stale": len(taken.stale),
        "woke_somebody": len(taken.woken),
        "clamped": sum(event.clamped for event in events),
        "with_flaws": sum(bool(event.flaws) for event in events),
    }


def _apply(c: Connection, events: Sequence[Event], policies: Policies, newest_id: Callable[[], str | None]) -> Taken:
    @cache
    def newest_entry() -> EntryOrder | None:
        newest = newest_id()
        return None if newest is None else entry_order(newest)

    applied = stock.apply(c, events, policies, newest_entry)
    concerned = [list_id for list_ids in applied.woken.values() for list_id in list_ids]
    waiting = lists.woken(c, concerned) if concerned else {}
    due = [list_id for list_id, is_open in waiting.items() if is_open]
    # Bells are marked in the same transaction. So there is one commit, and no bell is marked without its stock.
    rung = lists.ring(c, due) if due and not lists.is_closed(c, policies) else []
    woken = {item: sum(each in waiting for each in list_ids) for item, list_ids in applied.woken.items()}
    if unheard := [found for item, found in applied.passed_over.items() if not woken.get(item)]:
        stock.note_unheard(c, unheard)
    by_event = {applied.came_in[item]: n for item, n in woken.items() if n}
    if applied.newest and applied.at:
        history.note(c, applied.newest, applied.at, by_event)
    return Taken(by_event, applied.stale, rung)
