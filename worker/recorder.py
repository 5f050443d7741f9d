"""Records how mails ended: group commit. While one transaction runs, the next group collects."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

import structlog

from worker.errors import DatabaseAway
from worker.line import Line
from worker.outcomes import (
    Deferred,
    Failed,
    Later,
    NotSent,
    Outcome,
    Rejected,
    RelayDown,
    Reply,
    Sent,
    Told,
    Unknown,
    Untouched,
    Verdict,
)
from worker.outcomes import reason as words
from worker.store import claims
from worker.store.claims import Claim, Ended, Ends, Try

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between tries to commit while the database is away."""
GIVE_UP_SECONDS = 4.0
"""How long a stopping process goes on trying."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """A claim, what became of it, and the outcome it came from (none if no mail was tried)."""

    claim: Claim
    verdict: Verdict
    outcome: Outcome | None = None


class Recorder:
    """Takes verdicts as they come and commits them in order, in groups, until it is closed."""

    def __init__(self, line: Line, committed: Callable[[], None]) -> None:
        self._line = line
        self._committed = committed
        self._pending: list[Settled] = []
        self._arrived = asyncio.Event()
        self._closed = False
        self._group_done = asyncio.Event()
        self._added = self._done = 0

    @property
    def uncommitted(self) -> int:
        """How many verdicts wait, or are being committed."""
        return self._added - self._done

    def add(self, settled: Settled) -> None:
        """Something to record; it will be in the next transaction."""
        self._pending.append(settled)
        self._added += 1
        self._arrived.set()

    def close(self) -> None:
        """Nothing more will be added: `run` ends once all is committed."""
        self._closed = True
        self._arrived.set()

    async def run(self) -> None:
        """Commits until closed. A database that is away is waited for; what is waiting is not lost meanwhile."""
        while self._pending or not self._closed:
            await self._arrived.wait()
            self._arrived.clear()
            group, self._pending = self._pending, []
            if group:
                await self._commit(group)
                self._done += len(group)
                self._group_done.set()
                self._committed()

    async def flushed(self) -> None:
        """Waits until all that has been added so far is committed."""
        goal = self._added
        while self._done < goal:
            self._group_done.clear()
            await self._group_done.wait()

    async def _commit(self, group: Sequence[Settled]) -> None:
        ends, pause, away_since = _ends(group), FIRST_PAUSE, 0.0
        while True:
            try:
                written = await self._line.write(claims.record, ends, is_sign_of_life=self._line.is_sign_of_life(ends))
            except Exception as trouble:  # whatever it is: giving up would tell all of them again
                away_since = away_since or _said(trouble, len(group))
                if self._line.stopping.is_set() and time.monotonic() - away_since > GIVE_UP_SECONDS:
                    log.error("outcomes.lost", mails=len(group), reason=str(trouble))
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                _report(group, written)
                return


def _said(trouble: Exception, mails: int) -> float:
    if isinstance(trouble, DatabaseAway):
        log.warning("outcomes.waiting", mails=mails, reason=str(trouble))
    else:
        log.error("outcomes.waiting", mails=mails, exc_info=trouble)
    return time.monotonic()


def _report(group: Sequence[Settled], written: set[UUID]) -> None:
    for settled in group:
        request_id = str(settled.claim.id)
        if settled.claim.id not in written:
            log.info("outcome.fenced", request_id=request_id, verdict=type(settled.verdict).__name__)
            continue
        match settled.verdict:
            case Failed(code, _, reason):
                log.warning("mail.failed", request_id=request_id, code=str(code), reason=reason)
            case Later(delay, tries, _, reason):
                log.info(
                    "mail.deferred",
                    request_id=request_id,
                    seconds=round(delay),
                    attempts=tries.attempts,
                    reason=reason,
                )
            case Told() | Untouched():
                pass


def _ends(group: Sequence[Settled]) -> Ends:
    ends = Ends()
    for settled in group:
        claim = settled.claim
        match settled.verdict:
            case Told():
                ends.told.append(claim)
            case Failed(code, tries, reason):
                ends.failed.append(Ended(claim, tries, code.value, reason))
            case Later(delay, tries, code, reason):
                ends.deferred.append(Ended(claim, tries, code and str(code), reason, delay))
            case Untouched():
                ends.released.append(claim)
            case _:
                assert_never(settled.verdict)
        ends.log.extend(_tried(claim, settled.outcome))
    return ends


def _tried(claim: Claim, outcome: Outcome | None) -> list[Try]:
    """The line in the attempt log, for a try that did not succeed."""
    match outcome:
        case Deferred(_, reply):
            return [_try(claim, "deferred", reply, "")]
        case Rejected(_, _, reply, reason):
            return [_try(claim, "rejected", reply, reason)]
        case Unknown(reason):
            return [_try(claim, "unknown", None, reason)]
        case None | Sent() | RelayDown() | NotSent():
            return []
        case _:
            assert_never(outcome)


def _try(claim: Claim, event: str, reply: Reply | None, reason: str) -> Try:
    if reply is None:
        return Try(claim, event, None, None, reason)
    return Try(claim, event, reply.code, reply.enhanced, reason or words(reply))
