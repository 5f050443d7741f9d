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
from worker.store.failures import Part

PAGE: Final = 50
MOST_GROUPS: Final = 12


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
    """how many match"""
    is_exact: bool
    """else at least so many do"""
    looked_until: datetime | None
    """what failed before it was not looked at"""
    rows: Sequence[Any]
    has_more: bool


def look(c: Connection, selection: Selection, before: tuple[datetime, UUID] | None = None) -> Failed:
    """Returns what has failed: of the requests those after the one that is named by time and id, newest first."""
    codes = failures.ages(c)
    selection = replace(selection, status=Status.FAILED)
    which = replace(selection.filter(c), is_dated=all(row.dated == row.total for row in codes))
    if which.lists is None and not which.email and not which.contact:
        failures.in_order(c)
    is_read_row_by_row = which.is_dated and (which.words or which.domain or which.locale)
    horizon = failures.horizon(c, which) if is_read_row_by_row else None
    rows = failures.newest(c, which, PAGE + 1, before, horizon)
    if before is None and len(rows) <= PAGE:  # they are all that match
        parts: Sequence[Part] = [Part.of(row) for row in rows]
    else:
        parts = failures.newest_words(c, which, horizon)
    grouped = sum(part.n for part in parts)
    is_by_code = replace(selection, code=None).is_everything
    every = sum(row.total for row in codes if selection.code in (None, row.code))
    return Failed(
        codes,
        _groups(((group_of(part.failure_reason or ""), part) for part in parts), _whole),
        _groups(((part.domain.lower(), part) for part in parts), str),
        grouped,
        every if is_by_code else grouped,
        is_by_code or (grouped < failures.MOST_GROUPED and not horizon),
        horizon[0] if horizon else None,
        rows[:PAGE],
        len(rows) > PAGE,
    )


def _groups(parts: Iterable[tuple[str, Part]], words_of: Callable[[str], str]) -> Sequence[Group]:
    """Returns the largest groups of what is given by name."""
    groups: dict[str, Group] = {}
    for name, part in parts:
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(name, words_of(name))
        group.n += part.n
        group.first = min(filter(None, (group.first, part.first)), default=None)
        group.last = max(filter(None, (group.last, part.last)), default=None)
    return sorted(groups.values(), key=lambda group: (-group.n, group.name))[:MOST_GROUPS]


def _whole(words: str) -> str:
    return f'"{words}"' if words else ""
