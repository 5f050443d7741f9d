"""Dead letters that go back into the stream, on a Redis made of Python: as they were, and dated as they were."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest

from worker.dead_letter import dead_letter
from worker.errors import BadEvent
from worker.events import decode
from worker.services.replaying import NO_SUCH_LETTER, event_of, replay
from worker.stream import Stream

EVENTS, DEAD = "inventory:events", "inventory:events:dead"
CAME_IN = datetime(2026, 11, 23, 9, tzinfo=UTC)
ORIGINAL_ID = f"{int(CAME_IN.timestamp() * 1000)}-7"
GOOD = {b"catalogItemId": b"mug-1", b"quantity": b"5"}
BAD = {b"catalogItemId": b"mug-1"}


@pytest.fixture
def client() -> Any:
    return fakeredis.FakeRedis(protocol=2)


@pytest.fixture
def stream(client: Any) -> Stream:
    return Stream("redis://localhost:1/0", EVENTS, client=client)


def letter(fields: Mapping[bytes, bytes], entry_id: str = ORIGINAL_ID) -> dict[bytes, bytes]:
    return dead_letter(entry_id, fields, "not understood", CAME_IN + timedelta(days=1))


def buried(client: Any, *events: Mapping[bytes, bytes]) -> list[str]:
    return [client.xadd(DEAD, letter(fields)).decode() for fields in events]


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        (GOOD, CAME_IN),
        ({**GOOD, b"occurredAt": b""}, CAME_IN),
        ({**GOOD, b"occurredAt": b"2026-11-23T08:00:00Z"}, CAME_IN - timedelta(hours=1)),
        ({**GOOD, b"occurredAt": b"2026-11-23T12:00:00Z"}, CAME_IN),
        ({b"event": b'{"catalogItemId": "mug-1", "inStock": true}'}, CAME_IN),
        ({b"event": b'{"catalogItemId": "mug-1", "inStock": true, "occurredAt": null}'}, CAME_IN),
    ],
    ids=["flat", "empty", "its own time", "too far ahead", "JSON", "null"],
)
def test_an_event_keeps_the_place_it_had_when_it_came_in(fields: Mapping[bytes, bytes], at: datetime) -> None:
    first = decode(ORIGINAL_ID, fields)
    again = decode(f"{int((CAME_IN + timedelta(days=2)).timestamp() * 1000)}-0", event_of(letter(fields)))
    assert again.occurred_at == first.occurred_at == at
    assert (again.reference, again.quantity, again.in_stock) == (first.reference, first.quantity, first.in_stock)


def test_only_the_events_own_fields_go_back() -> None:
    assert event_of(letter({**GOOD, b"note": b"\xff"})).keys() == {*GOOD, b"note", b"occurredAt"}
    event = json.loads(event_of(letter({b"event": b'{"catalogItemId": "mug-1", "quantity": 3, "x": 1}'}))[b"event"])
    assert event == {"catalogItemId": "mug-1", "quantity": 3, "x": 1, "occurredAt": CAME_IN.isoformat()}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (letter(BAD), "neither quantity nor inStock is given"),
        (letter(GOOD) | {b"truncated": b"1"}, "only its beginning was kept"),
        (letter(GOOD) | {b"originalId": b"yesterday"}, "does not name the entry"),
        (letter(GOOD) | {b"originalId": b"999999999999999-0"}, "past the year 9999"),
        (GOOD, "does not name the entry"),
    ],
    ids=["not understood", "truncated", "bad id", "far future", "another program's"],
)
def test_what_cant_be_understood_is_refused(fields: Mapping[bytes, bytes], reason: str) -> None:
    with pytest.raises(BadEvent, match=reason):
        event_of(fields)


def test_all_that_can_be_understood_go_back_in_their_order(client: Any, stream: Stream) -> None:
    good, bad, other = buried(client, GOOD, BAD, {**GOOD, b"quantity": b"6"})
    assert replay(stream, [bad, bad]).refused == {bad: "neither quantity nor inStock is given"}
    done = replay(stream, None)
    assert (done.changed, set(done.refused)) == (2, {bad})
    assert [fields[b"quantity"] for _, fields in client.xrange(EVENTS)] == [b"5", b"6"]
    assert [entry_id.decode() for entry_id, _ in client.xrange(DEAD)] == [bad]
    assert replay(stream, [good, other]).refused == {good: NO_SUCH_LETTER, other: NO_SUCH_LETTER}


def test_more_letters_than_fit_a_page_go_back_too(client: Any, stream: Stream) -> None:
    buried(client, *[GOOD] * 250)
    assert replay(stream, None).changed == 250
    assert (client.xlen(EVENTS), client.xlen(DEAD)) == (250, 0)


@pytest.mark.parametrize("letter_id", ["", "1", "x-y", "1-0\n", "-", "99999999999999999999-0"])
def test_what_is_no_id_is_no_letter(client: Any, stream: Stream, letter_id: str) -> None:
    buried(client, GOOD)
    assert replay(stream, [letter_id]).refused == {letter_id: NO_SUCH_LETTER}


def test_nothing_dead_is_nothing_to_replay(stream: Stream) -> None:
    assert replay(stream, None).changed == 0
