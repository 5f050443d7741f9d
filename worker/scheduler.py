"""`stockbell schedule`: sweeps every few seconds, directly, so that rescue needs neither Redis nor a free worker."""

import structlog

from worker.bootstrap import Parts
from worker.errors import DatabaseAway
from worker.services.startup import wait_for_database
from worker.services.sweeping import Sweeper
from worker.stop import Stop

log = structlog.get_logger()


def run(parts: Parts) -> None:
    """Sweeps until SIGTERM or SIGINT. Any number of schedulers may run."""
    stop = Stop().listen()
    settings = parts.settings
    if not wait_for_database(parts.database, stop):
        return
    log.info("scheduler.started", every_seconds=settings.sweep_seconds)
    sweeper = Sweeper(parts.database, parts.bell, lease=settings.lease_seconds, interval=settings.sweep_seconds)
    sweep_until(stop, sweeper, settings.sweep_seconds)
    log.info("scheduler.stopped")


def sweep_until(stop: Stop, sweeper: Sweeper, seconds: float) -> None:
    """Sweeps now and every so many seconds; a database that is away is said once."""
    is_away = False
    while not stop.is_set():
        try:
            sweeper.sweep()
            is_away = False
        except DatabaseAway as away:
            if not is_away:
                log.warning("database.away", reason=str(away))
            is_away = True
        stop.wait(seconds)
