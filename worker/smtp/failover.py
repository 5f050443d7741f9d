"""Chooses the relay for new connections: the first that is not known to be down. Pure; the clock is passed in.

A relay is marked as down when using it fails. It is probed again after a pause, which grows with the time since the
trouble began, like the pause of the breaker's probe. Only one connection probes, so that no mail waits for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from worker.domain.outcomes import RelayDown
from worker.domain.replies import one_line

PAUSES: Final = (1.0, 30.0)
"""Seconds until a relay that is down is probed again: the first pause and the longest."""
HOLD_SECONDS: Final = 10.0
"""Seconds during which nobody else probes the relay. Longer than a probe may take."""
LATELY_SECONDS: Final = 5.0
"""Seconds. A relay that took mail within this time and has open connections is not down if it refuses one more."""


@dataclass(slots=True)
class _RelayState:
    """The known state of one relay."""

    is_down: bool = False
    trouble: RelayDown | None = None
    """Why it is down, or was down the last time."""
    since: float | None = None
    """When the trouble began. None again once the relay accepts a mail."""
    failures: int = 0
    ask_at: float = 0.0
    took_at: float = float("-inf")


class Failover:
    """The choice of the relay for one process. Relays are identified by their index in the list."""

    def __init__(self, relays: int, clock: Callable[[], float]) -> None:
        self.order: Sequence[int] = range(relays)
        """The order in which relays are tried: first those not known to be down, then the others."""
        self.current = 0
        """The relay in use: it changes when another relay becomes the first choice and accepts a connection."""
        self._relays = [_RelayState() for _ in range(relays)]
        self._clock = clock
        self._failed_at = float("-inf")

    @property
    def are_all_down(self) -> bool:
        """Whether every relay is down."""
        return all(relay.is_down for relay in self._relays)

    def trouble(self, place: int) -> RelayDown | None:
        """Returns why a relay is down, or was down the last time."""
        return self._relays[place].trouble

    def failures(self, place: int) -> int:
        """Returns how often a relay was found down. Call it before connecting, and pass the result to `answered`."""
        return self._relays[place].failures

    def failed(self, place: int, trouble: RelayDown) -> bool:
        """Marks a relay as down. Returns True if the reason differs from the last one."""
        relay, now = self._relays[place], self._clock()
        self._failed_at = now
        if relay.since is None:
            relay.since = now
        shortest, longest = PAUSES
        relay.ask_at = now + min(longest, max(shortest, (now - relay.since) / 4))
        is_news = relay.trouble is None or relay.trouble.reason != trouble.reason
        relay.is_down, relay.trouble = True, trouble
        relay.failures += 1
        self._sort()
        return is_news

    def has_failed_within(self, seconds: float) -> bool:
        """Whether `failed` was called for any relay within so many seconds."""
        return self._clock() - self._failed_at <= seconds

    def answered(self, place: int, failures: int) -> bool:
        """Marks a relay as up after a successful connection. Returns True if it becomes the relay in use.

        `failures` is its count before the connection began. Does nothing if it failed since: that is newer.
        """
        if self._relays[place].failures != failures:
            return False
        self._relays[place].is_down = False
        self._sort()
        has_changed = place == self.order[0] != self.current
        if has_changed:
            self.current = place
        return has_changed

    def took_mail(self, place: int) -> None:
        """Records that the relay accepted mails, or refused them for their own sake. This ends its trouble."""
        relay = self._relays[place]
        relay.took_at = self._clock()
        if not relay.is_down:
            relay.since = None

    def took_mail_lately(self, place: int) -> bool:
        """Whether `took_mail` was called within LATELY_SECONDS."""
        return self._clock() - self._relays[place].took_at < LATELY_SECONDS

    def take_question(self) -> int | None:
        """Returns a relay before the one in use that the caller should probe now, or None if no probe is due."""
        return next((place for place in range(self.order[0]) if self.may_ask(place)), None)

    def may_ask(self, place: int) -> bool:
        """Whether a probe of the relay is due. If so, it is reserved for the caller for HOLD_SECONDS."""
        relay, now = self._relays[place], self._clock()
        is_due = relay.ask_at <= now
        if is_due:
            relay.ask_at = now + HOLD_SECONDS
        return is_due

    def _sort(self) -> None:
        # The sort is stable: each group stays in the order of the list.
        self.order = sorted(range(len(self._relays)), key=lambda place: self._relays[place].is_down)


def together(troubles: Mapping[int, RelayDown]) -> RelayDown:
    """Combines the troubles of several relays, by index, into the last one, with the reasons of all."""
    *_, last = troubles.values()
    if len(troubles) == 1:
        return last
    words = (f"relay {place + 1}: {trouble.reason}" for place, trouble in troubles.items())
    return replace(last, reason=one_line("; ".join(words)))
