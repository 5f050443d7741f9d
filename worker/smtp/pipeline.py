"""A connection on which each mail takes one round trip: the transport, its timer, and its user. See `smtp_exchange`.

Everything happens in the callbacks of the transport, which report mails and take new ones by themselves: no task is
woken for a mail, and no timer made.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Concatenate, Final, ParamSpec

from worker.smtp.exchange import Exchange
from worker.smtp.replies import ReplyReader
from worker.smtp.rules import QUIT_TIMEOUT, Mail, Timeouts, Turn

_SLOW: Final = 0.5
"""Seconds to a verdict from which on no mail is given ahead: another connection may have it sooner, and a round trip
matters little. It is also how long a mail is held that nobody can call back."""

P = ParamSpec("P")


def _guarded(
    callback: Callable[Concatenate["PipelinedSession", P], None],
) -> Callable[Concatenate["PipelinedSession", P], None]:
    """For what the event loop calls: an error, of a `Turn` or of ours, is raised by `serve`, not lost in the loop."""

    def guarded(session: "PipelinedSession", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(session, *args, **kwargs)
        except Exception as error:
            session._fail(error)

    return guarded


class PipelinedSession(asyncio.Protocol):
    """Goes on with a connection that `SmtpSession` has opened; a `Session`.

    Belongs to the running event loop. `relay` is its name for people.
    """

    def __init__(self, transport: asyncio.Transport, relay: str, sender: str, timeouts: Timeouts) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._replies = ReplyReader()
        self._exchange = Exchange(relay, sender)
        self._is_paused = False
        self._turn: Turn | None = None
        """Whose mails are being sent; none while idle."""
        self._is_resting = False
        """Whether it waits for that turn to have a mail again."""
        self._is_done = self._loop.create_future()
        """Done when `serve` or `quit` may return."""
        self._error: Exception | None = None
        self._is_quick = True
        """Whether the last verdict on a mail came soon."""
        self._asked_at = self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    @property
    def mails(self) -> int:
        """How many mails it was used for, whatever became of them."""
        return self._exchange.mails

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known on this side."""
        return not self._exchange.is_over and not self._transport.is_closing()

    async def serve(self, turn: Turn) -> Mail | None:
        """Send the mails of `turn`, one round trip each; see `Session`."""
        self._turn, self._is_done = turn, self._loop.create_future()
        self._wake()
        try:
            await self._is_done
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        if self._error is not None:
            raise self._error
        return self._exchange.unsent()

    async def quit(self) -> None:
        """Take leave and close. Waits 2 seconds at most, and hides every error."""
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
        """Close at once and without a word; what is not on its way yet stays here."""
        self._exchange.is_over = True
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the event loop calls

    @_guarded
    def _wake(self) -> None:
        """There may be a mail, or it is known that none will come."""
        self._is_resting = False
        if self._turn is not None:
            self._go_on(self._turn)

    @_guarded
    def data_received(self, data: bytes) -> None:
        """Take in replies: one, several, or a part of one."""
        turn, exchange = self._turn, self._exchange
        if turn is None:
            self._end()  # nobody has asked it, but for leave
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
                exchange.break_off("it said more than it was asked", turn)
        if replies or exchange.is_over:
            # Only now that everything has been looked at: to write a mail because of a 354 with something behind it
            # would be to take that something for the reply to the mail.
            self._go_on(turn)

    @_guarded
    def connection_lost(self, error: Exception | None) -> None:
        """The relay has left, or the network failed."""
        if self._turn is not None and not self._exchange.is_over:
            words = error.strerror if isinstance(error, OSError) else None
            self._exchange.break_off(words or "it closed the connection", self._turn, has_left=True)
        self._end()

    def pause_writing(self) -> None:
        """More is waiting to go out than the transport likes to keep: nothing is added to it."""
        self._is_paused = True

    @_guarded
    def resume_writing(self) -> None:
        """The transport has room again."""
        self._is_paused = False
        if self._turn is not None:
            self._go_on(self._turn)

    @_guarded
    def _look_at_the_clock(self) -> None:
        self._timer = None
        turn = self._turn
        if turn is None or self._is_resting:
            return  # the next question winds it up again
        remaining = self._deadline - self._loop.time()
        if remaining > 0:
            self._wind_up(remaining)
        else:
            self._exchange.break_off("no answer in time", turn)
            self._end()

    def _go_on(self, turn: Turn) -> None:
        """Write what is next, unless something is still to be heard before."""
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
            self._keep_time()

    # Time

    def _keep_time(self) -> None:
        """The relay has until then to say the next thing, and to end it."""
        patience = self._timeouts.final if self._exchange.awaits_verdict else self._timeouts.command
        self._asked_at = self._loop.time()
        self._deadline = self._asked_at + patience
        if self._timer is None:
            self._wind_up(patience)

    def _wind_up(self, seconds: float) -> None:
        # One timer, which finds that the deadline has moved on, is cheaper than one for each reply. It never sleeps
        # longer than the shorter patience, or it would oversleep a deadline that is set meanwhile.
        delay = min(seconds, self._timeouts.command, self._timeouts.final)
        self._timer = self._loop.call_later(delay, self._look_at_the_clock)

    # Endings

    def _end(self) -> None:
        self.drop()
        self._end_turn()

    def _end_turn(self) -> None:
        self._turn = None
        if not self._is_done.done():
            self._is_done.set_result(None)

    def _give_up(self, turn: Turn) -> None:
        """End in the middle: whoever gave us mails hears about each, also if an earlier report fails."""
        self._turn = None
        self.drop()
        with ExitStack() as stack:
            for mail, outcome in reversed(self._exchange.leftovers()):
                stack.callback(turn.report, mail, outcome)

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._turn is not None:
            with suppress(Exception):  # reports may fail again; it is the first error that gets raised
                self._give_up(self._turn)
        self._end()
