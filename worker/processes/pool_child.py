"""A child of the worker's pool: an event loop in a thread, a heartbeat, and a way to learn that it shall end.

Supervisors signal whole groups, and Celery ends its children itself, so children ignore SIGTERM and SIGINT. They learn
of the end through the *lifeline*, a pipe whose writing end only the parent holds. When the parent stops or dies, the
pipe ends. Children then end by themselves as soon as their task is done, and a second pipe tells the parent when the
last one is gone. Celery's own way sleeps for half a second and a second. That costs 2 to 3 s, and more than the 5 s
that supervisors allow if replies are awaited.
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

import structlog
import uvloop

from worker.delivery.lease import Heartbeat
from worker.delivery.line import Line
from worker.processes.bootstrap import Parts, collect_rarely

T = TypeVar("T")

IDLE_CHECK_SECONDS = 2.0
SWITCH_SECONDS = 0.0002
CLOSE_SECONDS = 0.4
"""How long a child that ends may take to close its connections to relay and database."""
PATIENCE_SECONDS = 15.0
"""How long the last task and its recording may take. After that the child exits, and its claims are rescued."""
LEASELESS_SECONDS = 4.5
"""The same once the lease is over. The database has been silent for long, and others have the claims."""
PR_SET_PDEATHSIG = 1

log = structlog.get_logger()


class Lifeline:
    """Two pipes between the pool's parent and its children. Each side learns from one that the other has ended.

    Made before the fork.
    """

    def __init__(self) -> None:
        self._parent_reading, self._parent_writing = os.pipe()
        self._children_reading, self._children_writing = os.pipe()
        self._is_cut = False

    def cut(self) -> bool:
        """In the parent: tells all children to end and waits for them. False: that is being done already."""
        if self._is_cut:  # a second signal came meanwhile
            return False
        self._is_cut = True
        os.close(self._parent_writing)
        os.close(self._children_writing)
        _wait_for_end(self._children_reading)
        return True

    def hold(self) -> None:
        """In a child: the parent waits for this child from now on."""
        os.close(self._parent_writing)
        os.close(self._children_reading)

    def wait(self) -> None:
        """In a child: waits until the parent stops or is gone."""
        _wait_for_end(self._parent_reading)


def _wait_for_end(reading: int) -> None:
    while os.read(reading, 1):
        pass


def _outlive_the_parent() -> None:
    """Undoes Celery's order to kill us with our parent: mails in flight would be sent again. We have the lifeline."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)


class Child:
    """Runs deliveries for as long as the process lives."""

    def __init__(self, parts: Parts, lifeline: Lifeline) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        lifeline.hold()
        _outlive_the_parent()
        # With Python's default of 5 ms the SQL thread waits that long for the loop at each reply of the database.
        sys.setswitchinterval(SWITCH_SECONDS)
        collect_rarely()
        self._lifeline = lifeline
        self._at_work = threading.Lock()
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        self.line = self._start(_make_line(parts)).result()
        self._heartbeat = Heartbeat(self.line.lease)
        self._heartbeat.start()
        self._start(self._close_idle())
        threading.Thread(target=self._end_with_the_parent, name="lifeline", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a task's work in the loop and waits for it."""
        with self._at_work:
            result = self._start(work).result()
        if self.line.stopping.is_set():
            threading.Event().wait()  # `end` is running, and the parent may be gone
        return result

    def end(self, code: int) -> NoReturn:
        """Ends this process when its task is done and its outcomes are recorded, or when that has taken too long."""
        lease = self.line.lease
        patience = PATIENCE_SECONDS if lease.is_trusted(lease.owner) else LEASELESS_SECONDS
        try:
            self._finish(patience)
            self._say_goodbye()
        except TimeoutError:
            log.warning("child.cut_off", after_seconds=patience)
        except Exception:
            log.exception("child.failed")
        finally:  # the parent waits for it
            os._exit(code)

    def _finish(self, patience: float) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + patience
        if not self._at_work.acquire(timeout=patience):
            raise TimeoutError
        self._start(self.line.finish()).result(max(0.0, deadline - time.monotonic()))

    def _say_goodbye(self) -> None:
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

    def _end_with_the_parent(self) -> None:
        self._lifeline.wait()
        self._loop.call_soon_threadsafe(self.line.stopping.set)
        self.end(0)


async def _make_line(parts: Parts) -> Line:
    return parts.line()
