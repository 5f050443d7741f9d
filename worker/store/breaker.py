"""The circuit breaker. While it is open nothing is sent: the relay is down, or it refuses our account or sender."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker.domain.outcomes import INTERVAL, Scope
from worker.store.lists import BACK_IN_LINE
from worker.store.sql import Sql

PROBE_PAUSES = (1.0, 30.0)
"""Seconds between probes: the shortest and the longest pause. The pause grows while the breaker stays open."""
QUOTA_PAUSES = (60.0, 900.0)
"""The same after the relay said that our quota is used up: a mail an hour too early only annoys it."""

MOST_AHEAD = 120.0
QUOTA_MOST_AHEAD = 1000.0
"""The next probe is never more than this many seconds ahead, even while a process holds the right to probe."""

LATELY_SECONDS = 5.0
"""The relay counts as up for this many seconds after it took a mail, even if one process reports it as down."""

TRIAL_HOLD_SECONDS = 20.0
"""How long no other process tries mails. It is longer than a trial may take."""

OUTAGE_SECONDS = 10.0
"""If the breaker was open for a shorter time, the relay may refuse only some: greylisting, or dead addresses in a row.
Whoever has spent a try waits for the end of the backoff, or all tries would be spent within seconds."""

_READ = Sql(
    """SELECT state, since, reason, scope, probe_at, refusals, refused_since, refusal, stockbell_now(0) AS now
    FROM relay WHERE id = 1""",
    since="time",
    probe_at="time",
    refused_since="time",
    now="time",
)
_OPEN = Sql(
    """UPDATE relay SET state = 'open', since = stockbell_now(0), reason = :reason, scope = :scope,
        probe_at = stockbell_now(:first) WHERE id = 1 AND state = 'closed'
        AND (worked_at IS NULL OR NOT worked_at BETWEEN stockbell_now(-:lately) AND stockbell_now(:lately))"""
)
_WORKS = Sql(
    """UPDATE relay SET worked_at = stockbell_now(0), refusals = 0, refused_since = NULL, refusal = NULL
    WHERE id = 1"""
)
_REFUSES = Sql(
    """UPDATE relay SET refusals = refusals + :mails, refused_since = coalesce(refused_since, stockbell_now(0)),
        refusal = :words WHERE id = 1"""
)
_HAS_WORKED = Sql("SELECT 1 FROM relay WHERE id = 1 AND worked_at > since")
# Those whom the relay refused while it refused everybody need not wait for the end of their backoff.
_PUT_IN_LINE = Sql(
    f"""UPDATE request SET {BACK_IN_LINE} WHERE status = 'RECEIVED' AND not_before IS NOT NULL
        AND coalesce(failure_code, '') <> '{INTERVAL}'
        AND judged_from >= (SELECT since FROM relay WHERE id = 1 AND state = 'open'
            AND (request.attempts = 0 OR NOT since BETWEEN stockbell_now(-:outage) AND stockbell_now(0)))"""
)
_CLOSE = Sql(
    """UPDATE relay SET state = 'closed', since = stockbell_now(0), reason = NULL, scope = NULL, probe_at = NULL
    WHERE id = 1 AND state = 'open'"""
)
# `probe_at` is never set further ahead than this. If it is, the clock was set back afterwards, and the probe is due.
_DUE = """id = 1 AND state = 'open' AND (probe_at <= stockbell_now(0)
    OR probe_at > CASE WHEN scope = 'quota' THEN stockbell_now(:quota_ahead) ELSE stockbell_now(:ahead) END)"""
_IS_DUE = Sql(f"SELECT 1 FROM relay WHERE {_DUE}")
_TAKE_PROBE = Sql(
    f"""UPDATE relay SET probe_at = stockbell_now(CASE WHEN scope IN ('refusals', 'quota') THEN :short ELSE :hold END)
    WHERE {_DUE} RETURNING scope"""
)
_GIVE_BACK_PROBE = Sql("UPDATE relay SET probe_at = stockbell_now(0) WHERE id = 1 AND state = 'open'")
_STILL_DOWN = Sql(
    """UPDATE relay SET reason = :reason, scope = :scope, probe_at = stockbell_now(:pause)
    WHERE id = 1 AND state = 'open'"""
)
_AGE = Sql("SELECT since, reason, stockbell_now(0) AS now FROM relay WHERE id = 1", since="time", now="time")


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of the breaker. `closed` is the good state: mail is sent."""

    state: str
    since: datetime | None
    reason: str | None
    scope: str | None
    probe_at: datetime | None = None
    """When the relay is probed next."""
    refusals: int = 0
    """How many mails the relay has refused with words that may mean us since it last took one."""
    refused_since: datetime | None = None
    refusal: str | None = None
    """The relay's words at the last of them."""
    now: datetime | None = None
    """When this was read, by the database's clock."""

    @property
    def is_open(self) -> bool:
        """Whether nothing is sent."""
        return self.state == "open"

    @property
    def open_seconds(self) -> float:
        """For how long nothing has been sent."""
        return self._age(self.since) if self.is_open else 0.0

    @property
    def refused_seconds(self) -> float:
        """For how long the relay has refused mails with words that may mean us, and taken none."""
        return self._age(self.refused_since)

    def _age(self, at: datetime | None) -> float:
        return max(0.0, (self.now - at).total_seconds()) if self.now and at else 0.0


def read(c: Connection) -> Breaker:
    """Returns the current state of the breaker."""
    row = _READ(c)[0]
    return Breaker(
        row.state,
        row.since,
        row.reason,
        row.scope,
        row.probe_at,
        row.refusals,
        row.refused_since,
        row.refusal,
        row.now,
    )


def trip(c: Connection, reason: str, scope: str, *, lately: float = LATELY_SECONDS, at_once: bool = False) -> bool:
    """Opens the breaker. Returns False if it was open already, or if the relay took a mail `lately` (seconds).

    `at_once`: the first probe need not wait.
    """
    first = 0.0 if at_once else PROBE_PAUSES[0]
    return _OPEN.count(c, reason=reason, scope=scope, first=first, lately=lately) > 0


def note_sign_of_life(c: Connection) -> None:
    """Records that the relay took a mail."""
    _WORKS(c)


def note_refusals(c: Connection, mails: int, words: str) -> None:
    """Records that the relay refused mails with words that may mean us, at last with these."""
    _REFUSES(c, mails=mails, words=words)


def has_worked_since(c: Connection) -> bool:
    """Whether the relay took a mail after the breaker opened."""
    return bool(_HAS_WORKED(c))


def close(c: Connection) -> bool:
    """Closes the breaker. After an outage it puts those in line again whose refusals opened it.

    Returns False if it was closed.
    """
    _PUT_IN_LINE(c, outage=OUTAGE_SECONDS)
    return _CLOSE.count(c) > 0


def probe_is_due(c: Connection) -> bool:
    """Whether it is time to test if the relay is back."""
    return bool(_IS_DUE(c, ahead=MOST_AHEAD, quota_ahead=QUOTA_MOST_AHEAD))


def take_probe(c: Connection, hold: float) -> str | None:
    """Takes the right to probe for `hold` seconds, or less if it is done by mails. Only one process has it at a time.

    Returns the scope to probe, or None if no probe is due.
    """
    rows = _TAKE_PROBE(
        c, hold=hold, short=min(hold, TRIAL_HOLD_SECONDS), ahead=MOST_AHEAD, quota_ahead=QUOTA_MOST_AHEAD
    )
    return rows[0].scope if rows else None


def give_back_probe(c: Connection) -> None:
    """Gives the unused right to probe back, so that another process may probe at once."""
    _GIVE_BACK_PROBE(c)


def still_down(c: Connection, reason: str, scope: str) -> bool:
    """Records a failed probe. The next pause is a quarter of the time that the breaker has been open.

    Returns True if the reason is not the same as before.
    """
    before = _AGE(c)[0]
    shortest, longest = QUOTA_PAUSES if scope == Scope.QUOTA else PROBE_PAUSES
    pause = min(longest, max(shortest, (before.now - before.since).total_seconds() / 4)) if before.since else shortest
    is_open = _STILL_DOWN.count(c, reason=reason, scope=scope, pause=pause) > 0
    return is_open and before.reason != reason
