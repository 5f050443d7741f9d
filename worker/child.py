"""A child of the worker's pool: an event loop in a thread, a heartbeat, and a way to learn that it shall end.

Supervisors signal whole groups, and Celery ends its children itself, so children ignore SIGTERM and SIGINT. They hear
of the end through the *lifeline*, a pipe whose writing end only the parent holds: when the parent stops, or dies in
whatever way, the pipe ends.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog
import uvloop

from worker.bootstrap import Parts
from worker.deliver import STOP_SECONDS
from worker.lease import Heartbeat
from worker.line import Line

T = TypeVar("T")

IDLE_CHECK_SECONDS = 2.0
ORPHAN_CHECK_SECONDS = 0.1
SWITCH_SECONDS = 0.0005
CLOSE_SECONDS = 3.0
"""How long a child that ends may take to say goodbye."""

log = structlog.get_logger()


class Lifeline:
    """The pipe between the pool's parent and its children; made before the fork."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def cut(self) -> None:
        """In the parent: tells all children to end. In a child: lets go of the parent's end."""
        # Two signals may come at once, the second in the middle of this.
        writing, self._writing = self._writing, -1
        if writing >= 0:
            os.close(writing)


class Child:
    """Runs deliveries for as long as the process lives."""

    def __init__(self, parts: Parts, lifeline: Lifeline) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        lifeline.cut()
        # With Python's own 5 ms the SQL thread waits that long for the loop at every reply of the database.
        sys.setswitchinterval(SWITCH_SECONDS)
        self._parent = os.getppid()
        self._lifeline = lifeline.reading
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        self.line = self.run(_make_line(parts))
        self._heartbeat = Heartbeat(self.line.lease)
        self._heartbeat.start()
        self._start(self._close_idle())
        threading.Thread(target=self._wait_for_end, name="lifeline", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the loop and waits for it."""
        return self._start(work).result()

    def close(self) -> None:
        """The pool ends this child: no task runs any more."""
        self._heartbeat.stop()
        try:
            self._start(self.line.close()).result(CLOSE_SECONDS)
        except TimeoutError:
            log.info("child.closed_late")

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_SECONDS)
            await self.line.mailer.close_idle()

    def _wait_for_end(self) -> None:
        while os.read(self._lifeline, 1):
            pass
        self._loop.call_soon_threadsafe(self.line.stopping.set)
        # A parent that stops ends us when the task is done. One that died never will.
        while os.getppid() == self._parent:
            time.sleep(ORPHAN_CHECK_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS + 1.0
        while self.line.holds_claims and time.monotonic() < deadline:
            time.sleep(ORPHAN_CHECK_SECONDS)
        os._exit(1)


async def _make_line(parts: Parts) -> Line:
    return parts.line()
