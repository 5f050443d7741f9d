"""The mails of a slice that its connections have taken and not reported, and until when each may still be written.

Stock, pause or lease may change while a slow relay lets a mail wait, so whoever is late is looked at again.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from worker.delivery.line import Line
from worker.delivery.slice_clock import SLICE_SECONDS
from worker.domain.errors import DatabaseAway
from worker.store import claims
from worker.store.claims import Claim

LATE_SECONDS = 0.5
"""How long after its slice a mail may still go out without being checked again: its item may be sold out by now."""
RECHECK_SECONDS = 0.25
"""How often mails that a slow relay keeps waiting are checked again."""
OLDEST_SECONDS = 240.0
"""No mail is written that was taken longer ago: the relay may take `Timeouts.final` for its verdict, and all that has
to be over when the claim is taken away, after `sweep.CLAIM_SECONDS`."""
NEVER = float("-inf")


class _Taken(NamedTuple):
    """What a connection has."""

    claim: Claim
    latest: float
    """Until when its content may be written, unless it is checked again (monotonic clock)."""
    end: float
    """Until when at all."""


class InFlight:
    """What the connections have. Outlives its slice where the relay takes long to reply."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._taken: dict[UUID, _Taken] = {}
        self._written: set[UUID] = set()
        line.will_send(self._taken)

    def __len__(self) -> int:
        """How many are taken and not reported."""
        return len(self._taken)

    def add(self, claim: Claim, slice_ends_at: float) -> None:
        """A connection takes it, in a slice that ends then (monotonic clock)."""
        self._taken[claim.id] = _Taken(claim, slice_ends_at + LATE_SECONDS, time.monotonic() + OLDEST_SECONDS)

    def write(self, request_id: UUID) -> bool:
        """Its content is written now, unless it is too late for it: False."""
        if time.monotonic() > self._taken[request_id].latest:
            return False
        self._written.add(request_id)
        self._line.written += 1
        return True

    def pop(self, request_id: UUID) -> Claim:
        """It is reported, or was not sent after all."""
        claim = self._taken.pop(request_id).claim
        if request_id in self._written:
            self._written.remove(request_id)
            self._line.written -= 1
        return claim

    def pop_all(self) -> list[Claim]:
        """Nobody will report these."""
        return [self.pop(request_id) for request_id in list(self._taken)]

    async def look_again(self, done: asyncio.Future[None]) -> None:
        """Until `done`: as long as mails wait for a slow relay to ask for their content."""
        while not done.done():
            await asyncio.wait({done}, timeout=RECHECK_SECONDS)
            soon = time.monotonic() + LATE_SECONDS
            waiting = (taken for key, taken in self._taken.items() if key not in self._written)
            if late := [taken for taken in waiting if taken.latest < soon]:
                with suppress(DatabaseAway):
                    await self._look_at(late)

    async def _look_at(self, late: Sequence[_Taken]) -> None:
        latest = time.monotonic() + SLICE_SECONDS + LATE_SECONDS
        wanted = await self._line.write(claims.still_wanted, [taken.claim for taken in late])
        for claim, _, end in late:
            if claim.id in self._taken:
                self._taken[claim.id] = _Taken(claim, min(latest, end) if claim.id in wanted else NEVER, end)
