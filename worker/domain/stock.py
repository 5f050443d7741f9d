"""What events mean for stock, and for those who wait. Pure: rows in, rows out; the clock is passed in.

The rules are DESIGN section 3's. An event without options speaks about the item as a whole, one with options about
that variant; a variant row *matches* a waiting list whose options are a subset of its own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter

from worker.domain.catalog import Item, Options
from worker.domain.events import Event

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


BLOCK = 1024
"""Rows whose bits make one number: what few of them have takes no more than this, however many rows there are."""
_NEVER = datetime.min.replace(tzinfo=UTC)


class Levels:
    """What is known of one item, laid out once for all who wait for it: no list has to look at each row.

    An item may have thousands of rows, and as many waiting lists. So a set of rows is a number with a bit for each, and
    of each option it is known which rows have it.
    """

    def __init__(self, levels: Mapping[Options, Level], came_in: Collection[Options] = ()) -> None:
        """`came_in`: what the in-stock events that were just applied were about."""
        # In the order in which they were last in stock: of those that decide, the highest bit tells when.
        rows = sorted(levels.items(), key=_last_in_stock)
        self._times = [level.last_in_stock_at for _, level in rows]
        self._in_stock = self._came_in = self._item = 0
        for place, (about, level) in enumerate(rows):
            self._in_stock |= level.in_stock << place
            self._came_in |= (about in came_in) << place
            self._item |= (about == WHOLE_ITEM) << place
        self._blocks = [(first, *_having(rows[first : first + BLOCK])) for first in range(0, len(rows), BLOCK)]

    def available(self, wanted: Options) -> bool:
        """Whether somebody who waits for these options can buy now."""
        return bool(self._governing(wanted) & self._in_stock)

    def last_in_stock_at(self, wanted: Options) -> datetime | None:
        """When the last in-stock event that concerns these options was applied."""
        governing = self._governing(wanted)
        return self._times[governing.bit_length() - 1] if governing else None

    def woken(self, wanted: Options) -> bool:
        """Whether one of the events that brought something in decides anything for a waiting list."""
        return bool(self._governing(wanted) & self._came_in)

    def _governing(self, wanted: Options) -> int:
        """The rows that decide for a waiting list: the variants that match it, or else the item's own row."""
        matching = 0
        for first, variants, having in self._blocks:
            rows = variants
            for option in wanted:
                rows &= having.get(option, 0)
            matching |= rows << first
        return matching or self._item


def _last_in_stock(row: tuple[Options, Level]) -> datetime:
    return row[1].last_in_stock_at or _NEVER


def _having(rows: Iterable[tuple[Options, Level]]) -> tuple[int, dict[tuple[str, str], int]]:
    """Which of these rows are variants, and per option which have it."""
    variants, having = 0, dict[tuple[str, str], int]()
    for place, (about, _) in enumerate(rows):
        for option in about:
            having[option] = having.get(option, 0) | 1 << place
        variants |= (about != WHOLE_ITEM) << place
    return variants, having


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
        known_out = self.out
        for event in sorted(events, key=_order):
            in_stock, order = event.is_in_stock(minimum), event.order
            if self._is_stale(event, order):
                self.stale.append(event)
                self._apply_late(event, order, in_stock)
            else:
                self._apply(event, order, in_stock, now)
        if self.out is not None and self.out != known_out:
            self._everything_out(self.out)

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
            self.out = order

    def _apply_late(self, event: Event, order: Order, in_stock: bool) -> None:
        # A variant sold out with its item is known to exist all the same, and an item that came back in since was
        # out for the variants of that time.
        about = event.reference.options
        known = self.levels.get(about)
        if about == WHOLE_ITEM:
            if not in_stock and (self.out is None or order > self.out):
                self.out = order
        elif known is None or order > known.order:
            self.levels[about] = Level(False, order, event.quantity, known.last_in_stock_at if known else None)
            self.touched.add(about)

    def _everything_out(self, order: Order) -> None:
        # Once for the batch's last one: there may be as many as it has events.
        self.touched.add(WHOLE_ITEM)
        for options, level in self.levels.items():
            if level.in_stock and level.order < order:
                self.levels[options] = replace(level, in_stock=False)
                self.touched.add(options)


_order = attrgetter("order")


def by_item(events: Sequence[Event]) -> dict[Item, list[Event]]:
    """Events grouped by item, in key order: the order in which rows are locked."""
    groups: dict[Item, list[Event]] = {}
    for event in events:
        groups.setdefault(event.reference.item, []).append(event)
    return dict(sorted(groups.items()))
