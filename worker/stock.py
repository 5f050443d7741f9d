"""What events mean for stock, and for those who wait. Pure: rows in, rows out; the clock is passed in.

The rules are DESIGN section 3's. An event without options speaks about the item as a whole, one with options about
that variant; a variant row *matches* a waiting list whose options are a subset of its own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter

from worker.catalog import Item, Options
from worker.events import Event

Order = tuple[datetime, tuple[int, int]]
"""When something happened: (time, entry id in the stream). Later wins."""

WHOLE_ITEM: Options = ()


@dataclass(frozen=True, slots=True)
class Level:
    """What the newest event said of one variant (or of the whole item)."""

    in_stock: bool
    order: Order
    quantity: int | None = None
    last_in_stock_at: datetime | None = None


Levels = Mapping[Options, Level]


def governing(wanted: Options, levels: Levels) -> list[Level]:
    """The rows that decide for a waiting list: the variants that match it, or else the item's own row."""
    wish = set(wanted)
    variants = [level for options, level in levels.items() if options and wish <= set(options)]
    return variants or [level for options, level in levels.items() if not options]


def available(wanted: Options, levels: Levels) -> bool:
    """Whether somebody who waits for these options can buy now."""
    return any(level.in_stock for level in governing(wanted, levels))


def last_in_stock_at(wanted: Options, levels: Levels) -> datetime | None:
    """When the last in-stock event that concerns these options was applied."""
    times = [level.last_in_stock_at for level in governing(wanted, levels) if level.last_in_stock_at]
    return max(times, default=None)


def concerns(wanted: Options, about: Options, levels: Levels) -> bool:
    """Whether an event about these options decides anything for a waiting list."""
    if about:
        return set(wanted) <= set(about)
    return not any(options and set(wanted) <= set(options) for options in levels)


@dataclass(slots=True)
class ItemStock:
    """One item while events are applied to it: what is stored, and what has changed."""

    levels: dict[Options, Level] = field(default_factory=dict)
    out: Order | None = None
    details: dict[str, str | None] = field(default_factory=dict)
    came_in: set[Options] = field(default_factory=set)
    """What the applied in-stock events were about."""
    touched: set[Options] = field(default_factory=set)
    """Rows that changed and have to be stored."""
    stale: list[Event] = field(default_factory=list)
    """Events that were dropped because something newer, or the same, is known."""

    def apply(self, events: Iterable[Event], *, minimum: int, now: datetime) -> None:
        """Applies one batch's events of this item, oldest first; what is older than what we know wakes nobody.

        In whatever order and batches the same events come, the levels end the same.
        """
        for event in sorted(events, key=_order):
            in_stock, order = event.is_in_stock(minimum), event.order
            if self._is_stale(event, order):
                self.stale.append(event)
                self._apply_late(event, order, in_stock)
            else:
                self._apply(event, order, in_stock, now)

    def _is_stale(self, event: Event, order: Order) -> bool:
        about = event.reference.options
        known = self.levels.get(about)
        if known is not None and order <= known.order:
            return True
        return bool(about) and self.out is not None and order <= self.out

    def _apply(self, event: Event, order: Order, in_stock: bool, now: datetime) -> None:
        about = event.reference.options
        known = self.levels.get(about)
        told_before = known.last_in_stock_at if known else None
        self.levels[about] = Level(in_stock, order, event.quantity, now if in_stock else told_before)
        self.touched.add(about)
        self.details.update(event.details)
        if in_stock:
            self.came_in.add(about)
        elif about == WHOLE_ITEM:
            self._everything_out(order)

    def _apply_late(self, event: Event, order: Order, in_stock: bool) -> None:
        # A variant sold out with its item is known to exist all the same, and an item that came back in since was
        # out for the variants of that time.
        about = event.reference.options
        known = self.levels.get(about)
        if about == WHOLE_ITEM:
            if not in_stock and (self.out is None or order > self.out):
                self._everything_out(order)
        elif known is None or order > known.order:
            self.levels[about] = Level(False, order, event.quantity, known.last_in_stock_at if known else None)
            self.touched.add(about)

    def _everything_out(self, order: Order) -> None:
        self.out = order
        self.touched.add(WHOLE_ITEM)
        for options, level in self.levels.items():
            if level.in_stock and level.order < order:
                self.levels[options] = replace(level, in_stock=False)
                self.touched.add(options)

    def woken(self, waiting: Collection[Options]) -> set[Options]:
        """Which of these waiting lists an applied in-stock event concerned."""
        return {wanted for wanted in waiting if any(concerns(wanted, about, self.levels) for about in self.came_in)}


_order = attrgetter("order")


def by_item(events: Sequence[Event]) -> dict[Item, list[Event]]:
    """Events grouped by item, in key order: the order in which rows are locked."""
    groups: dict[Item, list[Event]] = {}
    for event in events:
        groups.setdefault(event.reference.item, []).append(event)
    return dict(sorted(groups.items()))
