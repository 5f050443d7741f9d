"""Which of several relays new connections go to: the first that is not known to be down. Pure, the clock is passed in.

A relay is found down by those who want to use it. It is asked again after a pause, which grows with the time that it
has taken no mail, as that of the breaker's probe does; and by one connection, so that nobody's mail waits for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from worker.domain.outcomes import RelayDown, one_line

PAUSES: Final = (1.0, 30.0)
"""Seconds until a relay that was found down is asked again: the first pause and the longest."""
HOLD_SECONDS: Final = 10.0
"""How long nobody else asks it meanwhile; longer than that may take."""
LATELY_SECONDS: Final = 5.0
"""A relay that took mail so lately, and has others of our connections, is not down if it refuses one more."""


@dataclass(slots=True)
class _Standing:
    """What is known of one relay."""

    is_down: bool = False
    trouble: RelayDown | None = None
    """Why it is down, or was the last time."""
    since: float | None = None
    """Since when it has been in trouble: until it takes a mail again."""
    failures: int = 0
    ask_at: float = 0.0
    took_at: float = float("-inf")


class Failover:
    """The choice of one process. Relays are named by their place in the list."""

    def __init__(self, relays: int, clock: Callable[[], float]) -> None:
        self.order: Sequence[int] = range(relays)
        """Whom to try one after the other: those not known to be down, then the others."""
        self.current = 0
        """Who has let us in, the last time that this changed."""
        self._standings = [_Standing() for _ in range(relays)]
        self._clock = clock

    @property
    def are_all_down(self) -> bool:
        """Whether none is left that was not found down."""
        return all(standing.is_down for standing in self._standings)

    def trouble(self, place: int) -> RelayDown | None:
        """Why a relay is down, or was the last time."""
        return self._standings[place].trouble

    def failures(self, place: int) -> int:
        """How often a relay was found down; to be asked before a connection is tried, for `answered`."""
        return self._standings[place].failures

    def failed(self, place: int, trouble: RelayDown) -> bool:
        """Nobody can be mailed by this one now. True if that is for another reason than before."""
        standing, now = self._standings[place], self._clock()
        if standing.since is None:
            standing.since = now
        shortest, longest = PAUSES
        standing.ask_at = now + min(longest, max(shortest, (now - standing.since) / 4))
        is_news = standing.trouble is None or standing.trouble.reason != trouble.reason
        standing.is_down, standing.trouble = True, trouble
        standing.failures += 1
        self._sort()
        return is_news

    def answered(self, place: int, failures: int) -> bool:
        """It has let us in, where it was asked after so many `failures`: what was found out meanwhile is newer.

        True: from now on connections go there, and did not before.
        """
        if self._standings[place].failures != failures:
            return False
        self._standings[place].is_down = False
        self._sort()
        has_changed = place == self.order[0] != self.current
        if has_changed:
            self.current = place
        return has_changed

    def took_mail(self, place: int) -> None:
        """It has taken mails, or refused them for what they are: what was before is forgotten."""
        standing = self._standings[place]
        standing.took_at = self._clock()
        if not standing.is_down:
            standing.since = None

    def took_mail_lately(self, place: int) -> bool:
        """Whether it has, a moment ago."""
        return self._clock() - self._standings[place].took_at < LATELY_SECONDS

    def take_question(self) -> int | None:
        """The right to ask a relay whether it is back that comes before the one in use; None: it is not time to."""
        return next((place for place in range(self.order[0]) if self.may_ask(place)), None)

    def may_ask(self, place: int) -> bool:
        """Whether it is time to ask a relay how it is; if so, it is the caller who shall."""
        standing, now = self._standings[place], self._clock()
        is_due = standing.ask_at <= now
        if is_due:
            standing.ask_at = now + HOLD_SECONDS
        return is_due

    def _sort(self) -> None:
        # Stable: each group stays in the order of the list.
        self.order = sorted(range(len(self._standings)), key=lambda place: self._standings[place].is_down)


def together(troubles: Mapping[int, RelayDown]) -> RelayDown:
    """Several relays' troubles, by their places, as one: the last, in the words of all."""
    *_, last = troubles.values()
    if len(troubles) == 1:
        return last
    words = (f"relay {place + 1}: {trouble.reason}" for place, trouble in troubles.items())
    return replace(last, reason=one_line("; ".join(words)))
