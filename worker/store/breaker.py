"""The breaker: stops the line for everybody while the relay takes no mail, or refuses us as such."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker.store.sql import Sql

PROBE_PAUSES = (1.0, 30.0)
"""The first pause between probes and the longest; in between it grows with the time the breaker has been open."""

MOST_AHEAD = 120.0
"""So many seconds at most lies the next probe ahead, also while somebody holds the right to it."""

LATELY_SECONDS = 5.0
"""A relay that took mail so lately is not down, whatever one process says."""

_READ = Sql("SELECT state, since, reason, scope FROM relay WHERE id = 1", since="time")
_OPEN = Sql(
    """UPDATE relay SET state = 'open', since = stockbell_now(0), reason = :reason, scope = :scope,
        probe_at = stockbell_now(:first) WHERE id = 1 AND state = 'closed'
        AND (:scope = 'configuration' OR worked_at IS NULL
            OR NOT worked_at BETWEEN stockbell_now(-:lately) AND stockbell_now(:lately))"""
)
_WORKS = Sql("UPDATE relay SET worked_at = stockbell_now(0) WHERE id = 1")
_CLOSE = Sql(
    """UPDATE relay SET state = 'closed', since = stockbell_now(0), reason = NULL, scope = NULL, probe_at = NULL
    WHERE id = 1 AND state = 'open'"""
)
# A time further ahead than any is set was set by a clock that has been set back since.
_DUE = "id = 1 AND state = 'open' AND (probe_at <= stockbell_now(0) OR probe_at > stockbell_now(:ahead))"
_IS_DUE = Sql(f"SELECT 1 FROM relay WHERE {_DUE}")
_TAKE_PROBE = Sql(f"UPDATE relay SET probe_at = stockbell_now(:hold) WHERE {_DUE} RETURNING scope")
_GIVE_BACK_PROBE = Sql("UPDATE relay SET probe_at = stockbell_now(0) WHERE id = 1 AND state = 'open'")
_STILL_DOWN = Sql(
    """UPDATE relay SET reason = :reason, scope = :scope, probe_at = stockbell_now(:pause)
    WHERE id = 1 AND state = 'open'"""
)
_AGE = Sql("SELECT since, reason, stockbell_now(0) AS now FROM relay WHERE id = 1", since="time", now="time")


@dataclass(frozen=True, slots=True)
class Breaker:
    """`closed` is the good state: mail flows."""

    state: str
    since: datetime | None
    reason: str | None
    scope: str | None


def read(c: Connection) -> Breaker:
    """The breaker as it is."""
    row = _READ(c)[0]
    return Breaker(row.state, row.since, row.reason, row.scope)


def trip(c: Connection, reason: str, scope: str, times: int = 0) -> bool:
    """Closed -> open; False if it was open already, or if the relay took somebody's mail just now.

    `times`: how often a probe closed it in vain; the first one now comes the later for it.
    """
    shortest, longest = PROBE_PAUSES
    first = min(longest, shortest * 4.0 ** min(times, 8))
    return _OPEN.count(c, reason=reason, scope=scope, first=first, lately=LATELY_SECONDS) > 0


def note_sign_of_life(c: Connection) -> None:
    """The relay has taken a mail."""
    _WORKS(c)


def close(c: Connection) -> bool:
    """Open -> closed; False if it was closed already."""
    return _CLOSE.count(c) > 0


def probe_is_due(c: Connection) -> bool:
    """Whether somebody should look if the relay is back."""
    return bool(_IS_DUE(c, ahead=MOST_AHEAD))


def take_probe(c: Connection, hold: float) -> str | None:
    """The right to probe, for one process at a time (`hold` seconds); returns the scope to probe, None if not due."""
    rows = _TAKE_PROBE(c, hold=hold, ahead=MOST_AHEAD)
    return rows[0].scope if rows else None


def give_back_probe(c: Connection) -> None:
    """Who had the right to probe did not use it: somebody else may, at once."""
    _GIVE_BACK_PROBE(c)


def still_down(c: Connection, reason: str, scope: str) -> bool:
    """The probe failed: the next one comes after a quarter of the time that the breaker has been open.

    True if it is for another reason than before.
    """
    before = _AGE(c)[0]
    shortest, longest = PROBE_PAUSES
    pause = min(longest, max(shortest, (before.now - before.since).total_seconds() / 4)) if before.since else shortest
    is_open = _STILL_DOWN.count(c, reason=reason, scope=scope, pause=pause) > 0
    return is_open and before.reason != reason
