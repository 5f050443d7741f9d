"""How fast mails may go out: the arithmetic of a limit, and of slowing down for a relay that asks for it. Pure."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from worker.domain.outcomes import ABOUT_A_MAIL, Deferred, RelayDown
from worker.domain.token_bucket import Bucket, Grant

CUT_SECONDS: Final = 1.0
"""What the relay says so soon after a cut is about what was on its way by then. Nothing is sent for as long either."""
SLOWEST: Final = 1.0
"""Mails per second below which the relay's complaints can't bring us: the breaker is for what takes nothing."""
RECOVERY_SECONDS: Final = 10.0
"""How long it takes from the speed after a cut to the one before."""
LIFTED_AT: Final = 8.0
"""So many times the speed after the last cut, and the relay seems to have no limit any more."""
FREE_REFUSALS: Final = 5
"""So often one recipient may be found too fast before another one is tried first."""
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class Pacing:
    """One process's own speed limit, which is there only while the relay finds it too fast.

    Halved when it does, at most once a second, and raised by and by when it does not (as TCP does, RFC 5681): every
    process finds its share by itself.
    """

    _bucket: Bucket | None = None
    _after_cut: float = 0.0
    _cut_at: float = float("-inf")
    _taken: deque[tuple[float, int]] = field(default_factory=deque)
    _refused: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    """How often a request was, and how many mails the relay had taken when it last was."""

    def note(self, mails: int, now: float) -> None:
        """A slice that ends now has sent so many."""
        self._taken.append((now, mails))
        while self._taken and self._taken[0][0] <= now - 1:
            self._taken.popleft()

    def limit(self, now: float) -> float | None:
        """Mails per second, or None: as many as can be."""
        if self._bucket is None:
            return None
        slope = max(self._after_cut / RECOVERY_SECONDS, SLOWEST)
        limit = self._after_cut + slope * max(0.0, now - self._cut_at - CUT_SECONDS)
        if limit >= LIFTED_AT * self._after_cut:
            self._bucket = None
            return None
        return limit

    def take(self, wanted: int, now: float) -> Grant:
        """As `Bucket.take`."""
        limit = self.limit(now)
        if limit is None or self._bucket is None:
            return Grant(wanted, 0.0)
        return self._bucket.take(wanted, limit, now)

    def give_back(self, mails: int) -> None:
        """These were not used."""
        if self._bucket is not None:
            self._bucket.tokens += mails

    def cut(self, mails: int, now: float) -> float | None:
        """The relay finds us too fast; the slice has sent so many. Returns the new limit, None if it is cut already."""
        if now < self._cut_at + CUT_SECONDS:
            return None
        before = self.limit(now)
        if before is None:
            before = mails + sum(mails for at, mails in self._taken if at > now - 1)
        self._after_cut, self._cut_at = max(SLOWEST, before / 2), now
        self._bucket = Bucket(at=now + CUT_SECONDS)
        self._bucket.tokens = 0.0
        return self._after_cut

    def judged(self, request_id: UUID, refused: RelayDown, taken: int) -> RelayDown | Deferred:
        """What a refusal for speed means: that of one recipient again and again is about that recipient after all.

        Else the mail that is refused for good by such words would be the first of every claim, and slow down all. But
        where the relay has taken (of `taken` mails) none since the last time, it is us: another one is tried first,
        and no try is spent.
        """
        if refused.reply is None or refused.stage not in ABOUT_A_MAIL:
            return refused
        times, taken_before = self._refused.pop(request_id, (0, taken))
        self._refused[request_id] = times + 1, taken
        if len(self._refused) > _REMEMBERED:
            del self._refused[next(iter(self._refused))]
        if times < FREE_REFUSALS:
            return refused
        return Deferred(refused.stage, refused.reply) if taken > taken_before else replace(refused, reply=None)
