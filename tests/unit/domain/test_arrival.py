"""Without a time of their own events count in the order in which they came in, whatever the clocks of others say.

The tests play a Redis whose clock may be wrong, which may be set up anew or get an id of another unit, and listeners
that hold entries while others go on, or get them again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from worker.domain.catalog import Options, canonical_options
from worker.domain.events import Event, decode
from worker.domain.stock import ItemStock

START: Final = datetime(2026, 11, 23, 9, tzinfo=UTC)
HOUR: Final = 3600.0
RED: Final = canonical_options({"color": "red"})
ANY: Final[Options] = ()


@dataclass(slots=True)
class World:
    """One Redis, one item, and the true time."""

    seconds: float = 0.0
    ahead: float = 0.0
    """of the true time: Redis' clock, in seconds"""
    last: tuple[int, int] = (0, 0)
    is_reset: bool = False
    stock: ItemStock = field(default_factory=ItemStock)
    arrived: list[tuple[str, Event]] = field(default_factory=list)
    """all events, in the order in which they came in"""
    unread: list[Event] = field(default_factory=list)
    held: list[list[Event]] = field(default_factory=list)
    """what listeners have read and not applied yet"""
    delivered: list[Event] = field(default_factory=list)
    """what may be delivered again"""

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def add(self, about: Options, in_stock: bool, *, said_at: datetime | None = None) -> Event:
        """Adds an event. Redis numbers it as XADD does: by its clock, but after the last entry."""
        self.seconds += 1
        clock = int((self.now + timedelta(seconds=self.ahead)).timestamp() * 1000)
        self.last = max((clock, 0), (self.last[0], self.last[1] + 1))
        entry_id = f"{self.last[0]}-{self.last[1]}"
        fields = {b"catalogItemId": b"mug-1", b"inStock": b"1" if in_stock else b"0"}
        if about:
            fields[b"options"] = b'{"color": "red"}'
        if said_at:
            fields[b"occurredAt"] = said_at.isoformat().encode()
        event = decode(entry_id, fields)
        self.arrived.append((entry_id, event))
        self.unread.append(event)
        return event

    def jump(self) -> None:
        """Somebody adds an entry about another item with an id in microseconds.

        Only to the first Redis: a late entry of the next one can be told from what was known before as long as the
        stream's newest id is lower.
        """
        if not self.is_reset:
            self.last = max(self.last, (int(self.now.timestamp() * 1_000_000), 0))

    def read(self, number: int) -> None:
        """A listener reads some entries and holds them."""
        self.held.append(self.unread[:number])
        del self.unread[:number]

    def apply(self, place: int) -> None:
        if self.held:
            batch = self.held.pop(place % len(self.held))
            self.delivered += batch
            self.tell(batch)

    def tell(self, batch: Iterable[Event]) -> None:
        self.seconds += 0.1
        before = self.stock
        self.stock = ItemStock(dict(before.levels), before.out, dict(before.details), dict(before.details_at))
        self.stock.apply(batch, now=self.now, newest_entry=lambda: self.last)

    def settle(self) -> None:
        """All entries are read and applied."""
        self.read(len(self.unread))
        while self.held:
            self.apply(0)

    def reset(self, ahead: float) -> None:
        """Redis is set up anew, with another clock."""
        self.settle()
        self.delivered.clear()
        self.ahead, self.last, self.is_reset = ahead, (0, 0), True

    def expected(self) -> dict[Options, tuple[bool, bool, str]]:
        """Returns what is true by the order of arrival: of each row whether it is in stock, or out with its item."""
        rows: dict[Options, tuple[bool, bool, str]] = {}
        for entry_id, event in self.arrived:
            is_in = event.is_in_stock(1)
            about = event.reference.options
            if not about and not is_in:
                rows = {row: (False, follows or is_in, entry) for row, (is_in, follows, entry) in rows.items()}
            rows[about] = (is_in, False, entry_id)
        return rows

    def rows(self) -> dict[Options, tuple[bool, bool, str]]:
        return {
            about: (row.in_stock, row.follows_item, f"{row.order[1][0]}-{row.order[1][1]}")
            for about, row in self.stock.levels.items()
        }


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from([ANY, RED]), st.booleans(), st.sampled_from([None, 2 * HOUR])),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("apply"), st.integers(0, 3)),
        st.tuples(st.just("again"), st.integers(0, 9), st.integers(1, 3)),
        st.tuples(st.just("reset"), st.sampled_from([0.0, -HOUR, HOUR, -9 * HOUR])),
        st.just(("jump",)),
    ),
    max_size=30,
)


def play(steps: Sequence[tuple[object, ...]]) -> World:
    world = World()
    for step in steps:
        match step:
            case ("add", tuple(about), bool(in_stock), ahead):
                said = world.now + timedelta(seconds=ahead) if isinstance(ahead, float) else None
                world.add(about, in_stock, said_at=said)
            case ("read", int(number)):
                world.read(number)
            case ("apply", int(place)):
                world.apply(place)
            case ("again", int(start), int(number)):
                world.tell(world.delivered[start : start + number])
            case ("reset", float(ahead)):
                world.reset(ahead)
            case _:
                world.jump()
    world.settle()
    return world


@given(steps)
@examples(400)
def test_what_came_in_last_is_true_whatever_the_clocks_say(steps: list[tuple[object, ...]]) -> None:
    world = play(steps)
    assert world.rows() == world.expected()


@given(steps)
@examples(200)
def test_what_is_delivered_again_changes_nothing(steps: list[tuple[object, ...]]) -> None:
    world = play(steps)
    before = world.stock
    world.tell(world.delivered)
    assert (world.stock.levels, world.stock.out) == (before.levels, before.out)
    assert not world.stock.touched
    assert not world.stock.came_in


# Events with a time of their own


def is_in(world: World) -> bool:
    world.settle()
    return world.stock.levels[ANY].in_stock


@given(st.sampled_from([0.0, HOUR, -HOUR]), st.booleans(), st.sampled_from([-60.0, 60.0, 2 * HOUR]))
def test_publishers_with_and_without_a_clock_do_not_silence_each_other(ahead: float, jumps: bool, off: float) -> None:
    world = World(ahead=ahead)
    if jumps:
        world.jump()
    for in_stock in (True, False, True):
        world.add(ANY, not in_stock)
        assert is_in(world) is not in_stock
        world.add(ANY, in_stock, said_at=world.now + timedelta(seconds=max(off, 2)))
        assert is_in(world) is in_stock
        world.add(ANY, not in_stock, said_at=world.now - timedelta(hours=3))
        assert is_in(world) is in_stock


def test_in_one_batch_an_event_of_the_past_does_not_overrule_one_that_came_in_before_it() -> None:
    world = World()
    world.jump()
    world.add(ANY, True)
    world.add(ANY, False, said_at=world.now - timedelta(minutes=1))
    assert is_in(world)


def test_a_new_redis_that_is_behind_makes_no_old_news_new() -> None:
    world = World()
    world.add(ANY, True)
    world.reset(-HOUR)
    world.add(ANY, False, said_at=START - timedelta(minutes=1))
    assert is_in(world)
    world.add(ANY, False, said_at=world.now)
    assert not is_in(world)


def test_a_replayed_event_keeps_its_first_place_also_in_a_new_redis() -> None:
    world = World()
    first = world.add(ANY, True)
    world.add(ANY, False)
    world.settle()
    world.add(RED, True)
    replayed = decode(
        f"{world.last[0] + 1}-0",
        {b"catalogItemId": b"mug-1", b"inStock": b"1", b"originalId": first.entry_id.encode()},
    )
    assert replayed.original_id == first.entry_id
    world.tell([replayed])
    assert not is_in(world)


def test_the_newest_id_is_not_asked_for_what_is_newer_than_all_that_is_known() -> None:
    world = World()
    asked: list[str] = []

    def newest_id() -> tuple[int, int]:
        asked.append("?")
        return world.last

    for in_stock in (True, False):
        event = world.add(ANY, in_stock)
        world.stock.apply([event], now=world.now, newest_entry=newest_id)
    assert not asked
    assert not world.stock.levels[ANY].in_stock
