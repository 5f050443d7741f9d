"""Sends mails over a pool of kept connections to the relay: the door to SMTP.

One connection's work is in `smtp_session`; here is who uses which connection, how long connections
are kept, and when to give up on the relay.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from worker.outcomes import CONNECTING, NotSent, Outcome, RelayDown, Scope, Unknown
from worker.relay import Relay
from worker.smtp_session import SmtpSession, Timeouts

__all__ = ["Limits", "Mail", "Mailer", "Report", "Source", "Timeouts"]

_STOPPED: Final = NotSent("stopped before it was sent")


@dataclass(frozen=True, slots=True)
class Mail:
    """One message for one recipient: an ASCII address, and what `message.compose` made."""

    request_id: UUID
    recipient: str
    content: bytes


class Source(Protocol):
    """Where a run's mails come from. Several connections ask it at the same time."""

    async def next(self) -> Mail | None:
        """The next mail to send, or None: there is nothing more for this run."""


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

    session: SmtpSession
    opened_at: float
    used_at: float


class Mailer:
    """At most `connections` connections to one relay, kept from one run to the next.

    Belongs to one event loop, and does one run at a time. `sender` is the envelope's (MAIL FROM).
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
    ) -> None:
        self._relay = relay
        self._sender = sender
        self._connections = connections
        self._timeouts = timeouts
        self._limits = limits
        self._clock = clock
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
        run = _Run(self._connections)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._connections):
                    group.create_task(self._work(source, report, run))
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

    async def _work(self, source: Source, report: Report, run: "_Run") -> None:
        while run.goes_on and not _is_cancelled():
            mail = await source.next()
            if mail is None:
                return
            outcome = await self._attempt(mail, run)
            run.note(outcome)
            report(mail, outcome)
            if isinstance(outcome, RelayDown) and outcome.stage in CONNECTING:
                return  # the others may have more luck: relays limit how many we may have

    async def _attempt(self, mail: Mail, run: "_Run") -> Outcome:
        # While `source` was asked, the others may have given up, or the cancellation been lost.
        if not run.goes_on or _is_cancelled():
            return _STOPPED
        try:
            return await self._deliver(mail)
        except asyncio.CancelledError:
            return _STOPPED

    async def _deliver(self, mail: Mail) -> Outcome:
        while True:  # past those that have ended while idle; a new one can't have
            kept = await self._take()
            if isinstance(kept, RelayDown):
                return kept
            outcome = await kept.session.send(mail.recipient, mail.content)
            if outcome is not None:
                self._put_back(kept)
                return outcome

    async def _take(self) -> _Kept | RelayDown:
        while self._idle:
            kept = self._idle.pop()  # the last used, so that the others can grow old
            if self._is_good(kept):
                return kept
            await kept.session.quit()
        return await self._open()

    async def _open(self) -> _Kept | RelayDown:
        session = self._session()
        down = await session.open()
        now = self._clock()
        return down or _Kept(session, opened_at=now, used_at=now)

    def _put_back(self, kept: _Kept) -> None:
        if kept.session.is_open:
            kept.used_at = self._clock()
            self._idle.append(kept)

    def _is_good(self, kept: _Kept) -> bool:
        now = self._clock()
        return (
            kept.session.is_open
            and kept.session.mails < self._limits.mails
            and now - kept.opened_at < self._limits.age
            and now - kept.used_at < self._limits.idle
        )

    def _session(self) -> SmtpSession:
        return SmtpSession(self._relay, self._sender, self._timeouts, self._tls_context)


@dataclass(slots=True)
class _Run:
    """What a run has seen of the relay: whether it is worth going on."""

    connections: int
    goes_on: bool = True
    _down: RelayDown | None = None
    _in_a_row: int = 0
    _unconnected: int = 0
    _worked: bool = False

    def note(self, outcome: Outcome) -> None:
        """Take the outcome of one mail into account."""
        if isinstance(outcome, RelayDown):
            self._note_down(outcome)
        elif not isinstance(outcome, Unknown | NotSent):
            self._worked = True
            self._in_a_row = 0

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


def _is_cancelled() -> bool:
    """Whether this task was asked to end, even if the CancelledError got lost on its way."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _quit(connections: Iterable[_Kept]) -> None:
    await asyncio.gather(*(kept.session.quit() for kept in connections))
