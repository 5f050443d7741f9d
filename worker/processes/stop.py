"""How a process learns that it shall end: by SIGTERM or SIGINT, once or many times."""

import os
import select
import signal
from types import FrameType


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
