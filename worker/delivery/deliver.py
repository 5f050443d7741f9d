"""The heart of the line: serves the waiting lists of one bell for one slice, and cleans up if that failed.

A process holds claims only while a task runs.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from worker.delivery.breaker import trip
from worker.delivery.line import Line
from worker.delivery.slice import Slice
from worker.domain.errors import DatabaseAway

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between tries to put claims back while the database is away."""

log = structlog.get_logger()


async def deliver(line: Line, list_ids: Sequence[UUID]) -> None:
    """Serves the waiting lists of one bell for one slice. If the database is away it ends: the sweep rings again."""
    if line.stopping.is_set() or not list_ids:
        return
    try:
        await line.ensure_registered()
        if line.holds_claims:  # of an earlier slice that failed
            await line.release_all()
        if line.late_trouble and await _trip_late(line):
            return
        if line.throttle.is_on and not await line.throttle.admitted(line.stopping):
            return
        line.holds_claims = True
        await Slice(line, list_ids).run()
        line.holds_claims = False
    except DatabaseAway as away:
        log.warning("slice.failed", reason=str(away))
        await _let_go(line)


async def _trip_late(line: Line) -> bool:
    """Opens the breaker if mails of an earlier slice met trouble after its end. True: it opened."""
    trouble, line.late_trouble = line.late_trouble, None
    return trouble is not None and await trip(line, *trouble)


async def _let_go(line: Line) -> None:
    """Waits for the database, then releases what this process may still hold. The next bell may be far away."""
    pause = FIRST_PAUSE
    while line.holds_claims:
        try:
            await line.release_all()
        except DatabaseAway:
            if line.stopping.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(line.stopping.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE)
