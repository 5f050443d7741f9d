"""What an event would do: how it is understood, whom it would wake, and who would not be woken, and why.

The event is applied as the listener does it, in a transaction that is rolled back. So the two can't disagree.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import WIX_STORES, Item, Options, compared_options, options_from_text, options_text
from worker.domain.difference import difference, options_words
from worker.domain.events import Event, decode
from worker.domain.policies import Policies
from worker.domain.stock import Level, Levels
from worker.services.outlook import Group, outlook_of
from worker.services.wire import timestamp
from worker.store import lists, stock, waiters
from worker.store.database import Connection, Database
from worker.store.policies import policies_of

MOST_LISTS: Final = 50
"""How many lists get a line and a reason, those with most people first. An item may have thousands."""
LEFT: Final = frozenset({"noStock", "soldOut", "paused", "unconfirmed"})
"""Why requests wait that go out neither because of the event nor without it. All others go out by themselves."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The requests that wait under one set of options, after the event."""

    options: Options
    requests: Mapping[str, int]
    """how many, by the reason why they wait, as `requests show` says it"""
    is_woken: bool
    why_not: str
    """why those that are left would not be told; not said of more than `MOST_LISTS`"""

    @property
    def told(self) -> int:
        """How many would be told because of the event."""
        return sum(n for why, n in self.requests.items() if why not in LEFT) if self.is_woken else 0

    @property
    def left(self) -> int:
        """How many would wait on."""
        return sum(n for why, n in self.requests.items() if why in LEFT)

    @property
    def going(self) -> int:
        """How many go out without the event, for example because an earlier one has woken them."""
        return sum(self.requests.values()) - self.told - self.left


@dataclass(frozen=True, slots=True)
class Near:
    """An item with a similar id, or of another app, and how many requests wait for it."""

    item: Item
    requests: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event would do."""

    event: Event
    is_in_stock: bool
    waiting: Sequence[Waiting]
    others: Mapping[str, int]
    """how many requests for the item do not wait, by status; only where nobody would be told, as `near`"""
    near: Sequence[Near]
    next: Sequence[str] = ()
    """where sending policies hold some back: what would happen next with all who wait, in sentences"""

    @property
    def told(self) -> int:
        """How many requests would be sent because of the event, now or later."""
        return sum(each.told for each in self.waiting)

    @property
    def is_well(self) -> bool:
        """Whether somebody would be told, or nobody waits."""
        return self.told > 0 or not any(each.left for each in self.waiting)

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON, for programs."""
        event = self.event
        return {
            "ok": self.is_well,
            "understood": True,
            "event": {
                "catalogItemId": event.reference.item.catalog_item_id,
                "appId": event.reference.item.app_id,
                "options": dict(event.reference.spelled),
                "inStock": self.is_in_stock,
                "quantity": event.quantity,
                "occurredAt": timestamp(event.occurred_at),
                "clamped": event.clamped,
                "details": dict(event.details),
                "flaws": list(event.flaws),
            },
            "told": self.told,
            "waiting": [
                {
                    "options": dict(each.options),
                    "requests": dict(each.requests),
                    "told": each.told,
                    "left": each.left,
                    "why": each.why_not or None,
                }
                for each in self.waiting
            ],
            "next": list(self.next),
            "others": dict(self.others),
            "near": [
                {"catalogItemId": each.item.catalog_item_id, "appId": each.item.app_id, "requests": each.requests}
                for each in self.near
            ],
        }

    def lines(self) -> Iterator[tuple[str, bool | None, str]]:
        """Yields what `doctor --event` prints: the name of a line, whether it is well, and the text."""
        event = self.event
        yield "event", True, event_words(event, is_in_stock=self.is_in_stock)
        for flaw in event.flaws:
            yield "left out", None, flaw
        if event.clamped:
            yield "time", None, "occurredAt is in the future, so the event counts as of now"
        told = [each for each in self.waiting if each.told]
        for each in told[:MOST_LISTS]:
            yield "told", True, f"{_people(each.told)} for {options_words(each.options)}"
        if more := sum(each.told for each in told[MOST_LISTS:]):
            yield "told", True, f"{more:,} more"
        for sentence in self.next:
            yield "then", None, sentence
        for each in self.waiting:
            if each.why_not:
                who = f"{_people(each.left)} for {options_words(each.options)}"
                yield "not told", None if self.told else False, f"{who}: {each.why_not}"
        if more := sum(each.left for each in self.waiting if not each.why_not):
            yield "not told", None if self.told else False, f"{more:,} more"
        if going := sum(each.going for each in self.waiting):
            yield "going out", None, f"{_people(going)}: they are told without this event"
        if not any(each.requests for each in self.waiting):
            yield "nobody", None, f"nobody waits for {_item_words(event.reference.item)}"
        if self.others:
            counts = [f"{n:,} {status}" for status, n in self.others.items()]
            yield "others", None, f"requests for the item that do not wait: {', '.join(counts)}"
        for near in self.near:
            yield "similar", None, f"{_people(near.requests)} for {_item_words(near.item)}"


def event_words(event: Event, *, is_in_stock: bool) -> str:
    """Returns what an event says, for people."""
    stock_words = "in stock" if is_in_stock else "too few to be in stock" if _is_too_little(event) else "out of stock"
    quantity = "" if event.quantity is None else f", quantity {event.quantity:,}"
    details = f", with {', '.join(sorted(event.details))}" if event.details else ""
    about = f" with {options_words(event.reference.spelled)}" if event.reference.options else ", the whole item"
    return (
        f"{_item_words(event.reference.item)}{about}: {stock_words}{quantity}, "
        f"as of {timestamp(event.occurred_at)}{details}"
    )


def _is_too_little(event: Event) -> bool:
    """Whether an event that does not count as in stock has pieces, and does not say itself that there is no stock."""
    return event.in_stock is None and event.quantity is not None and event.quantity > 0


def _people(requests: int) -> str:
    return f"{requests:,} who wait{'s' * (requests == 1)}"


def _item_words(item: Item) -> str:
    app = "" if item.app_id == WIX_STORES else f" (app {item.app_id})"
    return f'"{item.catalog_item_id}"{app}'


def outcome_of(database: Database, event: str, policies: Policies, now: datetime) -> Outcome:
    """Returns what an event (JSON text) that came in now would do.

    Changes nothing. Raises BadEvent, with the reason, if it would be a dead letter; and DatabaseAway.
    """
    return outcome_of_entry(database, {b"event": event.encode(errors="surrogateescape")}, policies, now)


def outcome_of_entry(database: Database, fields: Mapping[bytes, bytes], policies: Policies, now: datetime) -> Outcome:
    """Does the same for the fields of a stream entry, such as those of a dead letter that is replayed."""
    decoded = decode(f"{int(now.timestamp() * 1000)}-0", fields)
    policies = database.read(policies_of, decoded.reference.item, policies)
    waiting, then = database.write(_tried, decoded, policies)
    is_heard = any(each.told for each in waiting)
    # These read many rows, and the trial locks the item. So they come after it, and only where they may explain.
    others, near = ({}, []) if is_heard else database.read(_beside, decoded.reference.item)
    return Outcome(decoded, decoded.is_in_stock(policies.min_quantity), waiting, others, near, then)


_Trial = tuple[Sequence[Waiting], Sequence[str]]


def _tried(c: Connection, event: Event, policies: Policies) -> _Trial:
    trial = c.begin_nested()
    try:
        return _waiting(c, event, policies)
    finally:
        trial.rollback()


def _beside(c: Connection, item: Item) -> tuple[dict[str, int], list[Near]]:
    near = [Near(Item(row.app_id, row.catalog_item_id), row.n) for row in waiters.near(c, item)]
    return waiters.ended(c, item), near


def _waiting(c: Connection, event: Event, policies: Policies) -> _Trial:
    """Applies the event, and returns who waits for its item, and why still; and what happens next with them."""
    item = event.reference.item
    before = waiters.item(c, item)
    if before is None:
        return [], []
    known = lists.levels(c, [before.id]).get(before.id, {})
    applied = stock.apply(c, [event], policies)
    levels = lists.levels(c, [before.id])[before.id]
    is_stale = event.entry_id in applied.stale
    stale = _why_stale(event, known.get(event.reference.options), before.out_at) if is_stale else ""
    woken = set(applied.woken.get(item, ()))
    waiting: list[Waiting] = []
    rows = waiters.of_item(c, before.id)
    for (list_id, options), requests in _by_list(rows).items():
        is_woken, why = list_id in woken, ""
        if len(waiting) < MOST_LISTS and not is_woken:
            why = "the event says out of stock"
            if event.is_in_stock(policies.min_quantity):
                why = _why_not_woken(options, event, levels, stale)
            elif _is_too_little(event):
                why = f"the item is in stock from {policies.min_quantity:,} pieces on"
        waiting.append(Waiting(options, requests, is_woken, _why_not(requests, why)))
    holds_back = policies.per_unit is not None or policies.settle_seconds > 0 or policies.window is not None
    return waiting, _next(c, before.id, rows, policies, applied.at) if holds_back and applied.at else ()


def _by_list(rows: Sequence[Any]) -> dict[tuple[UUID, Options], dict[str, int]]:
    """How many requests wait in each list, by the reason; the lists with most people first."""
    found: dict[tuple[UUID, Options], dict[str, int]] = {}
    for row in rows:
        reasons = found.setdefault((row.id, options_from_text(row.options)), {})
        reasons[row.waiting] = reasons.get(row.waiting, 0) + row.n
    return dict(sorted(found.items(), key=lambda each: -sum(each[1].values())))


def _next(c: Connection, item_id: UUID, rows: Sequence[Any], policies: Policies, now: datetime) -> Sequence[str]:
    """Returns what happens next with those who wait for an item, whose rows these are."""
    ordered: Counter[UUID] = Counter()
    about: dict[UUID, Any] = {}
    for row in rows:
        about[row.id] = row
        ordered[row.id] += row.n if row.is_ordered else 0
    groups = [
        Group(options, reasons, about[id_].in_stock, about[id_].settles_at, ordered[id_])
        for (id_, options), reasons in _by_list(rows).items()
    ]
    return outlook_of(lists.stored_levels(c, [item_id]), groups, policies, now).sentences()


def _why_stale(event: Event, known: Level | None, out_at: datetime | None) -> str:
    happened = f"this one happened at {timestamp(event.occurred_at)}"
    if known is not None and event.order <= known.order:
        said = "in stock" if known.in_stock else "out of stock"
        return f"an event of {timestamp(known.order[0])} said {said}, and {happened}, so it is too late"
    return f"the whole item went out of stock at {timestamp(out_at) if out_at else 'a later time'}, and {happened}"


def _why_not(requests: Mapping[str, int], why_not_woken: str) -> str:
    """Why those that are left would not be told; "" if nobody is left. `why_not_woken` is "" for a woken list."""
    if not LEFT.intersection(requests):
        return ""
    paused = "they are paused; see `stockbell resume`" if "paused" in requests else ""
    unconfirmed = "they have not confirmed yet" if "unconfirmed" in requests else ""
    return "; and ".join(filter(None, (why_not_woken, paused, unconfirmed)))


def _why_not_woken(wanted: Options, event: Event, levels: Mapping[Options, Level], stale: str) -> str:
    about = event.reference.options
    compared = compared_options(options_text(wanted))
    deciding = [options for options, level in levels.items() if _decides(options, level, compared)]
    if about not in deciding:
        return difference(wanted, event.reference.spelled) or "the event is about other options"
    if stale:
        return stale
    others = [options for options in deciding if options != about] or [about]
    newest = max(others, key=lambda options: levels[options].order)
    said = "in stock" if levels[newest].in_stock else "out of stock"
    return (
        f"their variant has events of its own: that of {timestamp(levels[newest].order[0])} about "
        f"{options_words(newest)} said {said}"
    )


def _decides(options: Options, level: Level, wanted: Options) -> bool:
    """Whether this stock row, if it were the only one, would be about those who wait for these options."""
    return Levels({options: level}, [options]).woken(wanted)
