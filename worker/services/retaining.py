"""Retention, step by step: each sweep looks at some requests. See `store.retention`."""

import time
from collections.abc import Callable
from typing import Final

from worker.store import retention
from worker.store.database import Database
from worker.store.retention import Forgotten

REST_SECONDS: Final = 3600.0
"""So long after one pass over all requests the next one begins."""
_NOTHING: Final = Forgotten(0, 0, is_end=True)


class Retention:
    """Deletes what was told, or has failed, more than so many days ago (None: never), a bounded number in each step.

    Several may run at the same time: they share the pass.
    """

    def __init__(
        self,
        database: Database,
        told_days: int | None,
        failed_days: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._told_days = told_days
        self._failed_days = failed_days
        self._clock = clock
        self._rest_until = float("-inf")

    def step(self) -> Forgotten:
        """Goes on with the pass, or begins one if that is due. Returns what was deleted."""
        if self._clock() < self._rest_until or not (self._told_days or self._failed_days):
            return _NOTHING
        done = self._database.write(retention.forget, self._told_days, self._failed_days)
        if done.is_end:
            self._rest_until = self._clock() + REST_SECONDS
        return done
