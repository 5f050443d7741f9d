"""The breaker: stops the line for everybody while the relay takes no mail, or refuses us as such."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker.store.database import Sql

PROBE_SECONDS = (1.0, 30.0)
"""The first pause between probes and the longest; in between it grows with the time the breaker has been open."""

LATELY_SECONDS = 5.0
"""A relay that took mail so lately is not down, whatever one process says."""

_READ = Sql("SELECT state, since, reason, scope FROM relay WHERE id = 1", since="time")
_OPEN = Sql(
    """UPDATE relay SET state = 'open', since = stockbell_now(0), reason = :reason, scope = :scope,
        probe_at = stockbell_now(:first) WHERE id = 1 AND state = 'closed'
        AND (:scope = 'configuration' OR worked_at IS NULL OR worked_at < stockbell_now(-:lately))"""
)
_WORKS = Sql("UPDATE relay SET worked_at = stockbell_now(0) WHERE id = 1")
_CLOSE = Sql(
    """UPDATE relay SET state = 'closed', since = stockbell_now(0), reason = NULL, scope = NULL, probe_at = NULL
    WHERE id = 1 AND state = 'open'"""
)
_IS_DUE = Sql("SELECT 1 FROM relay WHERE id = 1 AND state = 'open' AND probe_at <= stockbell_now(0)")
_TAKE_PROBE = Sql(
    """UPDATE relay SET probe_at = stockbell_now(:hold) WHERE id = 1 AND state = 'open'
        AND probe_at <= stockbell_now(0) RETURNING scope"""
)
_STILL_DOWN = Sql(
    """UPDATE relay SET reason = :reason, scope = :scope, probe_at = stockbell_now(:pause)
    WHERE id = 1 AND state = 'open' RETURNING since""",
    since="time",
)
_AGE = Sql("SELECT since, stockbell_now(0) AS now FROM relay WHERE id = 1", since="time", now="time")


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


def trip(c: Connection, reason: str, scope: str) -> bool:
    """Closed -> open; False if it was open already, or if the relay took somebody's mail just now."""
    return _OPEN.count(c, reason=reason, scope=scope, first=PROBE_SECONDS[0], lately=LATELY_SECONDS) > 0


def note_sign_of_life(c: Connection) -> None:
    """The relay has taken a mail."""
    _WORKS(c)


def close(c: Connection) -> bool:
    """Open -> closed; False if it was closed already."""
    return _CLOSE.count(c) > 0


def probe_is_due(c: Connection) -> bool:
    """Whether somebody should look if the relay is back."""
    return bool(_IS_DUE(c))


def take_probe(c: Connection, hold: float) -> str | None:
    """The right to probe, for one process at a time (`hold` seconds); returns the scope to probe, None if not due."""
    rows = _TAKE_PROBE(c, hold=hold)
    return rows[0].scope if rows else None


def still_down(c: Connection, reason: str, scope: str) -> None:
    """The probe failed: the next one comes after a quarter of the time that the breaker has been open."""
    age = _AGE(c)[0]
    shortest, longest = PROBE_SECONDS
    pause = min(longest, max(shortest, (age.now - age.since).total_seconds() / 4)) if age.since else shortest
    _STILL_DOWN(c, reason=reason, scope=scope, pause=pause)
