"""What real stock systems send, from the stream to the waiting list, on a real Redis.

`tests/field/events.json` has the cases. A request for item `?` waits; `before` are entries from before it was made, and
`told` says whether the customer must get a mail.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
import redis

from tests.contract.shop import MUG, Shop, ref
from tests.redis_server import RedisServer
from worker.domain.catalog import CatalogReference, catalog_reference, item_of
from worker.domain.errors import RedisAway
from worker.domain.policies import NO_POLICIES
from worker.processes import listener
from worker.processes.backoff import Backoff
from worker.processes.listener import Listener
from worker.processes.stop import Stop
from worker.queue.bell import Bell
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream

EVENTS: Final = "inventory:events"
RED_MUG: Final = ref(color="red")
CASES: Final[Sequence[Mapping[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "field" / "events.json").read_text(encoding="utf-8")
)


class Deaf(Bell):
    """A bell that nobody hears."""

    def __init__(self) -> None:
        pass

    def ring(self, lists: Sequence[UUID]) -> None:
        pass


class ReadOut(Stream):
    """A stream whose reader stops once nothing more is there."""

    stop: Stop

    def read(self, count: int, block_ms: int) -> list[Entry]:
        page = super().read(count, 0) or super().read(count, 0)  # the first one may only create the group
        if not page and block_ms:
            self.stop.set()
        return page


@dataclass(frozen=True, slots=True)
class Line:
    """A listener between a stream and a shop."""

    shop: Shop
    stream: ReadOut
    client: redis.Redis

    def tell(self, *entries: Mapping[str, str], entry_id: str = "*") -> None:
        """Adds entries one by one; each is taken in before the next one comes."""
        for entry in entries:
            fields: Any = entry
            self.client.xadd(EVENTS, fields, id=entry_id)
            self.listen()

    def listen(self, *, idle_seconds: float = 60.0) -> None:
        self.stream.stop = Stop()
        Listener(self.stream, self.shop.database, Deaf(), policies=NO_POLICIES, idle_seconds=idle_seconds).run(
            self.stream.stop
        )

    def begin_anew(self, *, behind: timedelta) -> "NewRedis":
        """Redis loses everything, and begins again with an earlier clock."""
        self.client.flushall()
        return NewRedis(self, int((datetime.now(UTC) - behind).timestamp() * 1000))

    def is_told(self, reference: CatalogReference) -> bool:
        return self.shop.list_id(reference) in self.shop.with_work()


@dataclass(slots=True)
class NewRedis:
    """A Redis whose clock is behind."""

    line: Line
    milliseconds: int

    def tell(self, entry: Mapping[str, str]) -> None:
        self.milliseconds += 1000
        self.line.tell(entry, entry_id=f"{self.milliseconds}-0")


@pytest.fixture
def line(shop: Shop, redis_server: RedisServer) -> Iterator[Line]:
    with closing(ReadOut(redis_server.url, EVENTS, consumer="me")) as stream, redis_server.client() as client:
        yield Line(shop, stream, client)


def about(item: str, entries: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return [{name: value.replace("?", item) for name, value in entry.items()} for entry in entries]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_customer_is_told_what_the_shop_means(line: Line, case: Mapping[str, Any]) -> None:
    item = "mug-1" if "?" in json.dumps(case) else "4711"
    line.tell(*about(item, case.get("before", [])))
    reference = catalog_reference(item_of(item), case["requestOptions"])
    line.shop.sign_up(reference)
    line.tell(*about(item, case["entries"]))
    assert line.is_told(reference) is case["told"]


# Clocks


IN, OUT = {"catalogItemId": "mug-1", "quantity": "5"}, {"catalogItemId": "mug-1", "quantity": "0"}
RED = {"options": '{"Color": "Red"}'}


def dated(entry: Mapping[str, str], minutes: float) -> dict[str, str]:
    """Returns the entry of a publisher whose clock is this far ahead."""
    return {**entry, "occurredAt": (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()}


def test_a_redis_that_begins_again_with_an_earlier_clock_is_heard(line: Line) -> None:
    line.tell(IN, {**IN, **RED}, OUT)
    line.shop.sign_up(MUG)
    line.shop.sign_up(RED_MUG)
    new_redis = line.begin_anew(behind=timedelta(hours=1))
    new_redis.tell(IN)
    assert line.is_told(MUG)
    assert line.is_told(RED_MUG)
    new_redis.tell({**OUT, **RED})
    assert not line.is_told(RED_MUG)
    new_redis.tell(dated({**IN, **RED}, minutes=0))
    assert line.is_told(RED_MUG)
    new_redis.tell(OUT)
    assert not line.is_told(MUG)


def test_after_one_entry_id_in_microseconds_the_order_of_arrival_counts(line: Line) -> None:
    line.tell(OUT)
    line.shop.sign_up(MUG)
    line.tell({**OUT, "catalogItemId": "cup-1"}, entry_id=f"{int(datetime.now(UTC).timestamp() * 1_000_000)}-0")
    line.tell(IN)
    assert line.is_told(MUG)
    line.tell(dated(OUT, minutes=0))
    assert not line.is_told(MUG)
    line.tell(dated(IN, minutes=-9))
    assert not line.is_told(MUG)
    line.tell(IN)
    assert line.is_told(MUG)
    assert line.stream.figures().dead_letters == 0


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(days=1)])
def test_the_largest_id_is_not_forgotten_when_redis_begins_again(line: Line, behind: timedelta) -> None:
    line.tell(OUT, entry_id=f"{2**64 - 1}-0")
    line.shop.sign_up(MUG)
    line.begin_anew(behind=behind).tell(IN)
    assert line.is_told(MUG)


@pytest.mark.parametrize("minutes", [4, -4, 300])
def test_two_publishers_of_different_clocks_do_not_silence_each_other(line: Line, minutes: float) -> None:
    line.shop.sign_up(MUG)
    line.tell(dated(IN, minutes=max(minutes, 0)))
    assert line.is_told(MUG)
    line.tell(OUT)
    assert not line.is_told(MUG)
    line.tell(dated(IN, minutes=abs(minutes)))
    assert line.is_told(MUG)
    line.tell(OUT, dated(IN, minutes=-9))
    assert not line.is_told(MUG)


def test_an_event_is_kept_if_redis_goes_away_while_it_is_asked_for_the_newest_id(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "Backoff", partial(Backoff, first=0.0))
    line.tell(OUT)
    line.shop.sign_up(MUG)
    new_redis = line.begin_anew(behind=timedelta(hours=1))

    def fail() -> str:
        raise RedisAway("reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(line.stream, "newest_id", fail)
        new_redis.tell(IN)
        assert not line.is_told(MUG)
    line.listen(idle_seconds=0.0)
    assert line.is_told(MUG)
    assert line.stream.figures().pending == 0


@pytest.mark.parametrize("first_id", ["*", f"{2**63}-0"])
def test_what_is_taken_over_changes_nothing(line: Line, first_id: str) -> None:
    line.tell(IN, entry_id=first_id)
    line.tell(OUT, {**IN, **RED})
    line.client.xgroup_create(EVENTS, "aside", id="0")  # so that nothing is trimmed
    kept = stock_rows(line)
    line.client.xgroup_setid(EVENTS, "stockbell", "0")
    line.shop.sign_up(MUG)
    line.listen()
    assert stock_rows(line) == kept
    assert not line.is_told(MUG)


def stock_rows(line: Line) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in line.shop.ask("SELECT * FROM stock ORDER BY options")]
