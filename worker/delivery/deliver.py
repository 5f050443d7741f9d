"""The heart of the line: serves the waiting lists of one bell for one slice, and cleans up if that failed.

A process holds claims only while a task runs. While the breaker is open, one process at a time probes the relay here.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from worker.delivery.breaker import HOLD_SECONDS, ask, trip
from worker.delivery.line import Line
from worker.delivery.slice import Slice
from worker.delivery.trial import FEW_MAILS, TRIAL_MAILS, Trial
from worker.domain.errors import DatabaseAway
from worker.domain.outcomes import RelayDown, Scope
from worker.domain.replies import CONNECTING, Stage
from worker.store import breaker, claims

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between tries to put claims back while the database is away."""

SOON_SECONDS: Final = 60.0
"""For so long after the breaker opened many mails are tried at a time, to find one of another kind."""
YIELD_SECONDS: Final = 2.0
"""How long a process that could not connect leaves a probe to others. Theirs may be the only way to the relay."""
_BY_MAIL: Final = frozenset({Scope.REFUSALS, Scope.QUOTA})
"""Only a mail can tell whether such trouble is over."""

log = structlog.get_logger()


async def deliver(line: Line, list_ids: Sequence[UUID]) -> bool:
    """Serves the waiting lists of one bell for one slice. If the database is away it ends: the sweep rings again.

    True: the breaker opened and has closed again. So bells have to be rung for all lists.
    """
    if line.stopping.is_set() or not list_ids:
        return False
    try:
        await line.ensure_registered()
        if line.holds_claims:  # of an earlier slice that failed
            await line.release_all()
        if line.late_trouble and await _trip_late(line):
            return await probe(line)
        if line.evidence.is_cut_off and await _is_still_cut_off(line):
            return False
        if line.throttle.is_on and not await line.throttle.admitted(line.stopping):
            return False
        work = Slice(line, list_ids)
        await _run(line, work)
        return work.has_opened and await probe(line)
    except DatabaseAway as away:
        log.warning("slice.failed", reason=str(away))
        await _let_go(line)
        return False


async def probe(line: Line) -> bool:
    """Probes the relay, if it is time to. True: it takes mail again, and the breaker is closed."""
    if line.evidence.is_cut_off and await line.write(breaker.probe_is_due):
        await _yield(line)
    scope = await line.write(breaker.take_probe, HOLD_SECONDS)
    if scope is None:
        return False
    if scope in _BY_MAIL:
        trouble = await _tried(line)
    else:
        trouble = await ask(line, mail_from=scope == Scope.CONFIGURATION)
    if trouble and line.stopping.is_set():  # the relay may only have had no time to answer
        await line.write(breaker.give_back_probe)
        return False
    if trouble:
        if trouble.stage in CONNECTING:
            line.evidence.missed_relay()
        scope = trouble.probe_scope.value
        if await line.write(breaker.still_down, trouble.reason, scope):
            log.error("breaker.still_open", scope=scope, stage=trouble.stage.value, reason=trouble.reason)
        return False
    line.evidence.reached_relay()
    closed = await line.write(breaker.close)
    if closed:
        log.info("breaker.closed")
    return closed


async def _is_still_cut_off(line: Line) -> bool:
    """Connects before anybody is claimed: he would wait for the time-out here, and another host could mail him."""
    trouble = await ask(line, mail_from=False)
    if trouble is None or trouble.is_too_fast:
        line.evidence.reached_relay()
        return False
    await trip(line, trouble, 0)
    return True


async def _yield(line: Line) -> None:
    """Lets another process probe. If only this host lost the relay, its own probe would keep all others waiting."""
    await line.ring_probe()
    with suppress(TimeoutError):
        await asyncio.wait_for(line.stopping.wait(), YIELD_SECONDS)


async def _tried(line: Line) -> RelayDown | None:
    """Tries the relay with mails, one at a time. None: it took one."""
    found = await line.write(breaker.read)
    if found.scope == Scope.QUOTA:
        most = 1
    elif await line.write(breaker.has_worked_since):
        return None
    else:
        most = TRIAL_MAILS if found.open_seconds < SOON_SECONDS else FEW_MAILS
    if candidates := await line.write(claims.candidates, line.policies):
        await line.ensure_registered()
        trial = Trial(line, candidates, most * len(line.mailer.relays))
        await _run(line, trial)
        if trial.has_taken:
            return None
        if trial.refusal:
            return trial.refusal
    # Nobody waits with whom it could be tried, or nothing was found out.
    return RelayDown(Scope(found.scope or Scope.REFUSALS), Stage.RCPT, found.reason or "")


async def _run(line: Line, work: Slice) -> None:
    line.holds_claims = True
    await work.run()
    line.holds_claims = False


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
