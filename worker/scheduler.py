"""`stockbell schedule`: sweeps every few seconds, directly, so that rescue needs neither Redis nor a free worker."""

import threading
from collections.abc import Callable

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
    # A Redis that is there and does not answer holds a ring up for many seconds: rescue must not wait for it.
    ringing = threading.Thread(target=repeat, args=(stop, sweeper.ring, settings.sweep_seconds), daemon=True)
    ringing.start()
    repeat(stop, sweeper.put_in_line, settings.sweep_seconds)
    log.info("scheduler.stopped")


def repeat(stop: Stop, work: Callable[[], None], seconds: float) -> None:
    """Works now and every so many seconds until stopped. What goes wrong is said once, and tried again."""
    is_away = False
    while not stop.is_set():
        try:
            work()
            is_away = False
        except DatabaseAway as away:
            if not is_away:
                log.warning("database.away", reason=str(away))
            is_away = True
        except Exception:  # the sweep is what everybody relies on
            log.exception("sweep.failed")
        stop.wait(seconds)
