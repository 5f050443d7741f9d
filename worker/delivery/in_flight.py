"""The mails in flight: taken by a connection and not reported yet, and until when each may still be written.

Stock, a pause or the lease may change while a slow relay makes a mail wait. So a mail that is late is checked again.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from worker.delivery.line import Line
from worker.delivery.slice_clock import SLICE_SECONDS
from worker.domain.errors import DatabaseAway
from worker.smtp.mailer import Mail
from worker.store import claims
from worker.store.claims import Claim

LATE_SECONDS = 0.5
"""How long after its slice a mail may still go out without a new check: its item may be sold out by now."""
RECHECK_SECONDS = 0.25
"""How often the mails that wait for a slow relay are checked again."""
OLDEST_SECONDS = 240.0
"""A mail that was taken longer ago is not written. The relay may take `Timeouts.final` for its reply, and all of that
has to be over before the claim is taken away, after `sweep.CLAIM_SECONDS`."""
NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class Taken:
    """What is known of a mail in flight. Times are those of the monotonic clock."""

    claim: Claim
    number: int
    """Its place in the order in which this process begins mails."""
    latest: float
    """Until when its content may be written without a new check."""
    end: float
    """Until when its content may be written, whatever a check says."""
    is_written: bool = False


class InFlight:
    """The mails of one slice that are in flight. Outlives the slice if the relay is slow to reply."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._taken: dict[Mail, Taken] = {}
        line.will_send(self)

    def __len__(self) -> int:
        """How many mails are taken and not reported."""
        return len(self._taken)

    @property
    def claims(self) -> list[Claim]:
        """The claims that these mails are for."""
        return [each for taken in self._taken.values() for each in taken.claim.together]

    def add(self, mail: Mail, claim: Claim, slice_ends_at: float, closes_at: float) -> None:
        """A connection takes this mail, in a slice that ends at `slice_ends_at` (monotonic clock).

        The send window closes at `closes_at`: soon after that no content is written, whatever a check says.
        """
        evidence = self._line.evidence
        evidence.begun += 1
        latest = slice_ends_at + LATE_SECONDS
        end = min(time.monotonic() + OLDEST_SECONDS, closes_at + LATE_SECONDS)
        self._taken[mail] = Taken(claim, evidence.begun, latest, end)

    def write(self, mail: Mail) -> bool:
        """Notes that the mail's content is written now. False: it is too late for that, so it must not be."""
        taken = self._taken[mail]
        if time.monotonic() > taken.latest:
            return False
        taken.is_written = True
        self._line.written += 1
        return True

    def pop(self, mail: Mail) -> Taken:
        """The mail is reported, or was not sent after all."""
        taken = self._taken.pop(mail)
        if taken.is_written:
            self._line.written -= 1
        return taken

    def pop_all(self) -> list[Claim]:
        """Takes out all mails: nobody will report them."""
        return [each for mail in list(self._taken) for each in self.pop(mail).claim.together]

    async def check_until(self, done: asyncio.Future[None]) -> None:
        """Checks late mails again until `done`, as long as a slow relay has not asked for their content."""
        while not done.done():
            await asyncio.wait({done}, timeout=RECHECK_SECONDS)
            soon = time.monotonic() + LATE_SECONDS
            if late := [taken for taken in self._taken.values() if taken.latest < soon and not taken.is_written]:
                with suppress(DatabaseAway):
                    await self._check(late)

    async def _check(self, late: Sequence[Taken]) -> None:
        latest = time.monotonic() + SLICE_SECONDS + LATE_SECONDS
        wanted = await self._line.write(claims.still_wanted, [each for taken in late for each in taken.claim.together])
        for taken in late:
            # Its content is made, so nobody can be left out of it any more.
            is_wanted = all(each.id in wanted for each in taken.claim.together)
            taken.latest = min(latest, taken.end) if is_wanted else NEVER
