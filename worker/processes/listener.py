"""`stockbell listen`: reads the stream, decodes, commits, rings and acknowledges, in that order.

While one batch is being committed the next one is read and decoded, and no more than that. A batch whose commit fails
is kept and tried again, and the backlog stays in Redis. Dead letters come from decoding only, never from our own
failures.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import uuid4

import structlog

from worker.domain.errors import BadEvent, DatabaseAway, RedisAway
from worker.domain.events import Event, decode
from worker.domain.policies import Policies
from worker.processes.backoff import Backoff
from worker.processes.bootstrap import Parts, collect_rarely
from worker.processes.startup import wait_for_database
from worker.processes.stop import Stop
from worker.queue.bell import Bell
from worker.services.intake import Taken, report, ring_for, take_events
from worker.store.database import Database
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream

PAGE = 125
"""How many entries are read at once: 8 MB if each is as large as an event may be."""
BATCH = 2000
"""How many entries a batch has at most. With a backlog, many events share one commit to the disk."""
BATCH_BYTES = 2_000_000
"""A batch of this size reads no further page, so that huge events need no more memory than small ones."""
BLOCK_MS = 1000
TRIM_SECONDS = 1.0

log = structlog.get_logger()


def run(parts: Parts) -> None:
    """Listens until SIGTERM or SIGINT."""
    stop = Stop().listen()
    stop.end_in_time()
    settings = parts.settings
    parts.check_redis()
    if not wait_for_database(parts.database, stop):
        return
    collect_rarely()
    stream = Stream(settings.events_url, settings.event_stream, consumer=consumer_name())
    parts.bell.warm_up()
    log.info("listener.started", stream=settings.event_stream)
    Listener(
        stream,
        parts.database,
        parts.bell,
        policies=parts.policies,
        idle_seconds=settings.lease_seconds / 4,
    ).run(stop)
    log.info("listener.stopped")


def consumer_name() -> str:
    """A name that no other listener ever had, so that entries of a dead listener can be recognised."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


@dataclass(slots=True)
class Batch:
    """What was read: events, and entries that could not be decoded, each with the reason."""

    events: list[Event] = field(default_factory=list)
    dead: list[tuple[Entry, str]] = field(default_factory=list)
    size: int = 0
    """how many bytes were read for it"""

    def __len__(self) -> int:
        return len(self.events) + len(self.dead)


class Listener:
    """Takes events from the stream to the database.

    Entries that another listener read over `idle_seconds` ago and did not acknowledge are taken over. That listener is
    dead, or it waits for the database as we do. To apply an event twice changes nothing.
    """

    def __init__(
        self,
        stream: Stream,
        database: Database,
        bell: Bell,
        *,
        policies: Policies,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._database = database
        self._bell = bell
        self._policies = policies
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._look_for_dead_at = self._trim_at = clock()
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self._under_way: Future[None] | None = None

    def run(self, stop: Stop) -> None:
        """Listens until stopped. It waits for Redis or a database that is away, and logs that once."""
        backoff = Backoff(stop, away="redis.away", back="redis.back")
        with self._keeper:
            while not stop.is_set():
                try:
                    self.turn(stop)
                    backoff.is_over()
                except RedisAway as away:
                    backoff.wait(str(away))

    def turn(self, stop: Stop) -> None:
        """Reads a batch (waits up to a second for it) and stores it once the one before is stored; raises RedisAway."""
        batch = self._abandoned() or self._next()
        try:
            self._settle()
        finally:  # even if that failed: this batch has been read
            if batch:
                self._under_way = self._keeper.submit(self._keep, batch, stop)

    def _settle(self) -> None:
        """Waits until the batch before is dealt with, or the process is stopped."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _abandoned(self) -> Batch:
        batch = Batch()
        if self._clock() < self._look_for_dead_at:
            return batch
        self._settle()  # or we would take over our own batch if it has waited long for the database
        taken = self._stream.take_over(int(self._idle_seconds * 1000), PAGE)
        if not taken.entries:
            self._look_for_dead_at = self._clock() + self._idle_seconds / 2
        if taken.entries or taken.lost:
            log.warning("events.taken_over", events=len(taken.entries), deleted_meanwhile=taken.lost)
        self._decode(taken.entries, batch)
        return batch

    def _next(self) -> Batch:
        """New entries: one page, or a whole batch if they are there already."""
        batch = Batch()
        page = self._stream.read(PAGE, BLOCK_MS)
        self._decode(page, batch)
        while len(page) == PAGE and len(batch) <= BATCH - PAGE and batch.size < BATCH_BYTES:
            page = self._stream.read(PAGE, 0)
            self._decode(page, batch)
        return batch

    def _decode(self, entries: Sequence[Entry], batch: Batch) -> None:
        batch.size += _size(entries)
        for entry in entries:
            try:
                batch.events.append(decode(entry.id, entry.fields))
            except BadEvent as bad:
                batch.dead.append((entry, str(bad)))
                log.warning("event.rejected", entry_id=entry.id, reason=str(bad))

    def _keep(self, batch: Batch, stop: Stop) -> None:
        """Commits, rings, acknowledges, and moves what can't be decoded to the dead letters. In the keeper's thread."""
        if batch.events and not self._take(batch.events, stop):
            return
        if batch.dead and (lost := self._stream.dead_letters.bury(batch.dead)):
            log.error("dead_letters.lost", events=lost, reason="Redis is full")
        self._stream.note(len(batch.events), [reason for _, reason in batch.dead])
        if self._clock() >= self._trim_at:
            self._stream.trim()
            self._trim_at = self._clock() + TRIM_SECONDS

    def _take(self, events: Sequence[Event], stop: Stop) -> bool:
        taken = self._commit(events, stop)
        if taken is None:
            return False
        ring_for(self._bell, taken)
        report(events, taken)
        self._stream.ack([event.entry_id for event in events])
        return True

    def _commit(self, events: Sequence[Event], stop: Stop) -> Taken | None:
        """Commits, and tries again until that works. None: the process was stopped before."""
        backoff = Backoff(stop, away="database.away", back="database.back")
        while True:
            try:
                taken = take_events(self._database, events, self._policies, self._stream.newest_id)
            except DatabaseAway as away:
                if backoff.wait(str(away)):
                    return None
            else:
                backoff.is_over()
                return taken


def _size(entries: Sequence[Entry]) -> int:
    return sum(len(name) + len(value) for entry in entries for name, value in entry.fields.items())
