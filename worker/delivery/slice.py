"""One slice of work on the waiting lists of one bell: claim, render, send, record.

A slice takes about half a second. Then other bells get their turn, if any are queued. While one claim is being sent the
next one is made (`prefetch`), and outcomes are committed in groups as they arrive. The slice releases what it could not
send. Mails for which the relay takes long stay in flight without it (`in_flight`). See *slice* in `docs/glossary.md`.
"""

import asyncio
import random
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import structlog

from worker.delivery.breaker import trip
from worker.delivery.in_flight import InFlight, Taken
from worker.delivery.line import Line
from worker.delivery.prefetch import Prefetch
from worker.delivery.recorder import Settled
from worker.delivery.slice_clock import LOOK_SECONDS, SliceClock
from worker.delivery.throttle import Throttled
from worker.domain.outcomes import TEMPLATE_ERROR, NotSent, Outcome, RelayDown, Scope, Sent, Unknown
from worker.domain.reply_rules import Blame
from worker.domain.verdicts import TOLD, Failed, Later, Proof, Untouched, Verdict, settle, with_one_delay
from worker.mail.letter import Held
from worker.smtp.mailer import Mail, Run
from worker.store import claims
from worker.store.claims import Claim

REPLY_SECONDS = 2.0
"""How long a slice that is over waits for replies. Later replies are awaited by the connections alone."""
HOLD_SECONDS = 60.0
"""How long a request waits whose mail could not be made, before that is tried again."""

log = structlog.get_logger()


class _Doubt(NamedTuple):
    """A refusal of a mail that ends requests if a mail is taken that is begun after `begun` others."""

    begun: int
    together: Sequence[Claim]
    outcome: Outcome
    verdicts: Sequence[Verdict]
    """What becomes of each request if no such mail is taken."""
    proven: Sequence[Verdict]


class Slice:
    """Half a second of work, more while no other bell waits. It is the mailer's source, and hears how mails ended."""

    waits_for_proof: ClassVar = True
    """Whether a refusal for good ends its request if the relay takes another mail next."""

    def __init__(
        self, line: Line, list_ids: Sequence[UUID], *, clock: SliceClock | None = None, only: Sequence[UUID] = ()
    ) -> None:
        """With `only`, nothing is claimed but these requests."""
        self._line = line
        self._clock = clock or SliceClock()
        self.has_opened = False
        """Whether the slice has opened the breaker."""
        self._in_flight = InFlight(line)
        self._prefetch = Prefetch(line, list_ids, self._clock, self._in_flight, self._changed, only)
        self._doubts: list[_Doubt] = []
        self._unsent: set[UUID] = set()
        """The lists on which the slice released what it could not send."""
        self._has_ended = False
        self._trouble: RelayDown | None = None
        self._has_left = False
        """True once the slice acts on trouble no more. A later slice acts on what is found out after that."""
        self._run: Run
        self._checking: asyncio.Task[None]

    async def run(self) -> None:
        """Claims, sends and records until the time is over or the lists are empty; raises DatabaseAway."""
        if not await self._prefetch.claim_first():
            return
        self._clock.begin()
        throttle = self._line.throttle
        throttle.on_tokens = self._wake
        self._run = self._line.mailer.start(Throttled(self, throttle) if throttle.is_on else self, self.report)
        self._run.done.add_done_callback(lambda _: self._run_ended())
        self._checking = asyncio.create_task(self._in_flight.check_until(self._run.done))
        side_work = [asyncio.create_task(each) for each in self._side_work()]
        stopping = asyncio.create_task(self._line.stopping.wait())
        stopping.add_done_callback(lambda _: self.end())
        try:
            await self._clock.over.wait()
            self._line.pace.measured(self._clock.mails, self._clock.seconds)
        finally:
            self.end()
            throttle.sent(self._clock.mails)
            results = await asyncio.gather(*side_work, return_exceptions=True)
            self._release_unsent()
            await self._finish(stopping)
            stopping.cancel()
            if self._run.done.done():
                await self._checking
        await self._hand_on()
        _raise_first(results)

    def _side_work(self) -> list[Coroutine[Any, Any, None]]:
        full = self._prefetch.full
        return [*self._prefetch.side_work(), self._ring(full), self._keep_time(own_bells=1 if full else 0)]

    async def _keep_time(self, *, own_bells: int) -> None:
        """Ends the slice when its time is over. Prolongs it while it goes on claiming and no other bell waits."""
        clock, prefetch, claims_made = self._clock, self._prefetch, 0
        try:
            while (left := clock.left) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(clock.over.wait(), min(left, LOOK_SECONDS))
                if self.is_over:
                    return
                goes_on, claims_made = prefetch.claims_made > claims_made, prefetch.claims_made
                if goes_on and clock.may_go_on and await self._line.is_free(own_bells):
                    self._line.throttle.sent(clock.prolong())
        finally:
            self.end()

    # send: the mailer's `Source`

    @property
    def available(self) -> int:
        """How many mails could be taken now."""
        return 0 if self.is_over else min(len(self._prefetch.waiting), self._line.room)

    @property
    def is_over(self) -> bool:
        """Whether there will be no more mails in this slice."""
        return self._clock.over.is_set()

    def next_now(self) -> Mail | None:
        """The next mail to send. The connections call this."""
        line, prefetch = self._line, self._prefetch
        while prefetch.waiting and not self.is_over and line.room > 0:
            if not line.lease.is_trusted(prefetch.owner):
                self.end()
                break
            if (mail := self._mail(prefetch.take())) is not None:
                return mail
        self._end_if_dry()
        return None

    def put_back(self, mail: Mail) -> None:
        """The mail was taken, but its connection ended before the relay heard of it."""
        self._prefetch.put_back(self._in_flight.pop(mail).claim)
        if self.is_over:
            self._release_unsent()

    def may_write(self) -> bool:
        """Whether one more mail may be written: a kill -9 would repeat it, and those are limited."""
        return self._line.room > 0

    def is_wanted(self, mail: Mail) -> bool:
        """Whether a mail may still go out; if so, it counts as written. Things may have changed since it was taken."""
        line = self._line
        if line.stopping.is_set() or not line.lease.is_trusted(self._prefetch.owner):
            return False
        return self._in_flight.write(mail)

    # render

    def _mail(self, claim: Claim) -> Mail | None:
        letter: Mail | Failed | Held
        try:
            if claim.others:
                letter, claim = self._digest(claim)
            else:
                letter = self._line.letters.write(claim, self._prefetch.items[claim.list_id])
        except Exception as error:  # one bad row must not stop the others; nobody fails for our mistakes
            log.exception("mail.not_made", request_id=str(claim.id))
            letter = Held(f"{type(error).__name__} while the mail was made")
        match letter:
            case Mail():
                self._in_flight.add(letter, claim, self._clock.ends_at, self._clock.closes_at)
                return letter
            case Failed():
                self._record(claim, letter)
            case Held(reason):
                for each in claim.together:
                    self._record(each, Later(HOLD_SECONDS, each.tries, TEMPLATE_ERROR, reason))
        return None

    def _digest(self, claim: Claim) -> tuple[Mail | Failed | Held, Claim]:
        """Returns the mail for all of a claim that can be in one, and whom it is for. The rest is the next to be sent.

        But at most one mail is on its way to a customer if there is a contact interval.
        """
        digest = self._line.letters.write_digest(claim, self._prefetch.items)
        for other, failed in digest.failed:
            self._record(other, failed)
        if digest.left and isinstance(digest.result, Mail) and self._line.policies.contact_interval:
            self._release(digest.left, "another mail is on its way to the same customer")
        elif digest.left:
            self._prefetch.put_back(claims.joined(digest.left))
        return digest.result, digest.claim

    # record

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """The mailer says how a mail ended. That may be long after the slice."""
        taken = self._in_flight.pop(mail)
        self._clock.mails += 1
        if isinstance(outcome, Sent):
            self._took(taken, outcome)
        else:
            self._refused(taken.claim, mail, outcome)
        self._prefetch.reported()
        self._end_if_dry()

    def _took(self, taken: Taken, outcome: Sent) -> None:
        self._line.evidence.took(taken.claim.id, taken.number)
        for claim in taken.claim.together:
            self._record(claim, TOLD, outcome)
        if self._doubts:
            self._decide_doubts(taken.number)

    def _refused(self, claim: Claim, mail: Mail, outcome: Outcome) -> None:
        """What an outcome other than Sent means for the requests of its mail, and for the slice."""
        evidence, together = self._line.evidence, claim.together
        means = self._slow_down(claim, outcome) if isinstance(outcome, RelayDown) and outcome.is_too_fast else outcome
        proofs = [evidence.proof(each.id, took_others=each.took_others) for each in together]
        may_wait = self.waits_for_proof and evidence.is_taking
        judge = partial(self._verdicts, together, means, evidence.aborts.note(claim.id, means), random.uniform(-1, 1))
        verdicts = judge(proofs)
        self._heed(evidence.note(claim.id, mail.recipient, means, proofs[0]), means)
        if may_wait and not self._has_ended and any(isinstance(each, Later) and each.is_doubtful for each in verdicts):
            proven = judge([Proof.AROUND] * len(together))
            if any(isinstance(each, Failed) for each in proven):
                self._doubts.append(_Doubt(evidence.begun, together, outcome, verdicts, proven))
                return
        self._record_all(together, verdicts, outcome)
        if claim.others and isinstance(outcome, NotSent):  # perhaps one of them is not wanted any more, and others are
            self._unsent.update(each.list_id for each in together)

    def _verdicts(
        self, together: Sequence[Claim], means: Outcome, aborts: int, jitter: float, proofs: Sequence[Proof]
    ) -> list[Verdict]:
        """Each request of a mail is judged by its own tries."""
        judge = partial(settle, means, policy=self._line.policy, jitter=jitter, aborts=aborts)
        judged = zip(together, proofs, strict=True)
        return with_one_delay([judge(tries=claim.tries, proof=proof) for claim, proof in judged])

    def _heed(self, trouble: RelayDown | None, _means: Outcome) -> None:
        """`trouble` is about more than this mail."""
        if trouble:
            self._note(trouble)
            self.end()

    def _decide_doubts(self, taken: int) -> None:
        """The relay took the mail with this number: what it refused before that mail was begun was not about us."""
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            if taken > doubt.begun:
                self._record_all(doubt.together, doubt.proven, doubt.outcome)
            else:
                self._doubts.append(doubt)

    def _leave_doubts(self) -> None:
        """Nothing was taken after these refusals. So they may be about us."""
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            self._record_all(doubt.together, doubt.verdicts, doubt.outcome)

    def _slow_down(self, claim: Claim, refused: RelayDown) -> Outcome:
        """The relay works, but this process is too fast for it. The next slice goes by that.

        If it has too many connections, the run goes on with fewer.
        """
        self._unsent.add(claim.list_id)
        if refused.blame is not Blame.CONNECTIONS:
            self.end()
        return self._line.throttle.too_fast(claim.id, refused, self._clock.mails, self._line.evidence.taken)

    def _record(self, claim: Claim, verdict: Verdict, outcome: Outcome | None = None) -> None:
        self._line.recorder.add(Settled(claim, verdict, outcome, time.monotonic()))

    def _record_all(self, together: Sequence[Claim], verdicts: Sequence[Verdict], outcome: Outcome) -> None:
        for claim, verdict in zip(together, verdicts, strict=True):
            self._record(claim, verdict, outcome)

    def _release_unsent(self) -> None:
        self._release(self._prefetch.leftovers(), "slice over")

    def _release(self, some: Iterable[Claim], reason: str) -> None:
        for claim in some:
            self._unsent.add(claim.list_id)
            self._record(claim, Untouched(reason))

    # end

    def end(self) -> None:
        """Takes no more mails and releases what is unsent, however long replies are still awaited."""
        if self._has_ended:
            return
        self._has_ended = True
        self._clock.over.set()
        self._prefetch.stop()
        self._release_unsent()
        self._leave_doubts()
        self._wake()

    def _end_if_dry(self) -> None:
        if not self._in_flight and self._prefetch.is_dry:
            self.end()

    def _changed(self) -> None:
        """There is more to take, or nothing more will come."""
        if self.is_over:
            self.end()
        self._end_if_dry()
        self._wake()

    def _wake(self) -> None:
        # Not at once: this may be called from within a callback of one of the connections.
        asyncio.get_running_loop().call_soon(self._run.wake)

    def _run_ended(self) -> None:
        self._note(self._run.verdict())
        self.end()

    def _note(self, trouble: RelayDown | None) -> None:
        if trouble and self._has_left:
            self._line.late_trouble = trouble, self._clock.mails
        elif trouble:
            self._trouble = trouble

    async def _finish(self, stopping: asyncio.Task[Any]) -> None:
        """Records all that is known by now. Mails with a slow relay stay in flight without this slice."""
        run, line = self._run, self._line
        self._note(run.verdict())
        await line.recorder.flushed()
        await self._ring_unsent()
        await asyncio.wait({run.done, stopping}, timeout=REPLY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if line.stopping.is_set():
            await line.finish()
        try:
            self._note(await run.result() if run.done.done() else run.verdict())
        except Exception:
            self._give_up()
            raise
        await line.recorder.flushed()

    def _give_up(self) -> None:
        """The mailer failed: nobody will report the mails in flight."""
        outcome = Unknown("the mailer broke off")
        for claim in self._in_flight.pop_all():
            self._record(claim, settle(outcome, claim.tries, self._line.policy, 0.0), outcome)

    async def _hand_on(self) -> None:
        """Leaves the rest to others: to the probe if the relay is down, else to the next task."""
        self._has_left = True
        if trouble := self._trouble:
            self.has_opened = await trip(self._line, trouble, self._clock.mails)
            if self.has_opened or (trouble.scope is Scope.RELAY and not trouble.is_too_fast):
                return
            self._trouble = None
        await self._ring_unsent()

    async def _ring_unsent(self) -> None:
        """Rings for what this slice could not send, so that another process can go on at once, if it may."""
        if not self._line.stopping.is_set() and not self._trouble and not self._clock.is_closed:
            unsent, self._unsent = self._unsent, set()
            await self._ring(list(unsent))

    async def _ring(self, list_ids: Sequence[UUID]) -> None:
        if list_ids:
            await self._line.ring(list_ids)


def _raise_first(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result
