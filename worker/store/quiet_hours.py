"""Quiet hours, as they are told to those who ask why requests wait. Who may be claimed is decided in `claims`.

A connection knows the send window of its shop (see `Database`). The clock is the database's.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from worker.domain.send_window import SendWindow
from worker.store import clock
from worker.store.sql import sqlite_time

OPTION: Final = "stockbell_window"
"""The execution option with the send window, or None."""


@dataclass(frozen=True, slots=True)
class Hours:
    """The send window, and when that was looked at."""

    window: SendWindow
    now: datetime

    @property
    def is_open(self) -> bool:
        """Whether mails go out."""
        return self.window.is_open(self.now)

    @property
    def until(self) -> datetime | None:
        """When that changes. None: never."""
        return self.window.closes_at(self.now) if self.is_open else self.window.next_opening(self.now)

    @property
    def quiet_until(self) -> datetime | None:
        """When mails go out again. None: they do now."""
        return None if self.is_open else self.window.next_opening(self.now)


def read(c: Connection) -> Hours | None:
    """Returns the send window as it is now. None: there is none, and nothing was asked."""
    window = c.get_execution_options().get(OPTION)
    return None if window is None else Hours(window, clock.now(c))


def quiet_until(c: Connection) -> datetime | None:
    """Returns when mails go out again. None: they do now."""
    hours = read(c)
    return hours.quiet_until if hours else None


def literal(c: Connection, until: datetime | None) -> str:
    """Returns a time as SQL. It changes only from one opening to the next, so that statements can be kept."""
    if until is None:
        return "CAST(NULL AS timestamptz)"
    return f"'{sqlite_time(until)}'" if c.dialect.name == "sqlite" else f"to_timestamp({until.timestamp():.0f})"
