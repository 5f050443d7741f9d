"""How long a slice works, and how many mails went out lately. Pure."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

SLICE_SECONDS = 0.5
"""How long a task serves the lists of a bell; then it is somebody else's turn."""
LOOK_SECONDS = SLICE_SECONDS / 2
"""How often it is checked whether the slice may be prolonged."""
LONGEST_SECONDS = 5.0
"""What a prolonged slice comes to at most: a bell that is wrongly taken for our own has to wait no longer."""


@dataclass(slots=True)
class SliceClock:
    """Half a second of work, prolonged for as long as somebody says so. Times are those of `clock`."""

    clock: Callable[[], float] = time.monotonic
    mails: int = 0
    """How many were reported: in the half second before the last prolongation, and since."""
    ends_at: float = field(init=False)
    _began: float = field(init=False)
    _latest: float = field(init=False)
    _looked: tuple[float, int] = field(init=False)

    def __post_init__(self) -> None:
        """Begins."""
        self.begin()

    def begin(self) -> None:
        """The time runs from now on."""
        self._began = self.clock()
        self._looked = self._began, 0
        self._latest = self._began + LONGEST_SECONDS
        self.ends_at = self._began + SLICE_SECONDS

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
        """Whether it has not been prolonged for too long."""
        return self.clock() + SLICE_SECONDS <= self._latest

    def prolong(self) -> int:
        """Half a second more, from now on. Returns how many mails count no more in `mails`: they were too long ago."""
        self._began, past = self._looked
        self.mails -= past
        now = self.clock()
        self._looked = now, self.mails
        self.ends_at = now + SLICE_SECONDS
        return past
