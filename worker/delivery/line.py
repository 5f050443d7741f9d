"""What a worker process works with, made once after the fork: its parts, its threads, its pace."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

import structlog

from worker.delivery.lease import Lease
from worker.delivery.recorder import Recorder
from worker.delivery.slice_clock import LOOK_SECONDS
from worker.delivery.streaks import Aborts, Streaks
from worker.delivery.throttle import Throttle
from worker.domain.errors import RedisAway
from worker.domain.outcomes import RelayDown
from worker.domain.verdicts import RetryPolicy
from worker.mail.letter import LetterWriter
from worker.queue.bell import Bell
from worker.smtp.mailer import Mailer
from worker.store import claims, lists, recording
from worker.store.database import Connection, Database
from worker.store.recording import Ends

P = ParamSpec("P")
T = TypeVar("T")

RATE_IS_FRESH = 1.0
"""For how many seconds a measured rate says how much to claim."""

NOTE_SECONDS = 1.0
"""How often it is noted that the relay takes mail."""
STOP_SECONDS = 3.5
"""How long a stopping process waits for replies that are on their way; supervisors such as honcho kill after 5 s."""

log = structlog.get_logger()


@dataclass(slots=True)
class Pace:
    """How many requests to claim at a time: what the last second's rate sends in half a second."""

    least: int
    """as many as there are connections"""
    most: int
    """the batch size"""
    clock: Callable[[], float] = time.monotonic
    _rate: float = 0.0
    _measured_at: float = float("-inf")

    def measured(self, mails: int, seconds: float) -> None:
        """So many mails ended in so many seconds of work."""
        if seconds > 0:
            self._rate, self._measured_at = mails / seconds, self.clock()

    def suffices(self, ready: int, seconds: float) -> bool:
        """Whether so many are as many as can be sent in so many seconds."""
        is_fresh = self.clock() - self._measured_at <= RATE_IS_FRESH
        return is_fresh and ready > 0 and ready >= self._rate * seconds

    def claim_size(self, seconds: float, ready: int = 0) -> int:
        """How many to claim for so many seconds of work, where so many are ready."""
        is_fresh = self.clock() - self._measured_at <= RATE_IS_FRESH
        wanted = int(self._rate * seconds) - ready if is_fresh else 0
        return min(self.most, max(self.least, wanted))


@dataclass(slots=True)
class Line:
    """One worker process, as `deliver` sees it. Belongs to one event loop."""

    database: Database
    lease: Lease
    mailer: Mailer
    letters: LetterWriter
    bell: Bell
    policy: RetryPolicy
    connections: int
    pace: Pace
    throttle: Throttle
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process shall end: nothing new is claimed, what is unsent is released."""
    most_uncommitted: int = field(init=False)
    """While more outcomes than this are not committed no mail is started."""
    streaks: Streaks = field(init=False)
    aborts: Aborts = field(default_factory=Aborts)
    recorder: Recorder = field(init=False)
    written: int = 0
    """How many mails are written, and not replied to."""
    late_trouble: tuple[RelayDown, int] | None = None
    """The relay's, found out after the slice it began in, and how many mails that had: the next slice acts on it."""
    holds_claims: bool = False
    """Whether a slice began and did not end cleanly (or has not ended yet)."""
    _sending: list[Collection[UUID]] = field(default_factory=list)
    _stop_by: float = float("inf")
    _noted_at: float = float("-inf")
    _sql: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "sql"))
    _records: ThreadPoolExecutor = field(init=False)
    _bells: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "bells"))

    def __post_init__(self) -> None:
        """Suspects nobody yet."""
        self.most_uncommitted = max(50, 4 * self.connections)
        self.streaks = Streaks(self.connections)
        self.recorder = Recorder(self._record, self.stopping, on_commit=self.mailer.wake)
        # A large claim must not hold up the small commits that the next mails wait for. SQLite has one writer anyway.
        has_one_writer = self.database.dialect == "sqlite"
        self._records = self._sql if has_one_writer else ThreadPoolExecutor(1, "records")

    # What is on its way to the relay

    def will_send(self, sending: Collection[UUID]) -> None:
        """Here a slice will note the mails that its connections have taken and not reported."""
        self._sending = [earlier for earlier in self._sending if earlier]
        self._sending.append(sending)

    @property
    def room(self) -> int:
        """How many mails may be written now: a kill -9 repeats no more than `most_uncommitted` and one a connection."""
        uncommitted = self.recorder.uncommitted
        return (
            self.most_uncommitted + self.connections - uncommitted - self.written
            if uncommitted <= self.most_uncommitted
            else 0
        )

    async def release_all(self) -> None:
        """Puts back what the database may think that we hold; raises DatabaseAway.

        But for what is on its way, and for those whose outcome is known and not recorded yet.
        """
        on_their_way = [request_id for sending in self._sending for request_id in sending]
        await self.write(claims.release_all, self.lease.owner, [*on_their_way, *self.recorder.unrecorded])
        self.holds_claims = False

    async def finish(self) -> None:
        """The process shall end: waits for replies that are on their way, but not for long, and records them."""
        if self._stop_by == float("inf"):
            self._stop_by = time.monotonic() + STOP_SECONDS
        await self.mailer.finish(max(0.0, self._stop_by - time.monotonic()))
        await self.recorder.flushed()

    # Its threads

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`Database.write` in the SQL thread: one at a time."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._sql, lambda: self.database.write(work, *args, **kwargs))

    async def _record(self, ends: Ends) -> set[UUID]:
        is_due = bool(ends.told) and time.monotonic() - self._noted_at >= NOTE_SECONDS
        if is_due:
            self._noted_at = time.monotonic()
        write = self.database.write if is_due or not ends.is_one_statement else self.database.write_at_once
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._records, lambda: write(recording.record, ends, is_sign_of_life=is_due))

    async def ensure_registered(self) -> None:
        """Makes this process's owner known to the database, if it is not; raises DatabaseAway."""
        await asyncio.get_running_loop().run_in_executor(self._sql, self.lease.ensure_registered)

    async def ring(self, list_ids: Sequence[UUID]) -> None:
        """Rings for these lists, through the door that lets one bell a list pass. A bell may be lost."""
        rung = await self.write(lists.ring, list_ids)
        if rung:
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._bells, self.bell.ring, rung)
            except RedisAway as away:
                log.warning("bell.lost", lists=len(rung), reason=str(away))

    async def is_free(self, own_bells: int) -> bool:
        """Whether nobody waits for this process: no more bells are queued than those of its own lists.

        Where that is not known, nor soon, it is not.
        """
        if self.throttle.is_on:
            return False
        asked = asyncio.get_running_loop().run_in_executor(self._bells, self.bell.queued)
        try:
            return await asyncio.wait_for(asked, LOOK_SECONDS) <= own_bells
        except (RedisAway, TimeoutError):
            return False

    async def close(self) -> None:
        """Says goodbye to relay and database."""
        await self.finish()
        await self.mailer.close()
        await asyncio.get_running_loop().run_in_executor(self._sql, self.lease.sign_off)
        self._sql.shutdown()
        self._records.shutdown()
        self._bells.shutdown(wait=False)
        self.throttle.close()
        self.database.close()
