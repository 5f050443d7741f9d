"""Waits between tries while something that a process needs is away."""

import time

import structlog

from worker.processes.stop import Stop

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds between tries."""

log = structlog.get_logger()


class Backoff:
    """Waits longer from try to try. Logs the reason once, and once that it is over."""

    def __init__(
        self, stop: Stop, *, away: str, back: str, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE
    ) -> None:
        """`away` and `back` are the log events, `first` and `longest` the pauses in seconds."""
        self._stop = stop
        self._away, self._back = away, back
        self._first, self._longest = first, longest
        self._pause = first
        self._since: float | None = None

    def wait(self, reason: str) -> bool:
        """Waits before the next try. True: the process shall end."""
        if self._since is None:
            log.warning(self._away, reason=reason)
            self._since = time.monotonic()
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        return self._stop.wait(pause)

    def is_over(self) -> None:
        """A try worked: the next failure is a new one."""
        if self._since is not None:
            log.info(self._back, after_seconds=round(time.monotonic() - self._since, 1))
        self._pause, self._since = self._first, None
