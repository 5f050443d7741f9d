"""Sends mails over pools of connections, one pool for each relay. This is the room's front.

`pool` keeps connections, `run` uses them, `failover` chooses the relay for new ones, and `session` and `pipeline` speak
SMTP.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Final

import structlog

from worker.domain import providers
from worker.domain.outcomes import RelayDown, Scope
from worker.domain.relays import Relay
from worker.domain.replies import Stage
from worker.domain.return_path import ReturnPath
from worker.smtp.envelope import Envelope
from worker.smtp.failover import Failover, together
from worker.smtp.pipeline import PipelinedSession
from worker.smtp.pool import Limits, Pool
from worker.smtp.rules import Mail, Session, Timeouts
from worker.smtp.run import Report, Run, Source
from worker.smtp.session import SmtpSession

__all__ = ["Limits", "Mail", "Mailer", "Report", "Run", "Source", "Timeouts"]

_TIMEOUTS: Final = Timeouts()
_LIMITS: Final = Limits()

HASTE_SECONDS: Final = 5.0
"""Seconds a relay may take to accept a connection before the next relay is tried."""

log = structlog.get_logger()


class Mailer:
    """At most `connections` connections to each relay, kept from one run to the next.

    Connections go to the first of `relays` that can be used. Belongs to one event loop. `sender` is the envelope sender
    (MAIL FROM), and `sample` a token for it if mails have tokens, so that a probe says the same as a mail.
    `pipelining`: whether to use it if a relay offers it. `provider`: a value of STOCKBELL_PROVIDER.
    """

    def __init__(
        self,
        *relays: Relay,
        sender: str | ReturnPath,
        connections: int,
        timeouts: Timeouts = _TIMEOUTS,
        limits: Limits = _LIMITS,
        clock: Callable[[], float] = time.monotonic,
        tls_context: ssl.SSLContext | None = None,
        pipelining: bool = True,
        provider: str = "none",
        sample: str = "",
    ) -> None:
        self.relays: Sequence[Relay] = relays
        path = ReturnPath(sender) if isinstance(sender, str) else sender
        self._envelopes = [
            Envelope(path, providers.chosen(provider, relay.host), sample=sample, relay=str(relay)) for relay in relays
        ]
        self._timeouts = timeouts
        self._pipelining = pipelining
        # Made once: loading the trusted certificates takes 20 ms and a megabyte.
        if tls_context is None and any(relay.security != "plain" for relay in relays):
            tls_context = ssl.create_default_context()
        self._tls_context = tls_context
        self._choice = Failover(len(relays), clock)
        self._pools = [Pool(partial(self._connect, place), connections, limits, clock) for place in range(len(relays))]
        self._runs = set[Run]()
        self._asking = set[asyncio.Task[None]]()
        self.offers_dsn: bool | None = None
        """Whether the relay that last accepted a connection offers DSN (RFC 3461). None: none did."""

    @property
    def relay_in_use(self) -> Relay:
        """The relay that last accepted a connection."""
        return self.relays[self._choice.current]

    def as_sent(self, mail: Mail) -> bytes:
        """Returns what that relay is given after DATA: the mail, with the provider's header if it has one."""
        return self._envelopes[self._choice.current].content(mail)

    @property
    def has_another(self) -> bool:
        """Whether there are several relays and at least one was not found down."""
        return len(self.relays) > 1 and not self._choice.are_all_down

    def turn_from(self, trouble: RelayDown, seconds: float) -> None:
        """The relay in use has taken no mail for `seconds`. New connections go to another one.

        If a relay was given up meanwhile, they do so already.
        """
        if not self._choice.has_failed_within(seconds):
            self._choice.failed(self._choice.order[0], trouble)

    def start(self, source: Source, report: Report) -> Run:
        """Begins to send what `source` has. `report` hears of every mail taken from it exactly once."""
        self._ask_again()
        run = Run(self._pools, self._choice, source, report)
        self._runs.add(run)
        run.done.add_done_callback(lambda _: self._runs.discard(run))
        run.wake()
        return run

    async def run(self, source: Source, report: Report) -> RelayDown | None:
        """Like `start`, and waits for the end; see `Run.result`."""
        return await self.start(source, report).result()

    def wake(self) -> None:
        """More mails may be written than before."""
        for run in list(self._runs):
            run.wake()

    async def finish(self, seconds: float) -> None:
        """Waits for mails in flight, then breaks them off. Every mail is reported when this returns."""
        runs = list(self._runs)
        if runs:
            await asyncio.wait([run.done for run in runs], timeout=seconds)
            await asyncio.gather(*(run.cancel() for run in runs))

    async def probe(self, *, mail_from: bool) -> RelayDown | None:
        """Tries the relays in order, without a mail. None: one can be used, and will be.

        With `mail_from`, each is also asked whether it accepts our sender.
        """
        troubles: dict[int, RelayDown] = {}
        for place in range(len(self.relays)):
            failures = self._choice.failures(place)
            down = await self.ask(place, mail_from=mail_from)
            if down is None:
                self._note_answer(place, failures)
                return None
            self._choice.failed(place, down)
            troubles[place] = down
        return together(troubles)

    async def ask(self, place: int, *, mail_from: bool) -> RelayDown | None:
        """Tries one relay, by its place in the list, on a new connection. None: it can be used."""
        session = self._session(place)
        try:
            down = await self._opened(session, place)
            if down is None and mail_from:
                down = await session.check_sender()
        except asyncio.CancelledError:
            session.drop()
            raise
        await session.quit()
        return down

    async def close_idle(self) -> None:
        """Closes connections that have been idle for too long. Never raises."""
        for pool in self._pools:
            await pool.close_idle()

    async def close(self) -> None:
        """Closes all connections that no run is using. Never raises."""
        for asking in self._asking:
            asking.cancel()
        if self._asking:
            await asyncio.wait(self._asking)
        await asyncio.gather(*(pool.close() for pool in self._pools))

    def _ask_again(self) -> None:
        """Checks relays in the background, if it is time to. No mail waits for that."""
        better, used = self._choice.take_question(), self._choice.order[0]
        if better is not None and self._pools[better].has_room:
            self._in_the_background(self._look_after(better))
        if len(self.relays) > 1 and self._pools[used].is_taken and self._choice.may_ask(used):
            self._in_the_background(self._look_whether_alive(used))

    def _in_the_background(self, work: Coroutine[None, None, None]) -> None:
        asking = asyncio.create_task(work)
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _look_after(self, place: int) -> None:
        """A relay earlier in the list was down. If it is back, the next mail finds a connection to it."""
        down = await self._pools[place].prepare()
        if down is not None and self._choice.failed(place, down):
            _log_trouble(down)("relay.still_down", relay=str(self.relays[place]), reason=down.reason)

    async def _look_whether_alive(self, place: int) -> None:
        """All connections wait for the relay, perhaps for minutes. It may be slow, or its host may be gone."""
        down = await self.ask(place, mail_from=False)
        if down is not None and down.reply is None:
            self._choice.failed(place, down)
            self.wake()

    async def _connect(self, place: int) -> Session | RelayDown:
        opened, failures = self._session(place), self._choice.failures(place)
        down = await self._opened(opened, place)
        if down is not None:
            return down
        self._note_answer(place, failures)
        self.offers_dsn = opened.offers_dsn
        if self._pipelining and opened.offers_pipelining:
            envelope, offers_dsn = self._envelopes[place], opened.offers_dsn  # asked before it is given away
            relay = str(self.relays[place])
            return PipelinedSession(opened.give_away(), relay, envelope, self._timeouts, offers_dsn=offers_dsn)
        return opened

    async def _opened(self, session: SmtpSession, place: int) -> RelayDown | None:
        if place == len(self.relays) - 1:
            return await session.open()
        try:
            async with asyncio.timeout(HASTE_SECONDS):
                return await session.open()
        except TimeoutError:
            words = f"{self.relays[place]}: no connection was accepted within {HASTE_SECONDS:.0f} s"
            return RelayDown(Scope.RELAY, Stage.CONNECT, words)

    def _note_answer(self, place: int, failures: int) -> None:
        """New connections go there from now on, unless an earlier relay of the list is known to work."""
        before = self._choice.current
        if not self._choice.answered(place, failures):
            return
        if place < before:
            log.info("relay.back", relay=str(self.relays[place]), instead_of=str(self.relays[before]))
            return
        trouble = self._choice.trouble(before)
        _log_trouble(trouble)(
            "relay.failed_over",
            relay=str(self.relays[place]),
            instead_of=str(self.relays[before]),
            reason=trouble and trouble.reason,
        )

    def _session(self, place: int) -> SmtpSession:
        return SmtpSession(self.relays[place], self._envelopes[place], self._timeouts, self._tls_context)


def _log_trouble(trouble: RelayDown | None) -> Callable[..., object]:
    """The log method for this trouble: what only a person can mend is an error."""
    is_ours = trouble is not None and trouble.scope is Scope.CONFIGURATION
    return log.error if is_ours else log.warning  # type: ignore[no-any-return]  # structlog's loggers have no types
