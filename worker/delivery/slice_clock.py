"""The time of a slice: when it ends, how many mails ended in it, and how many requests are worth claiming for it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SLICE_SECONDS = 0.5
"""How long a task serves the lists of a bell. Then it is another bell's turn."""
LOOK_SECONDS = SLICE_SECONDS / 2
"""How often a slice checks whether it may be prolonged."""
LONGEST_SECONDS = 5.0
"""How long a prolonged slice is at most. A bell that was mistaken for our own waits no longer than this."""
RATE_IS_FRESH = 1.0
"""For how many seconds a measured rate says how much to claim."""


@dataclass(slots=True)
class SliceClock:
    """Half a second, prolonged while the caller says so, or ended early. Times are those of `clock`, in seconds."""

    clock: Callable[[], float] = time.monotonic
    length: float = field(default_factory=lambda: SLICE_SECONDS)
    longest: float = field(default_factory=lambda: LONGEST_SECONDS)
    """For how long it may be prolonged."""
    mails: int = 0
    """How many mails were reported in the half second before the last prolongation, and since then."""
    closes_at: float = float("inf")
    """When the send window closes. The slice ends then, however long it should take."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the slice is over: no more mails are taken."""
    ends_at: float = field(init=False)
    _began: float = field(init=False)
    _latest: float = field(init=False)
    _looked: tuple[float, int] = field(init=False)

    def __post_init__(self) -> None:
        """Begins."""
        self.begin()

    def begin(self) -> None:
        """Starts the time now."""
        self._began = self.clock()
        self._looked = self._began, 0
        self._latest = self._began + self.longest
        self.ends_at = min(self._began + self.length, self.closes_at)

    @property
    def is_over(self) -> bool:
        """Whether no more mails are taken in this slice."""
        return self.over.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether the send window has closed."""
        return self.clock() >= self.closes_at

    @property
    def seconds(self) -> float:
        """In how many seconds `mails` were reported."""
        return self.clock() - self._began

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.ends_at - self.clock()

    @property
    def may_go_on(self) -> bool:
        """Whether another half second stays within `longest`."""
        return self.clock() + SLICE_SECONDS <= self._latest

    def prolong(self) -> int:
        """Adds half a second from now on. Returns how many mails `mails` no longer counts, because they are too old."""
        self._began, past = self._looked
        self.mails -= past
        now = self.clock()
        self._looked = now, self.mails
        self.ends_at = min(now + SLICE_SECONDS, self.closes_at)
        return past

    def close_at(self, time: float) -> None:
        """The send window closes at this time."""
        self.closes_at = time
        self.ends_at = min(self.ends_at, time)


@dataclass(slots=True)
class Pace:
    """How many requests to claim at a time: what the last second's rate sends in the time that is left."""

    least: int
    """the number of connections"""
    most: int
    """the batch size"""
    clock: Callable[[], float] = time.monotonic
    _rate: float = 0.0
    _measured_at: float = float("-inf")

    def measured(self, mails: int, seconds: float) -> None:
        """So many mails ended in so many seconds of work."""
        if seconds > 0:
            self._rate, self._measured_at = mails / seconds, self.clock()

    def suffices(self, ready: int, seconds: float) -> bool:
        """Whether `ready` mails are as many as can be sent in `seconds`."""
        return self._is_fresh and ready > 0 and ready >= self._rate * seconds

    def claim_size(self, seconds: float, ready: int = 0) -> int:
        """How many to claim for `seconds` of work if `ready` are claimed already."""
        wanted = int(self._rate * seconds) - ready if self._is_fresh else 0
        return min(self.most, max(self.least, wanted))

    @property
    def _is_fresh(self) -> bool:
        return self.clock() - self._measured_at <= RATE_IS_FRESH
