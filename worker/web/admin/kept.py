"""Values that are kept: read in the background so that nobody waits for them, or because they were slow to read."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import structlog

from worker.domain.errors import StockbellError

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

log: Final = structlog.get_logger()


class Kept(Generic[T]):
    """A value that is at least `seconds` old before `read` is called for a new one. One call at a time."""

    def __init__(self, read: Callable[[], Awaitable[T]], seconds: float) -> None:
        self.value: T | None = None
        """None: it was not read yet, or could not be read."""
        self._read = read
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")

    def ask(self) -> "asyncio.Task[None] | None":
        """Begins to read, if it is time. Returns the task that reads. It raises nothing."""
        is_reading = self._task is not None and not self._task.done()
        if not is_reading and time.monotonic() - self._asked_at >= self._seconds:
            self._asked_at = time.monotonic()
            self._task = asyncio.create_task(self._take())
        return self._task

    def forget(self) -> None:
        """Lets the next `ask` read anew."""
        self._asked_at = float("-inf")

    @property
    def late_seconds(self) -> float:
        """For how long it is being read now."""
        is_reading = self._task is not None and not self._task.done()
        return time.monotonic() - self._asked_at if is_reading else 0.0

    async def _take(self) -> None:
        try:
            self.value = await self._read()
        except StockbellError:  # whoever looks at the rows besides says so
            self.value = None
        except Exception:
            self.value = None
            log.exception("admin.live_failed")


class Costly(Generic[K, T]):
    """Values that took at least `slow` seconds to read, each kept for `seconds`. Others are read anew each time.

    There must be few keys: they are never removed.
    """

    def __init__(self, seconds: float, slow: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._slow = slow
        self._clock = clock
        self._known: dict[K, tuple[float, T]] = {}

    async def get(self, key: K, read: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """Returns the value, and how many seconds ago it was read (0: now). Raises what `read` raises."""
        begun = self._clock()
        if key in self._known:
            at, value = self._known[key]
            if begun - at < self._seconds:
                return value, begun - at
            del self._known[key]
        value = await read()
        if self._clock() - begun >= self._slow:
            self._known[key] = self._clock(), value
        return value, 0.0
