"""What the stream promises, on a real Redis: take-over, blocking, trimming, and a server that dies."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import redis

from tests.polling import eventually
from tests.redis_server import RedisServer, binary
from worker.domain.errors import BadSetting, RedisAway
from worker.stream import event_stream as stream_module
from worker.stream import figures as stream_figures
from worker.stream import recent as stream_recent
from worker.stream.entries import GROUP, Entry
from worker.stream.event_stream import Stream, Taken
from worker.stream.figures import Figures
from worker.stream.recent import Recent

EVENTS = "inventory:events"
FIELDS = {"catalogItemId": "mug-1", "quantity": "5"}
NO_WAIT = 0


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def listener(redis_server: RedisServer) -> Iterator[Stream]:
    with closing(Stream(redis_server.url, EVENTS, consumer="me")) as listener:
        assert listener.read(1, NO_WAIT) == []  # creates the group
        yield listener


@pytest.fixture
def other(redis_server: RedisServer) -> Iterator[Stream]:
    with closing(Stream(redis_server.url, EVENTS, consumer="other")) as other:
        yield other


def published(stream: Stream, count: int) -> list[str]:
    return [stream.publish(FIELDS) for _ in range(count)]


def ids(entries: list[Entry] | Taken) -> list[str]:
    return [entry.id for entry in (entries.entries if isinstance(entries, Taken) else entries)]


def in_redis(client: redis.Redis) -> list[str]:
    entries: Any = client.xrange(EVENTS)
    return [entry_id.decode() for entry_id, _ in entries]


def long_held(client: redis.Redis, entry_ids: list[str]) -> None:
    """Makes it look as if `other` had read these entries a minute ago."""
    held: Any = entry_ids
    client.xclaim(EVENTS, "stockbell", "other", 0, held, idle=60_000)


def raw(client: redis.Redis, *command: str) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


# --- reading ---


def test_two_listeners_share_the_entries(listener: Stream, other: Stream) -> None:
    sent = published(listener, 4)
    assert [*ids(listener.read(2, NO_WAIT)), *ids(other.read(9, NO_WAIT))] == sent


def test_a_deleted_key_gets_its_group_again_at_the_begin(listener: Stream, client: redis.Redis) -> None:
    client.delete(EVENTS)
    sent = published(listener, 2)
    assert listener.read(10, NO_WAIT) == []
    assert ids(listener.read(10, NO_WAIT)) == sent


def test_a_group_that_another_listener_made_meanwhile_is_fine(
    listener: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sent,) = published(listener, 1)
    with monkeypatch.context() as patch:
        patch.setattr(listener, "_read", no_group)
        assert listener.read(1, NO_WAIT) == []
    assert ids(listener.read(1, NO_WAIT)) == [sent]


def no_group(*_: object) -> None:
    raise redis.ResponseError("NOGROUP No such key")


@pytest.mark.parametrize(("asked", "told"), [(50, 50), (0, None)])
def test_a_read_waits_as_long_as_it_was_told(
    listener: Stream, monkeypatch: pytest.MonkeyPatch, asked: int, told: int | None
) -> None:
    blocks = blocks_of(listener, monkeypatch)
    assert listener.read(1, asked) == []
    assert blocks == [told]


def test_a_waiting_read_returns_with_the_first_entry(listener: Stream, other: Stream) -> None:
    timer = threading.Timer(0.05, lambda: other.publish(FIELDS))
    timer.start()
    assert len(listener.read(10, 5000)) == 1
    timer.join()


def test_a_wait_is_cut_to_less_than_the_sockets_patience(listener: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_BLOCK_MS", 20)
    blocks = blocks_of(listener, monkeypatch)
    assert listener.read(1, 3_600_000) == []
    assert blocks == [20]


def blocks_of(listener: Stream, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Returns a list of the waits that Redis is asked for, in milliseconds. The real waits vary on a busy machine."""
    blocks: list[int | None] = []
    ask = listener._client.xreadgroup

    def noted(*args: Any, **kwargs: Any) -> Any:
        blocks.append(kwargs["block"])
        return ask(*args, **kwargs)

    monkeypatch.setattr(listener._client, "xreadgroup", noted)
    return blocks


# --- taking over ---


def test_what_a_dead_listener_held_is_taken_over(listener: Stream, other: Stream) -> None:
    sent = published(listener, 3)
    other.read(2, NO_WAIT)
    taken = listener.take_over(0, 10)
    assert (ids(taken), taken.lost) == (sent[:2], 0)
    assert taken.entries[0].fields == {b"catalogItemId": b"mug-1", b"quantity": b"5"}


def test_what_is_held_only_briefly_is_left_alone(listener: Stream, other: Stream) -> None:
    published(listener, 2)
    other.read(2, NO_WAIT)
    assert listener.take_over(60_000, 10) == Taken([], 0)


def test_more_than_one_scan_is_taken_over_but_no_more_than_asked_for(listener: Stream, other: Stream) -> None:
    sent = published(listener, 300)
    other.read(300, NO_WAIT)
    assert ids(listener.take_over(0, 120)) == sent[:120]
    assert ids(listener.take_over(0, 1000)) == sent


def test_entries_behind_many_that_are_still_in_work_are_found(
    listener: Stream, other: Stream, client: redis.Redis
) -> None:
    sent = published(listener, 300)
    other.read(300, NO_WAIT)
    long_held(client, sent[-2:])
    assert ids(listener.take_over(30_000, 2)) == sent[-2:]


def test_entries_deleted_meanwhile_are_skipped_counted_and_done_with(
    listener: Stream, other: Stream, client: redis.Redis
) -> None:
    sent = published(listener, 5)
    other.read(4, NO_WAIT)
    client.xdel(EVENTS, sent[0], sent[2])
    taken = listener.take_over(0, 10)
    assert (ids(taken), taken.lost) == ([sent[1], sent[3]], 2)
    assert listener.figures().pending == 2
    assert listener.take_over(0, 10).lost == 0


def test_deleted_entries_do_not_hide_behind_a_page_of_our_own(
    listener: Stream, other: Stream, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "PAGE", 2)
    sent = published(listener, 12)
    listener.read(6, NO_WAIT)
    other.read(6, NO_WAIT)
    client.xdel(EVENTS, sent[6], sent[11])
    taken = listener.take_over(0, 100)
    assert taken.lost == 2
    assert listener.figures().pending == 10
    assert listener.read(10, NO_WAIT) == []


def test_only_deleted_entries_are_no_entries(listener: Stream, other: Stream, client: redis.Redis) -> None:
    sent = published(listener, 30)
    other.read(30, NO_WAIT)
    client.xtrim(EVENTS, maxlen=0, approximate=False)
    assert listener.take_over(0, 5).lost == len(sent)
    assert listener.figures() == Figures(length=0, lag=0, pending=0, dead_letters=0)


def test_silent_consumers_without_entries_are_forgotten(
    redis_server: RedisServer,
    listener: Stream,
    other: Stream,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "CONSUMER_FORGOTTEN_MS", -1)
    published(listener, 2)
    with closing(Stream(redis_server.url, EVENTS, consumer="idle")) as idle:
        other.read(1, NO_WAIT)
        client.xgroup_createconsumer(EVENTS, "stockbell", "idle")
        listener.read(1, NO_WAIT)
        listener.take_over(60_000, 10)
        names = {consumer["name"] for consumer in client.xinfo_consumers(EVENTS, "stockbell")}
        assert names == {b"me", b"other"}
        assert idle.read(1, NO_WAIT) == []  # a consumer that wakes up is added again


def test_consumers_heard_of_lately_are_kept(listener: Stream, other: Stream, client: redis.Redis) -> None:
    client.xgroup_createconsumer(EVENTS, "stockbell", "other")
    listener.take_over(60_000, 10)
    names = {consumer["name"] for consumer in client.xinfo_consumers(EVENTS, "stockbell")}
    assert b"other" in names


# --- dead letters ---


def bury(listener: Stream, entries: list[Entry]) -> int:
    return listener.dead_letters.bury([(entry, "bad") for entry in entries])


@contextmanager
def limited(client: redis.Redis, octets: int | str) -> Iterator[None]:
    """Limits the memory of Redis to `octets`, and lifts the limit at the end."""
    client.config_set("maxmemory", str(octets))
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


def test_burying_is_one_step(listener: Stream, client: redis.Redis) -> None:
    published(listener, 2)
    entries = listener.read(2, NO_WAIT)
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        bury(listener, entries)
        listener.ping()
        commands = []
        while "HELLO" not in (command := monitor.next_command()["command"]):
            commands.append(command.split()[0])
    assert commands == ["MULTI", "XADD", "XADD", "XACK", "EXEC"]


def test_what_cannot_be_buried_stays_pending(listener: Stream, client: redis.Redis) -> None:
    published(listener, 1)
    entries = listener.read(1, NO_WAIT)
    client.replicaof("127.0.0.1", "1")
    with pytest.raises(RedisAway):
        bury(listener, entries)
    client.replicaof("NO", "ONE")
    assert listener.figures() == Figures(length=1, lag=0, pending=1, dead_letters=0)


def test_a_full_redis_drops_the_oldest_letters_for_new_ones(listener: Stream, client: redis.Redis) -> None:
    for _ in range(20):
        listener.publish({"event": "[" * 50_000})
    old = listener.read(20, NO_WAIT)
    assert bury(listener, old) == 0
    (new,) = published(listener, 1)
    listener.trim()
    with limited(client, client.info("memory")["used_memory"] - 1):
        assert bury(listener, listener.read(1, NO_WAIT)) == 0
    letters = [letter.fields[b"originalId"].decode() for letter in listener.dead_letters.in_order()]
    assert letters[-1] == new
    assert 10 <= len(letters[:-1]) < 20
    assert letters[:-1] == ids(old)[-len(letters[:-1]) :]


def test_where_a_full_redis_takes_no_letter_at_all_nothing_behind_it_is_held_up(
    listener: Stream, client: redis.Redis
) -> None:
    published(listener, 3)
    with limited(client, 1):
        assert bury(listener, listener.read(3, NO_WAIT)) == 3
    listener.trim()
    assert listener.figures().pending == 0
    assert len(in_redis(client)) <= 1


def test_a_redis_that_would_drop_events_is_found_out(listener: Stream, client: redis.Redis) -> None:
    assert listener.eviction() is None
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert listener.eviction() is None, "it has no limit"
    with limited(client, "1gb"):
        assert listener.eviction() == "allkeys-lru"
        client.config_set("maxmemory-policy", "volatile-lru")
        assert listener.eviction() is None, "a stream has no time to live"
    client.config_set("maxmemory-policy", "noeviction")


def test_a_replay_is_one_step(listener: Stream, client: redis.Redis) -> None:
    published(listener, 1)
    bury(listener, listener.read(1, NO_WAIT))
    (letter,) = listener.dead_letters.in_order()
    assert listener.dead_letters.get(letter.id) == letter
    listener.dead_letters.replay(letter.id, {b"catalogItemId": b"mug-1"})
    assert [entry.fields for entry in listener.read(9, NO_WAIT)] == [{b"catalogItemId": b"mug-1"}]
    assert listener.dead_letters.get(letter.id) is None
    assert list(listener.dead_letters.in_order()) == []


def test_a_huge_poisonous_entry_becomes_a_short_dead_letter(listener: Stream) -> None:
    listener.publish({"event": "[" * 1024 * 1024})
    listener.dead_letters.bury([(entry, "too long") for entry in listener.read(1, NO_WAIT)])
    (letter,) = listener.dead_letters.newest(10)
    assert letter.fields[b"truncated"] == b"1"
    assert len(b"event" + letter.fields[b"event"]) == 2048


# --- trimming ---


def test_trimming_keeps_what_any_group_still_needs(listener: Stream, client: redis.Redis) -> None:
    client.xgroup_create(EVENTS, "reports", id="0")
    sent = published(listener, 10)
    listener.ack(ids(listener.read(10, NO_WAIT)))
    listener.trim()
    assert in_redis(client) == sent
    client.xreadgroup("reports", "r", {EVENTS: ">"}, count=6)
    listener.trim()
    assert in_redis(client) == sent
    client.xack(EVENTS, "reports", *sent[:3], sent[4])
    listener.trim()
    assert in_redis(client) == sent[3:]
    client.xack(EVENTS, "reports", sent[3], sent[5])
    listener.trim()
    assert in_redis(client) == sent[5:]


def test_trimming_a_stream_that_nobody_reads_does_nothing(redis_server: RedisServer, client: redis.Redis) -> None:
    with closing(Stream(redis_server.url, EVENTS)) as publisher:
        sent = published(publisher, 3)
        publisher.trim()
        assert in_redis(client) == sent


def test_trimming_amid_reading_and_publishing_loses_nothing(redis_server: RedisServer, listener: Stream) -> None:
    listeners = [Stream(redis_server.url, EVENTS, consumer=f"c{n}") for n in range(3)]
    sent: list[str] = []
    seen: list[str] = []
    last = threading.Event()

    def publish() -> None:
        sent.extend(published(listener, 1500))
        last.set()

    def listen(stream: Stream) -> None:
        while not last.is_set() or stream.figures().lag:
            entries = stream.read(7, 10)
            seen.extend(entry.id for entry in entries)
            stream.ack(ids(entries)[::2])  # the rest stays pending
            stream.trim()

    run_all(publish, *(lambda stream=stream: listen(stream) for stream in listeners))
    acknowledged = set(seen)
    taken = listener.take_over(0, 10_000)
    assert taken.lost == 0
    assert sorted(acknowledged) == sorted(sent)
    assert len(seen) == len(sent)
    for stream in listeners:
        stream.close()


def run_all(*functions: Callable[[], None]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


# --- figures ---


def test_figures_follow_the_entries(listener: Stream) -> None:
    assert listener.figures() == Figures(0, 0, 0, 0)
    sent = published(listener, 5)
    assert listener.figures() == Figures(length=5, lag=5, pending=0, dead_letters=0)
    listener.read(3, NO_WAIT)
    assert listener.figures() == Figures(length=5, lag=2, pending=3, dead_letters=0)
    listener.ack(sent[:3])
    assert listener.figures() == Figures(length=5, lag=2, pending=0, dead_letters=0)


def test_events_are_unattended_while_they_wait_and_no_listener_was_heard_of(
    listener: Stream, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not listener.figures().unattended, "nothing waits"
    sent = published(listener, 2)
    listener.read(1, NO_WAIT)
    assert not listener.figures().unattended, "it has just read"
    monkeypatch.setattr(stream_figures, "LISTENER_QUIET_MS", -1)
    assert listener.figures().unattended, "one is unread, one in work"
    listener.read(1, NO_WAIT)
    assert listener.figures().unattended, "both are in work"
    listener.ack(sent)
    assert not listener.figures().unattended, "nothing waits any more"
    client.xgroup_destroy(EVENTS, GROUP)
    assert listener.figures().unattended, "no listener has been there"


def test_a_listener_without_events_is_no_trouble_though_redis_takes_what_was_trimmed_for_unread(
    listener: Stream, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_figures, "LISTENER_QUIET_MS", -1)
    published(listener, 5)
    client.xtrim(EVENTS, maxlen=0, approximate=False)
    assert not listener.figures().unattended


def test_the_lag_is_counted_where_redis_does_not_know_it(
    listener: Stream, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_figures, "PAGE", 3)
    sent = published(listener, 20)
    listener.read(10, NO_WAIT)
    client.xdel(EVENTS, sent[15])  # after this Redis 7 doesn't know the lag either
    assert listener.figures().lag == 9
    monkeypatch.setattr(stream_figures, "MAX_COUNTED", 6)
    assert listener.figures().lag is None, "both ends are too far away"
    client.xtrim(EVENTS, minid=sent[6], approximate=False)
    assert listener.figures().lag == 9, "the beginning is near"


def unread(client: redis.Redis) -> int:
    (group,) = client.xinfo_groups(EVENTS)
    later: Any = client.xrange(EVENTS, min=b"(" + group["last-delivered-id"])
    return len(later)


CHANGES: dict[str, Callable[[redis.Redis, list[str]], object]] = {
    "all trimmed": lambda client, sent: client.xtrim(EVENTS, maxlen=0, approximate=False),
    "some unread trimmed": lambda client, sent: client.xtrim(EVENTS, maxlen=2, approximate=False),
    "some read trimmed": lambda client, sent: client.xtrim(EVENTS, minid=sent[2], approximate=False),
    "all deleted": lambda client, sent: client.xdel(EVENTS, *sent),
    "some deleted": lambda client, sent: client.xdel(EVENTS, sent[0], sent[6], sent[9]),
    "set to the begin": lambda client, sent: client.xgroup_setid(EVENTS, GROUP, "0"),
    "set to the middle": lambda client, sent: client.xgroup_setid(EVENTS, GROUP, sent[6]),
    "set to the end": lambda client, sent: client.xgroup_setid(EVENTS, GROUP, "$"),
    "group made anew in the middle": lambda client, sent: [
        client.xgroup_destroy(EVENTS, GROUP),
        client.xgroup_create(EVENTS, GROUP, sent[1]),
    ],
    "group made anew at the end": lambda client, sent: [
        client.xgroup_destroy(EVENTS, GROUP),
        client.xgroup_create(EVENTS, GROUP, "$"),
    ],
    "a new stream": lambda client, sent: [
        client.delete(EVENTS),
        client.xgroup_create(EVENTS, GROUP, "0", mkstream=True),
    ],
}


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_lag_is_right_after_whatever_others_do_to_the_stream(
    listener: Stream,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[redis.Redis, list[str]], object],
    far: bool,
) -> None:
    if far:
        monkeypatch.setattr(stream_figures, "PAGE", 2)
    sent = published(listener, 10)
    listener.read(4, NO_WAIT)
    change(client, sent)
    assert listener.figures().lag == unread(client)
    published(listener, 3)
    listener.read(1, NO_WAIT)
    assert listener.figures().lag == unread(client)


@pytest.mark.parametrize("seed", range(8))
def test_the_lag_is_the_true_count_whatever_happened_before(
    listener: Stream, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(stream_figures, "PAGE", 3)
    chance = Random(seed)
    for _ in range(40):
        there = in_redis(client)
        match chance.randrange(6):
            case 0 | 1:
                published(listener, chance.randrange(8))
            case 2:
                listener.ack(ids(listener.read(chance.randrange(1, 8), NO_WAIT)))
            case 3 if there:
                client.xdel(EVENTS, *chance.choices(there, k=2))
            case 4 if there:
                client.xgroup_setid(EVENTS, GROUP, chance.choice(["0", "$", *there]))
            case _:
                client.xtrim(EVENTS, maxlen=chance.randrange(20), approximate=False)
        assert listener.figures().lag == unread(client)


# --- what became of the last events ---


def recent(listener: Stream) -> Recent:
    return listener.figures().recent


def test_most_of_the_last_events_were_dead_from_the_eleventh_of_twenty_on(listener: Stream) -> None:
    assert recent(listener) == Recent()
    assert not recent(listener).mostly_dead
    for _ in range(50):
        listener.note(1, [])
    for _ in range(10):
        listener.note(0, ["options must be an object"])
    assert (recent(listener).dead_share, recent(listener).mostly_dead) == (0.5, False)
    listener.note(0, ["catalogItemId is missing"])
    assert recent(listener) == Recent(20, 11, "options must be an object")
    assert recent(listener).mostly_dead
    listener.note(2000, [])
    assert not recent(listener).mostly_dead


def test_one_bad_event_of_three_is_no_alarm_and_one_of_one_is(listener: Stream) -> None:
    listener.note(0, ["bad"])
    assert recent(listener).mostly_dead
    listener.note(1, [])
    listener.note(1, [])
    assert not recent(listener).mostly_dead


def test_what_happened_over_an_hour_ago_alarms_no_more(
    listener: Stream, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.note(0, ["bad"])
    monkeypatch.setattr(stream_recent, "RECENT_SECONDS", -60)
    assert recent(listener) == Recent()


def test_the_notes_are_few_whatever_the_number_of_batches(listener: Stream, client: redis.Redis) -> None:
    for _ in range(400):
        listener.note(1, [])
    assert client.xlen(f"stockbell:recent:{EVENTS}") < 250


def test_a_full_redis_keeps_no_note_and_nobody_minds(listener: Stream, client: redis.Redis) -> None:
    with limited(client, 1):
        listener.note(1, ["bad"])
    assert recent(listener) == Recent()


@pytest.mark.parametrize("allowed", ["~inventory:*", "~*"])
def test_a_user_who_may_not_see_the_notes_sees_the_other_figures(
    redis_server: RedisServer, listener: Stream, client: redis.Redis, allowed: str
) -> None:
    redis_server.skip_unless_ours()
    listener.note(0, ["bad"])
    raw(client, "ACL", "SETUSER", "ops", "on", ">secret", allowed, "+@all")
    url = redis_server.url.replace("redis://", "redis://ops:secret@")
    with closing(Stream(url, EVENTS)) as stream:
        stream.note(0, ["worse"])
        assert stream.figures() == listener.figures()
        assert stream.figures().recent.events == (2 if allowed == "~*" else 0)


# --- a server that goes away, or is of the wrong kind ---


def test_a_key_of_another_type_is_said_in_one_line(listener: Stream, client: redis.Redis) -> None:
    client.set(EVENTS, "not a stream")
    calls: list[Callable[[], object]] = [
        lambda: listener.read(1, NO_WAIT),
        lambda: listener.take_over(0, 1),
        lambda: listener.publish(FIELDS),
        listener.trim,
        listener.figures,
    ]
    for call in calls:
        with pytest.raises(RedisAway, match="WRONGTYPE"):
            call()


def test_a_cluster_is_refused() -> None:
    server = RedisServer({"cluster-enabled": "yes"})
    server.skip_unless_ours()
    with closing(server), closing(Stream(server.url, EVENTS, consumer="me")) as stream:
        server.start()
        for call in (lambda: stream.publish(FIELDS), lambda: stream.read(1, NO_WAIT)):
            with pytest.raises(BadSetting, match="Cluster"):
                call()


def test_a_wrong_password_is_said_without_repeating_it(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://jo:secret@")
    with closing(Stream(url, EVENTS)) as stream, pytest.raises(RedisAway) as away:
        stream.ping()
    assert "secret" not in str(away.value)


def test_the_server_s_name_and_version_are_told(redis_server: RedisServer, listener: Stream) -> None:
    redis_server.skip_unless_ours()
    said = subprocess.check_output([binary(), "--version"], text=True)
    server = listener.ping()
    assert server.name in {"Redis", "Valkey"}
    assert said.startswith(f"{server.name} server v={server.version} ")


def test_a_killed_server_is_away_and_then_back_with_everything(redis_server: RedisServer, listener: Stream) -> None:
    sent = published(listener, 3)
    listener.read(1, NO_WAIT)
    redis_server.kill()
    for call in (lambda: listener.read(1, 10), lambda: listener.publish(FIELDS), listener.ping):
        with pytest.raises(RedisAway) as away:
            call()
        assert "\n" not in str(away.value)
    redis_server.start()
    assert ids(listener.read(10, NO_WAIT)) == sent[1:]
    assert ids(listener.take_over(0, 10)) == sent


def test_a_server_that_came_back_empty_is_read_from_the_begin(redis_server: RedisServer, listener: Stream) -> None:
    published(listener, 3)
    redis_server.restart(empty=True)
    (sent,) = published(listener, 1)
    assert listener.read(10, NO_WAIT) == []
    assert ids(listener.read(10, NO_WAIT)) == [sent]


def test_a_server_that_dies_while_we_wait_is_away(redis_server: RedisServer, listener: Stream) -> None:
    redis_server.skip_unless_ours()
    timer = threading.Timer(0.1, redis_server.kill)
    timer.start()
    with pytest.raises(RedisAway):
        listener.read(1, 5000)
    timer.join()


def test_a_stream_that_is_deleted_while_we_wait_gets_its_group_again(listener: Stream, client: redis.Redis) -> None:
    timer = threading.Timer(0.05, lambda: client.delete(EVENTS))
    timer.start()
    assert listener.read(1, 300) == []
    timer.join()
    (sent,) = published(listener, 1)
    found = listener.read(1, NO_WAIT) or listener.read(1, NO_WAIT)
    assert ids(found) == [sent]


def test_a_publish_whose_reply_is_lost_is_not_repeated(
    redis_server: RedisServer, listener: Stream, client: redis.Redis
) -> None:
    raw(client, "CLIENT", "PAUSE", "60000", "WRITE")
    failed = []

    def publish() -> None:
        try:
            listener.publish(FIELDS)
        except RedisAway:
            failed.append(True)

    thread = threading.Thread(target=publish)
    thread.start()
    eventually(lambda: b"cmd=xadd" in raw(client, "CLIENT", "LIST"))
    client.client_kill_filter(_type="normal", skipme=True)
    thread.join()
    raw(client, "CLIENT", "UNPAUSE")
    assert failed
    assert listener.figures().length <= 1


def test_entry_ids_rise(listener: Stream) -> None:
    sent = published(listener, 50)
    numbers = [tuple(int(part) for part in entry_id.split("-")) for entry_id in sent]
    assert all(earlier < later for earlier, later in pairwise(numbers))


# The newest id


def test_the_newest_id_is_known_even_if_its_entry_is_gone(listener: Stream, client: redis.Redis) -> None:
    *_, last = published(listener, 3)
    client.xtrim(EVENTS, maxlen=0)
    client.xgroup_setid(EVENTS, GROUP, "0")
    assert listener.newest_id() == last


def test_a_stream_that_is_not_there_has_no_newest_id(listener: Stream, client: redis.Redis) -> None:
    client.delete(EVENTS)
    assert listener.newest_id() is None


def test_who_may_not_ask_for_the_newest_id_takes_the_newest_that_was_delivered(
    redis_server: RedisServer, listener: Stream, client: redis.Redis
) -> None:
    first, _ = published(listener, 2)
    listener.read(1, NO_WAIT)
    rights = ["-@all", "+hello", "+client|setname", "+select", "+xinfo|groups"]
    client.acl_setuser("older", enabled=True, passwords=["+OLDER"], keys=["*"], commands=rights)
    with closing(Stream(redis_server.url.replace("redis://", "redis://older:OLDER@"), EVENTS)) as older:
        assert older.newest_id() == first
        client.delete(EVENTS)
        assert older.newest_id() is None
    client.acl_deluser("older")
