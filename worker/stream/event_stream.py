"""The event stream: the only module that uses Redis Streams.

Errors of redis-py become RedisAway. No command is retried: see `redis_client`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import redis
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
)

from worker.domain.errors import BadSetting
from worker.stream.dead_letter import Fields, dead_letter
from worker.stream.redis_client import connect, translated

GROUP = "stockbell"
DEAD_LETTERS_KEPT = 10_000
TIMEOUT_SECONDS = 10
MAX_BLOCK_MS = 5_000
"""The longest blocking read. Redis-py treats a read that blocks longer than its socket timeout as a dead connection."""

CONSUMER_FORGOTTEN_MS = 3_600_000
LISTENER_QUIET_MS = 90_000
"""A living listener that has something to read is heard of within this time.

It reads every second. With a batch in hand it first waits for the database: up to 60 s for a statement, and 10 s until
the next try. After a longer silence nobody reads, whatever the reason is.
"""

MAX_COUNTED = 10_000
_PAGE = 500
_LETTERS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry, as it was published."""

    id: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of `take_over`: entries, and the number of entries that were deleted before they were acknowledged."""

    entries: Sequence[Entry]
    lost: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of the stream. `lag` is the number of unread entries, or None if there are too many to count.

    `unattended`: entries wait, and no listener was heard of for 90 s.
    """

    length: int
    lag: int | None
    pending: int
    dead_letters: int
    unattended: bool = field(default=False, compare=False)


class Stream:
    """One event stream, read as `consumer` of the group `stockbell`. It connects with the first call.

    Every method raises RedisAway if Redis can't be reached or refuses the command. It raises BadSetting on a Redis
    Cluster, where a stream and its dead letters can't be changed in one transaction.
    """

    def __init__(self, url: str, name: str, *, consumer: str = "", client: redis.Redis | None = None) -> None:
        """`consumer` must be unique among living readers. `client` is for tests (protocol 2)."""
        self.name = name
        self._dead = f"{name}:dead"
        self._consumer = consumer
        self._client = client or connect(url, of=_URL, timeout=TIMEOUT_SECONDS, connect_timeout=5)

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Returns up to `count` new entries. Waits at most `block_ms` milliseconds (up to 5,000) for the first one.

        If the group is missing (first start, or Redis lost its data), it is created at the beginning of the stream, and
        this call returns nothing.
        """
        block = min(block_ms, MAX_BLOCK_MS) or None
        with self._translated():
            try:
                return self._read(">", count, block)
            except ResponseError as error:
                self._make_missing_group(error)
                return []

    def _read(self, after: str, count: int, block: int | None = None) -> list[Entry]:
        reply: Any = self._client.xreadgroup(GROUP, self._consumer, {self.name: after}, count=count, block=block)
        return [entry for _, entries in reply for entry in _entries(entries)]

    def _make_missing_group(self, error: ResponseError) -> None:
        """Creates the group if the error says that it is missing. Raises the error otherwise."""
        if not str(error).startswith(_NO_GROUP):
            raise error
        try:
            self._client.xgroup_create(self.name, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another listener created it first
                raise

    def take_over(self, idle_ms: int, count: int) -> Taken:
        """Claims up to `count` entries that were read more than `idle_ms` milliseconds ago and not acknowledged.

        Entries that were deleted meanwhile are acknowledged and counted. Consumers that hold no entries and were idle
        for an hour are deleted.
        """
        with self._translated():
            try:
                taken = self._take_over(idle_ms, count)
                self._forget_consumers()
                return taken
            except ResponseError as error:
                self._make_missing_group(error)
                return Taken((), 0)

    def _take_over(self, idle_ms: int, count: int) -> Taken:
        entries: list[Entry] = []
        lost, cursor = 0, b"0-0"
        while len(entries) < count:
            cursor, claimed, *deleted = self._claim(idle_ms, cursor, count - len(entries))
            entries += _entries(claimed)
            lost += len(deleted[0]) if deleted else self._drop_deleted(claimed)
            if cursor == b"0-0":
                break
        return Taken(entries, lost)

    def _claim(self, idle_ms: int, cursor: bytes, count: int) -> list[Any]:
        return self._client.xautoclaim(self.name, GROUP, self._consumer, idle_ms, cursor, count=count)

    def _drop_deleted(self, claimed: Sequence[Any]) -> int:
        """Acknowledges deleted entries on Redis 6.2, which claims them without their ids. Returns their number."""
        if all(entry_id is not None for entry_id, _ in claimed):
            return 0
        dropped, after = 0, "0"
        while mine := self._read(after, _PAGE):
            gone = [entry.id for entry in mine if not entry.fields]
            self._ack(gone)
            dropped, after = dropped + len(gone), mine[-1].id
        return dropped

    def _forget_consumers(self) -> None:
        # Deleting a consumer drops its pending entries. If it reads new entries at this moment, it still has them in
        # memory, and commits them before it acknowledges.
        for consumer in self._client.xinfo_consumers(self.name, GROUP):
            name = consumer["name"]
            forgotten = consumer["pending"] == 0 and consumer["idle"] > CONSUMER_FORGOTTEN_MS
            if forgotten and name != self._consumer.encode():
                self._client.xgroup_delconsumer(self.name, GROUP, name)

    def ack(self, ids: Sequence[str]) -> None:
        """Acknowledges these entries."""
        with self._translated():
            self._ack(ids)

    def _ack(self, ids: Sequence[str]) -> None:
        if ids:
            self._client.xack(self.name, GROUP, *ids)

    def bury(self, letters: Sequence[tuple[Entry, str]]) -> int:
        """Moves undecodable entries to the dead letters, each with its reason. Returns how many letters were not kept.

        A letter is added and its entry acknowledged in one transaction. If Redis is out of memory, the oldest letters
        are deleted, at most half of all. If there is still no room, the new letters are not kept: otherwise their
        entries would stay in the stream and block the entries after them.
        """
        lost = 0
        with self._translated():
            for start in range(0, len(letters), _LETTERS_AT_ONCE):
                lost += self._bury_or_drop(letters[start : start + _LETTERS_AT_ONCE])
        return lost

    def _bury_or_drop(self, letters: Sequence[tuple[Entry, str]]) -> int:
        if self._try_to_bury(letters):
            return 0
        self._drop_oldest_letters()
        if self._try_to_bury(letters):
            return 0
        self._ack([entry.id for entry, _ in letters])
        return len(letters)

    def _drop_oldest_letters(self) -> None:
        kept = DEAD_LETTERS_KEPT  # a listener has no permission to ask for the real number
        has_dropped = 0
        while kept and not has_dropped:
            kept //= 2
            has_dropped = self._client.xtrim(self._dead, maxlen=kept, approximate=False)

    def _try_to_bury(self, letters: Sequence[tuple[Entry, str]]) -> bool:
        """Moves the entries. Returns False if Redis is out of memory."""
        with suppress(OutOfMemoryError), self._client.pipeline(transaction=True) as pipe:
            for entry, reason in letters:
                letter: Any = dead_letter(entry.id, entry.fields, reason, datetime.now(UTC))
                pipe.xadd(self._dead, letter, maxlen=DEAD_LETTERS_KEPT, approximate=True)
            pipe.xack(self.name, GROUP, *(entry.id for entry, _ in letters))
            pipe.execute()
            return True
        return False

    def trim(self) -> None:
        """Deletes the entries that every group has read and acknowledged."""
        with self._translated():
            groups = self._groups()
            if groups:
                done = min((self._first_needed(group) for group in groups), key=_id_order)
                self._client.xtrim(self.name, minid=done, approximate=False)

    def _first_needed(self, group: Mapping[str, Any]) -> bytes:
        # Entries that the group reads after XINFO are newer than this.
        delivered: bytes = group["last-delivered-id"]
        if not group["pending"]:
            return delivered
        pending: Any = self._client.xpending(self.name, group["name"])
        return min(pending["min"] or delivered, delivered, key=_id_order)

    def _groups(self) -> list[dict[str, Any]]:
        try:
            return list(self._client.xinfo_groups(self.name))
        except ResponseError as error:
            if "no such key" in str(error):
                return []
            raise

    def publish(self, fields: Mapping[str, str]) -> str:
        """Adds an entry and returns its id. The entry may exist even if RedisAway is raised."""
        entry: Any = dict(fields)
        with self._translated():
            entry_id: Any = self._client.xadd(self.name, entry)
        return str(entry_id, "ascii")

    def dead_letters(self, limit: int) -> list[Entry]:
        """Returns the newest `limit` dead letters (0 means all), oldest first."""
        with self._translated():
            newest: Any = self._client.xrevrange(self._dead, count=limit or None)
            return _entries(reversed(newest))

    def dead_letters_in_order(self) -> Iterator[Entry]:
        """Yields all dead letters that exist now, oldest first. They may be replayed during the iteration."""
        newest = self.dead_letters(1)
        after = b"-"
        while newest:
            with self._translated():
                page: Any = self._client.xrange(self._dead, after, newest[0].id, count=_LETTERS_AT_ONCE)
            if not page:
                return
            yield from _entries(page)
            after = b"(" + page[-1][0]

    def dead_letter(self, letter_id: str) -> Entry | None:
        """Returns the dead letter with this id (`milliseconds-sequence`), or None."""
        with self._translated():
            found: Any = self._client.xrange(self._dead, letter_id, letter_id)
            return next(iter(_entries(found)), None)

    def replay(self, letter_id: str, fields: Fields) -> None:
        """Moves a dead letter back to the stream with these fields, in one transaction."""
        with self._translated(), self._client.pipeline(transaction=True) as pipe:
            entry: Any = fields
            pipe.xadd(self.name, entry)
            pipe.xdel(self._dead, letter_id)
            pipe.execute()

    def drop(self, letter_ids: Sequence[str]) -> int:
        """Deletes dead letters (one at least) for good; returns how many of these there were."""
        with self._translated():
            return int(self._client.xdel(self._dead, *letter_ids))

    def figures(self) -> Figures:
        """Returns the numbers of all, unread, pending and dead entries. They are 0 before the first event."""
        with self._translated():
            group = next((g for g in self._groups() if g["name"] == GROUP.encode()), None)
            return Figures(
                length=self._length(self.name),
                lag=self._lag(group),
                pending=group["pending"] if group else 0,
                dead_letters=self._length(self._dead),
                unattended=self._is_unattended(group),
            )

    def _is_unattended(self, group: Mapping[str, Any] | None) -> bool:
        if group is None:  # no listener has ever been there
            return self._length(self.name) > 0
        # Up to 7.0 a read that finds nothing leaves `idle` as it was, so it tells only where something waits. Nor can
        # the lag be believed there: after a foreign trim it never goes away.
        if not (group["pending"] or self._has_unread(group["last-delivered-id"])):
            return False
        try:
            consumers = self._client.xinfo_consumers(self.name, GROUP)
        except NoPermissionError:  # a user from before this was asked
            return False
        return all(consumer["idle"] > LISTENER_QUIET_MS for consumer in consumers)

    def _has_unread(self, after: bytes) -> bool:
        return bool(self._client.xrange(self.name, min=b"(" + after, count=1))

    def _length(self, name: str) -> int:
        return int(self._client.xlen(name))

    def _lag(self, group: Mapping[str, Any] | None) -> int | None:
        if group is None:
            return self._length(self.name)
        known: int | None = group.get("lag")  # missing before Redis 7.0; null after entries were deleted
        return self._counted(group["last-delivered-id"]) if known is None else known

    def _counted(self, after: bytes) -> int | None:
        counted = 0
        while counted < MAX_COUNTED:
            page: Any = self._client.xrange(self.name, min=b"(" + after, count=_PAGE)
            counted += len(page)
            if len(page) < _PAGE:
                return counted
            after = page[-1][0]
        return None

    def ping(self) -> str:
        """Makes a round trip to the server and returns its version."""
        with self._translated():
            # HELLO needs fewer permissions than INFO; redis-py has no method for it.
            reply: Any = self._client.execute_command("HELLO")  # type: ignore[no-untyped-call]
        about = dict(zip(reply[::2], reply[1::2], strict=True))
        if about.get(b"mode") == b"cluster":
            raise BadSetting(_NO_CLUSTER)
        return str(about[b"version"], "ascii")

    def eviction(self) -> str | None:
        """Returns the `maxmemory-policy` if it can evict events, or None if it can't or is unknown."""
        with self._translated():
            try:
                memory: Any = self._client.info("memory")
            except ResponseError:  # the user may lack the permission
                return None
        policy = str(memory.get("maxmemory_policy", ""))
        return policy if policy.startswith("allkeys") and memory.get("maxmemory") else None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(self._client, "events"):
            try:
                yield
            except _CLUSTER_ERRORS:
                raise BadSetting(_NO_CLUSTER) from None

    def close(self) -> None:
        """Closes the connections. A later call would open one again."""
        with self._translated():
            self._client.close()


# The second comes if the group disappears during a blocking read (up to 7.0), the third if the stream never existed.
_NO_GROUP = ("NOGROUP", "UNBLOCKED", "The XGROUP subcommand requires the key to exist")
_URL = "the Redis URL of the event stream"
_NO_CLUSTER = "the event stream can't be on a Redis Cluster: name a single server or its primary"
_CLUSTER_ERRORS = (ClusterError, ClusterCrossSlotError, AskError)


def _entries(pairs: Iterable[tuple[bytes | None, Fields]]) -> list[Entry]:
    return [Entry(str(entry_id, "ascii"), fields) for entry_id, fields in pairs if entry_id]


def _id_order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)
