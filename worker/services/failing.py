"""What has failed and why, in groups that an admin can act on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.reply_groups import ANYTHING, group_of
from worker.models import Status
from worker.services.selection import Selection
from worker.store import failures
from worker.store.database import Connection

PAGE: Final = 50
MOST_GROUPS: Final = 12
MOST_COUNTED: Final = 100_000


@dataclass(slots=True)
class Group:
    """Failures that have their words, or their recipients' domain, in common."""

    name: str
    words: str
    """what selects them"""
    n: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, row: Any) -> None:
        """Adds rows that are equal."""
        self.n += row.n
        times = [at for at in (self.first, self.last, row.first, row.last) if at]
        self.first, self.last = min(times, default=None), max(times, default=None)


@dataclass(frozen=True, slots=True)
class Failed:
    """What has failed, as far as it is selected."""

    codes: Sequence[Any]
    """all there are by code, whatever is selected: see `store.failures.ages`"""
    words: Sequence[Group]
    domains: Sequence[Group]
    grouped: int
    """so many of the newest were grouped"""
    matching: int
    """how many match; at most MOST_COUNTED are counted"""
    rows: Sequence[Any]
    has_more: bool


def look(c: Connection, selection: Selection, before: tuple[datetime, UUID] | None = None) -> Failed:
    """Returns what has failed: of the requests those after the one that is named by time and id, newest first."""
    which = replace(selection, status=Status.FAILED).filter(c)
    rows = failures.newest(c, which, PAGE + 1, before)
    parts = failures.grouped(c, which)
    grouped = sum(row.n for row in parts)
    matching = grouped if grouped < failures.MOST_GROUPED else failures.count(c, which, MOST_COUNTED)
    return Failed(
        failures.ages(c),
        _largest(_by_words(parts)),
        _largest(_by_domain(parts)),
        grouped,
        matching,
        rows[:PAGE],
        len(rows) > PAGE,
    )


def _by_words(rows: Sequence[Any]) -> Iterable[Group]:
    groups: dict[str, Group] = {}
    for row in rows:
        name = group_of(row.reason or "")
        groups.setdefault(name, Group(name, f'"{name}"' if name else "")).add(row)
    return groups.values()


def _by_domain(rows: Sequence[Any]) -> Iterable[Group]:
    groups: dict[str, Group] = {}
    for row in rows:
        name = row.domain.lower() or ANYTHING
        groups.setdefault(name, Group(name, row.domain.lower())).add(row)
    return groups.values()


def _largest(groups: Iterable[Group]) -> Sequence[Group]:
    return sorted(groups, key=lambda group: (-group.n, group.name))[:MOST_GROUPS]
