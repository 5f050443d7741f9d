"""The heart of the line: claim, render, send, record.

A task works for a *slice* of about half a second on the waiting lists of one bell; then others get their turn. While
one claim is being sent the next is made, and outcomes are committed in groups as they arrive. What a slice could not
send it releases: a process holds claims only while a task runs.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from worker.circuit import trip
from worker.errors import DatabaseAway, OwnerLost
from worker.lease import boot_time
from worker.letter import Held, ItemFacts
from worker.line import Line
from worker.mailer import Mail
from worker.outcomes import (
    Failed,
    Later,
    Outcome,
    RelayDown,
    Unknown,
    Untouched,
    Verdict,
    settle,
)
from worker.recorder import Recorder, Settled
from worker.store import claims
from worker.store.claims import Claim
from worker.store.lists import SLICE_SECONDS

STOP_SECONDS = 4.0
"""How long a stopping process waits for replies that are on their way."""
HOLD_SECONDS = 60.0
"""How long a request whose mail can't be made waits before that is tried again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between tries to put claims back while the database is away."""

log = structlog.get_logger()


async def deliver(line: Line, list_ids: Sequence[UUID]) -> None:
    """Serves the waiting lists of one bell for one slice. A database that is away ends it: the sweep rings again."""
    if line.stopping.is_set() or not list_ids:
        return
    try:
        await _settle_in(line)
        slice_ = Slice(line, list_ids)
        await slice_.run()
        line.holds_claims = False
    except DatabaseAway as away:
        log.warning("slice.failed", reason=str(away))
        await _let_go(line)


async def _let_go(line: Line) -> None:
    """When the database is back: puts back what it may think that we hold. Another bell may not come for long."""
    pause = FIRST_PAUSE
    while line.holds_claims and not line.stopping.is_set():
        try:
            await line.write(claims.release_all, line.lease.owner)
            line.holds_claims = False
        except DatabaseAway:
            with suppress(TimeoutError):
                await asyncio.wait_for(line.stopping.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def _settle_in(line: Line) -> None:
    """Puts back what an earlier slice that failed may still hold."""
    await line.ensure_registered()
    if line.holds_claims:
        await line.write(claims.release_all, line.lease.owner)
    line.holds_claims = True


class Slice:
    """Half a second of work. It is the source of mails for the mailer, which reports each one's outcome to it."""

    def __init__(self, line: Line, list_ids: Sequence[UUID]) -> None:
        self._line = line
        self._owner = line.lease.owner
        self._lists = list_ids
        """Where there may be more to claim."""
        self._full = list_ids
        """Where the last claim got as many as it asked for."""
        self._unsent: set[UUID] = set()
        """On which lists the slice released what it could not send."""
        self._items: dict[UUID, ItemFacts] = {}
        self._ready: deque[Claim] = deque()
        self._handed: deque[Claim] = deque()
        self._handing = asyncio.Lock()
        self._sending: dict[UUID, Claim] = {}
        self._stirred = asyncio.Event()
        self._recorder = Recorder(line, self._stirred.set)
        self._began = self._ends_at = time.monotonic()
        self._mails = 0
        self._trouble: RelayDown | None = None
        self._away: DatabaseAway | None = None
        self._is_claiming = True

    async def run(self) -> None:
        """Claims, sends and records until the time is over or the lists are empty; raises DatabaseAway."""
        await self._claim(first=True)
        if not self._ready:
            return
        self._began = time.monotonic()
        self._ends_at = self._began + SLICE_SECONDS
        work = self._claim_ahead(), self._ring(self._full), self._release_in_time()
        side_work = [asyncio.create_task(each) for each in work]
        recording = asyncio.create_task(self._recorder.run())
        try:
            self._trouble = await self._send() or self._trouble
        finally:
            self._ends_at = self._began
            self._stir()
            results = await asyncio.gather(*side_work, return_exceptions=True)
            self._put_back()
            self._recorder.close()
            await recording
        self._measure()
        await self._hand_on()
        _raise_first([*results, self._away])

    # claim

    async def _claim(self, *, first: bool, seconds: float = SLICE_SECONDS) -> None:
        lease, sent_at = self._line.lease, boot_time()
        size = self._line.pace.claim_size(seconds)
        try:
            claimed = await self._line.write(claims.claim, self._owner, lease.seconds, self._lists, size, first=first)
        except OwnerLost:
            lease.lost(self._owner)
            await self._begin_anew(first)
            return
        lease.renewed(self._owner, sent_at)
        self._full = claimed.full
        self._lists = () if claimed.is_suspect else claimed.full
        self._items |= claimed.items
        self._ready.extend(_in_turn(claimed.claims))

    async def _begin_anew(self, first: bool) -> None:
        """The lease was lost: as a new owner at the beginning of a slice, else not at all."""
        if first:
            await self._line.ensure_registered()
            self._owner = self._line.lease.owner
            await self._claim(first=True)
        else:
            self._lists = ()

    async def _claim_ahead(self) -> None:
        """Makes the next claim when half of the last one has been taken, for as long as there is time for it."""
        half = len(self._ready) // 2
        try:
            while self._lists and not self._is_over():
                if len(self._ready) > half:
                    await self._until_stirred()
                    continue
                self._measure()
                await self._claim(first=False, seconds=self._ends_at - time.monotonic())
                half = len(self._ready) // 2
                self._stir()
        finally:
            self._is_claiming = False
            self._stir()

    # render

    async def next(self) -> Mail | None:
        """The next mail to send; None when the slice is over. The mailer's connections call this."""
        while not self._is_over():
            if not self._may_start():
                await self._until_stirred()
            elif claim := await self._next_claim():
                if mail := self._mail(claim):
                    return mail
            elif self._is_claiming:
                await self._until_stirred()
            else:
                return None
        return None

    def next_now(self) -> Mail | None:
        """The next mail if nothing has to be waited for: no commit, no claim, and no hand-over to be noted."""
        waiting = self._handed if self._line.policy.on_unknown == "fail" else self._ready
        while self._may_start() and not self._is_over() and (claim := self._taken(waiting)):
            if mail := self._mail(claim):
                return mail
        return None

    def is_wanted(self, mail: Mail) -> bool:
        """Whether a mail may still go out; it may have waited long for the one before it on its connection."""
        return self._line.lease.is_trusted(self._owner) and not self._line.stopping.is_set()

    def _may_start(self) -> bool:
        """Whether a kill -9 would still repeat no more than it may: all that is taken now could be sent by then."""
        uncommitted, most = self._recorder.uncommitted, self._line.most_uncommitted
        return uncommitted <= most and uncommitted + len(self._sending) < most + self._line.connections

    async def _next_claim(self) -> Claim | None:
        if self._line.policy.on_unknown == "fail":
            return await self._next_handed()
        return self._taken(self._ready)

    def _taken(self, waiting: deque[Claim]) -> Claim | None:
        if not waiting:
            return None
        self._stir()
        return waiting.popleft()

    async def _next_handed(self) -> Claim | None:
        """With ON_UNKNOWN=fail: notes in the database whose bytes will be written before any is."""
        async with self._handing:
            if not self._handed and self._ready:
                await self._hand_over()
            return self._taken(self._handed)

    async def _hand_over(self) -> None:
        window = [self._ready.popleft() for _ in range(min(len(self._ready), 2 * self._line.connections))]
        try:
            held = await self._line.write(claims.hand_over, window)
            self._handed.extend(claim for claim in window if claim.id in held)
        except DatabaseAway as away:  # the slice is over; mails on their way are none the worse for it
            self._away = away
            self._ready.extendleft(reversed(window))

    def _mail(self, claim: Claim) -> Mail | None:
        try:
            letter = self._line.letters.write(claim, self._items[claim.list_id])
        except Exception as error:  # one bad row must not stop the others; nobody fails for our mistakes
            log.exception("mail.not_made", request_id=str(claim.id))
            letter = Held(f"{type(error).__name__} while the mail was made")
        match letter:
            case Mail():
                self._sending[claim.id] = claim
                return letter
            case Failed():
                self._record(claim, letter)
            case Held(reason):
                self._record(claim, Later(HOLD_SECONDS, claim.tries, claims.TEMPLATE_ERROR, reason))
        return None

    # send

    async def _send(self) -> RelayDown | None:
        sending = asyncio.create_task(self._line.mailer.run(self, self.report))
        stopping = asyncio.create_task(self._line.stopping.wait())
        await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            self._stir()
            await asyncio.wait({sending}, timeout=STOP_SECONDS)
            sending.cancel()
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            return await sending
        return None

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """The mailer says how a mail ended."""
        claim = self._sending.pop(mail.request_id)
        self._mails += 1
        self._trouble = self._line.suspicion.note(mail.recipient, outcome) or self._trouble
        verdict = settle(outcome, claim.tries, self._line.policy, random.uniform(-1, 1))
        self._record(claim, verdict, outcome)

    # record

    def _record(self, claim: Claim, verdict: Verdict, outcome: Outcome | None = None) -> None:
        self._recorder.add(Settled(claim, verdict, outcome))

    async def _release_in_time(self) -> None:
        """At the slice's end releases what is unsent, however long replies are still awaited."""
        while not self._is_over():
            await self._until_stirred()
        self._release_unsent()
        await self._recorder.flushed()
        await self._ring_unsent()

    def _put_back(self) -> None:
        """Records or releases whatever is still held."""
        for claim in self._sending.values():  # the mailer broke off: nobody knows about these
            outcome = Unknown("the mailer broke off")
            self._record(claim, settle(outcome, claim.tries, self._line.policy, 0.0), outcome)
        self._release_unsent()

    def _release_unsent(self) -> None:
        for waiting in (self._handed, self._ready):
            while waiting:
                claim = waiting.popleft()
                self._unsent.add(claim.list_id)
                self._record(claim, Untouched("slice over"))

    async def _hand_on(self) -> None:
        """Somebody has to go on: the probe if the relay is down, else the next task."""
        if self._trouble:
            await trip(self._line, self._trouble, self._mails)
        else:
            await self._ring_unsent()

    async def _ring_unsent(self) -> None:
        """Somebody else may go on at once with what this slice could not send."""
        unsent, self._unsent = self._unsent, set()
        if not self._line.stopping.is_set() and not self._trouble:
            await self._ring(list(unsent))

    async def _ring(self, list_ids: Sequence[UUID]) -> None:
        if list_ids:
            await self._line.ring(list_ids)

    # time

    def _measure(self) -> None:
        self._line.pace.measured(self._mails, time.monotonic() - self._began)

    def _is_over(self) -> bool:
        return (
            time.monotonic() >= self._ends_at
            or self._trouble is not None
            or self._away is not None
            or self._line.stopping.is_set()
            or not self._line.lease.is_trusted(self._owner)
        )

    def _stir(self) -> None:
        self._stirred.set()

    async def _until_stirred(self) -> None:
        """Waits for something to change, but never longer than the slice lasts."""
        self._stirred.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._ends_at - time.monotonic())):
                await self._stirred.wait()


def _in_turn(claimed: Sequence[Claim]) -> list[Claim]:
    """The oldest of every list, then the second of every list ..., and no list always last."""
    turns, lots = Counter[UUID](), dict[UUID, float]()
    keyed = []
    for claim in claimed:
        turns[claim.list_id] += 1
        keyed.append((turns[claim.list_id], lots.setdefault(claim.list_id, random.random()), claim))
    return [claim for *_, claim in sorted(keyed, key=lambda place: place[:2])]


def _raise_first(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result
