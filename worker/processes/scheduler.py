"""`stockbell schedule`: sweeps every few seconds, directly, so that rescue needs neither Redis nor a free worker."""

import threading
from collections.abc import Callable

import structlog

from worker.domain.errors import DatabaseAway
from worker.processes.bootstrap import Parts
from worker.processes.startup import wait_for_database
from worker.processes.stop import Stop
from worker.services.sweeping import Sweeper

log = structlog.get_logger()


def run(parts: Parts) -> None:
    """Sweeps until SIGTERM or SIGINT. Any number of schedulers may run."""
    stop = Stop().listen()
    stop.end_in_time()
    settings = parts.settings
    parts.check_broker()
    if not wait_for_database(parts.database, stop):
        return
    log.info("scheduler.started", every_seconds=settings.sweep_seconds)
    sweeper = Sweeper(
        parts.database,
        parts.bell,
        lease=settings.lease_seconds,
        interval=settings.sweep_seconds,
        policies=parts.policies,
    )
    repeated = Repeated(stop, settings.sweep_seconds)
    # A Redis that accepts connections and does not answer delays a ring for many seconds. Rescue must not wait for it.
    threading.Thread(target=repeated.run, args=(sweeper.ring,), daemon=True).start()
    repeated.run(sweeper.put_in_line)
    log.info("scheduler.stopped")


class Repeated:
    """Runs work every few seconds until stopped. A database that is away is logged once for all work."""

    def __init__(self, stop: Stop, seconds: float) -> None:
        self._stop = stop
        self._seconds = seconds
        self._failing: set[Callable[[], None]] = set()
        """The work whose last run found the database away."""
        self._lock = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Runs `work` now, and again every `seconds`."""
        while not self._stop.is_set():
            self.once(work)
            self._stop.wait(self._seconds)

    def once(self, work: Callable[[], None]) -> None:
        """Runs `work` once. Logs what went wrong and raises nothing."""
        try:
            work()
            self._works(work)
        except DatabaseAway as away:
            self._fails(work, str(away))
        except Exception:  # the sweep must go on: everything else relies on it
            log.exception("sweep.failed")

    def _fails(self, work: Callable[[], None], reason: str) -> None:
        with self._lock:
            if not self._failing:
                log.warning("database.away", reason=reason)
            self._failing.add(work)

    def _works(self, work: Callable[[], None]) -> None:
        with self._lock:
            if work in self._failing:
                self._failing.remove(work)
                if not self._failing:
                    log.info("database.back")
