"""Events from the stream into the database: `stockbell listen` without its process, on a fake Redis in Python."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import fakeredis
import pytest
from structlog.testing import capture_logs

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.domain.errors import DatabaseAway, RedisAway
from worker.domain.events import Event
from worker.domain.policies import NO_POLICIES, Policies
from worker.models import Item, Stock
from worker.processes import listener
from worker.processes.backoff import Backoff
from worker.processes.listener import Listener
from worker.processes.stop import Stop
from worker.queue.bell import Bell
from worker.services import intake
from worker.services.intake import Taken
from worker.services.replaying import replay
from worker.store.database import Database
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream
from worker.stream.recent import Recent

Logs = list[Any]


class Ears(Bell):
    """A bell that remembers for which lists it was rung."""

    def __init__(self) -> None:
        self.heard: list[UUID] = []

    def ring(self, lists: Sequence[UUID]) -> None:
        self.heard += lists


class Drained(Stream):
    """A stream whose reader is stopped once it is empty."""

    def __init__(self, client: Any, stop: Stop, consumer: str = "me") -> None:
        super().__init__("", "events", consumer=consumer, client=client)
        self.stop = stop
        self.pages: list[int] = []
        assert super().read(1, 0) == []  # creates the group

    def read(self, count: int, block_ms: int) -> list[Entry]:
        page = super().read(count, 0)
        self.pages.append(len(page))
        if not page and block_ms:
            self.stop.set()
        return page


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def client() -> Iterator[Any]:
    with fakeredis.FakeRedis(protocol=2) as client:
        yield client


@pytest.fixture
def stream(client: Any, stop: Stop) -> Drained:
    return Drained(client, stop)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PAGE", 5)
    monkeypatch.setattr(listener, "BATCH", 20)
    monkeypatch.setattr(listener, "Backoff", partial(Backoff, first=0.0, longest=0.0))


def publish(stream: Stream, item: str, **fields: object) -> str:
    return stream.publish({"event": json.dumps({"catalogItemId": item, "quantity": 5, **fields})})


def publish_mugs(stream: Stream, count: int, **fields: object) -> None:
    for number in range(count):
        publish(stream, f"mug-{number}", **fields)


def listen(shop: Shop, stream: Drained, ears: Ears, *, idle_seconds: float = 60.0) -> Logs:
    """Listens until the stream is empty. Returns the log events."""
    with capture_logs() as logs:
        Listener(stream, shop.database, ears, policies=NO_POLICIES, idle_seconds=idle_seconds).run(stream.stop)
    return list(logs)


def of(logs: Logs, *names: str) -> Logs:
    return [record for record in logs if record["event"] in names]


def fails(times: int, error: Exception, work: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `work`, but its first `times` calls raise `error`."""
    left = iter(range(times))

    def run(*args: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return work(*args)

    return run


def noting(sizes: list[int], place: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `work`, but each call adds to `sizes` the length of the argument at `place`."""

    def run(*args: Any) -> Any:
        sizes.append(len(args[place]))
        return work(*args)

    return run


def test_a_backlog_is_taken_in_whole_and_rung_for(shop: Shop, stream: Drained, ears: Ears) -> None:
    shop.sign_up(ref("mug-7"))
    publish_mugs(stream, 57)
    dead = stream.publish({"event": "{"})
    logs = listen(shop, stream, ears)
    assert shop.count(Item) == shop.count(Stock) == 57
    assert ears.heard == [shop.list_id(ref("mug-7"))]
    assert [record["entry_id"] for record in of(logs, "event.rejected")] == [dead]
    figures = stream.figures()
    assert (figures.lag, figures.pending, figures.dead_letters) == (0, 0, 1)


def test_what_became_of_the_last_events_is_noted_once_a_batch(shop: Shop, stream: Drained, ears: Ears) -> None:
    publish_mugs(stream, 3)
    listen(shop, stream, ears)
    assert stream.figures().recent == Recent(3, 0)
    stream.stop = Stop()
    for _ in range(3):
        stream.publish({"quantity": "5"})
    stream.publish({"catalogItemId": "mug-1"})
    listen(shop, stream, ears)
    found = stream.figures().recent
    assert found == Recent(7, 4, "catalogItemId is missing")
    assert found.mostly_dead


def test_a_backlog_is_committed_in_large_batches(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(listener, "take_events", noting(sizes, 1, intake.take_events))
    publish_mugs(stream, 47)
    listen(shop, stream, ears)
    assert sizes == [20, 20, 7]


def test_huge_events_are_not_gathered(shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "BATCH_BYTES", 1000)
    sizes: list[int] = []
    monkeypatch.setattr(listener, "take_events", noting(sizes, 1, intake.take_events))
    publish_mugs(stream, 12, padding="x" * 1000)
    listen(shop, stream, ears)
    assert sizes == [5, 5, 2]


def test_while_the_database_is_away_one_batch_is_kept_and_one_read_ahead(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending: list[int] = []

    def take(database: Database, events: Sequence[Event], policies: Policies, *more: Any) -> Taken:
        pending.append(stream.figures().pending)
        if len(pending) <= 10:
            raise DatabaseAway("no answer")
        return intake.take_events(database, events, policies, *more)

    monkeypatch.setattr(listener, "take_events", take)
    publish_mugs(stream, 100)
    logs = listen(shop, stream, ears)
    assert max(pending) <= 2 * listener.BATCH
    assert pending[9] >= listener.BATCH
    assert shop.count(Item) == 100
    assert stream.figures().pending == 0
    assert [record["event"] for record in of(logs, "database.away", "database.back")] == [
        "database.away",
        "database.back",
    ]
    assert not of(logs, "redis.away", "redis.back")


def test_a_redis_that_is_back_is_named(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "read", fails(3, RedisAway("connection refused"), stream.read))
    publish(stream, "mug-1")
    logs = listen(shop, stream, ears)
    assert [record["event"] for record in of(logs, "redis.away", "redis.back")] == ["redis.away", "redis.back"]
    assert shop.count(Item) == 1


def test_what_could_not_be_acknowledged_is_taken_over_and_changes_nothing(
    shop: Shop, client: Any, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sign_up()
    publish(stream, "mug-1")
    monkeypatch.setattr(stream, "ack", fails(1, RedisAway("reset by peer"), stream.ack))
    logs = listen(shop, stream, ears)
    assert stream.figures().pending == 1
    assert len(of(logs, "event.accepted")) == 1
    again = Drained(client, Stop(), "another")
    logs = listen(shop, again, ears, idle_seconds=0.0)
    assert again.figures().pending == 0
    assert len(of(logs, "event.stale")) == 1
    assert len(ears.heard) == 1


def test_what_was_read_while_an_acknowledgement_failed_is_not_forgotten(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "BATCH_BYTES", 1)  # each page is a batch
    monkeypatch.setattr(stream, "ack", fails(1, RedisAway("reset by peer"), stream.ack))
    publish_mugs(stream, 12)
    listen(shop, stream, ears)
    assert shop.count(Item) == 12
    assert stream.figures().pending == 5


def test_poison_that_can_not_be_put_aside_holds_up_nobody(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream.dead_letters, "bury", fails(1000, RedisAway("OOM"), stream.dead_letters.bury))
    stream.publish({"event": "{"})
    publish_mugs(stream, 7)
    listen(shop, stream, ears)
    assert shop.count(Item) == 7
    assert stream.figures().pending == 1


def test_poison_counts_as_part_of_a_batch_and_is_trimmed(
    shop: Shop, client: Any, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "TRIM_SECONDS", 0.0)
    sizes: list[int] = []
    monkeypatch.setattr(stream.dead_letters, "bury", noting(sizes, 0, stream.dead_letters.bury))
    for _ in range(50):
        stream.publish({"a": ""})
    listen(shop, stream, ears)
    assert sizes == [20, 20, 10]
    assert client.xlen("events") <= 1
    assert stream.figures().dead_letters == 50


def test_letters_that_are_lost_are_shouted_about(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream.dead_letters, "bury", len)  # a full Redis keeps none
    stream.publish({"event": "{"})
    (record,) = of(listen(shop, stream, ears), "dead_letters.lost")
    assert (record["log_level"], record["events"]) == ("error", 1)


@pytest.mark.parametrize("at", ["2026-01-01T09:00:00Z", None], ids=["same time", "same millisecond"])
def test_a_replayed_event_stays_before_those_that_came_after_it(
    shop: Shop, client: Any, stream: Drained, ears: Ears, at: str | None
) -> None:
    shop.sign_up()
    came, went = "1795424400000-0", "1795424400000-1"
    for entry_id, quantity in ((came, 5), (went, 0)):
        event = {"catalogItemId": "mug-1", "quantity": quantity, "occurredAt": at}
        client.xadd("events", {"event": json.dumps(event)}, id=entry_id)
    stream.dead_letters.bury([(entry, "not known then") for entry in stream.read(1, 0)])
    listen(shop, stream, ears)
    assert replay(stream, None).changed == 1
    stream.stop = Stop()
    logs = listen(shop, stream, ears)
    [stale] = of(logs, "event.stale", "event.accepted")
    assert (stale["event"], ears.heard) == ("event.stale", [])
    assert stale["entry_id"] not in {came, went}  # the listener acknowledges the entry with which the event came now
    assert (stream.figures().lag, stream.figures().pending) == (0, 0)
    assert [(row.in_stock, row.entry_id) for row in shop.ask("SELECT * FROM stock", in_stock="bool")] == [(False, went)]


def test_a_replayed_event_is_stored_with_its_place_and_replaying_it_twice_changes_nothing(
    shop: Shop, client: Any, stream: Drained, ears: Ears
) -> None:
    shop.sign_up()
    for _ in range(2):
        client.xadd("events", {"catalogItemId": "mug-1", "quantity": "5", "originalId": "1000-1"})
    logs = listen(shop, stream, ears)
    assert [record["event"] for record in of(logs, "event.accepted", "event.stale")] == [
        "event.accepted",
        "event.stale",
    ]
    assert [row.entry_id for row in shop.ask("SELECT entry_id FROM stock")] == ["1000-1"]
    assert ears.heard == [shop.list_id()]
    assert stream.figures().pending == 0


def test_it_can_be_stopped_while_the_database_is_away_and_loses_nothing(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(*_: object) -> Taken:
        stream.stop.set()
        raise DatabaseAway("no answer")

    monkeypatch.setattr(listener, "take_events", take)
    publish_mugs(stream, 30)
    listen(shop, stream, ears)
    figures = stream.figures()
    assert figures.pending + (figures.lag or 0) == 30
    assert shop.count(Item) == 0


def test_an_error_of_ours_is_not_swallowed(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "take_events", fails(1, ZeroDivisionError(), intake.take_events))
    publish(stream, "mug-1")
    with pytest.raises(ZeroDivisionError):
        listen(shop, stream, ears)
    assert stream.figures().pending == 1


# What is logged


def test_of_few_events_each_has_a_line(shop: Shop, stream: Drained, ears: Ears) -> None:
    shop.sign_up()
    shop.sign_up(ref(color="red"))
    quiet, woke = publish(stream, "cup-1"), publish(stream, "mug-1", id="evt-1")
    shop.tell(ref("cup-2"))
    stale = publish(stream, "cup-2", occurredAt="2019-01-01T00:00:00Z")
    logs = listen(shop, stream, ears)
    assert of(logs, "event.accepted", "event.stale", "events.taken") == [
        {
            "event": "event.accepted",
            "log_level": "info",
            "entry_id": entry_id,
            "event_id": event_id,
            "catalog_item_id": item,
            "woke_lists": lists,
        }
        for entry_id, event_id, item, lists in ((quiet, None, "cup-1", 0), (woke, "evt-1", "mug-1", 2))
    ] + [{"event": "event.stale", "log_level": "info", "entry_id": stale, "catalog_item_id": "cup-2"}]


def test_of_many_events_those_that_woke_somebody_have_a_line(
    shop: Shop, stream: Drained, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "EACH_HAS_A_LINE", 3)
    shop.sign_up()
    first, last = publish(stream, "mug-1"), publish(stream, "mug-1")
    publish(stream, "cup-1")
    shop.tell(CUP)
    publish(stream, "cup-1", occurredAt="2019-01-01T00:00:00Z")
    publish(stream, "cup-2", occurredAt="2999-01-01T00:00:00Z", quantity=0, itemUrl="ftp://shop.example")
    logs = listen(shop, stream, ears)
    assert [record["entry_id"] for record in of(logs, "event.accepted")] == [last]
    assert first < last
    [flawed] = of(logs, "events.flawed")
    [counts] = of(logs, "events.taken")
    del counts["event"], counts["log_level"]
    assert counts == {"accepted": 4, "stale": 1, "woke_somebody": 1, "clamped": 1, "with_flaws": 1}
    assert flawed["flaws"] == {"itemUrl must begin with https:// or http://": 1}


def test_an_event_that_sells_out_a_variant_is_not_said_to_wake_anybody(shop: Shop) -> None:
    shop.sign_up(ref(color="red"))
    came = shop.event(ref(color="red"))
    went = shop.event(ref(color="blue"), in_stock=False)
    taken = intake.take_events(shop.database, [came, went])
    assert taken.woken == {came.entry_id: 1}
    assert taken.rung == [shop.list_id(ref(color="red"))]


def test_a_bell_that_was_rung_lately_is_not_rung_again(shop: Shop) -> None:
    shop.sign_up()
    shop.sign_up(CUP)
    first = intake.take_events(shop.database, [shop.event()])
    second = intake.take_events(shop.database, [shop.event(), shop.event(CUP)])
    assert first.rung == [shop.list_id(MUG)]
    assert second.rung == [shop.list_id(CUP)]
    assert len(second.woken) == 2
