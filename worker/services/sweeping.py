"""The sweep: rescues claims, makes deferred requests due, ends what nobody wants any more, and rings bells.

Rescue needs neither Redis nor a worker.
"""

import time
from collections.abc import Callable

import structlog

from worker.delivery.slice_clock import SLICE_SECONDS
from worker.domain.errors import RedisAway
from worker.domain.outcomes import FailureCode
from worker.domain.policies import NO_POLICIES, Policies
from worker.queue.bell import Bell
from worker.services.expiring import Expiry
from worker.services.retaining import Retention
from worker.services.returning import log_failed
from worker.services.ringing import ring_waiting
from worker.store import (
    actions,
    admins,
    breaker,
    confirmations,
    guesses,
    history,
    owners,
    reports,
    resting,
    seats,
    suppression,
    sweep,
    tally_merge,
)
from worker.store.database import Connection, Database
from worker.store.lists import BELL_SECONDS

FORGET_LEASES = 60
"""An owner that was not seen for this many leases is removed if it holds no claims."""
TRIMS = 5
"""A sweep shortens the history of events in at most so many transactions. The next sweep goes on."""

MOST_ROUNDS = 20
"""So often one sweep puts `sweep.MOST_ROWS` in line, and adds up `tally_merge.MOST_ROWS`."""
TIDY_SECONDS = 600.0
"""How often old counts are added up to hours and days, and old actions are forgotten."""

log = structlog.get_logger()


class Sweeper:
    """Runs sweeps. Several may run at the same time. `lease` and `interval` are in seconds."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        *,
        lease: float,
        interval: float,
        policies: Policies = NO_POLICIES,
    ) -> None:
        self._database = database
        self._bell = bell
        self._lease = lease
        self._policies = policies
        # A recent sweep shows that the database was reachable, so that missing heartbeats mean dead owners.
        self._fresh = max(lease / 2, 2 * interval)
        self._redis_is_away = False
        self._tidy_at = float("-inf")
        self._has_opened = False
        self._expiry = Expiry(database, policies.request_ttl_days) if policies.request_ttl_days else None
        self._retention = Retention(database, policies.keep_told_days, policies.keep_failed_days)

    def sweep(self) -> None:
        """Runs one full sweep. Raises DatabaseAway."""
        self.put_in_line()
        self.ring()

    def put_in_line(self) -> None:
        """Runs the part of a sweep that needs only the database: all but the bells."""
        if not self._has_opened:
            # Doors were closed, and who rests does so, by the settings of then.
            self._database.write(seats.open_all)
            self._shorten_rests()
            self._has_opened = True
        self._rescue()
        _tell_suppressed(self._database.write(suppression.repeat))
        due = self._all(sweep.put_in_line, sweep.MOST_ROWS)  # an admin may have retried many at once
        if due:
            log.info("requests.due", requests=due)
        unconfirmed = self._database.write(confirmations.expire)
        if unconfirmed:
            log.info("requests.unconfirmed", requests=unconfirmed)
        self._expire()
        self._database.write(owners.forget, FORGET_LEASES * self._lease)
        log_failed(self._database.write(reports.retry_early), FailureCode.BOUNCED)
        self._database.write(reports.forget)
        self._all(tally_merge.merge, tally_merge.MOST_ROWS)
        self._trim_history()
        self._database.write(admins.forget)
        self._database.write(guesses.forget)
        self._forget_ended()
        self._tidy()

    def ring(self) -> None:
        """Runs the part that needs Redis. If Redis is away, the call may take ten seconds; this is logged only once."""
        try:
            self._ring()
            self._redis_is_away = False
        except RedisAway as away:
            if not self._redis_is_away:
                log.warning("sweep.cannot_ring", reason=str(away))
            self._redis_is_away = True

    def _expire(self) -> None:
        expired = self._expiry.step() if self._expiry else 0
        if expired:
            log.info("requests.expired", requests=expired)

    def _forget_ended(self) -> None:
        forgotten = self._retention.step()
        if forgotten.requests:
            log.info("requests.deleted", requests=forgotten.requests, contacts=forgotten.contacts)

    def _trim_history(self) -> None:
        for _ in range(TRIMS):
            if not self._database.write(history.trim):
                return

    def _all(self, move: Callable[[Connection], int], most: int) -> int:
        """Calls this until it moved fewer rows than it may, and returns how many it moved."""
        moved = 0
        for _ in range(MOST_ROUNDS):
            latest = self._database.write(move)
            moved += latest
            if latest < most:
                break
        return moved

    def _tidy(self) -> None:
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + TIDY_SECONDS
        while self._database.write(tally_merge.merge_old):
            pass
        self._database.write(actions.tidy)

    def _shorten_rests(self) -> None:
        place: resting.Place | None = resting.START
        while place:
            place = self._database.write(resting.shorten, self._policies.contact_interval, place)

    def _rescue(self) -> None:
        if not self._database.write(sweep.stamp, self._lease, self._fresh):
            return
        rescued = self._database.write(sweep.rescue, self._lease, self._fresh)
        if rescued.back_in_line or rescued.failed or rescued.suppressed:
            log.warning("claims.rescued", requests=rescued.back_in_line, failed=len(rescued.failed))
        _tell_suppressed(rescued.suppressed)
        for request_id in rescued.failed:
            log.warning("mail.failed", request_id=str(request_id), code="OUTCOME_UNKNOWN")

    def _ring(self) -> None:
        # If the queue is empty, all recent bells were answered or lost, so ring again for what is left.
        queued = self._bell.queued()
        if not queued and self._database.read(breaker.probe_is_due):
            self._bell.ring_probe()
        # If the queue is long, a bell waits in it for a while. Ringing again would only make the queue longer.
        recent = BELL_SECONDS + SLICE_SECONDS * queued if queued else 0.0
        rung = ring_waiting(self._database, self._bell, recent=recent, policies=self._policies)
        if rung:
            log.info("bells.rung", lists=rung)


def _tell_suppressed(requests: int) -> None:
    if requests:
        log.info("requests.suppressed", requests=requests)
