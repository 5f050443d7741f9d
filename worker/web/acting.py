"""Does what admins have confirmed, beside the routes: a chunk at a time, so that mails come first.

Several processes share the work: each action is held on a lease. See `services.acting`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from worker.domain.errors import StockbellError
from worker.services.acting import Runner
from worker.services.ringing import try_to_ring
from worker.web.context import Context
from worker.web.pressure import CpuPressure

ROUND_SECONDS: Final = 1.0
"""So long it waits if there is nothing to do, unless it is woken."""
PAUSE_SECONDS: Final = 0.5
"""So long it waits after a chunk while the CPU is short."""
AWAY_SECONDS: Final = 2.0
STOP_SECONDS: Final = 1.0

log = structlog.get_logger()


class Actor:
    """What one process does about actions."""

    def __init__(self, context: Context, is_cpu_short: Callable[[], bool] | None = None) -> None:
        self._context = context
        self._is_cpu_short = is_cpu_short or CpuPressure().is_high
        self._runner = Runner(context.database)
        self._awake = asyncio.Event()
        self._is_away = False

    def wake(self) -> None:
        """Lets it look at once for what there is to do."""
        self._awake.set()

    async def __call__(self) -> None:
        """Works until the process ends. Waits for a database that is away."""
        try:
            while not self._context.stopping.is_set():
                await self._wait(await self._work())
        finally:
            # Else another process would wait for the end of the lease.
            with suppress(StockbellError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._context.sql(self._runner.release)

    async def _work(self) -> float:
        """Does a chunk. Returns how long to wait then."""
        self._awake.clear()
        try:
            step = await self._context.sql(self._runner.step)
            if step.lists:
                await self._context.run(self._ring, step.lists)
        except StockbellError as away:
            if not self._is_away:
                log.warning("actions.wait", reason=str(away))
            self._is_away = True
            return AWAY_SECONDS
        except Exception as fault:  # ours; nobody would start this again
            log.error("actions.fault", error=type(fault).__name__)
            return AWAY_SECONDS
        self._is_away = False
        if not step.is_any:
            return ROUND_SECONDS
        return PAUSE_SECONDS if self._is_cpu_short() and not step.is_undo else 0.0

    def _ring(self, lists: set[UUID]) -> None:
        try_to_ring(self._context.database, self._context.parts.bell, lists)

    async def _wait(self, seconds: float) -> None:
        if seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._awake.wait()
