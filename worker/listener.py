"""`stockbell listen`: reads the stream, decodes, commits, rings, acknowledges; in that order.

A batch whose commit fails is kept and tried again, and nothing more is read meanwhile: the backlog stays in Redis.
Dead letters come from decoding only, never from our own troubles.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

import structlog

from worker.bell import Bell
from worker.bootstrap import Parts
from worker.errors import BadEvent, DatabaseAway, RedisAway
from worker.events import Event, decode
from worker.services.intake import Taken, ring_for, take_events
from worker.services.startup import wait_for_database
from worker.stop import Stop
from worker.store.database import Database
from worker.stream import Entry, Stream

BATCH = 500
BLOCK_MS = 1000
TRIM_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds between tries while Redis or the database is away."""

log = structlog.get_logger()


def run(parts: Parts) -> None:
    """Listens until SIGTERM or SIGINT."""
    stop = Stop().listen()
    settings = parts.settings
    if not wait_for_database(parts.database, stop):
        return
    stream = Stream(settings.events_url, settings.event_stream, consumer=consumer_name())
    parts.bell.warm_up()
    log.info("listener.started", stream=settings.event_stream)
    Listener(
        stream,
        parts.database,
        parts.bell,
        minimum=settings.min_quantity,
        idle_seconds=settings.lease_seconds / 4,
    ).run(stop)
    log.info("listener.stopped")


def consumer_name() -> str:
    """A name that no other listener ever had, so that what a dead one held can be told apart."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


class Listener:
    """Takes events from the stream to the database.

    Entries that another listener read `idle_seconds` ago and did not acknowledge are taken over: it died, or waits for
    the database like us; applying an event twice changes nothing.
    """

    def __init__(
        self,
        stream: Stream,
        database: Database,
        bell: Bell,
        *,
        minimum: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._database = database
        self._bell = bell
        self._minimum = minimum
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._look_for_dead_at = self._trim_at = clock()

    def run(self, stop: Stop) -> None:
        """Listens until stopped; Redis or a database that is away is waited for, and said once."""
        patience = Patience(stop)
        while not stop.is_set():
            try:
                self.turn(stop)
                patience.is_over()
            except RedisAway as away:
                patience.wait("redis.away", str(away))

    def turn(self, stop: Stop) -> None:
        """One batch; waits up to a second for one. Raises RedisAway."""
        entries = self._abandoned() or self._stream.read(BATCH, BLOCK_MS)
        if entries:
            self._take(entries, stop)
        if entries and self._clock() >= self._trim_at:
            self._stream.trim()
            self._trim_at = self._clock() + TRIM_SECONDS

    def _abandoned(self) -> Sequence[Entry]:
        if self._clock() < self._look_for_dead_at:
            return ()
        taken = self._stream.take_over(int(self._idle_seconds * 1000), BATCH)
        if not taken.entries:
            self._look_for_dead_at = self._clock() + self._idle_seconds / 2
        if taken.entries or taken.lost:
            log.warning("events.taken_over", events=len(taken.entries), deleted_meanwhile=taken.lost)
        return taken.entries

    def _take(self, entries: Sequence[Entry], stop: Stop) -> None:
        events = self._decode(entries)
        if not events:
            return
        taken = self._commit(events, stop)
        if taken is not None:
            _report(events, taken)
            self._stream.ack([event.entry_id for event in events])

    def _decode(self, entries: Sequence[Entry]) -> list[Event]:
        events: list[Event] = []
        dead: list[tuple[Entry, str]] = []
        for entry in entries:
            try:
                events.append(decode(entry.id, entry.fields))
            except BadEvent as bad:
                dead.append((entry, str(bad)))
                log.warning("event.rejected", entry_id=entry.id, reason=str(bad))
        if dead:
            self._stream.bury(dead)
        return events

    def _commit(self, events: Sequence[Event], stop: Stop) -> Taken | None:
        """Commits for as long as it takes, then rings; None if the process was stopped before it could."""
        patience = Patience(stop)
        while True:
            try:
                taken = take_events(self._database, events, self._minimum)
            except DatabaseAway as away:
                if patience.wait("database.away", str(away)):
                    return None
            else:
                patience.is_over()
                self._ring_for(taken)
                return taken

    def _ring_for(self, taken: Taken) -> None:
        try:
            ring_for(self._database, self._bell, taken)
        except DatabaseAway as away:  # the sweep rings
            log.warning("bells.lost", reason=str(away))


class Patience:
    """Waits longer from try to try, and says why only once."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._pause = FIRST_PAUSE
        self._has_spoken = False

    def wait(self, event: str, reason: str) -> bool:
        """Waits before the next try; True if the process shall end."""
        if not self._has_spoken:
            log.warning(event, reason=reason)
        self._has_spoken = True
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return self._stop.wait(pause)

    def is_over(self) -> None:
        """It worked: the next trouble is a new one."""
        if self._has_spoken:
            log.info("trouble.over")
        self._pause, self._has_spoken = FIRST_PAUSE, False


def _report(events: Sequence[Event], taken: Taken) -> None:
    woken = {item: len(list_ids) for item, list_ids in taken.woken.items()}
    for event in sorted(events, key=lambda event: event.order, reverse=True):
        if event.entry_id in taken.stale:
            log.info("event.stale", entry_id=event.entry_id)
            continue
        # Of several events about an item in one batch the newest speaks for all.
        woke = woken.pop(event.reference.item, 0)
        log.info("event.accepted", entry_id=event.entry_id, event_id=event.event_id, woke=woke)
