"""The books: what the tally has counted against the rows, to show that nothing is lost.

Signed up = waits + being sent + told + failed + deleted. Each state is also compared alone: a request that moved and
was not counted, or was counted and did not move, would show in two of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from worker.models import Status
from worker.store import states
from worker.store.sql import Sql
from worker.store.tally import COUNTED

MANY: Final = 500_000
"""In a table of more requests those that were told are not counted: a page shows this."""
UNRESOLVED: Final = "UNRESOLVED"
"""RECEIVED and PROCESSING, which are one state here: that a request is being sent is not counted."""
_TOLD, _FAILED = Status.NOTIFICATION_SENT.value, Status.FAILED.value
_STATES: Final = {Status.RECEIVED.value: UNRESOLVED, Status.PROCESSING.value: UNRESOLVED}

# In one statement, so that both sides are as of the same moment.
_SIDES: Final = f"""SELECT 'counted' AS side, kind, CAST(sum(n) AS bigint) AS n
    FROM {COUNTED} GROUP BY kind UNION ALL """
_ROWS: Final = " UNION ALL ".join(
    f"SELECT 'rows', '{status.value}', count(*) FROM request WHERE {where}" for where, status in states.UNENDED.items()
)
_WITHOUT_TOLD = Sql(_SIDES + _ROWS)
_WITH_TOLD = Sql(f"{_SIDES}{_ROWS} UNION ALL SELECT 'rows', '{_TOLD}', count(*) FROM request WHERE status = '{_TOLD}'")


@dataclass(frozen=True, slots=True)
class Books:
    """Both sides of the equation, in requests."""

    signed_up: int
    """since ever: what was there when counting began, too"""
    waits: int
    being_sent: int
    told: int
    """what it should be, if it is not counted"""
    failed: int
    deleted: int
    off: Mapping[str, int]
    """how many rows more there are in a state than was counted: UNRESOLVED, NOTIFICATION_SENT, FAILED"""
    is_told_counted: bool
    """Whether the rows that were told are counted: not in a large table."""

    @property
    def difference(self) -> int:
        """How many requests are missing; negative if there are too many."""
        return -sum(self.off.values())

    @property
    def is_balanced(self) -> bool:
        """Whether each state is as it was counted."""
        return not any(self.off.values())


def books(c: Connection) -> Books:
    """Compares what was counted with the rows."""
    is_told_counted = states.estimate(c) <= MANY
    counted, rows = Counter[str](), Counter[str]()
    for row in (_WITH_TOLD if is_told_counted else _WITHOUT_TOLD)(c):
        (counted if row.side == "counted" else rows)[row.kind] += int(row.n)
    should_be = _should_be(counted)
    there = Counter({_STATES.get(status, status): 0 for status in Status})
    for status, n in rows.items():
        there[_STATES.get(status, status)] += n
    if not is_told_counted:
        rows[_TOLD] = there[_TOLD] = should_be[_TOLD]
    return Books(
        sum(n for kind, n in counted.items() if kind.startswith("before:") or kind in _ADDED),
        rows[Status.RECEIVED],
        rows[Status.PROCESSING],
        rows[_TOLD],
        rows[_FAILED],
        sum(n for kind, n in counted.items() if kind.startswith("deleted:")),
        {state: there[state] - should_be[state] for state in (UNRESOLVED, _TOLD, _FAILED)},
        is_told_counted,
    )


_ADDED: Final = {"signup:created": UNRESOLVED, "signup:suppressed": _FAILED}


def _should_be(counted: Mapping[str, int]) -> Counter[str]:
    """Returns how many requests should be in each state."""
    should_be = Counter[str]()
    for kind, n in counted.items():
        for state, sign in _moves(kind):
            should_be[state] += sign * n
    return should_be


def _moves(kind: str) -> Iterator[tuple[str, int]]:
    """Yields what one count of a kind means: a state, and 1 or -1."""
    name, _, detail = kind.partition(":")
    state = _STATES.get(detail, detail)
    match name:
        case "signup" if kind in _ADDED:
            yield _ADDED[kind], 1
        case "before":
            yield state, 1
        case "deleted":
            yield state, -1
        case "told":
            yield from ((UNRESOLVED, -1), (_TOLD, 1))
        case "failed":
            yield from ((UNRESOLVED, -1), (_FAILED, 1))
        case "bounced":
            yield from ((_TOLD, -1), (_FAILED, 1))
        case "retried":
            yield from ((_FAILED, -1), (UNRESOLVED, 1))
        case "marked":
            yield from ((state, -1), (_TOLD, 1))
        case "undone":
            yield from ((each, -sign) for each, sign in _moves(detail))
