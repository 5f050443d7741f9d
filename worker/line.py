"""What a worker process works with, made once after the fork: its parts, its SQL thread, its pace."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

import structlog

from worker.bell import Bell
from worker.errors import RedisAway
from worker.lease import Lease
from worker.letter import LetterWriter
from worker.mailer import Mailer
from worker.outcomes import RetryPolicy
from worker.store import lists
from worker.store.claims import Ends
from worker.store.database import Connection, Database
from worker.suspicion import Suspicion

P = ParamSpec("P")
T = TypeVar("T")

RATE_IS_FRESH = 1.0
"""For how many seconds a measured rate says how much to claim."""

NOTE_SECONDS = 1.0
"""How often it is noted that the relay takes mail."""

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

    def claim_size(self, seconds: float) -> int:
        """How many to claim for so many seconds of work."""
        is_fresh = self.clock() - self._measured_at <= RATE_IS_FRESH
        return min(self.most, max(self.least, int(self._rate * seconds) if is_fresh else 0))


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
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process shall end: nothing new is claimed, what is unsent is released."""
    suspicion: Suspicion = field(init=False)
    holds_claims: bool = False
    """Whether a slice began and did not end cleanly (or has not ended yet)."""
    _noted_at: float = float("-inf")
    _sql: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "sql"))
    _bells: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "bells"))

    def __post_init__(self) -> None:
        """Suspects nobody yet."""
        self.suspicion = Suspicion(self.connections)

    def is_sign_of_life(self, ends: Ends) -> bool:
        """Whether to note that the relay works: once a second, when it took something."""
        is_due = bool(ends.told) and time.monotonic() - self._noted_at >= NOTE_SECONDS
        if is_due:
            self._noted_at = time.monotonic()
        return is_due

    @property
    def most_uncommitted(self) -> int:
        """While more outcomes than this are not committed no mail is started: it bounds what a kill -9 repeats."""
        return max(50, 4 * self.connections)

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`Database.write` in the SQL thread: statements of one process never run at once."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._sql, lambda: self.database.write(work, *args, **kwargs))

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

    async def close(self) -> None:
        """Says goodbye to relay and database."""
        await self.mailer.close()
        await asyncio.get_running_loop().run_in_executor(self._sql, self.lease.sign_off)
        self._sql.shutdown()
        self._bells.shutdown(wait=False)
        self.database.close()
