"""Applies events to stock rows, and decides which waiting lists have stock. Pure; the clock is passed in.

`docs/publishing.md` has the rules for publishers. An event without options is about the whole item, one with options
about that variant. A variant row *matches* a waiting list if the options of the list are a subset of the row's options,
or if both have the same variantId. It decides for that list, unless it went out of stock with the whole item: then it
follows the item.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter

from worker.domain.catalog import VARIANT, Item, Options
from worker.domain.events import Event
from worker.domain.ledger import NO_SEATS, Seats, come_in, counted, gone_out
from worker.domain.policies import NO_POLICIES, Policies

EntryOrder = tuple[int, int]
"""The id of a stream entry as a number."""
Order = tuple[datetime, EntryOrder]
"""The order of events: (time, stream entry id). The later event wins."""

WHOLE_ITEM: Options = ()

AHEAD = timedelta(seconds=1)
"""The most that Redis' clock may be ahead of the database's. Entries further ahead count as arriving now."""
_TICK = timedelta(microseconds=1)


def _unknown() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Level:
    """The stock level that the newest event reported for one variant or for the whole item."""

    in_stock: bool
    order: Order
    quantity: int | None = None
    last_in_stock_at: datetime | None = None
    details: frozenset[str] = frozenset()
    """The names of the details that this event gave. So it is known without another write which event set them."""
    follows_item: bool = False
    """The event said "in stock", and a newer one put the whole item out of stock. It is in stock when the item is."""
    said: bool | None = None
    """What the event itself said of stock. None: its quantity decides."""
    seats: Seats = NO_SEATS
    settles_at: datetime | None = None
    """Until then nobody is told because of this row: it has just come in."""


BLOCK = 1024
"""Rows per bit set. It limits the size of the bit set of an option that only a few rows have."""
_NEVER = datetime.min.replace(tzinfo=UTC)


class Levels:
    """An index over the stock rows of one item, built once and used for all its waiting lists.

    An item may have thousands of rows and thousands of waiting lists. So a set of rows is an integer with one bit per
    row, and there is one such bit set per option. No lookup has to visit each row.
    """

    def __init__(self, levels: Mapping[Options, Level], came_in: Collection[Options] = ()) -> None:
        """`came_in` has the options of the in-stock events that were just applied."""
        # Sorted by the time they were last in stock: the highest bit of a set gives the latest time.
        rows = sorted(levels.items(), key=_last_in_stock)
        self._times = [level.last_in_stock_at for _, level in rows]
        self._options = [about for about, _ in rows]
        self._settling = [level.settles_at for _, level in rows]
        self._in_stock = self._came_in = self._item = self._following = 0
        for place, (about, level) in enumerate(rows):
            self._in_stock |= level.in_stock << place
            self._came_in |= (about in came_in) << place
            self._item |= (about == WHOLE_ITEM) << place
            self._following |= level.follows_item << place
        self._is_item_newest = _is_item_newest(levels)
        self._blocks = [(first, *_having(rows[first : first + BLOCK])) for first in range(0, len(rows), BLOCK)]

    def available(self, wanted: Options) -> bool:
        """Whether an item with these options is in stock."""
        return bool(self._governing(wanted) & self._in_stock)

    def deciding(self, wanted: Options) -> list[Options]:
        """Returns the rows in stock because of which an item with these options is in stock."""
        return [self._options[place] for place in self._deciding(wanted)]

    def _deciding(self, wanted: Options) -> Iterator[int]:
        rows = self._governing(wanted) & self._in_stock
        while rows:
            place = rows.bit_length() - 1
            yield place
            rows ^= 1 << place

    def settles_at(self, wanted: Options) -> datetime | None:
        """Returns until when an item with these options has to stay in stock. None: nobody has to wait for that."""
        times = [self._settling[place] for place in self._deciding(wanted)]
        return None if None in times else min((time for time in times if time), default=None)

    def last_in_stock_at(self, wanted: Options) -> datetime | None:
        """Returns the time when the last in-stock event for these options was applied."""
        governing = self._governing(wanted)
        return self._times[governing.bit_length() - 1] if governing else None

    def woken(self, wanted: Options) -> bool:
        """Whether one of the in-stock events that were just applied counts for a waiting list with these options."""
        return bool(self._governing(wanted) & self._came_in)

    def _governing(self, wanted: Options) -> int:
        """Returns the rows that decide for a waiting list: the matching variants, or else the row of the whole item.

        The item decides too where a variant follows it, and for those who want any variant if it is the newest row.
        """
        matching = 0
        wanted = _deciding(wanted)
        for first, variants, having in self._blocks:
            rows = variants
            for option in wanted:
                rows &= having.get(option, 0)
            matching |= rows << first
        if matching & self._following or (self._is_item_newest and not wanted):
            matching |= self._item
        return matching or self._item


def matches(wanted: Options, about: Options) -> bool:
    """Whether an event about a variant with options `about` counts for a waiting list with options `wanted`."""
    return set(_deciding(wanted)) <= set(about)


def _deciding(wanted: Options) -> Options:
    """Returns the options that select a variant: the variantId alone, if there is one."""
    for option in wanted:
        if option[0] == VARIANT:
            return (option,)
    return wanted


def _is_item_newest(levels: Mapping[Options, Level]) -> bool:
    item = levels.get(WHOLE_ITEM)
    return item is not None and all(level.order <= item.order for level in levels.values())


def _last_in_stock(row: tuple[Options, Level]) -> datetime:
    return row[1].last_in_stock_at or _NEVER


def _having(rows: Iterable[tuple[Options, Level]]) -> tuple[int, dict[tuple[str, str], int]]:
    """Returns the bit set of the rows that are variants, and one bit set per option."""
    variants, having = 0, dict[tuple[str, str], int]()
    for place, (about, _) in enumerate(rows):
        for option in about:
            having[option] = having.get(option, 0) | 1 << place
        variants |= (about != WHOLE_ITEM) << place
    return variants, having


@dataclass(slots=True)
class ItemStock:
    """The stored stock of one item while events are applied to it, and the changes to store."""

    levels: dict[Options, Level] = field(default_factory=dict)
    out: Order | None = None
    details: dict[str, str | None] = field(default_factory=dict)
    details_at: dict[str, Order] = field(default_factory=dict)
    """The event that last set each detail, where no level tells it. Without either it is older than every event."""
    came_in: set[Options] = field(default_factory=set)
    """The options of the in-stock events that were applied."""
    touched: set[Options] = field(default_factory=set)
    """Options of the rows that changed and must be stored."""
    reseated: set[Options] = field(default_factory=set)
    """Those of them whose seats changed, or until when they have to stay in stock."""
    applied: dict[tuple[Options, bool], tuple[Order, Event]] = field(default_factory=dict)
    """The newest events that were applied, by what they are about and whether they say "in stock", with their place."""
    stale: list[Event] = field(default_factory=list)
    """Events that were dropped because a newer or the same event is known."""
    outs: list[Mapping[Options, Level]] = field(default_factory=list)
    """The levels amid the events, before something came in: those of items that have to settle after a break."""

    def apply(
        self,
        events: Iterable[Event],
        *,
        policies: Policies = NO_POLICIES,
        now: datetime,
        newest_entry: Callable[[], EntryOrder | None] = _unknown,
    ) -> None:
        """Applies one batch of events of this item, oldest first. Events older than the stored level wake nobody.

        The final levels and details do not depend on the order or the batches in which events arrive. Details belong to
        the item, whatever variant an event is about: an event that is stale for its variant may have the newest price.
        `newest_entry` tells the newest id that the stream has given, if known; it is asked only about late entries.
        """
        known_out, came_out = self.out, False
        set_by = self._set_by()
        placed = self._in_order(events, now, newest_entry)
        settles = len(placed) > 1 and self._settles(policies)
        for order, event in placed:
            in_stock = event.is_in_stock(policies.min_quantity)
            if in_stock and came_out and settles:
                self.outs.append(self._as_it_is())
            came_out = not in_stock
            self._learn(event.details, order, set_by)
            if self._is_stale(event, order):
                self.stale.append(event)
                self._apply_late(event, order, in_stock)
            else:
                self._apply(event, order, in_stock, policies, now)
        if self.out is not None and self.out != known_out:
            self._everything_out(self.out)
        self._keep_orders(set_by)

    def learn(self, details: Mapping[str, str | None], order: Order) -> None:
        """Takes details that were told beside the events, as if by one with this order that says nothing of stock."""
        set_by = self._set_by()
        self._learn(details, order, set_by)
        self._keep_orders(set_by)

    def _in_order(
        self, events: Iterable[Event], now: datetime, newest_entry: Callable[[], EntryOrder | None]
    ) -> list[tuple[Order, Event]]:
        known = [level.order for level in self.levels.values()]
        known += self.details_at.values()
        if self.out is not None:
            known.append(self.out)
        latest = max(known)[0] if known else _NEVER
        future = _latest_id(now)
        placed = []
        for event in events:
            order = event.order
            if order[1][0] > future or (order[0] < latest and event.is_as_entered):
                order = placed_among(known, event, now, newest_entry)
            placed.append((order, event))
        if len(placed) > 1:
            placed.sort(key=itemgetter(0))
        return placed

    def _set_by(self) -> dict[str, Order]:
        """The event that last set each detail."""
        orders = dict(self.details_at)
        for level in self.levels.values():
            for name in level.details:
                if name not in orders or orders[name] < level.order:
                    orders[name] = level.order
        return orders

    def _learn(self, details: Mapping[str, str | None], order: Order, set_by: dict[str, Order]) -> None:
        compared, is_newer = None, True
        for name, value in details.items():
            known = set_by.get(name)
            if known is not compared:  # mostly one event set them all, so one comparison is enough
                compared, is_newer = known, known is None or known < order
            if is_newer:
                self.details[name], set_by[name] = value, order

    def _keep_orders(self, set_by: Mapping[str, Order]) -> None:
        """Notes the events of those details that no level tells: mostly none, since events repeat the same names."""
        told = {name for level in self.levels.values() for name in level.details if set_by[name] is level.order}
        if self.details_at or len(told) < len(set_by):
            self.details_at = {name: order for name, order in set_by.items() if name not in told}

    def _is_stale(self, event: Event, order: Order) -> bool:
        about = event.reference.options
        known = self.levels.get(about)
        if known is not None and order <= known.order:
            return True
        return bool(about) and self.out is not None and order <= self.out

    def _apply(self, event: Event, order: Order, in_stock: bool, policies: Policies, now: datetime) -> None:
        about = event.reference.options
        known = self.levels.get(about)
        whole = self.levels.get(WHOLE_ITEM)
        has_policy = policies.per_unit is not None or policies.settle_seconds > 0
        if has_policy or (known and (known.seats is not NO_SEATS or known.settles_at)) or (whole and whole.settles_at):
            was_in = self._is_in(about, known)
            moved = self._moved(known, event.quantity, policies, now, in_stock=in_stock, was_in=was_in)
            if (
                in_stock
                and about
                and whole
                and (known is None or known.follows_item)
                and self._is_in(WHOLE_ITEM, whole)
            ):
                moved = moved[0], whole.settles_at  # it was in stock with the whole item
        else:  # as in most shops
            moved = NO_SEATS, None
        seen = now if in_stock else known.last_in_stock_at if known else None
        details = frozenset(event.details)
        self._put(about, known, Level(in_stock, order, event.quantity, seen, details, False, event.in_stock, *moved))
        self.applied[about, in_stock] = order, event
        if in_stock:
            self.came_in.add(about)
        elif about == WHOLE_ITEM:
            self.out = order

    def _put(self, about: Options, known: Level | None, level: Level) -> None:
        """Puts a level in the place of the one that was known."""
        self.levels[about] = level
        self.touched.add(about)
        seats, settles_at = (known.seats, known.settles_at) if known else (NO_SEATS, None)
        if level.seats is not seats or level.settles_at != settles_at:
            self.reseated.add(about)

    def _as_it_is(self) -> Mapping[Options, Level]:
        """The levels, of which those that go out with the whole item are out already."""
        return {
            about: _put_out(level) if level.in_stock and not self._is_in(about, level) else level
            for about, level in self.levels.items()
        }

    def _is_in(self, about: Options, known: Level | None) -> bool:
        """Whether a row is in stock. What goes out with the item is only set so when all events are applied."""
        if known is None or not known.in_stock:
            return False
        return about == WHOLE_ITEM or self.out is None or known.order >= self.out

    def _settles(self, policies: Policies) -> bool:
        """Whether something that comes in has to stay in stock, by these policies or those of before."""
        return policies.settle_seconds > 0 or any(level.settles_at for level in self.levels.values())

    def _moved(
        self,
        known: Level | None,
        quantity: int | None,
        policies: Policies,
        now: datetime,
        *,
        in_stock: bool,
        was_in: bool,
    ) -> tuple[Seats, datetime | None]:
        """Returns the seats of a row after an event, and until when it has to stay in stock."""
        seats = known.seats if known else NO_SEATS
        if known is not None and known.in_stock and not (in_stock and was_in):
            seats = gone_out(seats)
        if not in_stock:
            return seats, None
        if known is not None and was_in:
            return counted(seats, known.quantity, quantity, policies), known.settles_at
        settles_at = now + timedelta(seconds=policies.settle_seconds) if policies.settle_seconds else None
        return come_in(seats, quantity, policies), settles_at

    def _apply_late(self, event: Event, order: Order, in_stock: bool) -> None:
        # A late event still proves that its variant exists. A late item-level "out" still applies to older variants,
        # even if the item has come back in stock since.
        about = event.reference.options
        known = self.levels.get(about)
        if about == WHOLE_ITEM:
            if not in_stock and (self.out is None or order > self.out):
                self.out = order
        elif known is None or order > known.order:
            seen, seats = (known.last_in_stock_at, known.seats) if known else (None, NO_SEATS)
            if known and known.in_stock:
                seats = gone_out(seats)
            details = frozenset(event.details)
            late = Level(False, order, event.quantity, seen, details, in_stock, event.in_stock, seats)
            self._put(about, known, late)

    def _everything_out(self, order: Order) -> None:
        # Called once per batch, for its last item-level "out": each event of the batch may be one.
        self.touched.add(WHOLE_ITEM)
        for options, level in self.levels.items():
            if level.in_stock and level.order < order:
                self._put(options, level, _put_out(level))

    def judge_again(self, policies: Policies, now: datetime) -> None:
        """Puts rows in or out of stock by another minimum, as if it had been that when their events came in.

        What comes in does so now. A row whose event said "in stock" or "out of stock" itself stays as it is.
        """
        for about, level in self.levels.items():
            if level.said is not None or level.quantity is None:
                continue
            in_stock = level.quantity >= policies.min_quantity
            if about and self.out is not None and level.order < self.out:
                if level.follows_item != in_stock:
                    self._put(about, level, replace(level, follows_item=in_stock))
            elif level.in_stock != in_stock:
                moved = self._moved(level, level.quantity, policies, now, in_stock=in_stock, was_in=level.in_stock)
                seen = now if in_stock else level.last_in_stock_at
                now_so = replace(level, in_stock=in_stock, last_in_stock_at=seen, seats=moved[0], settles_at=moved[1])
                self._put(about, level, now_so)
                if in_stock:
                    self.came_in.add(about)
        whole = self.levels.get(WHOLE_ITEM)
        if WHOLE_ITEM in self.touched and whole is not None and not whole.in_stock:
            self.out = max(whole.order, self.out or whole.order)
            self._everything_out(self.out)


def _put_out(level: Level) -> Level:
    """Returns a row that goes out of stock with the whole item."""
    return replace(level, in_stock=False, seats=gone_out(level.seats), settles_at=None, follows_item=True)


@lru_cache(maxsize=1)  # all items of a batch have the same time
def _latest_id(now: datetime) -> int:
    """Returns the first part of the latest entry id that may be right."""
    return int((now + AHEAD).timestamp() * 1000)


def placed_among(
    known: Collection[Order], event: Event, now: datetime, newest_entry: Callable[[], EntryOrder | None]
) -> Order:
    """Returns the place of an event among the known ones of its item, if the time of its entry can't be right.

    Redis gives ids in the order of arrival, but they may be far ahead of the clock (one was set by hand), or begin
    again at an earlier time (Redis was set up anew). So an event that counts as of its arrival is put after what came
    before it, and not after what came later in the same stream. A known entry that is newer than `newest_entry` is of
    an earlier stream, and came before. An event that is delivered again keeps its place.
    """
    said, entry = event.order
    for order in known:
        if order[1] == entry:
            return order
    came = min(said, now)
    if event.is_as_entered or said > now:
        came = _arrival(known, (said, entry), came, newest_entry if event.original_id is None else _unknown)
    return (came if event.said_at is None else min(came, event.said_at)), entry


def _arrival(
    known: Collection[Order], at: Order, came: datetime, newest_entry: Callable[[], EntryOrder | None]
) -> datetime:
    entered, entry = at
    is_late = any(other > entry and (time >= came or came != entered) for time, other in known)
    newest = newest_entry() if is_late else None
    if newest is None or entry > newest:
        newest = max((other for _, other in known), default=entry)
    for time, other in known:
        if other < entry:
            came = max(came, time)
        elif other > newest:
            came = max(came, time + _TICK)
    if came == entered:
        return came
    return min((time for time, other in known if entry < other <= newest and time < came), default=came)


def with_stock(levels: Mapping[Options, Level], about: Options) -> Levels:
    """Returns the levels of an item as they would be after an event now that says "in stock" about these options."""
    latest = max((level.order for level in levels.values()), default=(_NEVER, (0, 0)))
    after = latest[0] + _TICK, latest[1]
    return Levels({**levels, about: Level(in_stock=True, order=after)}, {about})


def by_item(events: Sequence[Event]) -> dict[Item, list[Event]]:
    """Groups events by item. The groups are in key order, which is the order in which rows are locked."""
    groups: dict[Item, list[Event]] = {}
    for event in events:
        groups.setdefault(event.reference.item, []).append(event)
    return dict(sorted(groups.items()))
