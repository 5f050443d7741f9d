"""Whether programs wait for a CPU of this machine: then what can wait shall."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

SOURCE: Final = Path("/proc/pressure/cpu")
"""Linux's pressure stall information (Documentation/accounting/psi.rst). Elsewhere there is none."""
HIGH: Final = 0.5
"""The share of the time in which somebody waited. Mails at full speed make 0.8 and more, what we do alone 0.1."""
SHORTEST_SECONDS: Final = 0.1
"""A shorter time says nothing."""


class CpuPressure:
    """Compares each look with the one before."""

    def __init__(self, source: Path = SOURCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._at, self._waited = clock(), self._read()
        self._is_high = False

    def is_high(self) -> bool:
        """Whether somebody waited for a CPU for most of the time since the last look. False where nothing tells it."""
        seconds = self._clock() - self._at
        if seconds >= SHORTEST_SECONDS:
            waited = self._read()
            self._is_high = (waited - self._waited) / seconds > HIGH
            self._at, self._waited = self._at + seconds, waited
        return self._is_high

    def _read(self) -> float:
        """Returns the seconds in which somebody has waited since the machine was started."""
        try:
            some = self._source.read_text("ascii").splitlines()[0]
            return int(some.rpartition("total=")[2]) / 1e6
        except (OSError, ValueError, IndexError):
            return 0.0
