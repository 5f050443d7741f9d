"""When to stop the line for everybody, and when to go on: the breaker, as a worker process sees it."""

import asyncio
from contextlib import suppress

import structlog

from worker.delivery.line import Line
from worker.domain.outcomes import CONNECTING, RelayDown, Scope, Stage
from worker.store import breaker

PROBE_SECONDS = 60.0
"""How long a probe may take."""
HOLD_SECONDS = 90.0
"""How long nobody else probes; longer than a probe may take."""
PAUSE_SECONDS = 1.0
"""How long this process steps back where the relay serves others."""

log = structlog.get_logger()


async def trip(line: Line, trouble: RelayDown, mails: int) -> bool:
    """Opens the breaker: nobody is claimed until a probe finds that the relay takes mail again. False: it stays closed.

    What only one mail of a slice says is asked again first: one recipient must not stop all others. And where somebody
    else is being served the relay is not down; it lets no more of us in, so this process steps back for a second. Where
    only verdicts did not come the mailer has gone to another relay, if there is one. A process that ends has broken off
    what was on its way, and leaves it to others.
    """
    if line.stopping.is_set():
        return False
    is_about_verdicts = trouble.scope is Scope.RELAY and trouble.stage is Stage.DOT and trouble.reply is None
    if is_about_verdicts and line.mailer.has_another:
        return False
    if mails == 1 and trouble.stage not in CONNECTING and trouble.scope is Scope.RELAY:
        asked_again = await _asked(line, mail_from=True)
        if asked_again is None or line.stopping.is_set():
            return False
        trouble = asked_again
    await line.mailer.close()
    if await line.write(breaker.trip, trouble.reason, trouble.scope.value, line.streaks.times):
        log.error("breaker.opened", scope=trouble.scope.value, stage=trouble.stage.value, reason=trouble.reason)
        return True
    with suppress(TimeoutError):
        await asyncio.wait_for(line.stopping.wait(), PAUSE_SECONDS)
    return False


async def probe(line: Line) -> bool:
    """Looks whether the relay takes mail again, if it is time to; True if it does, and the breaker is closed."""
    scope = await line.write(breaker.take_probe, HOLD_SECONDS)
    if scope is None:
        return False
    trouble = await _asked(line, mail_from=scope == Scope.CONFIGURATION)
    if trouble and line.stopping.is_set():  # it may just not have had the time to answer
        await line.write(breaker.give_back_probe)
        return False
    if trouble:
        if await line.write(breaker.still_down, trouble.reason, trouble.scope.value):
            log.error("breaker.still_open", scope=trouble.scope.value, stage=trouble.stage.value, reason=trouble.reason)
        return False
    closed = await line.write(breaker.close)
    if closed:
        log.info("breaker.closed")
    return closed


async def _asked(line: Line, *, mail_from: bool) -> RelayDown | None:
    """Asks the relay on a connection of its own, for a minute at most, and not longer than this process shall live."""
    await line.mailer.close()  # with those that are idle it might be one more than the relay allows
    probing = asyncio.create_task(line.mailer.probe(mail_from=mail_from))
    stopping = asyncio.create_task(line.stopping.wait())
    done, _ = await asyncio.wait({probing, stopping}, timeout=PROBE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if probing in done:
        return probing.result()
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing
    return RelayDown(Scope.RELAY, Stage.CONNECT, "no answer to the probe in time")
