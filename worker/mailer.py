"""Sends mails over a pool of kept connections to the relay: the door to SMTP.

One connection's work is in `smtp_session` and `smtp_pipeline`; here is who uses which connection, how long connections
are kept, and when to give up on the relay.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from worker.outcomes import CONNECTING, NotSent, Outcome, RelayDown, Scope, Unknown
from worker.relay import Relay
from worker.smtp_pipeline import PipelinedSession
from worker.smtp_rules import STOPPED, Mail, Session, Timeouts
from worker.smtp_session import SmtpSession

__all__ = ["Limits", "Mail", "Mailer", "Report", "Source", "Timeouts"]


class Source(Protocol):
    """Where a run's mails come from. Several connections ask it at the same time."""

    async def next(self) -> Mail | None:
        """The next mail to send, or None: there is nothing more for this run."""

    def next_now(self) -> Mail | None:
        """The next mail to send if there is one without waiting; None says nothing about later."""

    def is_wanted(self, mail: Mail) -> bool:
        """Whether a mail taken from here may still go out. Asked once a mail's turn on its connection has come."""


Report = Callable[[Mail, Outcome], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection is kept: in mails, in seconds since it was opened, in idle seconds.

    Relays close connections too, mostly after 100 mails, five minutes, or some seconds of silence.
    """

    mails: int = 100
    age: float = 300.0
    idle: float = 5.0


_TIMEOUTS: Final = Timeouts()
_LIMITS: Final = Limits()


@dataclass(slots=True, eq=False)
class _Kept:
    """A connection, and when (by the mailer's clock) it was opened and last used."""

    session: Session
    opened_at: float
    used_at: float


class Mailer:
    """At most `connections` connections to one relay, kept from one run to the next.

    Belongs to one event loop, and does one run at a time. `sender` is the envelope's (MAIL FROM). `pipelining`: where
    the relay offers it.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        sender: str,
        connections: int,
        timeouts: Timeouts = _TIMEOUTS,
        limits: Limits = _LIMITS,
        clock: Callable[[], float] = time.monotonic,
        tls_context: ssl.SSLContext | None = None,
        pipelining: bool = True,
    ) -> None:
        self._relay = relay
        self._sender = sender
        self._connections = connections
        self._timeouts = timeouts
        self._limits = limits
        self._clock = clock
        self._pipelining = pipelining
        # Made once, since loading the trusted certificates takes 20 ms and a megabyte.
        if tls_context is None and relay.security != "plain":
            tls_context = ssl.create_default_context()
        self._tls_context = tls_context
        self._idle: list[_Kept] = []

    async def run(self, source: Source, report: Report) -> RelayDown | None:
        """Send what `source` has, and `report` every mail taken from it exactly once.

        Returns why nobody can be mailed now, if that is so: what is left in `source` stays there.
        None: `source` is dry. A cancelled run still reports every mail, then raises CancelledError.
        """
        run = _Run(source, report, self._connections)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._connections):
                    group.create_task(self._work(run))
        except BaseExceptionGroup as errors:  # from source or report; the others only followed
            raise errors.exceptions[0] from None
        return run.verdict()

    async def probe(self, *, mail_from: bool) -> RelayDown | None:
        """Try the relay on a connection of its own, without a mail. None: it can be used.

        With `mail_from` it is also asked whether our sender may send.
        """
        session = self._session()
        try:
            down = await session.open()
            if down is None and mail_from:
                down = await session.check_sender()
        except asyncio.CancelledError:
            session.drop()
            raise
        await session.quit()
        return down

    async def close_idle(self) -> None:
        """Close the connections that have been idle for too long. Never raises."""
        idle = self._idle
        self._idle = [kept for kept in idle if self._is_good(kept)]
        await _quit(kept for kept in idle if kept not in self._idle)

    async def close(self) -> None:
        """Close all connections that no run is using. Never raises."""
        idle, self._idle = self._idle, []
        await _quit(idle)

    async def _work(self, run: "_Run") -> None:
        while run.goes_on and not _is_cancelled():
            mail = await run.source.next()
            if mail is None or not await self._send(mail, run):
                return

    async def _send(self, mail: Mail, run: "_Run") -> bool:
        """Send a mail, and what follows it at once on its connection. False: no connection is to be had."""
        unsent: Mail | None = mail
        while unsent is not None:  # past connections that have ended while idle; a new one can't have
            kept = await self._connection_for(unsent, run)
            if kept is None:
                return False
            try:
                unsent = await kept.session.send(unsent, _Turn(self, run, kept))
            finally:
                self._put_back(kept)
        return True

    async def _connection_for(self, mail: Mail, run: "_Run") -> _Kept | None:
        """A connection to send this mail over. None: there is none, and the mail is reported."""
        # While `source` was asked, the others may have given up, or the cancellation been lost.
        if not run.goes_on or _is_cancelled():
            run.report(mail, STOPPED)
            return None
        try:
            kept = await self._take()
        except asyncio.CancelledError:
            run.report(mail, STOPPED)
            raise
        if isinstance(kept, RelayDown):
            run.report(mail, kept)
            return None  # the others may have more luck: relays limit how many we may have
        return kept

    async def _take(self) -> _Kept | RelayDown:
        while self._idle:
            kept = self._idle.pop()  # the last used, so that the others can grow old
            if self._is_good(kept):
                return kept
            await kept.session.quit()
        return await self._open()

    async def _open(self) -> _Kept | RelayDown:
        opened = self._session()
        down = await opened.open()
        if down is not None:
            return down
        now = self._clock()
        return _Kept(self._quickest(opened), opened_at=now, used_at=now)

    def _quickest(self, opened: SmtpSession) -> Session:
        if self._pipelining and opened.offers_pipelining:
            return PipelinedSession(opened.hand_over(), str(self._relay), self._sender, self._timeouts)
        return opened

    def _put_back(self, kept: _Kept) -> None:
        if kept.session.is_open:
            kept.used_at = self._clock()
            self._idle.append(kept)

    def _is_good(self, kept: _Kept) -> bool:
        return kept.session.is_open and self._may_go_on(kept) and self._clock() - kept.used_at < self._limits.idle

    def _may_go_on(self, kept: _Kept) -> bool:
        return kept.session.mails < self._limits.mails and self._clock() - kept.opened_at < self._limits.age

    def _session(self) -> SmtpSession:
        return SmtpSession(self._relay, self._sender, self._timeouts, self._tls_context)


@dataclass(slots=True)
class _Run:
    """A run's mails, and what it has seen of the relay: whether it is worth going on."""

    source: Source
    send_report: Report
    connections: int
    goes_on: bool = True
    _down: RelayDown | None = None
    _in_a_row: int = 0
    _unconnected: int = 0
    _worked: bool = False

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """Pass on how a mail ended, and take it into account."""
        if isinstance(outcome, RelayDown):
            self._note_down(outcome)
        elif not isinstance(outcome, Unknown | NotSent):
            self._worked = True
            self._in_a_row = 0
        self.send_report(mail, outcome)

    def _note_down(self, down: RelayDown) -> None:
        if not self.goes_on:
            return
        self._down = down
        self._in_a_row += 1
        self._unconnected += down.stage in CONNECTING
        hopeless = down.scope is Scope.CONFIGURATION or self._in_a_row >= self.connections
        self.goes_on = not hopeless and self._unconnected < self.connections

    def verdict(self) -> RelayDown | None:
        """Why nobody can be mailed now, or None: somebody could."""
        return None if self._worked and self.goes_on else self._down


@dataclass(frozen=True, slots=True)
class _Turn:
    """A run, as the session sees it that has one connection of it."""

    mailer: Mailer
    run: _Run
    kept: _Kept

    def next_now(self) -> Mail | None:
        """Another mail, as long as the run goes on and the connection may be used."""
        if self.run.goes_on and self.mailer._may_go_on(self.kept):
            return self.run.source.next_now()
        return None

    def is_wanted(self, mail: Mail) -> bool:
        """See `Source`."""
        return self.run.source.is_wanted(mail)

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """See `_Run`."""
        self.run.report(mail, outcome)


def _is_cancelled() -> bool:
    """Whether this task was asked to end, even if the CancelledError got lost on its way."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _quit(connections: Iterable[_Kept]) -> None:
    await asyncio.gather(*(kept.session.quit() for kept in connections))
