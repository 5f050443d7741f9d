"""Connections to a relay that are kept from mail to mail and from one run to the next."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from worker.domain.outcomes import RelayDown
from worker.smtp.rules import Session

Connect = Callable[[], Awaitable[Session | RelayDown]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection is kept: in mails, in seconds since it was opened, in idle seconds.

    Relays close connections too, mostly after five minutes or after some seconds of silence. A relay that closes one
    after fewer mails says 421, which costs no request a try.
    """

    mails: int = 1000
    age: float = 300.0
    idle: float = 5.0


WIDEN_SECONDS = 5.0
"""Seconds after a refused connection until one more is tried, and so on."""


WAVE_SECONDS = 0.1
"""Complaints about too many connections within this time are one wave."""


@dataclass(slots=True, eq=False)
class Kept:
    """A connection, with the times (of the pool's clock) when it was opened and last used."""

    session: Session
    opened_at: float
    used_at: float
    is_surplus: bool = False
    """Whether the relay said at this connection that there are too many."""


class Pool:
    """At most `connections` to one relay, for several users at a time. Each user counts itself in `in_use`."""

    def __init__(self, connect: Connect, connections: int, limits: Limits, clock: Callable[[], float]) -> None:
        self.connections = connections
        self.in_use = 0
        self._connect = connect
        self._limits = limits
        self._clock = clock
        self._idle: list[Kept] = []
        self._width = connections
        self._narrowed_at = float("-inf")
        self._wave_at = float("-inf")
        self._floor = 1

    @property
    def width(self) -> int:
        """How many connections the relay seems to allow."""
        if self._width == self.connections:
            return self._width
        return min(self.connections, self._width + int((self._clock() - self._narrowed_at) / WIDEN_SECONDS))

    @property
    def size(self) -> int:
        """How many connections there are, including idle ones."""
        return self.in_use + len(self._idle)

    @property
    def has_room(self) -> bool:
        """Whether our own limit allows one more connection."""
        return self.size < self.connections

    @property
    def is_taken(self) -> bool:
        """Whether all allowed connections are in use."""
        return self.in_use >= self.connections

    def narrow(self, width: int) -> None:
        """The relay refused a connection while there were `width` others."""
        self._width, self._narrowed_at = max(1, width), self._clock()

    def give_up(self, kept: Kept) -> bool:
        """The relay said at this connection that it has too many of ours. False: it was the only one allowed.

        Each complaint costs one connection. But what comes at the same time is one wave, and costs half of them at
        most: all may complain, although most may stay.
        """
        width, now = self.width, self._clock()
        if kept.is_surplus:  # it said so at the mail before
            return True
        if now - self._wave_at >= WAVE_SECONDS:
            if width == 1:
                return False
            self._wave_at, self._floor = now, width // 2
        if width > self._floor:
            kept.is_surplus = True
            self.narrow(width - 1)
        return True

    async def take(self) -> Kept | RelayDown:
        """An idle connection that is still good, or a new one. RelayDown: none could be opened."""
        await self._close_surplus()
        while self._idle:
            kept = self._idle.pop()  # the one used last, so that the others can expire
            if self._is_good(kept):
                return kept
            await kept.session.quit()
        return await self._open()

    def put_back(self, kept: Kept) -> None:
        """Returns a connection after use. If it is still open it becomes idle."""
        if kept.session.is_open:
            kept.used_at = self._clock()
            self._idle.append(kept)

    async def prepare(self) -> RelayDown | None:
        """Opens a connection for the next user. RelayDown: none could be opened."""
        self.in_use += 1
        try:
            kept = await self._open()
        finally:
            self.in_use -= 1
        if isinstance(kept, RelayDown):
            return kept
        self.put_back(kept)
        return None

    def may_go_on(self, kept: Kept) -> bool:
        """Whether the connection may be used for one more mail."""
        if kept.is_surplus:
            return False
        return kept.session.mails < self._limits.mails and self._clock() - kept.opened_at < self._limits.age

    async def close_idle(self) -> None:
        """Closes connections that have been idle for too long. Never raises."""
        idle = self._idle
        self._idle = [kept for kept in idle if self._is_good(kept)]
        await _quit(kept for kept in idle if kept not in self._idle)

    async def close(self) -> None:
        """Closes all idle connections. Never raises."""
        idle, self._idle = self._idle, []
        await _quit(idle)

    async def _close_surplus(self) -> None:
        """Closes idle connections beyond the number that the relay seems to allow: it counts them too."""
        width = self.width
        surplus = self.size - 1 - width  # whoever takes one now is counted in `in_use`
        if width < self.connections and surplus > 0:
            closing, self._idle = self._idle[:surplus], self._idle[surplus:]
            await _quit(closing)

    async def _open(self) -> Kept | RelayDown:
        session = await self._connect()
        if isinstance(session, RelayDown):
            return session
        now = self._clock()
        return Kept(session, opened_at=now, used_at=now)

    def _is_good(self, kept: Kept) -> bool:
        return kept.session.is_open and self.may_go_on(kept) and self._clock() - kept.used_at < self._limits.idle


async def _quit(connections: Iterable[Kept]) -> None:
    await asyncio.gather(*(kept.session.quit() for kept in connections))
