"""Expiry, step by step: each sweep looks at some lists. See `store.expiry`."""

import time
from collections.abc import Callable
from typing import Final

from worker.services.import_file import Limit
from worker.store import expiry
from worker.store.database import Database
from worker.store.expiry import Place

REST_SECONDS: Final = 300.0
"""So long after one pass over all lists the next one begins."""


class Expiry:
    """Ends requests that have waited for more than `days`, a bounded number in each step.

    Several may run at the same time. Each goes over all lists, and passes over what another one holds.
    """

    def __init__(self, database: Database, days: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._days = days
        self._clock = clock
        self._place = Place()
        self._rest_until = float("-inf")

    def step(self) -> int:
        """Goes on with the pass, or begins one if that is due. Returns how many requests have ended."""
        if self._clock() < self._rest_until:
            return 0
        looked = self._database.read(expiry.look, self._days, self._place)
        then, ended = looked.then, 0
        if looked.lists:
            done = self._database.write(expiry.expire, self._days, looked.lists, self._place)
            then, ended = done.rest or then, done.requests
        if then is None:
            self._rest_until = self._clock() + REST_SECONDS
        self._place = then or Place()
        return ended


def limit(database: Database, days: int | None) -> Limit | None:
    """Returns what an import refuses, since it would expire at once; None if nothing expires."""
    return Limit(days, database.read(expiry.oldest, days)) if days else None
