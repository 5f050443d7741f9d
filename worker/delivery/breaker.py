"""The breaker, as a worker process sees it: when to stop sending for everybody, and when to go on.

See *breaker* and *probe* in `docs/glossary.md`.
"""

import asyncio
from contextlib import suppress

import structlog

from worker.delivery.line import Line
from worker.domain.outcomes import CONNECTING, RelayDown, Scope, Stage
from worker.store import breaker

PROBE_SECONDS = 60.0
"""How long a probe may take."""
HOLD_SECONDS = 90.0
"""How long no other process probes. It is longer than a probe may take."""
PAUSE_SECONDS = 1.0
"""How long this process waits if the relay serves others."""

log = structlog.get_logger()


async def trip(line: Line, trouble: RelayDown, mails: int) -> bool:
    """Opens the breaker: nobody is claimed until a probe finds that the relay takes mail again. False: it stays closed.

    If only one mail of a slice met the trouble, the relay is asked again first: one recipient must not stop all others.
    If the relay serves another process it is not down, it only accepts no more connections, so this process waits for a
    second. If only replies to mails are missing, the mailer uses another relay, if there is one. A process that stops
    has broken off its mails itself, so it opens nothing.
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
    """Probes the relay, if it is time to. True: it takes mail again, and the breaker is closed."""
    scope = await line.write(breaker.take_probe, HOLD_SECONDS)
    if scope is None:
        return False
    trouble = await _asked(line, mail_from=scope == Scope.CONFIGURATION)
    if trouble and line.stopping.is_set():  # the relay may only have had no time to answer
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
    """Probes the relay on a new connection, for a minute at most and only until this process stops."""
    await line.mailer.close()  # with idle ones, the probe might be one connection more than the relay allows
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
