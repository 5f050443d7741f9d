"""What a slice sends: claimed in time, taken by the connections one by one, and given back where it was not sent.

While one claim is being sent the next is made, so that the connections never wait for the database.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

from worker.delivery.lease import boot_time
from worker.delivery.line import Line
from worker.delivery.slice_clock import SliceClock
from worker.domain.errors import DatabaseAway, OwnerLost
from worker.mail.letter import ItemFacts
from worker.store import claims
from worker.store.claims import Claim

FIRST_CLAIM = 15
"""Mails a connection that a slice claims before it begins to send: it is soon done, and the rest comes meanwhile."""


class Course(Protocol):
    """The slice that claims are made for, as they see it."""

    slice_clock: SliceClock

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be taken."""

    @property
    def on_their_way(self) -> int:
        """How many mails the connections have taken and not reported."""

    def measure(self) -> None:
        """Tell the line's pace how fast mails go out."""

    def wake(self) -> None:
        """There is something to take that was not there before."""

    def end(self) -> None:
        """Nothing can be claimed any more."""

    def end_if_dry(self) -> None:
        """There may be nothing left to do."""


class Prefetch:
    """The claims of one slice on the waiting lists of one bell."""

    def __init__(self, line: Line, list_ids: Sequence[UUID], course: Course) -> None:
        self.owner = line.lease.owner
        self.items: dict[UUID, ItemFacts] = {}
        """What is known of the items of these lists."""
        self.full = list_ids
        """Where the last claim got as many as it asked for."""
        self.claims_made = 0
        self._line = line
        self._course = course
        self._lists = list_ids
        """Where there may be more to claim."""
        self._ready: deque[Claim] = deque()
        self._handed: deque[Claim] = deque()
        self._window: Sequence[Claim] = ()
        """Who is being noted as about to be told."""
        self._hands_over = line.policy.on_unknown == "fail"
        self.waiting = self._handed if self._hands_over else self._ready
        """Where the connections take from."""
        self._low_mark = 0
        """With so few ready it is time for the next claim."""
        self._low = asyncio.Event()
        self._changed = asyncio.Event()
        """There is more to hand over, or room for it, or nothing more will come."""
        self._is_claiming = True

    # For the connections

    @property
    def is_dry(self) -> bool:
        """Whether nothing is there, and nothing will be."""
        return not (self._ready or self._is_claiming or self._handed or self._window)

    def take(self) -> Claim:
        """The next of those that wait."""
        claim = self.waiting.popleft()
        if len(self._ready) <= self._low_mark:
            self._low.set()
        return claim

    def put_back(self, claim: Claim) -> None:
        """It was taken, and nothing was done with it."""
        self.waiting.appendleft(claim)

    def reported(self) -> None:
        """One of those that were taken is dealt with."""
        self._changed.set()

    def wake(self) -> None:
        """The course is over: nobody waits for anything any more."""
        self._low.set()
        self._changed.set()

    def leftovers(self) -> Iterator[Claim]:
        """Takes out whatever was not taken."""
        for waiting in (self._handed, self._ready):
            while waiting:
                yield waiting.popleft()

    # Claims

    async def claim_first(self) -> bool:
        """A small claim to begin with; False: there is nobody to tell. Raises DatabaseAway."""
        await self._claim(first=True)
        return bool(self._ready)

    def side_work(self) -> list[Coroutine[Any, Any, None]]:
        """What has to go on while mails are sent. Each may raise DatabaseAway."""
        return [self._claim_ahead(), *([self._hand_over_in_time()] if self._hands_over else [])]

    async def _claim(self, *, first: bool) -> None:
        line, lease, sent_at = self._line, self._line.lease, boot_time()
        try:
            size = self._claim_size(first=first)
            claimed = await line.write(claims.claim, self.owner, lease.seconds, self._lists, size, first=first)
        except OwnerLost:
            lease.lost(self.owner)
            await self._begin_anew(first)
            return
        lease.renewed(self.owner, sent_at)
        self.claims_made += 1
        self.full = claimed.full
        self._lists = () if claimed.is_suspect else claimed.full
        self.items |= claimed.items
        self._ready.extend(_in_turn(claimed.claims))
        self._low_mark = len(self._ready) // (1 if first else 2)

    def _claim_size(self, *, first: bool) -> int:
        line, ready = self._line, len(self._ready)
        seconds = self._course.slice_clock.left
        size = min(line.pace.claim_size(seconds, ready), line.throttle.most(seconds, ready))
        return min(size, FIRST_CLAIM * line.connections) if first else size

    async def _begin_anew(self, first: bool) -> None:
        """The lease was lost: as a new owner at the beginning of a slice, else not at all."""
        if first:
            await self._line.ensure_registered()
            self.owner = self._line.lease.owner
            await self._claim(first=True)
        else:
            self._lists = ()

    async def _claim_ahead(self) -> None:
        """Makes the second claim at once, each next when half of the last one has been taken, while there is time."""
        course = self._course
        try:
            while self._lists and not course.is_over:
                if len(self._ready) > self._low_mark:
                    self._low.clear()
                    await self._low.wait()
                    continue
                course.measure()
                if self._line.pace.suffices(len(self._ready), course.slice_clock.left):
                    self._low_mark = len(self._ready) // 2
                    continue
                await self._claim(first=False)
                self._changed.set()
                course.wake()
        finally:
            self._is_claiming = False
            course.end_if_dry()

    async def _hand_over_in_time(self) -> None:
        """With ON_UNKNOWN=fail: notes in the database whose bytes will be written before any is."""
        course, connections = self._course, self._line.connections
        while not course.is_over:
            size = 2 * connections - len(self._handed) - course.on_their_way
            if size < connections or not self._ready:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._window = [self._ready.popleft() for _ in range(min(len(self._ready), size))]
            held = await self._noted(self._window)
            self._handed.extend(claim for claim in self._window if claim.id in held)
            self._window = ()
            course.wake()
            course.end_if_dry()

    async def _noted(self, window: Sequence[Claim]) -> set[UUID]:
        try:
            return await self._line.write(claims.hand_over, window)
        except DatabaseAway:  # the slice is over; mails on their way are none the worse for it
            self._ready.extendleft(reversed(window))
            self._course.end()
            raise


def _in_turn(claimed: Sequence[Claim]) -> list[Claim]:
    """The oldest of every list, then the second of every list ..., and no list always last."""
    turns, lots = Counter[UUID](), dict[UUID, float]()
    keyed = []
    for claim in claimed:
        turns[claim.list_id] += 1
        keyed.append((turns[claim.list_id], lots.setdefault(claim.list_id, random.random()), claim))
    return [claim for *_, claim in sorted(keyed, key=lambda place: place[:2])]
