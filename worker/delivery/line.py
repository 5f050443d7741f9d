"""A worker process: its parts, its threads and its limits. Made once, after the fork."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar
from uuid import UUID

import structlog

from worker.delivery.evidence import Evidence
from worker.delivery.lease import Lease
from worker.delivery.recorder import Recorder
from worker.delivery.slice_clock import LOOK_SECONDS, Pace
from worker.delivery.throttle import Throttle
from worker.domain.errors import RedisAway
from worker.domain.outcomes import RelayDown
from worker.domain.policies import Policies
from worker.domain.verdicts import RetryPolicy
from worker.mail.letter import LetterWriter
from worker.queue.bell import Bell
from worker.smtp.mailer import Mailer
from worker.store import claims, lists, recording
from worker.store.claims import Claim
from worker.store.database import Connection, Database
from worker.store.recording import Ends

P = ParamSpec("P")
T = TypeVar("T")

NOTE_SECONDS = 1.0
"""How often the process notes in the database that the relay takes mail."""
STOP_SECONDS = 3.5
"""How long a stopping process waits for replies. Supervisors such as honcho kill after 5 s."""

log = structlog.get_logger()


class Sending(Protocol):
    """Mails in flight."""

    def __len__(self) -> int:
        """How many they are."""

    @property
    def claims(self) -> Sequence[Claim]:
        """What they are for."""


@dataclass(slots=True)
class Line:
    """One worker process. Belongs to one event loop."""

    database: Database
    lease: Lease
    mailer: Mailer
    letters: LetterWriter
    bell: Bell
    policy: RetryPolicy
    policies: Policies
    connections: int
    pace: Pace
    throttle: Throttle
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process shall end: nothing new is claimed, and what is unsent is released."""
    most_uncommitted: int = field(init=False)
    """While more outcomes than this are not committed, no mail is started."""
    evidence: Evidence = field(init=False)
    recorder: Recorder = field(init=False)
    written: int = 0
    """How many mails are written and have no reply yet."""
    late_trouble: tuple[RelayDown, int] | None = None
    """The relay's trouble that showed after its slice, and how many mails that slice had. The next slice acts on it."""
    holds_claims: bool = False
    """Whether a slice has begun and has not ended cleanly."""
    _sending: list[Sending] = field(default_factory=list)
    _stop_by: float = float("inf")
    _noted_at: float = float("-inf")
    _sql: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "sql"))
    _records: ThreadPoolExecutor = field(init=False)
    _bells: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "bells"))

    def __post_init__(self) -> None:
        """Makes the parts that depend on other parts."""
        self.most_uncommitted = max(50, 4 * self.connections)
        self.evidence = Evidence(self.connections)
        # With half of what may be uncommitted in one group, there is room for the mails that end during its commit.
        self.recorder = Recorder(
            self._record, self.stopping, enough=self.most_uncommitted // 2, on_commit=self.mailer.wake
        )
        # A large claim must not delay the small commits that the next mails wait for. SQLite has only one writer.
        has_one_writer = self.database.dialect == "sqlite"
        self._records = self._sql if has_one_writer else ThreadPoolExecutor(1, "records")

    # Mails in flight

    def will_send(self, sending: Sending) -> None:
        """`sending` will hold the mails in flight of a slice."""
        self._sending = [earlier for earlier in self._sending if len(earlier)]
        self._sending.append(sending)

    @property
    def room(self) -> int:
        """How many mails may be written now. A kill -9 repeats at most `most_uncommitted` and one per connection."""
        uncommitted = self.recorder.uncommitted
        return (
            self.most_uncommitted + self.connections - uncommitted - self.written
            if uncommitted <= self.most_uncommitted
            else 0
        )

    async def release_all(self) -> None:
        """Releases what this process holds according to the database; raises DatabaseAway.

        Mails in flight and requests whose outcome is not recorded yet are left out.
        """
        in_flight = [claim.id for sending in self._sending for claim in sending.claims]
        await self.write(claims.release_all, self.lease.owner, [*in_flight, *self.recorder.unrecorded])
        self.holds_claims = False

    async def finish(self) -> None:
        """Before the process ends: waits for replies, but not for long, and records them."""
        if self._stop_by == float("inf"):
            self._stop_by = time.monotonic() + STOP_SECONDS
        await self.mailer.finish(max(0.0, self._stop_by - time.monotonic()))
        await self.recorder.flushed()

    # Its threads

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`Database.write` in the SQL thread, one at a time."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._sql, lambda: self.database.write(work, *args, **kwargs))

    async def _record(self, ends: Ends) -> set[UUID]:
        is_due = bool(ends.told) and time.monotonic() - self._noted_at >= NOTE_SECONDS
        if is_due:
            self._noted_at = time.monotonic()
        elif ends.refusals:
            self._noted_at = float("-inf")  # so that the next mail that is taken is noted at once
        loop = asyncio.get_running_loop()
        notes_mails = self.policies.contact_interval is not None
        write = partial(recording.write, self.database, ends, is_sign_of_life=is_due, notes_mails=notes_mails)
        return await loop.run_in_executor(self._records, write)

    async def ensure_registered(self) -> None:
        """Registers this process's owner in the database, if it is not there; raises DatabaseAway."""
        await asyncio.get_running_loop().run_in_executor(self._sql, self.lease.ensure_registered)

    async def ring(self, list_ids: Sequence[UUID]) -> None:
        """Rings for these lists. `lists.ring` lets one bell per list pass. A bell may be lost."""
        rung = await self.write(lists.ring, list_ids)
        if rung:
            await self._send(lambda: self.bell.ring(rung), lists=len(rung))

    async def ring_probe(self) -> None:
        """Asks another process to probe the relay. A bell may be lost."""
        await self._send(self.bell.ring_probe, lists=0)

    async def _send(self, bell: Callable[[], None], *, lists: int) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._bells, bell)
        except RedisAway as away:
            log.warning("bell.lost", lists=lists, reason=str(away))

    async def is_free(self, own_bells: int) -> bool:
        """Whether no other bell waits: at most `own_bells`, those of this slice's lists, are queued.

        False if that is not known soon.
        """
        if self.throttle.is_on:
            return False
        asked = asyncio.get_running_loop().run_in_executor(self._bells, self.bell.queued)
        try:
            return await asyncio.wait_for(asked, LOOK_SECONDS) <= own_bells
        except (RedisAway, TimeoutError):
            return False

    async def close(self) -> None:
        """Closes the connections to relay and database."""
        await self.finish()
        await self.mailer.close()
        await asyncio.get_running_loop().run_in_executor(self._sql, self.lease.sign_off)
        self._sql.shutdown()
        self._records.shutdown()
        self._bells.shutdown(wait=False)
        self.throttle.close()
        self.database.close()
