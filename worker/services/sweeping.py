"""The sweep: rescues, puts in line what is due, and rings for it. To rescue it needs neither Redis nor a worker."""

import structlog

from worker.delivery.slice_clock import SLICE_SECONDS
from worker.domain.errors import RedisAway
from worker.queue.bell import Bell
from worker.services.ringing import ring_waiting
from worker.store import breaker, owners, sweep
from worker.store.database import Database
from worker.store.lists import BELL_SECONDS

FORGET_LEASES = 60
"""A process not seen for so many leases is forgotten, if it holds nothing."""

log = structlog.get_logger()


class Sweeper:
    """Sweeps every now and then; two of them do no harm. Lease and interval in seconds."""

    def __init__(self, database: Database, bell: Bell, *, lease: float, interval: float) -> None:
        self._database = database
        self._bell = bell
        self._lease = lease
        # Heartbeats are believed only if somebody has swept, and so the database has been there, lately.
        self._fresh = max(lease / 2, 2 * interval)
        self._redis_is_away = False

    def sweep(self) -> None:
        """One whole sweep; raises DatabaseAway."""
        self.put_in_line()
        self.ring()

    def put_in_line(self) -> None:
        """The half of a sweep that needs only the database: rescues, and puts in line what is due."""
        self._rescue()
        due = self._database.write(sweep.put_in_line)
        if due:
            log.info("requests.due", requests=due)
        self._database.write(owners.forget, FORGET_LEASES * self._lease)

    def ring(self) -> None:
        """The other half. Redis being away is logged once; finding it out may take ten seconds."""
        try:
            self._ring()
            self._redis_is_away = False
        except RedisAway as away:
            if not self._redis_is_away:
                log.warning("sweep.cannot_ring", reason=str(away))
            self._redis_is_away = True

    def _rescue(self) -> None:
        if not self._database.write(sweep.stamp, self._lease, self._fresh):
            return
        rescued = self._database.write(sweep.rescue, self._lease)
        if rescued.back_in_line or rescued.failed:
            log.warning("claims.rescued", requests=rescued.back_in_line, failed=len(rescued.failed))
        for request_id in rescued.failed:
            log.warning("mail.failed", request_id=str(request_id), code="OUTCOME_UNKNOWN")

    def _ring(self) -> None:
        # If the queue is empty, bells that were rung lately are answered or lost: ring again for what is left.
        queued = self._bell.queued()
        if not queued and self._database.read(breaker.probe_is_due):
            self._bell.ring_probe()
        # If it is long, a bell takes its time to get through: ringing again meanwhile would only make it longer.
        recent = BELL_SECONDS + SLICE_SECONDS * queued if queued else 0.0
        rung = ring_waiting(self._database, self._bell, recent=recent)
        if rung:
            log.info("bells.rung", lists=rung)
