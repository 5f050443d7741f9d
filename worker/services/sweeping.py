"""The sweep: rescues, puts in line what is due, and rings for it. To rescue it needs neither Redis nor a worker."""

import time
from collections.abc import Callable

import structlog

from worker.bell import Bell
from worker.errors import RedisAway
from worker.services.ringing import ring_waiting
from worker.store import breaker, sweep
from worker.store.database import Database
from worker.store.lists import BELL_SECONDS

REDIS_PAUSE_SECONDS = 5.0
"""How long ringing is not tried once Redis was found to be away."""
FORGET_LEASES = 60
"""A process not seen for so many leases is forgotten, if it holds nothing."""

log = structlog.get_logger()


class Sweeper:
    """Sweeps every now and then; two of them do no harm. Lease and interval in seconds."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        *,
        lease: float,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._bell = bell
        self._lease = lease
        # Heartbeats are believed only if somebody has swept, and so the database has been there, lately.
        self._fresh = max(lease / 2, 2 * interval)
        self._clock = clock
        self._ring_from = clock()
        self._redis_is_away = False

    def sweep(self) -> None:
        """One sweep; raises DatabaseAway. Redis being away is logged once."""
        self._rescue()
        due = self._database.write(sweep.put_in_line)
        if due:
            log.info("requests.due", requests=due)
        self._database.write(sweep.forget_owners, FORGET_LEASES * self._lease)
        if self._clock() >= self._ring_from:
            self._try_to_ring()

    def _try_to_ring(self) -> None:
        try:
            self._ring()
            self._redis_is_away = False
        except RedisAway as away:
            if not self._redis_is_away:
                log.warning("sweep.cannot_ring", reason=str(away))
            self._redis_is_away = True
            # Finding that out takes seconds, in which nobody is rescued: not at every sweep.
            self._ring_from = self._clock() + REDIS_PAUSE_SECONDS

    def _rescue(self) -> None:
        if not self._database.write(sweep.stamp, self._lease, self._fresh):
            return
        rescued = self._database.write(sweep.rescue, self._lease)
        if rescued.back_in_line or rescued.failed:
            log.warning("claims.rescued", requests=rescued.back_in_line, failed=len(rescued.failed))
        for request_id in rescued.failed:
            log.warning("mail.failed", request_id=str(request_id), code="OUTCOME_UNKNOWN")

    def _ring(self) -> None:
        if self._database.read(breaker.probe_is_due):
            self._bell.ring_probe()
        # If the queue is empty, bells that were rung lately are answered or lost: ring again for what is left.
        recent = BELL_SECONDS if self._bell.queued() else 0.0
        rung = ring_waiting(self._database, self._bell, recent=recent)
        if rung:
            log.info("bells.rung", lists=rung)
