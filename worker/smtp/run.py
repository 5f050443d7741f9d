"""A run sends the mails of one source over as many connections as they need and are allowed.

Connections go to the first relay. If that relay can mail nobody, new connections of the same run go to the next one.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from worker.domain.outcomes import Deferred, Outcome, Rejected, RelayDown, Scope, Sent, Unknown, is_doubtful
from worker.domain.replies import Stage
from worker.domain.reply_rules import Blame
from worker.smtp.failover import Failover, together
from worker.smtp.pool import Kept, Pool
from worker.smtp.route import Route
from worker.smtp.rules import Mail, Turn

Report = Callable[[Mail, Outcome], None]


class Source(Protocol):
    """Where the mails of a run come from."""

    @property
    def available(self) -> int:
        """How many mails could be taken now."""

    @property
    def is_over(self) -> bool:
        """Whether there will never be another mail. Whoever changes this, or `available`, wakes the run."""

    def next_now(self) -> Mail | None:
        """Takes the next mail, if there is one. A connection is ready for it."""

    def put_back(self, mail: Mail) -> None:
        """Returns a mail that was taken: its connection ended before the relay heard of it."""

    def may_write(self) -> bool:
        """Whether the content of a mail may be written now. Whoever changes this wakes the run."""

    def is_wanted(self, mail: Mail) -> bool:
        """Whether a mail taken from here may still go out. Asked right before its content is written."""


class Run:
    """Sends what `source` has, and reports every mail taken from it exactly once.

    A connection is opened when there is a mail for it. The mail is taken only when the connection is open, so until
    then another connection can send it, or it can be released. `pools` has the connections to each relay, and `choice`
    says which relay to use.
    """

    def __init__(self, pools: Sequence[Pool], choice: Failover, source: Source, report: Report) -> None:
        self.source = source
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when no mail is in flight and none will be."""
        self.goes_on = True
        self._routes = [Route(place, pool) for place, pool in enumerate(pools)]
        self._choice = choice
        self._report = report
        self._workers = set[asyncio.Task[RelayDown | None]]()
        self._opening = 0
        """How many workers will take a mail as soon as they have a connection."""
        self._resting: list[Callable[[], None]] = []
        """Called to wake the connections that wait for a mail."""
        self._held: list[Callable[[], None]] = []
        """Called to wake the connections that have a mail whose content may not be written yet."""
        self._error: BaseException | None = None
        self._has_given_up = False
        """Whether connections may rest that lead to a relay which is no longer used."""

    def wake(self) -> None:
        """Looks again: the source may have mails, may let them be written, or may be over."""
        held, self._held = self._held, []
        for go_on in held:
            go_on()
        if self._has_given_up:
            self._has_given_up = False
            self._wake_all()
        while self._resting and self._may_start():
            self._resting.pop()()  # the one used last, so that the others can expire
        while self._may_start() and self.source.available > self._opening:
            route = self._route()
            if route is None or not route.may_connect:
                break
            self._start(route)
        self._end_if_over()

    async def result(self) -> RelayDown | None:
        """Waits for the end. Returns the reason if nobody can be mailed now; raises what source or report raised.

        If it is cancelled, every mail is still reported, and then CancelledError is raised.
        """
        try:
            await asyncio.shield(self.done)
        except asyncio.CancelledError:
            await self.cancel()
            raise
        if self._error is not None:
            raise self._error
        return self.verdict()

    async def cancel(self) -> None:
        """Ends the run now. Mails in flight are reported as Unknown or NotSent."""
        self._stop()
        self._cancel_workers()
        self._end_if_over()
        await asyncio.shield(self.done)

    def verdict(self) -> RelayDown | None:
        """Why nobody can be mailed now. None: somebody can."""
        if self.goes_on and any(route.is_of_use for route in self._routes):
            return None
        troubles = {route.place: route.down for route in self._routes if route.down is not None}
        return together(troubles) if troubles else None

    # What the sessions call: see `Turn`

    def _turn(self, route: Route, kept: Kept) -> Turn:
        source, may_go_on = self.source, partial(route.pool.may_go_on, kept)

        def next_now() -> Mail | None:
            """A mail, as long as the run uses this relay and the connection may be used."""
            return source.next_now() if route.goes_on and may_go_on() else None

        def rest(go_on: Callable[[], None], *, is_amid: bool = False) -> bool:
            return (is_amid or may_go_on()) and self._rest(go_on, route, is_amid=is_amid)

        def report(mail: Mail, outcome: Outcome) -> None:
            if isinstance(outcome, RelayDown) and outcome.blame is Blame.CONNECTIONS:
                outcome = _with_fewer(outcome, route, kept)
            else:
                self._take_into_account(outcome, route)
            self._report(mail, outcome)

        return Turn(next_now, rest, source.may_write, source.is_wanted, report)

    def _take_into_account(self, outcome: Outcome, route: Route) -> None:
        if isinstance(outcome, Sent | Deferred | Rejected) and not is_doubtful(outcome):
            route.worked = True
            route.in_a_row = 0
        elif isinstance(outcome, RelayDown):
            self._note_down(route, outcome)
        elif isinstance(outcome, Unknown):
            self._note_lost(route, outcome)

    def _rest(self, go_on: Callable[[], None], route: Route, *, is_amid: bool) -> bool:
        if is_amid:
            self._held.append(go_on)
        elif route.goes_on and not self.source.is_over:
            self._resting.append(go_on)
        else:
            return False
        return True

    # The workers, one for each connection

    def _may_start(self) -> bool:
        return self.goes_on and self.source.available > 0

    def _route(self) -> Route | None:
        """Where new connections go. None: no relay is left."""
        return next((route for place in self._choice.order if (route := self._routes[place]).goes_on), None)

    def _start(self, route: Route) -> None:
        self._opening += 1
        route.workers += 1
        route.pool.in_use += 1
        worker = asyncio.create_task(self._work(route))
        self._workers.add(worker)
        worker.add_done_callback(partial(self._ended, route))

    async def _work(self, route: Route) -> RelayDown | None:
        """Uses one connection, then another when that one has ended. RelayDown: no connection could be opened."""
        while True:
            try:
                kept = await route.pool.take()
            finally:
                self._opening -= 1
            if isinstance(kept, RelayDown):
                return kept
            route.connected = True
            await self._serve(route, kept)
            if not self._may_start() or _is_cancelled() or self._route() is not route:
                return None
            self._opening += 1

    async def _serve(self, route: Route, kept: Kept) -> None:
        if _is_cancelled():  # but the CancelledError was lost
            route.pool.put_back(kept)
            return
        try:
            unsent = await kept.session.serve(self._turn(route, kept))
            if kept.is_surplus:
                await kept.session.quit()
        finally:
            route.pool.put_back(kept)
        if unsent is not None:
            self.source.put_back(unsent)

    def _ended(self, route: Route, worker: asyncio.Task[RelayDown | None]) -> None:
        self._workers.discard(worker)
        route.workers -= 1
        route.pool.in_use -= 1
        error = None if worker.cancelled() else worker.exception()
        if error is not None:
            self._error = self._error or error
            self._stop()
            self._cancel_workers()
        elif not worker.cancelled() and (down := worker.result()) is not None:
            self._note_unconnected(route, down)
        self.wake()

    def _stop(self) -> None:
        self.goes_on = False
        for route in self._routes:
            route.goes_on = False

    def _cancel_workers(self) -> None:
        for worker in self._workers:
            worker.cancel()

    def _wake_all(self) -> None:
        resting, self._resting = self._resting, []
        for go_on in resting:
            go_on()

    def _end_if_over(self) -> None:
        if self.goes_on and not self.source.is_over:
            return
        self._wake_all()
        if not self._workers and not self.done.done():
            self._conclude()
            self.done.set_result(None)

    def _conclude(self) -> None:
        """Tells pools and failover what the next run should know."""
        for route in self._routes:
            if route.connected and route.allowed is not None:
                route.pool.narrow(route.allowed)
            if route.worked:
                self._choice.took_mail(route.place)
            elif trouble := route.took_nothing:
                self._choice.failed(route.place, trouble)

    # Relays in trouble

    def _note_down(self, route: Route, down: RelayDown) -> None:
        if route.goes_on and route.note_down(down, is_only_one=len(self._routes) == 1):
            self._give_up(route, down)

    def _note_lost(self, route: Route, outcome: Unknown) -> None:
        """Missing replies do not end a run, but they are a reason to use another relay."""
        if route.goes_on and len(self._routes) > 1:
            trouble = RelayDown(Scope.RELAY, Stage.DOT, outcome.reason)
            if route.note_lost(trouble):
                self._give_up(route, trouble)

    def _note_unconnected(self, route: Route, down: RelayDown) -> None:
        """Other connections may go on: relays limit how many connections we may have."""
        route.note_unconnected(down)
        self._note_down(route, down)
        if route.has_no_connection:
            self._give_up(route, down)

    def _give_up(self, route: Route, down: RelayDown) -> None:
        """This relay can mail nobody now. Another one may."""
        if not route.goes_on:
            return
        route.goes_on = False
        self._has_given_up = True
        if route.is_only_limited(down, lately=self._choice.took_mail_lately(route.place)):
            self._stop()
            return
        self._choice.failed(route.place, down)
        if self._route() is None:
            self._stop()


def _with_fewer(outcome: RelayDown, route: Route, kept: Kept) -> RelayDown:
    """The relay may be well with the connections that are left. If none is, it can only be given mails later."""
    return outcome if route.pool.give_up(kept) else replace(outcome, blame=Blame.PACE)


def _is_cancelled() -> bool:
    """Whether this task was cancelled, even if the CancelledError was lost."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
