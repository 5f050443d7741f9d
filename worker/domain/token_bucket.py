"""A token bucket: how many mails may go out now under a limit of so many a second. Pure."""

from dataclasses import dataclass
from typing import Final, NamedTuple

BURST_SECONDS: Final = 0.15
"""Unused tokens are kept for this long. It bridges the time between two slices and is 1.5 % of ten seconds."""
TICK_SECONDS: Final = 0.05
"""Tokens that a caller has to wait for come in lots of this many seconds, if that is more than one mail."""


class Grant(NamedTuple):
    """`mails` may go out now. More can be asked for in `wait` seconds."""

    mails: int
    wait: float


@dataclass(slots=True)
class Bucket:
    """A token bucket, like the one in Redis (`stream.shared_bucket`): a mail takes one, `rate` return per second."""

    at: float
    tokens: float = 1.0

    def take(self, wanted: int, rate: float, now: float, back: int = 0) -> Grant:
        """Takes up to `wanted` tokens, after `back` unused ones are given back. `now` is in seconds."""
        most = 1 + rate * BURST_SECONDS
        self.tokens = min(most, self.tokens + max(0.0, now - self.at) * rate + back)
        self.at = max(self.at, now)
        taken = min(wanted, int(max(0.0, self.tokens)))
        self.tokens -= taken
        if taken == wanted:
            return Grant(taken, 0.0)
        worth = max(1.0, min(wanted - taken, rate * TICK_SECONDS))
        return Grant(taken, max(0.001, (worth - self.tokens) / rate + max(0.0, self.at - now)))
