"""A pipelined connection, on which each mail takes one round trip: its transport and timer. See `exchange`.

The callbacks of the transport report mails and take new ones directly. So no mail wakes a task or creates a timer.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Concatenate, Final, ParamSpec

from worker.smtp.envelope import Envelope
from worker.smtp.exchange import Exchange
from worker.smtp.replies import ReplyReader
from worker.smtp.rules import QUIT_TIMEOUT, Mail, Timeouts, Turn

_SLOW: Final = 0.5
"""Seconds. If a verdict takes longer, no mail is taken ahead: another connection may send it sooner, and a round trip
matters little. It is also how long a mail is held that can't be called back."""

P = ParamSpec("P")


def _guarded(
    callback: Callable[Concatenate["PipelinedSession", P], None],
) -> Callable[Concatenate["PipelinedSession", P], None]:
    """Decorates callbacks of the event loop: `serve` raises their errors, which would otherwise be lost in the loop."""

    def guarded(session: "PipelinedSession", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(session, *args, **kwargs)
        except Exception as error:
            session._fail(error)

    return guarded


class PipelinedSession(asyncio.Protocol):
    """A `Session` that takes over a connection from `SmtpSession`.

    It belongs to the running event loop. `relay` is the relay's name for error texts. `offers_dsn`: see `Exchange`.
    """

    def __init__(
        self, transport: asyncio.Transport, relay: str, envelope: Envelope, timeouts: Timeouts, *, offers_dsn: bool
    ) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._replies = ReplyReader()
        self._exchange = Exchange(relay, envelope, offers_dsn=offers_dsn)
        self._is_paused = False
        self._turn: Turn | None = None
        """The source of the mails being sent. None while idle."""
        self._is_resting = False
        """Whether it waits until the turn has a mail again."""
        self._is_done = self._loop.create_future()
        """Done when `serve` or `quit` may return."""
        self._error: Exception | None = None
        self._is_quick = True
        """Whether the last verdict on a mail came within _SLOW seconds."""
        self._asked_at = self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    @property
    def mails(self) -> int:
        """The number of mails tried on this connection, with any outcome."""
        return self._exchange.mails

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as this side knows."""
        return not self._exchange.is_over and not self._transport.is_closing()

    async def serve(self, turn: Turn) -> Mail | None:
        """Sends the mails of `turn`, one round trip each; see `Session`."""
        self._turn, self._is_done = turn, self._loop.create_future()
        self._wake()
        try:
            await self._is_done
        except asyncio.CancelledError:
            self._abort(turn)
            raise
        if self._error is not None:
            raise self._error
        return self._exchange.unsent()

    async def quit(self) -> None:
        """Sends QUIT and closes the connection. Waits at most 2 seconds and ignores every error."""
        try:
            if self.is_open:
                self._is_done = self._loop.create_future()
                with suppress(Exception):
                    self._transport.write(b"QUIT\r\n")
                    async with asyncio.timeout(QUIT_TIMEOUT):
                        await self._is_done
        finally:
            self.drop()

    def drop(self) -> None:
        """Closes at once without QUIT. Discards data that is not written yet."""
        self._exchange.is_over = True
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Callbacks of the event loop

    @_guarded
    def _wake(self) -> None:
        """Continues: the turn may have a mail or may write again, or no mail will come."""
        self._is_resting = False
        if self._turn is not None:
            self._advance(self._turn)

    @_guarded
    def data_received(self, data: bytes) -> None:
        """Processes received bytes: one reply, several, or a part of one."""
        turn, exchange = self._turn, self._exchange
        if turn is None:
            self._end()  # the reply to QUIT, or unexpected data
            return
        replies = self._replies.feed(data)
        if replies and exchange.awaits_verdict:
            self._is_quick = self._loop.time() - self._asked_at < _SLOW
        for code, text in replies:
            if not exchange.is_over:
                exchange.hear(code, text, turn)
        if not exchange.is_over:
            if self._replies.garbage:
                exchange.break_off(self._replies.garbage, turn)
            elif self._replies.is_amid and not exchange.is_asking:
                exchange.break_off("it sent more replies than it got commands", turn)
        if replies or exchange.is_over:
            # Write only after all replies in this packet have been read. If something follows a 354, it would be
            # mistaken for the reply to the mail.
            self._advance(turn)

    @_guarded
    def connection_lost(self, error: Exception | None) -> None:
        """Ends the exchange: the relay closed the connection, or the network failed."""
        if self._turn is not None and not self._exchange.is_over:
            words = error.strerror if isinstance(error, OSError) else None
            self._exchange.break_off(words or "it closed the connection", self._turn, has_left=True)
        self._end()

    def pause_writing(self) -> None:
        """Stops writing while the transport's buffer is full."""
        self._is_paused = True

    @_guarded
    def resume_writing(self) -> None:
        """Continues once the transport's buffer has room again."""
        self._is_paused = False
        if self._turn is not None:
            self._advance(self._turn)

    @_guarded
    def _check_deadline(self) -> None:
        self._timer = None
        turn = self._turn
        if turn is None or self._is_resting:
            return  # the next command starts the timer again
        remaining = self._deadline - self._loop.time()
        if remaining > 0:
            self._start_timer(remaining)
        else:
            self._exchange.break_off("no answer in time", turn)
            self._end()

    def _advance(self, turn: Turn) -> None:
        """Writes the next bytes, unless a reply is due first."""
        exchange = self._exchange
        if not (exchange.is_over or exchange.is_asking or self._is_paused):
            if self._transport.is_closing():
                exchange.break_off("it closed the connection", turn, has_left=True)
            elif data := exchange.next_bytes(turn, ahead=self._is_quick):
                self._transport.write(data)
            elif not exchange.is_over:
                self._is_resting = turn.rest(self._wake, is_amid=exchange.is_held)
                if not self._is_resting:
                    self._end_turn()
                return
        if exchange.is_over:
            self._end()
        else:
            self._set_deadline()

    # Timeouts

    def _set_deadline(self) -> None:
        """Sets the deadline for the next complete reply."""
        timeout = self._timeouts.final if self._exchange.awaits_verdict else self._timeouts.command
        self._asked_at = self._loop.time()
        self._deadline = self._asked_at + timeout
        if self._timer is None:
            self._start_timer(timeout)

    def _start_timer(self, seconds: float) -> None:
        # One timer that checks a moving deadline is cheaper than a timer for each reply. It never sleeps longer than
        # the shorter timeout, so that it can't miss a deadline that is set meanwhile.
        delay = min(seconds, self._timeouts.command, self._timeouts.final)
        self._timer = self._loop.call_later(delay, self._check_deadline)

    # Endings

    def _end(self) -> None:
        self.drop()
        self._end_turn()

    def _end_turn(self) -> None:
        self._turn = None
        if not self._is_done.done():
            self._is_done.set_result(None)

    def _abort(self, turn: Turn) -> None:
        """Closes in the middle of an exchange. Reports every leftover mail, even if an earlier report fails."""
        self._turn = None
        self.drop()
        with ExitStack() as stack:
            for mail, outcome in reversed(self._exchange.leftovers()):
                stack.callback(turn.report, mail, outcome)

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._turn is not None:
            with suppress(Exception):  # reports may fail again; the first error is the one to raise
                self._abort(self._turn)
        self._end()
