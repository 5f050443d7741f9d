"""The lease of a worker process: its name in the database, the heartbeat that renews it, and how long to trust it.

Trust ends at (boot-time clock before the renewal was sent) + lease - margin. The database counts from some moment after
the sending, never before it. The boot-time clock goes on while the machine sleeps. See *lease* and *owner* in
`docs/glossary.md`.
"""

import os
import socket
import threading
import time
from uuid import UUID, uuid4

import structlog

from worker.domain.errors import DatabaseAway, OwnerLost
from worker.store import owners
from worker.store.database import Database

log = structlog.get_logger()


def boot_time() -> float:
    """Seconds since the machine was started, including sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Who this process is to the database, and until when the database takes it for alive.

    `owner` is a new id for each process, and a new one after a lost lease: what the old one held is no longer ours.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self.seconds = seconds
        self._margin = min(10.0, seconds / 4)
        self._lock = threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.owner: UUID = uuid4()
        self._trusted_until = 0.0
        self._registered: UUID | None = None

    def is_trusted(self, owner: UUID) -> bool:
        """Whether mails may be started for claims of this owner."""
        return owner == self.owner and boot_time() < self._trusted_until

    def renewed(self, owner: UUID, sent_at: float) -> None:
        """A transaction that began at `sent_at` (boot time, seconds) renewed the lease."""
        with self._lock:
            if owner == self.owner:
                self._trusted_until = max(self._trusted_until, sent_at + self.seconds - self._margin)

    def lost(self, owner: UUID) -> None:
        """The database no longer knows this owner: a new one begins and holds nothing."""
        with self._lock:
            if owner == self.owner:
                log.warning("lease.lost", owner=str(owner))
                self._begin_anew()

    def beat(self) -> None:
        """Renews the lease once; raises DatabaseAway."""
        owner, sent_at = self.owner, boot_time()
        try:
            self.ensure_registered()
            self._database.write(owners.renew, owner, self.seconds)
        except OwnerLost:
            self.lost(owner)
        else:
            self.renewed(owner, sent_at)

    def ensure_registered(self) -> None:
        """Registers the owner in the database, once; raises DatabaseAway."""
        owner = self.owner
        if self._registered == owner:
            return
        self._database.write(owners.register, owner, f"{socket.gethostname()}:{os.getpid()}")
        # Without the lock: the database may be slow, and the event loop needs the lock too.
        self._registered = owner

    def sign_off(self) -> None:
        """Deletes the owner, so that nobody waits for its lease to end. Does nothing if the database is away."""
        try:
            self._database.write(owners.sign_off, self.owner)
        except DatabaseAway as away:
            log.info("lease.kept", reason=str(away))


class Heartbeat(threading.Thread):
    """A thread that renews the lease four times per lease, on its own connection, until `stop`."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._lease = lease
        self._stop_event = threading.Event()

    def run(self) -> None:
        """Renews again and again. A database that is away is logged once."""
        away = False
        while True:
            try:
                self._lease.beat()
                away = False
            except Exception as error:  # if this thread ended, the process would lose all its claims
                if not away:
                    log.warning("heartbeat.missed", reason=str(error), exc_info=not isinstance(error, DatabaseAway))
                away = True
            if self._stop_event.wait(self._lease.seconds / 4):
                return

    def stop(self) -> None:
        """Ends the thread after the current renewal."""
        self._stop_event.set()
