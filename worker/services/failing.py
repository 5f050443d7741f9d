"""What has failed and why, in groups that an admin can act on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.reply_groups import group_of
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
    parts = failures.newest_words(c, which)
    grouped = len(parts)
    matching = grouped if grouped < failures.MOST_GROUPED else failures.count(c, which, MOST_COUNTED)
    return Failed(
        failures.ages(c),
        _groups(((group_of(row.failure_reason or ""), row.failed_at) for row in parts), _whole),
        _groups(((row.domain.lower(), row.failed_at) for row in parts), str),
        grouped,
        matching,
        rows[:PAGE],
        len(rows) > PAGE,
    )


def _groups(keys: Iterable[tuple[str, datetime | None]], words_of: Callable[[str], str]) -> Sequence[Group]:
    """Returns the largest groups of what is given newest first."""
    groups: dict[str, Group] = {}
    for name, at in keys:
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(name, words_of(name), last=at)
        group.n += 1
        group.first = at
    return sorted(groups.values(), key=lambda group: (-group.n, group.name))[:MOST_GROUPS]


def _whole(words: str) -> str:
    return f'"{words}"' if words else ""
