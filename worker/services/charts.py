"""What the charts of Overview show: mails a second by their outcome, from the tally."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.store import clock, tally
from worker.store.database import Connection

_OUTCOMES: Final = {"told": "told", "deferred": "put_off", "unknown": "put_off"}


@dataclass(slots=True)
class Step:
    """A step of time: mails a second, by outcome."""

    at: datetime
    seconds: float
    """how long it is; of the last one only what has passed of it"""
    told: float = 0.0
    failed: float = 0.0
    put_off: float = 0.0
    """they are tried again"""

    def add(self, outcome: str, n: int) -> None:
        """Adds mails with this outcome."""
        setattr(self, outcome, getattr(self, outcome) + n / self.seconds)


@dataclass(frozen=True, slots=True)
class Charts:
    """The steps of both charts, oldest first, and none left out."""

    hour: Sequence[Step]
    """by the minute"""
    day: Sequence[Step]
    """by half an hour"""


def read_charts(c: Connection) -> Charts:
    """Reads what both charts show."""
    now = clock.now(c).astimezone(UTC)
    return Charts(_steps(c, now, 60, 1), _steps(c, now, 48, 30))


def _steps(c: Connection, now: datetime, number: int, minutes: int) -> Sequence[Step]:
    length = timedelta(minutes=minutes)
    last = now.replace(second=0, microsecond=0)
    last -= timedelta(minutes=(last.hour * 60 + last.minute) % minutes)
    steps = {
        at: Step(at, max(1.0, min(length, now - at).total_seconds()))
        for at in (last - length * n for n in reversed(range(number)))
    }
    for row in tally.by_minute(c, last - length * (number - 1), minutes):
        outcome = "failed" if row.kind.startswith("failed:") else _OUTCOMES.get(row.kind)
        if outcome and row.at in steps:
            steps[row.at].add(outcome, row.n)
    return list(steps.values())
