"""One slice of work on the waiting lists of one bell: claim, render, send, record.

It takes about half a second; then others get their turn, if anybody waits for it. While one claim is being sent the
next is made (`prefetch`), and outcomes are committed in groups as they arrive. What a slice could not send it releases.
What the relay takes long for goes on without it (`in_flight`).
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from worker.delivery.breaker import trip
from worker.delivery.in_flight import InFlight
from worker.delivery.line import Line
from worker.delivery.prefetch import Prefetch
from worker.delivery.recorder import Settled
from worker.delivery.slice_clock import LOOK_SECONDS, SliceClock
from worker.delivery.throttle import Throttled
from worker.domain.outcomes import TEMPLATE_ERROR, Outcome, RelayDown, Unknown
from worker.domain.verdicts import Failed, Later, Untouched, Verdict, settle
from worker.mail.letter import Held
from worker.smtp.mailer import Mail, Run
from worker.store.claims import Claim

STRAGGLER_SECONDS = 2.0
"""How long a slice that is over waits for replies before it leaves them to the connections that wait for them."""
HOLD_SECONDS = 60.0
"""How long a request whose mail can't be made waits before that is tried again."""

log = structlog.get_logger()


class Slice:
    """Half a second of work, more while nobody else waits: the source of the mailer, which reports how mails ended."""

    def __init__(self, line: Line, list_ids: Sequence[UUID]) -> None:
        self.slice_clock = SliceClock()
        self._line = line
        self._prefetch = Prefetch(line, list_ids, self)
        self._in_flight = InFlight(line)
        self._unsent: set[UUID] = set()
        """On which lists the slice released what it could not send."""
        self._over = asyncio.Event()
        self._trouble: RelayDown | None = None
        self._has_left = False
        """Whether it acts on troubles no more: what goes on without it is left to a later slice."""
        self._run: Run
        self._looking: asyncio.Task[None]

    async def run(self) -> None:
        """Claims, sends and records until the time is over or the lists are empty; raises DatabaseAway."""
        if not await self._prefetch.claim_first():
            return
        self.slice_clock.begin()
        throttle = self._line.throttle
        throttle.on_tokens = self.wake
        self._run = self._line.mailer.start(Throttled(self, throttle) if throttle.is_on else self, self.report)
        self._run.done.add_done_callback(lambda _: self._run_ended())
        self._looking = asyncio.create_task(self._in_flight.look_again(self._run.done))
        side_work = [asyncio.create_task(each) for each in self._side_work()]
        stopping = asyncio.create_task(self._line.stopping.wait())
        stopping.add_done_callback(lambda _: self.end())
        try:
            await self._over.wait()
            self._note_pace()
        finally:
            self.end()
            throttle.sent(self.slice_clock.mails)
            results = await asyncio.gather(*side_work, return_exceptions=True)
            self._release_unsent()
            await self._finish(stopping)
            stopping.cancel()
            if self._run.done.done():
                await self._looking
        await self._hand_on()
        _raise_first(results)

    def _side_work(self) -> list[Coroutine[Any, Any, None]]:
        full = self._prefetch.full
        return [*self._prefetch.side_work(), self._ring(full), self._keep_time(own_bells=1 if full else 0)]

    async def _keep_time(self, *, own_bells: int) -> None:
        """Ends the slice when its time is over; it gets more while it goes on claiming and nobody else waits."""
        slice_clock, prefetch, claims_made = self.slice_clock, self._prefetch, 0
        try:
            while (left := slice_clock.left) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), min(left, LOOK_SECONDS))
                if self.is_over:
                    return
                goes_on, claims_made = prefetch.claims_made > claims_made, prefetch.claims_made
                if goes_on and slice_clock.may_go_on and await self._line.is_free(own_bells):
                    self._line.throttle.sent(slice_clock.prolong())
        finally:
            self.end()

    # claim: see `Prefetch`, for which these are

    @property
    def on_their_way(self) -> int:
        """How many mails the connections have taken and not reported."""
        return len(self._in_flight)

    def measure(self) -> None:
        """Tell the line's pace how fast mails go out."""
        if self.slice_clock.mails:
            self._note_pace()

    def _note_pace(self) -> None:
        self._line.pace.measured(self.slice_clock.mails, self.slice_clock.seconds)

    def wake(self) -> None:
        """There is something to take that was not there before."""
        # Not at once: it may be in the middle of a callback of one of the connections.
        asyncio.get_running_loop().call_soon(self._run.wake)

    # send

    @property
    def available(self) -> int:
        """How many mails could be taken now."""
        return 0 if self.is_over else min(len(self._prefetch.waiting), self._line.room)

    @property
    def is_over(self) -> bool:
        """Whether there will be no more mails in this slice."""
        return self._over.is_set()

    def next_now(self) -> Mail | None:
        """The next mail to send. The connections call this."""
        line, prefetch = self._line, self._prefetch
        while prefetch.waiting and not self.is_over and line.room > 0:
            if not line.lease.is_trusted(prefetch.owner):
                self.end()
                break
            if (mail := self._mail(prefetch.take())) is not None:
                return mail
        self.end_if_dry()
        return None

    def put_back(self, mail: Mail) -> None:
        """No connection could be had for it after all."""
        self._prefetch.put_back(self._in_flight.pop(mail.request_id))
        if self.is_over:
            self._release_unsent()

    def may_write(self) -> bool:
        """Whether there is room for one more that a kill -9 would repeat."""
        return self._line.room > 0

    def is_wanted(self, mail: Mail) -> bool:
        """Whether a mail may still go out: what was true when it was taken may be so no more. If so it is written."""
        line = self._line
        if line.stopping.is_set() or not line.lease.is_trusted(self._prefetch.owner):
            return False
        return self._in_flight.write(mail.request_id)

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """The mailer says how a mail ended: perhaps long after the slice."""
        claim = self._in_flight.pop(mail.request_id)
        self.slice_clock.mails += 1
        if isinstance(outcome, RelayDown) and outcome.is_too_fast:
            outcome = self._slow_down(claim, outcome)
        streaks = self._line.streaks
        means = streaks.judged(outcome)
        if trouble := streaks.note(mail.recipient, outcome):
            self._note(trouble)
            self.end()
        aborts = self._line.aborts.note(claim.id, means)
        self._record(claim, settle(means, claim.tries, self._line.policy, random.uniform(-1, 1), aborts), outcome)
        self._prefetch.reported()
        self.end_if_dry()

    def _slow_down(self, claim: Claim, refused: RelayDown) -> Outcome:
        """The relay is there, but this process is too fast for it. The next slice knows."""
        self._unsent.add(claim.list_id)
        self.end()
        return self._line.throttle.too_fast(claim.id, refused, self.slice_clock.mails, self._line.streaks.taken)

    # render

    def _mail(self, claim: Claim) -> Mail | None:
        try:
            letter = self._line.letters.write(claim, self._prefetch.items[claim.list_id])
        except Exception as error:  # one bad row must not stop the others; nobody fails for our mistakes
            log.exception("mail.not_made", request_id=str(claim.id))
            letter = Held(f"{type(error).__name__} while the mail was made")
        match letter:
            case Mail():
                self._in_flight.add(claim, self.slice_clock.ends_at)
                return letter
            case Failed():
                self._record(claim, letter)
            case Held(reason):
                self._record(claim, Later(HOLD_SECONDS, claim.tries, TEMPLATE_ERROR, reason))
        return None

    # record

    def _record(self, claim: Claim, verdict: Verdict, outcome: Outcome | None = None) -> None:
        self._line.recorder.add(Settled(claim, verdict, outcome))

    def _release_unsent(self) -> None:
        for claim in self._prefetch.leftovers():
            self._unsent.add(claim.list_id)
            self._record(claim, Untouched("slice over"))

    # end

    def end(self) -> None:
        """Nothing more is taken, and what is unsent is released, however long replies are still awaited."""
        if self.is_over:
            return
        self._over.set()
        self._prefetch.wake()
        self._release_unsent()
        self.wake()

    def end_if_dry(self) -> None:
        """There may be nothing left to do."""
        if not self._in_flight and self._prefetch.is_dry:
            self.end()

    def _run_ended(self) -> None:
        self._note(self._run.verdict())
        self.end()

    def _note(self, trouble: RelayDown | None) -> None:
        if trouble and self._has_left:
            self._line.late_trouble = trouble, self.slice_clock.mails
        elif trouble:
            self._trouble = trouble

    async def _finish(self, stopping: asyncio.Task[Any]) -> None:
        """Records all that is known by now. What the relay takes long for goes on without this slice."""
        run, line = self._run, self._line
        self._note(run.verdict())
        await line.recorder.flushed()
        await self._ring_unsent()
        await asyncio.wait({run.done, stopping}, timeout=STRAGGLER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if line.stopping.is_set():
            await line.finish()
        try:
            self._note(await run.result() if run.done.done() else run.verdict())
        except Exception:
            self._give_up()
            raise
        await line.recorder.flushed()

    def _give_up(self) -> None:
        """The mailer broke off, and nobody knows about these."""
        outcome = Unknown("the mailer broke off")
        for claim in self._in_flight.pop_all():
            self._record(claim, settle(outcome, claim.tries, self._line.policy, 0.0), outcome)

    async def _hand_on(self) -> None:
        """Somebody has to go on: the probe if the relay is down, else the next task."""
        self._has_left = True
        if trouble := self._trouble:
            is_open = await trip(self._line, trouble, self.slice_clock.mails)
            if is_open or not trouble.is_too_fast:
                return
            self._trouble = None
        await self._ring_unsent()

    async def _ring_unsent(self) -> None:
        """Somebody else may go on at once with what this slice could not send."""
        if not self._line.stopping.is_set() and not self._trouble:
            unsent, self._unsent = self._unsent, set()
            await self._ring(list(unsent))

    async def _ring(self, list_ids: Sequence[UUID]) -> None:
        if list_ids:
            await self._line.ring(list_ids)


def _raise_first(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result
