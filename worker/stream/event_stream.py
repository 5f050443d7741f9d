"""The event stream, as the listener reads it and as publishers write it.

Errors of redis-py become RedisAway. No command is retried: see `redis_client`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import NoPermissionError, ResponseError

from worker.redis_servers import about
from worker.stream import figures, recent
from worker.stream.dead_letters import DeadLetters
from worker.stream.entries import GROUP, PAGE, URL, Entry, entries, groups, translated_events
from worker.stream.figures import Figures, Reader
from worker.stream.redis_client import connect

TIMEOUT_SECONDS = 10
MAX_BLOCK_MS = 5_000
"""The longest blocking read. Redis-py treats a read that blocks longer than its socket timeout as a dead connection."""

CONSUMER_FORGOTTEN_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of `take_over`: entries, and the number of entries that were deleted before they were acknowledged."""

    entries: Sequence[Entry]
    lost: int


OLDEST_REDIS: Final = (6, 2)
"""The oldest Redis that has the commands of the stream. Every Valkey has them."""


class Server(NamedTuple):
    """What a server says that it is: Redis or Valkey, and its version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Stream:
    """One event stream, read as `consumer` of the group `stockbell`. It connects with the first call.

    Every method raises RedisAway if Redis can't be reached or refuses the command. It raises BadSetting on a Redis
    Cluster, where a stream and its dead letters can't be changed in one transaction.
    """

    def __init__(self, url: str, name: str, *, consumer: str = "", client: redis.Redis | None = None) -> None:
        """`consumer` must be unique among living readers. `client` is for tests (protocol 2)."""
        self.name = name
        self._consumer = consumer
        self._client = client or connect(url, of=URL, timeout=TIMEOUT_SECONDS, connect_timeout=5)
        self.dead_letters = DeadLetters(self._client, name)

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Returns up to `count` new entries. Waits at most `block_ms` milliseconds (up to 5,000) for the first one.

        If the group is missing (first start, or Redis lost its data), it is created at the beginning of the stream, and
        this call returns nothing.
        """
        block = min(block_ms, MAX_BLOCK_MS) or None
        with translated_events(self._client):
            try:
                return self._read(">", count, block)
            except ResponseError as error:
                self._make_missing_group(error)
                return []

    def _read(self, after: str, count: int, block: int | None = None) -> list[Entry]:
        reply: Any = self._client.xreadgroup(GROUP, self._consumer, {self.name: after}, count=count, block=block)
        return [entry for _, pairs in reply for entry in entries(pairs)]

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
        with translated_events(self._client):
            try:
                taken = self._take_over(idle_ms, count)
                self._forget_consumers()
                return taken
            except ResponseError as error:
                self._make_missing_group(error)
                return Taken((), 0)

    def _take_over(self, idle_ms: int, count: int) -> Taken:
        taken: list[Entry] = []
        lost, cursor = 0, b"0-0"
        while len(taken) < count:
            cursor, claimed, *deleted = self._claim(idle_ms, cursor, count - len(taken))
            taken += entries(claimed)
            lost += len(deleted[0]) if deleted else self._drop_deleted(claimed)
            if cursor == b"0-0":
                break
        return Taken(taken, lost)

    def _claim(self, idle_ms: int, cursor: bytes, count: int) -> list[Any]:
        return self._client.xautoclaim(self.name, GROUP, self._consumer, idle_ms, cursor, count=count)

    def _drop_deleted(self, claimed: Sequence[Any]) -> int:
        """Acknowledges deleted entries on Redis 6.2, which claims them without their ids. Returns their number."""
        if all(entry_id is not None for entry_id, _ in claimed):
            return 0
        dropped, after = 0, "0"
        while mine := self._read(after, PAGE):
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
        with translated_events(self._client):
            self._ack(ids)

    def _ack(self, ids: Sequence[str]) -> None:
        if ids:
            self._client.xack(self.name, GROUP, *ids)

    def note(self, taken: int, reasons: Sequence[str]) -> None:
        """Notes a batch for `figures`: how many events were taken, and the reason of each dead letter."""
        with translated_events(self._client):
            recent.note(self._client, self.name, taken, reasons)

    def trim(self) -> None:
        """Deletes the entries that every group has read and acknowledged."""
        with translated_events(self._client):
            if readers := groups(self._client, self.name):
                done = min((self._first_needed(group) for group in readers), key=_id_order)
                self._client.xtrim(self.name, minid=done, approximate=False)

    def _first_needed(self, group: Mapping[str, Any]) -> bytes:
        # Entries that the group reads after XINFO are newer than this.
        delivered: bytes = group["last-delivered-id"]
        if not group["pending"]:
            return delivered
        pending: Any = self._client.xpending(self.name, group["name"])
        return min(pending["min"] or delivered, delivered, key=_id_order)

    def publish(self, fields: Mapping[str, str]) -> str:
        """Adds an entry and returns its id. The entry may exist even if RedisAway is raised."""
        entry: Any = dict(fields)
        with translated_events(self._client):
            entry_id: Any = self._client.xadd(self.name, entry)
        return str(entry_id, "ascii")

    def publish_many(self, entries: Sequence[Mapping[str, bytes]]) -> list[str]:
        """Adds entries in this order, all or none of them, and returns their ids.

        They may exist even if RedisAway is raised: the reply may have been lost.
        """
        with translated_events(self._client), self._client.pipeline(transaction=True) as pipe:
            for entry in entries:
                fields: Any = dict(entry)
                pipe.xadd(self.name, fields)
            return [str(entry_id, "ascii") for entry_id in pipe.execute()]

    def newest_id(self) -> str | None:
        """Returns the newest entry id that the stream has given, even if that entry is gone; None without a stream."""
        with translated_events(self._client):
            try:
                newest = self._client.xinfo_stream(self.name)["last-generated-id"]
            except NoPermissionError:  # a user from before this was asked: what is stored has been delivered
                delivered = (group["last-delivered-id"] for group in groups(self._client, self.name))
                newest = max(delivered, key=_id_order, default=None)
            except ResponseError as error:
                if "no such key" not in str(error):
                    raise
                newest = None
        return None if newest is None else str(newest, "ascii")

    def figures(self) -> Figures:
        """Returns the numbers of all, unread, pending and dead entries. They are 0 before the first event."""
        with translated_events(self._client):
            return figures.read(self._client, self.name, self.dead_letters.name)

    def readers(self) -> list[Reader]:
        """Returns who has read the stream in the last hour, those who were heard of last first."""
        with translated_events(self._client):
            return figures.readers(self._client, self.name)

    def ping(self) -> Server:
        """Makes a round trip to the server and returns what it is."""
        with translated_events(self._client):
            said = about(self._client)
        return Server(said["server"].capitalize(), said["version"])

    def eviction(self) -> str | None:
        """Returns the `maxmemory-policy` if it can evict events, or None if it can't or is unknown."""
        with translated_events(self._client):
            try:
                memory: Any = self._client.info("memory")
            except ResponseError:  # the user may lack the permission
                return None
        policy = str(memory.get("maxmemory_policy", ""))
        return policy if policy.startswith("allkeys") and memory.get("maxmemory") else None

    def close(self) -> None:
        """Closes the connections. A later call would open one again."""
        with translated_events(self._client):
            self._client.close()


# The second comes if the group disappears during a blocking read (up to 7.0), the third if the stream never existed.
_NO_GROUP = ("NOGROUP", "UNBLOCKED", "The XGROUP subcommand requires the key to exist")


def _id_order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)
