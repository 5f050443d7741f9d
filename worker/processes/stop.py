"""How a process learns that it shall end: by SIGTERM or SIGINT, once or many times."""

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Final

import structlog

LATE_SECONDS: Final = 4.0
"""How long a process that has nothing to lose may take to end. Supervisors such as honcho kill after 5 s."""

log = structlog.get_logger()


class Stop:
    """Becomes set by SIGTERM and SIGINT. Waiting for it needs no lock that a signal handler could block on."""

    def __init__(self) -> None:
        self._is_set = False
        self._reading, self._writing = os.pipe()

    def is_set(self) -> bool:
        """Whether the process shall end."""
        return self._is_set

    def listen(self) -> "Stop":
        """Installs the signal handlers. Call this in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        return self

    def end_in_time(self) -> None:
        """Lets the process exit if it still runs LATE_SECONDS after it was asked to end.

        A server that says nothing keeps a thread waiting for longer. Only for a process whose work others repeat.
        """
        threading.Thread(target=self._end_late, name="end", daemon=True).start()

    def _end_late(self) -> None:
        select.select([self._reading], [], [])
        time.sleep(LATE_SECONDS)
        log.warning("process.cut_off", after_seconds=LATE_SECONDS)
        os._exit(0)

    def set(self) -> None:
        """Asks the process to end."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writing, b".")

    def wait(self, seconds: float) -> bool:
        """Waits for at most `seconds`. True: the process shall end."""
        if not self._is_set:
            select.select([self._reading], [], [], seconds)
        return self._is_set

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.set()
