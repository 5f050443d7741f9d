"""Records how mails ended, by group commit: while one transaction runs, the next group collects.

A commit costs far more CPU than one more verdict in it, here and in the database. So once one is done, a small group
collects for a few milliseconds more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeGuard, assert_never
from uuid import UUID

import structlog

from worker.domain.errors import DatabaseAway
from worker.domain.outcomes import (
    TEMPLATE_ERROR,
    Deferred,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Sent,
    Unknown,
)
from worker.domain.replies import Reply, receipt
from worker.domain.replies import reason as words
from worker.domain.verdicts import TOLD, Failed, Later, Told, Untouched, Verdict
from worker.store.claims import Claim
from worker.store.recording import UNKNOWN, Ended, Ends, Try
from worker.store.restocks import Restock

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between tries to commit while the database is away."""
COLLECT_SECONDS = 0.005
"""How long a group collects at most after the commit before it. The first one does not wait."""
GIVE_UP_SECONDS = 4.0
"""How long a stopping process goes on trying."""
FAULTS_KNOWN = 100
"""How many template faults are remembered. After that many, they are logged again."""

log = structlog.get_logger()


Write = Callable[[Ends], Awaitable[set[UUID]]]


class Settled(NamedTuple):
    """A claim, its verdict, and the outcome behind the verdict (None if no mail was tried)."""

    claim: Claim
    verdict: Verdict
    outcome: Outcome | None = None
    at: float = 0.0
    """when it ended, on the monotonic clock"""

    @property
    def is_of_mail(self) -> bool:
        """Whether it stands for its mail: of all claims that one is for, one does."""
        return self.claim.mail_id is None


class Recorder:
    """Takes verdicts as they come and commits them in order, in groups, by `write`.

    While the database is away it tries again, until `stopping` is set. Belongs to one event loop. `on_commit` is called
    after each commit. A group of the verdicts on `enough` mails waits for no more.
    """

    def __init__(self, write: Write, stopping: asyncio.Event, *, enough: int, on_commit: Callable[[], object]) -> None:
        self._write = write
        self._enough = enough
        self._on_commit = on_commit
        self._stopping = stopping
        self._pending: list[Settled] = []
        self._pending_mails = 0
        self._group: Sequence[Settled] = ()
        """The verdicts that are being committed."""
        self._group_mails = 0
        self._committing: asyncio.Task[None] | None = None
        self._group_done = asyncio.Event()
        self._is_due = asyncio.Event()
        """Set when the next group need not collect more."""
        self._added = self._done = 0
        self._faults: set[str] = set()
        """The template faults that are logged already."""

    @property
    def uncommitted(self) -> int:
        """How many mails have verdicts that are not committed yet: a kill repeats mails, and not requests."""
        return self._group_mails + self._pending_mails

    @property
    def unrecorded(self) -> list[UUID]:
        """Ids of the requests whose verdicts are not committed yet."""
        return [settled.claim.id for settled in (*self._group, *self._pending)]

    def add(self, settled: Settled) -> None:
        """Adds a verdict to the next transaction. All about one mail, added in a row, come into the same one."""
        self._pending.append(settled)
        self._added += 1
        self._pending_mails += settled.is_of_mail
        if self._pending_mails >= self._enough:
            self._is_due.set()
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())

    async def flushed(self) -> None:
        """Waits until everything added so far is committed."""
        goal = self._added
        self._is_due.set()
        while self._done < goal:
            self._group_done.clear()
            await self._group_done.wait()

    async def _commit_all(self) -> None:
        while self._pending:
            group = self._group = self._pending
            self._group_mails = self._pending_mails
            self._pending, self._pending_mails = [], 0
            self._is_due.clear()
            await self._commit(group)
            self._group, self._group_mails = (), 0
            self._done += len(group)
            self._group_done.set()
            self._on_commit()
            if self._pending and not self._is_due.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_due.wait(), COLLECT_SECONDS)
        self._committing = None

    async def _commit(self, group: Sequence[Settled]) -> None:
        ends, pause, away_since = _ends(group), FIRST_PAUSE, 0.0
        mails = self._group_mails
        while True:
            try:
                written = await self._write(ends)
            except Exception as trouble:  # of any kind: to give up would mail all of them again
                away_since = away_since or _said(trouble, mails)
                if self._stopping.is_set() and time.monotonic() - away_since > GIVE_UP_SECONDS:
                    log.error("outcomes.lost", mails=mails, reason=str(trouble))
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if away_since:
                    log.info("outcomes.caught_up", mails=mails, seconds=round(time.monotonic() - away_since, 1))
                self._report(group, written)
                return

    def _report(self, group: Sequence[Settled], written: set[UUID]) -> None:
        is_whole = len(written) == len(group)
        for claim, verdict, *_ in group:
            if is_whole and verdict is TOLD:  # as nearly all are
                continue
            if claim.id not in written:
                log.info("outcome.fenced", request_id=str(claim.id), verdict=type(verdict).__name__)
            elif isinstance(verdict, Failed):
                log.warning("mail.failed", request_id=str(claim.id), code=str(verdict.code), reason=verdict.reason)
            elif isinstance(verdict, Later) and verdict.code == TEMPLATE_ERROR:
                self._report_fault(claim, verdict.reason)
            elif isinstance(verdict, Later):
                log.info(
                    "mail.deferred",
                    request_id=str(claim.id),
                    seconds=round(verdict.delay),
                    attempts=verdict.tries.attempts,
                    reason=verdict.reason,
                )

    def _report_fault(self, claim: Claim, reason: str) -> None:
        """Logs a fault once for all mails that it holds. `status` says how many they are."""
        if reason in self._faults:
            return
        if len(self._faults) == FAULTS_KNOWN:
            self._faults.clear()
        self._faults.add(reason)
        log.warning("mails.held", first_request_id=str(claim.id), reason=reason)


def _said(trouble: Exception, mails: int) -> float:
    if isinstance(trouble, DatabaseAway):
        log.warning("outcomes.waiting", mails=mails, reason=str(trouble))
    else:
        log.error("outcomes.waiting", mails=mails, exc_info=trouble)
    return time.monotonic()


def _ends(group: Sequence[Settled]) -> Ends:
    ends = Ends()
    refused: Outcome | None = None
    """what the relay said last of a mail, with words that may mean us: of its requests one counts"""
    for claim, verdict, outcome, at in group:
        if claim.restock:
            _note_restock(ends, claim, claim.restock, verdict)
        match verdict:
            case Told():  # as nearly all are: there is nothing to log
                ends.told.append(claim)
                ends.receipts.append(receipt(outcome.reply) if isinstance(outcome, Sent) else None)
                ends.seconds.append(None if claim.since is None else at - claim.since)
                continue
            case Failed(code, tries, reason):
                ends.failed.append(Ended(claim, tries, code.value, reason))
            case Later(delay, tries, code, reason, is_doubtful):
                ends.deferred.append(Ended(claim, tries, code and str(code), reason, delay, is_doubtful))
                if is_doubtful and outcome is not refused:
                    refused = outcome
                    ends.refusals.append(reason)
            case Untouched():
                ends.released.append(claim)
            case _:
                assert_never(verdict)
        ends.log.extend(_tried(claim, verdict, outcome))
    return ends


def _note_restock(ends: Ends, claim: Claim, restock: Restock, verdict: Verdict) -> None:
    """The first of a restock's first claim that the relay took is its first mail."""
    restock.left -= 1
    if verdict is TOLD and not restock.is_told:
        restock.is_told = True
        ends.firsts.add(claim.id)
    if not restock.left and not restock.is_told:
        ends.untold.append(restock)


def _tried(claim: Claim, verdict: Verdict, outcome: Outcome | None) -> list[Try]:
    """The line in the attempt log, for a try that failed or a mail that could not be made."""
    match outcome:
        case None if isinstance(verdict, Failed):
            return [_try(claim, "not made", None, verdict.reason)]
        case Deferred() | Rejected() | RelayDown() if _is_put_off(verdict, claim):
            return [_try(claim, "put off", outcome.reply, verdict.reason)]
        case Deferred(_, reply):
            return [_try(claim, "deferred", reply, "")]
        case Rejected(_, _, reply, reason):
            return [_try(claim, "rejected", reply, reason)]
        case Unknown(reason):
            return [_try(claim, UNKNOWN, None, reason)]
        case None | Sent() | RelayDown() | NotSent():
            return []
        case _:
            assert_never(outcome)


def _is_put_off(verdict: Verdict, claim: Claim) -> TypeGuard[Later]:
    """Whether the relay refused the mail with words that may be about us, so that no try was spent."""
    return isinstance(verdict, Later) and verdict.is_doubtful and verdict.tries.attempts == claim.tries.attempts


def _try(claim: Claim, event: str, reply: Reply | None, reason: str) -> Try:
    if reply is None:
        return Try(claim, event, None, None, reason)
    return Try(claim, event, reply.code, reply.enhanced, reason or words(reply))
