"""The breaker, as a worker process sees it: when to stop sending for everybody. `deliver` says when to go on.

See *breaker* and *probe* in `docs/glossary.md`.
"""

import asyncio
from contextlib import suppress

import structlog

from worker.delivery.line import Line
from worker.domain.outcomes import ABOUT_A_MAIL, RelayDown, Scope
from worker.domain.replies import CONNECTING, Stage
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
    second. If a relay refuses mails, or only replies to mails are missing, the mailer uses another relay, if there is
    one. A process that stops has broken off its mails itself, so it opens nothing.
    """
    if line.stopping.is_set():
        return False
    if trouble.stage in CONNECTING:
        line.evidence.missed_relay()
    is_about_verdicts = trouble.scope is Scope.RELAY and trouble.stage is Stage.DOT and trouble.reply is None
    if is_about_verdicts and line.mailer.has_another:
        return False
    if trouble.scope is not Scope.RELAY and trouble.stage in ABOUT_A_MAIL and line.mailer.has_another:
        if trouble.scope is Scope.REFUSALS:  # else the mailer has turned from it already
            line.mailer.turn_from(trouble, line.evidence.streak_seconds)
        line.evidence.forget_streaks()
        return False
    if mails == 1 and trouble.stage not in CONNECTING and trouble.scope is Scope.RELAY:
        asked_again = await ask(line, mail_from=True)
        if asked_again is None or line.stopping.is_set():
            return False
        trouble = asked_again
    await line.mailer.close()
    scope = trouble.probe_scope.value
    at_once = trouble.scope is not Scope.RELAY and trouble.stage in ABOUT_A_MAIL
    # What other processes sent while this one was only refused shows that the relay is well.
    refusing = min(breaker.LATELY_SECONDS, line.evidence.streak_seconds)
    lately = {Scope.RELAY: breaker.LATELY_SECONDS, Scope.REFUSALS: refusing}.get(trouble.scope, 0.0)
    if await line.write(breaker.trip, trouble.reason, scope, lately=lately, at_once=at_once):
        log.error("breaker.opened", scope=scope, stage=trouble.stage.value, reason=trouble.reason)
        return True
    if trouble.scope is not Scope.REFUSALS:
        with suppress(TimeoutError):
            await asyncio.wait_for(line.stopping.wait(), PAUSE_SECONDS)
    return False


async def ask(line: Line, *, mail_from: bool) -> RelayDown | None:
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
