"""Log-ins that failed, for a while. They are counted in the database: so the limit holds for any number of processes.

A guess is recorded before the password is looked at, and taken back if it was right. So many guesses at the same time
exceed the limit by no more than there are at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.admins import GUESS_SECONDS, MOST_GUESSES
from worker.models import uuid7
from worker.store.sql import Sql

FORGOTTEN_AT_ONCE: Final = 1000

_OLDEST = Sql(
    """SELECT at, stockbell_now(0) AS now FROM admin_guess WHERE subject = :subject AND at > stockbell_now(-:seconds)
    ORDER BY at DESC LIMIT 1 OFFSET :most""",
    at="time",
    now="time",
)
_ADD = Sql("INSERT INTO admin_guess (id, subject, at) VALUES (:id, :subject, stockbell_now(0))")
_TAKE_BACK = Sql("DELETE FROM admin_guess WHERE id = :id")
_CLEAR = Sql("DELETE FROM admin_guess WHERE subject = :subject")
_FORGET = Sql(
    """DELETE FROM admin_guess WHERE id IN
        (SELECT id FROM admin_guess WHERE at <= stockbell_now(-:seconds) LIMIT :most)"""
)


@dataclass(frozen=True, slots=True)
class Guess:
    """A log-in that may go on, or has to wait."""

    ids: Sequence[UUID] = ()
    wait: float = 0.0
    """seconds"""


def guess(c: Connection, subjects: Sequence[str]) -> Guess:
    """Records a guess for each subject: a hash of the name, and one of the address. Records none if one has to wait."""
    if seconds := wait(c, subjects):
        return Guess(wait=seconds)
    ids = [uuid7() for _ in subjects]
    for id_, subject in zip(ids, subjects, strict=True):
        _ADD(c, id=id_, subject=subject)
    return Guess(ids)


def wait(c: Connection, subjects: Sequence[str]) -> float:
    """Returns for how many seconds no log-in is tried. 0: it may be."""
    return max((_wait(c, each) for each in subjects), default=0.0)


def _wait(c: Connection, subject: str) -> float:
    found = _OLDEST(c, subject=subject, seconds=GUESS_SECONDS, most=MOST_GUESSES - 1)
    return max(1.0, GUESS_SECONDS - (found[0].now - found[0].at).total_seconds()) if found else 0.0


def take_back(c: Connection, ids: Sequence[UUID]) -> None:
    """Deletes a guess that was right. What failed before still counts."""
    for id_ in ids:
        _TAKE_BACK(c, id=id_)


def clear(c: Connection, subject: str) -> None:
    """Lets a subject log in again at once."""
    _CLEAR(c, subject=subject)


def forget(c: Connection) -> int:
    """Deletes some guesses that no longer count. Returns how many."""
    return _FORGET.count(c, seconds=GUESS_SECONDS, most=FORGOTTEN_AT_ONCE)
