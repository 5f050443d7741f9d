"""Dead letters, on a fake Redis in Python: they return to the stream, unchanged and in their place, or are dropped."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest

from worker.domain.errors import BadEvent
from worker.domain.events import decode
from worker.services.replaying import NO_SUCH_LETTER, drop, event_of, replay
from worker.stream.dead_letter import dead_letter
from worker.stream.event_stream import Stream

EVENTS, DEAD = "inventory:events", "inventory:events:dead"
CAME_IN = datetime(2026, 11, 23, 9, tzinfo=UTC)
ORIGINAL_ID = f"{int(CAME_IN.timestamp() * 1000)}-7"
NEW_ID = f"{int((CAME_IN + timedelta(days=2)).timestamp() * 1000)}-0"
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
    again = decode(NEW_ID, event_of(letter(fields)))
    assert again.occurred_at == first.occurred_at == at
    assert again.order == first.order
    assert again == replace(first, entry_id=NEW_ID, original_id=ORIGINAL_ID)


@pytest.mark.parametrize(
    "fields",
    [
        {**GOOD, b"note": b"\xff"},
        {b"event": b'{"catalogItemId":"mug-1",  "quantity":3,"x":1e400, "y": 1.10}'},
        {b"event": '{"catalogItemId": "книга", "quantity": 3}'.encode()},
    ],
    ids=["flat", "JSON", "not ASCII"],
)
def test_an_event_goes_back_as_it_was_with_the_entry_it_came_with(fields: Mapping[bytes, bytes]) -> None:
    assert event_of(letter(fields)) == {**fields, b"originalId": ORIGINAL_ID.encode()}


@pytest.mark.parametrize(
    "event",
    [
        '{"catalogItemId": "mug-1", "quantity": 3, "description": "%s"}' % ("Описание " * 2500),
        '{"catalogItemId": "mug-1", "quantity": 3, "weight": 1e400}',
        '{"catalogItemId": "mug-1", "quantity": 3}'.ljust(64 * 1024),
    ],
    ids=["long in ASCII", "infinite in Python", "of 64 KiB"],
)
def test_what_is_replayed_is_understood(client: Any, stream: Stream, event: str) -> None:
    client.xadd(DEAD, letter({b"event": event.encode()}, "1000-0"))
    assert replay(stream, None).changed == 1
    [(entry_id, fields)] = client.xrange(EVENTS)
    assert decode(entry_id.decode(), fields).quantity == 3


def test_what_dies_again_keeps_the_entry_it_came_with_at_first() -> None:
    original_id = {b"originalId": ORIGINAL_ID.encode()}
    fields = {b"event": b"[".ljust(64 * 1024)}
    assert dead_letter(NEW_ID, {**fields, **original_id}, "bad", CAME_IN).items() >= {**fields, **original_id}.items()
    long = dead_letter(NEW_ID, {b"event": b"[" * 70_000, **original_id}, "bad", CAME_IN)
    assert long.items() >= {b"truncated": b"1", **original_id}.items()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (letter(BAD), "neither quantity nor inStock is given"),
        (letter(GOOD) | {b"truncated": b"1"}, "only its beginning was kept"),
        (letter(GOOD) | {b"originalId": b"yesterday"}, "does not name the entry"),
        (GOOD, "does not name the entry"),
    ],
    ids=["not understood", "truncated", "bad id", "another program's"],
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


def test_what_is_dropped_is_gone_and_the_rest_stays(client: Any, stream: Stream) -> None:
    good, bad, other = buried(client, GOOD, BAD, GOOD)
    done = drop(stream, [bad, bad, good, "x-y"])
    assert (done.changed, done.refused) == (2, {"x-y": NO_SUCH_LETTER})
    assert [entry_id.decode() for entry_id, _ in client.xrange(DEAD)] == [other]
    assert drop(stream, [bad]).refused == {bad: NO_SUCH_LETTER}
    assert client.xlen(EVENTS) == 0


@pytest.mark.parametrize("count", [0, 1, 250])
def test_all_letters_are_dropped(client: Any, stream: Stream, count: int) -> None:
    buried(client, *[BAD] * count)
    done = drop(stream, None)
    assert (done.changed, done.refused, client.xlen(DEAD)) == (count, {}, 0)
