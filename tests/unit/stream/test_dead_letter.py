"""What the stream does with entries. What only a real server can show is in the contract tests."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import fakeredis
import pytest
import redis

from worker.domain.errors import BadSetting, RedisAway
from worker.domain.event_fields import MAX_EVENT_BYTES
from worker.stream.dead_letter import TRUNCATED_BYTES, dead_letter
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream, Taken
from worker.stream.figures import Figures

NOW = datetime(2026, 11, 23, 9, 0, 0, 123_456, UTC)
FIELDS = {"catalogItemId": "mug-1", "quantity": "5"}
ENTRY_FIELDS = {b"catalogItemId": b"mug-1", b"quantity": b"5"}


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def client(server: fakeredis.FakeServer) -> Iterator[redis.Redis]:
    with fakeredis.FakeRedis(server=server, protocol=2) as client:
        yield client


@pytest.fixture
def stream(client: redis.Redis) -> Stream:
    stream = Stream("", "events", consumer="me", client=client)
    assert stream.read(1, 0) == []  # creates the group
    return stream


def test_what_is_published_is_read_once(stream: Stream) -> None:
    ids = [stream.publish(FIELDS) for _ in range(3)]
    assert stream.read(2, 0) == [Entry(entry_id, ENTRY_FIELDS) for entry_id in ids[:2]]
    assert [entry.id for entry in stream.read(2, 0)] == ids[2:]
    assert stream.read(2, 0) == []


def test_the_group_begins_with_what_was_there_before(client: redis.Redis) -> None:
    stream = Stream("", "events", consumer="me", client=client)
    entry_id = stream.publish(FIELDS)
    assert stream.read(10, 0) == []
    assert [entry.id for entry in stream.read(10, 0)] == [entry_id]


def test_read_entries_are_pending_until_they_are_acknowledged(stream: Stream) -> None:
    ids = [stream.publish(FIELDS) for _ in range(3)]
    stream.read(2, 0)
    assert stream.figures() == Figures(length=3, lag=1, pending=2, dead_letters=0)
    stream.ack(ids[:2])
    assert stream.figures() == Figures(length=3, lag=1, pending=0, dead_letters=0)


def test_nothing_to_acknowledge_bury_or_trim_is_no_error(client: redis.Redis) -> None:
    stream = Stream("", "events", client=client)
    stream.ack([])
    stream.dead_letters.bury([])
    stream.trim()
    assert stream.dead_letters.newest(10) == []


def test_figures_are_zero_before_the_first_event(client: redis.Redis) -> None:
    assert Stream("", "events", client=client).figures() == Figures(0, 0, 0, 0)


def test_everything_is_unread_where_nobody_listened_yet(client: redis.Redis) -> None:
    stream = Stream("", "events", client=client)
    stream.publish(FIELDS)
    assert stream.figures() == Figures(length=1, lag=1, pending=0, dead_letters=0)


def test_a_take_over_without_a_group_makes_it(client: redis.Redis) -> None:
    stream = Stream("", "events", consumer="me", client=client)
    assert stream.take_over(0, 10) == Taken((), 0)
    stream.publish(FIELDS)
    assert len(stream.read(10, 0)) == 1


def test_a_buried_entry_is_done_with_and_kept_with_its_reason(stream: Stream) -> None:
    ids = [stream.publish(FIELDS | {"n": str(n)}) for n in range(3)]
    stream.dead_letters.bury([(entry, f"reason {entry.id}") for entry in stream.read(2, 0)])
    assert stream.figures() == Figures(length=3, lag=1, pending=0, dead_letters=2)
    letters = [letter.fields for letter in stream.dead_letters.newest(10)]
    assert [letter[b"originalId"].decode() for letter in letters] == ids[:2]
    assert [letter[b"reason"].decode() for letter in letters] == [f"reason {i}" for i in ids[:2]]
    assert [letter[b"n"] for letter in letters] == [b"0", b"1"]


def test_more_dead_letters_than_fit_one_step_are_all_kept(stream: Stream) -> None:
    for _ in range(250):
        stream.publish(FIELDS)
    stream.dead_letters.bury([(entry, "bad") for entry in stream.read(1000, 0)])
    assert stream.figures() == Figures(length=250, lag=0, pending=0, dead_letters=250)


def test_the_newest_dead_letters_come_last(stream: Stream) -> None:
    ids = [stream.publish(FIELDS) for _ in range(5)]
    stream.dead_letters.bury([(entry, "bad") for entry in stream.read(5, 0)])
    listed = [letter.fields[b"originalId"].decode() for letter in stream.dead_letters.newest(2)]
    assert listed == ids[3:]
    assert len(stream.dead_letters.newest(0)) == 5


def test_a_letter_says_what_when_and_why() -> None:
    assert dead_letter("5-1", {b"x": b"\xff"}, "x is not UTF-8", NOW) == {
        b"x": b"\xff",
        b"originalId": b"5-1",
        b"reason": b"x is not UTF-8",
        b"receivedAt": b"2026-11-23T09:00:00.123Z",
    }


def test_a_publishers_fields_cannot_pass_for_ours() -> None:
    forged = {b"reason": b"none", b"originalId": b"9-9", b"receivedAt": b"never"}
    letter = dead_letter("5-1", forged, "bad", NOW)
    assert (letter[b"reason"], letter[b"originalId"]) == (b"bad", b"5-1")
    assert letter[b"receivedAt"] != b"never"


@pytest.mark.parametrize("forged", [b"9-9", b"5-1", b"x", b"", b"x" * MAX_EVENT_BYTES])
def test_only_an_older_entry_can_have_been_an_events_first(forged: bytes) -> None:
    assert dead_letter("5-1", {b"originalId": forged}, "bad", NOW)[b"originalId"] == b"5-1"
    assert dead_letter("5-1", {b"originalId": b"5-0"}, "bad", NOW)[b"originalId"] == b"5-0"


def own_bytes(letter: dict[bytes, bytes]) -> int:
    ours = (b"originalId", b"reason", b"receivedAt", b"truncated")
    return sum(len(name) + len(value) for name, value in letter.items() if name not in ours)


@pytest.mark.parametrize(
    "fields",
    [
        {b"event": b"x" * (MAX_EVENT_BYTES + 1)},
        {b"a": b"1", b"event": b"x" * MAX_EVENT_BYTES},
        {b"x" * (MAX_EVENT_BYTES + 1): b"1"},
        {b"%d" % n: b"x" * 10 for n in range(10_000)},
        {b"%d" % n: b"" for n in range(20_000)},
    ],
    ids=["one field", "two fields", "a long name", "many fields", "many names"],
)
def test_of_an_event_that_is_too_long_the_first_2_kib_are_kept(fields: dict[bytes, bytes]) -> None:
    letter = dead_letter("5-1", fields, "too long", NOW)
    assert letter[b"truncated"] == b"1"
    assert TRUNCATED_BYTES - 10 < own_bytes(letter) <= TRUNCATED_BYTES


def test_the_cut_name_of_a_field_does_not_replace_another() -> None:
    fields = {b"a" * 10: b"kept", b"b": b"x" * 2000, b"a" * 65_537: b"cut", b"c": b""}
    letter = dead_letter("5-1", fields, "too long", NOW)
    assert letter[b"a" * 10] == b"kept"
    exact = {b"a" * 10: b"kept", b"b": b"x" * (2048 - 25), b"a" * 65_537: b"cut"}
    assert dead_letter("5-1", exact, "too long", NOW)[b"a" * 10] == b"kept"


def test_an_event_of_64_kib_is_kept_whole() -> None:
    letter = dead_letter("5-1", {b"event": b"x" * MAX_EVENT_BYTES}, "bad", NOW)
    assert b"truncated" not in letter
    assert len(letter[b"event"]) == MAX_EVENT_BYTES


def test_trimming_deletes_what_is_done_and_keeps_the_rest(stream: Stream, client: redis.Redis) -> None:
    ids = [stream.publish(FIELDS) for _ in range(5)]
    stream.read(3, 0)
    stream.ack([ids[0], ids[2]])
    stream.trim()
    left: Any = client.xrange("events")
    assert [entry_id.decode() for entry_id, _ in left] == ids[1:]


def test_without_a_server_every_call_says_so(stream: Stream, server: fakeredis.FakeServer) -> None:
    server.connected = False
    calls: list[Callable[[], object]] = [
        lambda: stream.read(1, 0),
        lambda: stream.take_over(0, 1),
        lambda: stream.ack(["1-1"]),
        lambda: stream.dead_letters.bury([(Entry("1-1", {}), "bad")]),
        stream.trim,
        lambda: stream.publish(FIELDS),
        lambda: stream.dead_letters.newest(1),
        stream.figures,
        stream.ping,
    ]
    for call in calls:
        with pytest.raises(RedisAway):
            call()


def test_nothing_connects_before_the_first_call() -> None:
    Stream("redis://127.0.0.1:1/0", "events").close()


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://:secret@h:port/0"])
def test_a_wrong_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Stream(url, "events")
    assert url not in str(refused.value)
    assert "secret" not in str(refused.value)
