"""The claims of a slice: made ahead, taken by the connections one by one, and given back if they were not sent.

While one claim is being sent the next one is made, so that the connections never wait for the database.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any
from uuid import UUID

from worker.delivery.in_flight import InFlight
from worker.delivery.lease import boot_time
from worker.delivery.line import Line
from worker.delivery.slice_clock import SliceClock
from worker.domain.errors import DatabaseAway, OwnerLost
from worker.mail.letter import ItemFacts
from worker.store import claims
from worker.store.claims import Claim

FIRST_CLAIM = 15
"""Mails per connection in a slice's first claim. It is small, so it is soon made; the rest is claimed meanwhile."""
MOST_WITH_NOBODY = 20
"""So many claims are made again that found only customers who had a mail a while ago. The next bell goes on."""


class Prefetch:
    """The claims of one slice on the waiting lists of one bell.

    `on_change` is called when there is more to take, or when it is known that nothing more will come.
    """

    def __init__(
        self,
        line: Line,
        list_ids: Sequence[UUID],
        clock: SliceClock,
        in_flight: InFlight,
        on_change: Callable[[], None],
        only: Sequence[UUID] = (),
    ) -> None:
        self.owner = line.lease.owner
        self.items: dict[UUID, ItemFacts] = {}
        """The facts about the item of each list."""
        self.full = list_ids
        """The lists from which the last claim got as many requests as it asked for."""
        self.claims_made = 0
        self._line = line
        self._clock = clock
        self._in_flight = in_flight
        self._on_change = on_change
        self._lists = list_ids
        """The lists that may have more to claim."""
        self._only = only
        """If not empty: the requests to claim, although the breaker is open."""
        self._ready: deque[Claim] = deque()
        self._handed: deque[Claim] = deque()
        self._window: Sequence[Claim] = ()
        """The claims that are being noted as handed over."""
        self._hands_over = line.policy.on_unknown == "fail"
        self.waiting = self._handed if self._hands_over else self._ready
        """The queue from which the connections take."""
        self._low_mark = 0
        """The next claim is made when no more than this many are ready."""
        self._low = asyncio.Event()
        self._changed = asyncio.Event()
        """Set when there is more to hand over, or room for it, or nothing more will come."""
        self._is_claiming = True

    # For the connections

    @property
    def is_dry(self) -> bool:
        """Whether there is nothing to take, now or later."""
        return not (self._ready or self._is_claiming or self._handed or self._window)

    def take(self) -> Claim:
        """The next claim of `waiting`."""
        claim = self.waiting.popleft()
        if len(self._ready) <= self._low_mark:
            self._low.set()
        return claim

    def put_back(self, claim: Claim) -> None:
        """Returns a claim that was taken and not used. It is the next to be taken."""
        self.waiting.appendleft(claim)

    def reported(self) -> None:
        """One of the mails in flight has ended, so there is room to hand over another."""
        self._changed.set()

    def stop(self) -> None:
        """The slice is over: the side work ends."""
        self._low.set()
        self._changed.set()

    def leftovers(self) -> Iterator[Claim]:
        """Takes out all claims that no connection took, one by one."""
        for waiting in (self._handed, self._ready):
            while waiting:
                yield from waiting.popleft().together

    # Claims

    async def claim_first(self) -> bool:
        """Makes a small claim to begin with. False: there is nobody to tell. Raises DatabaseAway."""
        await self._claim(first=True)
        for _ in range(MOST_WITH_NOBODY):
            if self._ready or not self._lists or self._only or self._line.stopping.is_set():
                break
            await self._claim(first=True)  # all whom it has looked at rest now, and there may be others behind them
        return bool(self._ready)

    def side_work(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on while mails are sent. Each coroutine may raise DatabaseAway."""
        return [self._claim_ahead(), *([self._hand_over_in_time()] if self._hands_over else [])]

    async def _claim(self, *, first: bool) -> None:
        line, lease, sent_at = self._line, self._line.lease, boot_time()
        asked_at = self._clock.clock()
        try:
            size = self._claim_size(first=first)
            if self._only:
                claimed = await line.write(claims.claim_these, self.owner, lease.seconds, self._only, line.policies)
            else:
                claimed = await line.write(
                    claims.claim, self.owner, lease.seconds, self._lists, size, line.policies, first=first
                )
        except OwnerLost:
            lease.lost(self.owner)
            await self._claim_as_new_owner(first)
            return
        lease.renewed(self.owner, sent_at)
        if claimed.closes_in is not None:
            self._clock.close_at(asked_at + claimed.closes_in)
        self.claims_made += 1
        self.full = claimed.full
        self._lists = () if claimed.is_suspect else claimed.full
        self.items |= claimed.items
        self._ready.extend(_in_turn(claimed.claims) if len(claimed.items) > 1 else claimed.claims)
        self._low_mark = len(self._ready) // (1 if first else 2)

    def _claim_size(self, *, first: bool) -> int:
        line, ready, seconds = self._line, len(self._ready), self._clock.left
        size = min(line.pace.claim_size(seconds, ready), line.throttle.most(seconds, ready))
        return min(size, FIRST_CLAIM * line.connections) if first else size

    async def _claim_as_new_owner(self, first: bool) -> None:
        """The lease was lost. A slice that has just begun goes on as a new owner; any other claims no more."""
        if first:
            await self._line.ensure_registered()
            self.owner = self._line.lease.owner
            await self._claim(first=True)
        else:
            self._lists = ()

    async def _claim_ahead(self) -> None:
        """Makes the second claim at once, and each next one when half of the last one has been taken."""
        line, clock = self._line, self._clock
        try:
            while self._lists and not clock.is_over:
                if len(self._ready) > self._low_mark:
                    self._low.clear()
                    await self._low.wait()
                    continue
                if clock.mails:
                    line.pace.measured(clock.mails, clock.seconds)
                if line.pace.suffices(len(self._ready), clock.left):
                    self._low_mark = len(self._ready) // 2
                    continue
                await self._claim(first=False)
                self._changed.set()
                self._on_change()
        finally:
            self._is_claiming = False
            self._on_change()

    async def _hand_over_in_time(self) -> None:
        """With ON_UNKNOWN=fail: notes in the database which mails are about to be written, before any of them is."""
        connections = 1 if self._only else self._line.connections  # those of a trial go one by one
        while not self._clock.is_over:
            size = 2 * connections - len(self._handed) - len(self._in_flight)
            if size < connections or not self._ready:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._window = [self._ready.popleft() for _ in range(min(len(self._ready), size))]
            held = await self._noted(self._window)
            for claim in self._window:
                if still := [each for each in claim.together if each.id in held]:
                    self._handed.append(claim if len(still) == len(claim.together) else claims.joined(still))
            self._window = ()
            self._on_change()

    async def _noted(self, window: Sequence[Claim]) -> set[UUID]:
        try:
            return await self._line.write(claims.hand_over, [each for claim in window for each in claim.together])
        except DatabaseAway:  # the slice ends; mails in flight are not affected
            self._ready.extendleft(reversed(window))
            self._window = ()
            self._clock.over.set()
            self._on_change()
            raise


def _in_turn(claimed: Sequence[Claim]) -> list[Claim]:
    """The first of every list, then the second of every list, and so on. The order of lists is random."""
    turns, lots = Counter[UUID](), dict[UUID, float]()
    keyed = []
    for claim in claimed:
        turns[claim.list_id] += 1
        keyed.append((turns[claim.list_id], lots.setdefault(claim.list_id, random.random()), claim))
    return [claim for *_, claim in sorted(keyed, key=lambda place: place[:2])]
