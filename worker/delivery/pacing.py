"""Pacing: how one process slows down for a relay that asks for it, and speeds up again. Pure."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from worker.domain.outcomes import ABOUT_A_MAIL, Deferred, RelayDown
from worker.domain.token_bucket import Bucket, Grant

CUT_SECONDS: Final = 1.0
"""For this long after a cut, complaints are about mails that were already in flight. Nothing is sent meanwhile."""
SLOWEST: Final = 1.0
"""Mails per second below which complaints do not slow us. The breaker is for a relay that takes nothing."""
RECOVERY_SECONDS: Final = 10.0
"""How long it takes to get back to the speed before a cut."""
LIFTED_AT: Final = 8.0
"""At this many times the speed after the last cut, the limit is lifted."""
FREE_REFUSALS: Final = 5
"""How often one recipient may be refused for speed before other recipients are tried first."""
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class Pacing:
    """The speed limit of one process. It exists only while the relay finds the process too fast.

    It is halved when the relay complains, at most once a second, and raised step by step when it does not (as TCP does,
    RFC 5681). So every process finds its share by itself.
    """

    _bucket: Bucket | None = None
    _after_cut: float = 0.0
    _cut_at: float = float("-inf")
    _taken: deque[tuple[float, int]] = field(default_factory=deque)
    _refused: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    """Per request: how often it was refused for speed, and how many mails the relay had taken by the last time."""

    def note(self, mails: int, now: float) -> None:
        """A slice that ends now has sent `mails`."""
        self._taken.append((now, mails))
        while self._taken and self._taken[0][0] <= now - 1:
            self._taken.popleft()

    def limit(self, now: float) -> float | None:
        """Mails per second. None: there is no limit."""
        if self._bucket is None:
            return None
        slope = max(self._after_cut / RECOVERY_SECONDS, SLOWEST)
        limit = self._after_cut + slope * max(0.0, now - self._cut_at - CUT_SECONDS)
        if limit >= LIFTED_AT * self._after_cut:
            self._bucket = None
            return None
        return limit

    def take(self, wanted: int, now: float) -> Grant:
        """Takes up to `wanted` tokens, see `Bucket.take`."""
        limit = self.limit(now)
        if limit is None or self._bucket is None:
            return Grant(wanted, 0.0)
        return self._bucket.take(wanted, limit, now)

    def give_back(self, mails: int) -> None:
        """Returns tokens that were not used."""
        if self._bucket is not None:
            self._bucket.tokens += mails

    def cut(self, mails: int, now: float) -> float | None:
        """Halves the speed. The slice has sent `mails`. Returns the new limit; None: it has just been cut."""
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
        """What a refusal for speed means. If one recipient meets it again and again, it is about that recipient.

        Otherwise a mail that is always refused with such words would be the first of every claim and slow everybody
        down. If the relay has taken no mail since the last time (`taken` counts them), it is about us: other mails are
        tried first, and no try is spent.
        """
        if refused.reply is None or refused.stage not in ABOUT_A_MAIL:
            return refused
        times, taken_before = self._refused.pop(request_id, (0, taken))
        self._refused[request_id] = times + 1, taken
        if len(self._refused) > _REMEMBERED:
            del self._refused[next(iter(self._refused))]
        if times < FREE_REFUSALS:
            return refused
        return Deferred(refused.stage, refused.reply) if taken > taken_before else replace(refused, blame=None)
