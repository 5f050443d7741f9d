"""A moving window: how often a client may do something in any hour, and in any day. Pure.

`stream.shared_window` does the same in Redis for all processes; this one is one process's own.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

HOUR: Final = 3600
DAY: Final = 86_400
PER_HOUR: Final = 10
PER_DAY: Final = 60
MOST_NAMES: Final = 20_000
"""One process remembers no more names than this: then it forgets those that it met least recently."""


@dataclass(slots=True)
class Windows:
    """What every name has done lately, and which names were used up."""

    _times: OrderedDict[str, list[float]] = field(default_factory=OrderedDict)
    _used: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def take(self, name: str, now: float) -> int:
        """Counts one, and returns 0. If there were enough, counts nothing and returns the seconds to wait."""
        times = self._times.pop(name, [])
        wait = max(_wait(times, PER_HOUR, HOUR, now), _wait(times, PER_DAY, DAY, now))
        if not wait:
            times = [now, *times][:PER_DAY]
        self._times[name] = times
        _forget(self._times)
        return wait

    def use_up(self, name: str, now: float, seconds: float) -> bool:
        """Whether this is the first use of a name that is good for so many seconds."""
        if self._used.get(name, now) > now:
            return False
        self._used[name] = now + seconds
        _forget(self._used)
        return True


def _wait(times: list[float], most: int, seconds: int, now: float) -> int:
    """Returns how long it takes until fewer than `most` of the times, newest first, are in the window."""
    if len(times) < most:
        return 0
    return max(0, math.ceil(times[most - 1] + seconds - now))


def _forget(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > MOST_NAMES:
        kept.popitem(last=False)
