"""Reads a mailbox, takes the reports in it, and only then marks their messages as dealt with.

So a process that is killed leaves messages that were taken already. They are read again, and then are known to be
repeated. In memory is one message at a time, and what a batch of them says.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

import structlog

from worker.domain.errors import DatabaseAway
from worker.domain.returned import Kind, Report, Returned
from worker.feedback import messages
from worker.feedback.mailbox import Mailbox, Message
from worker.services.returning import Intake, Result, Taken
from worker.store import places
from worker.store.database import Database

BATCH: Final = 100
"""messages in one transaction"""
KEPT_EVERY: Final = 1_000
"""After so many messages the position is kept, even if there are more: to keep a long one costs."""
FAILED: Final = "failed"
"""In counts: messages that the program could not take, by a fault of its own."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judged:
    """A message, and what taking it would do."""

    message: str
    taken: Taken

    @property
    def stays(self) -> bool:
        """Whether its mailbox keeps it as it is."""
        return _stays(self.taken.report, self.taken.result)


@dataclass(frozen=True, slots=True)
class _Read:
    """A message that was read. Its content is forgotten."""

    name: str
    key: str
    report: Report


class BounceIntake:
    """Takes what is in one mailbox."""

    def __init__(self, database: Database, intake: Intake, mailbox: Mailbox) -> None:
        self._database = database
        self._intake = intake
        self._mailbox = mailbox
        self._is_placed = False
        self._kept = ""

    def take_all(self, limit: int | None = None, is_stopped: Callable[[], bool] = lambda: False) -> Counter[str]:
        """Takes what is there now, at most `limit` messages, and returns how many had which `Result`.

        Raises MailboxAway, and DatabaseAway; what was not taken by then is there the next time.
        """
        self._go_to_place()
        counts: Counter[str] = Counter()
        for batch in _batches(self._mailbox.messages(), limit):
            before = counts.total()
            counts += self._take(batch)
            if counts.total() // KEPT_EVERY > before // KEPT_EVERY:
                self._keep_place()
            if is_stopped():
                break
        self._keep_place()
        if counts:
            log.info("bounces.taken", mailbox=self._mailbox.where, **counts)
        return counts

    def judge_all(self, limit: int | None = None) -> Iterator[Judged]:
        """Yields what taking each message would do, also those that were looked at before. Changes nothing."""
        for batch in _batches(self._mailbox.messages(), limit):
            taken = self._intake.judge([(read.key, read.report) for read in batch])
            yield from (Judged(read.name, each) for read, each in zip(batch, taken, strict=True))

    def _take(self, batch: Sequence[_Read]) -> Counter[str]:
        results = self._results(batch)
        left = [read.name for read, result in zip(batch, results, strict=True) if _stays(read.report, result)]
        self._mailbox.settle([read.name for read in batch if read.name not in left], left)
        return Counter(results)

    def _results(self, batch: Sequence[_Read]) -> list[str]:
        """Takes a batch, or if that can't be, each message by itself: one must not stop the others."""
        try:
            taken = self._intake.take([(read.key, read.report) for read in batch], self._mailbox.source)
        except DatabaseAway:
            raise
        except Exception:
            if len(batch) > 1:
                return [result for read in batch for result in self._results([read])]
            log.exception("bounce.not_taken", mailbox=self._mailbox.where, message=batch[0].name)
            return [FAILED]
        return [each.result.value for each in taken]

    def _go_to_place(self) -> None:
        if not self._is_placed:
            if position := self._database.read(places.read, self._mailbox.key):
                self._mailbox.start_at(position)
            self._is_placed = True
            self._kept = self._mailbox.position

    def _keep_place(self) -> None:
        position = self._mailbox.position
        if position != self._kept:
            self._database.write(places.keep, self._mailbox.key, position)
            self._kept = position


def take_one(intake: Intake, content: bytes) -> Judged:
    """Takes a message from standard input. Raises DatabaseAway."""
    read = _read(Message("-", content))
    return Judged(read.name, *intake.take([(read.key, read.report)], "stdin"))


def judge_one(intake: Intake, content: bytes) -> Judged:
    """Says what `take_one` would do, and only reads. Raises DatabaseAway."""
    read = _read(Message("-", content))
    return Judged(read.name, *intake.judge([(read.key, read.report)]))


def _stays(report: Report, result: str) -> bool:
    """Whether a message stays where it is: nothing proves that it is about a mail of ours, or people should read it."""
    return result in {Result.UNMATCHED, FAILED} or all(each.kind is Kind.OTHER for each in report.returned)


def _batches(found: Iterator[Message], limit: int | None) -> Iterator[Sequence[_Read]]:
    reads = (_read(message) for message in islice(found, limit))
    while batch := list(islice(reads, BATCH)):
        yield batch


def _read(message: Message) -> _Read:
    return _Read(message.name, sha256(message.content).hexdigest(), _report(message))


def _report(message: Message) -> Report:
    try:
        return messages.read(message.content)
    except Exception:  # it never raises; if it does all the same, that must not stop the others
        log.exception("bounce.not_read", message=message.name)
        return Report([Returned(Kind.OTHER)], trouble="can't be read, by a fault of the program")
