"""How often what has happened: the counts behind the metrics, the insights and the books.

Whoever changes a request counts it in the same transaction, so that counts and rows can't disagree. The kinds are:

- `told`, `failed:CODE`, `deferred`, `released`, `unknown`: how a claim ended, each claim once. `unknown` are those
  whose reply was lost and that are tried again. `failed:CODE` is also what ended without a claim, as
  `failed:SUPPRESSED`.
- `le:SECONDS`: told mails by their latency, each in one bucket only (`BUCKETS`, or `+Inf`). `seconds`: the sum of the
  latencies in milliseconds. `first_le:SECONDS`, `first_seconds` and `first` are about the first mail of a restock.
- `bounced`: told mails of which a report said later that they did not arrive.
- `signup:RESULT`: created, duplicate, suppressed (added as FAILED), limited (too many for one address).
- `confirmed`: requests whose customer has confirmed (double opt-in); they were counted as `signup:created` before.
- `unsubscribed:HOW`: contacts that get no mail any more, by `Cause`, or `item` for one item only.
- `retried` (FAILED to RECEIVED), `rescued`, and, by the state before, `marked:STATUS` and `deleted:STATUS`;
  `undone:KIND` if an admin takes that back.
- `before:STATUS`: what was in the table when counting began.

What is counted is only added, as entries (`tally_entry`), so that nobody waits for another one's commit and no index is
changed. The sweep adds entries up into `tally`. `COUNTED` are both.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection

from worker.domain import histogram
from worker.domain.outcomes import FailureCode
from worker.models import Status
from worker.store import clock
from worker.store.sql import Sql

BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 7200, 21600)
"""The upper bounds of the latencies' buckets, in seconds."""
BUCKET_NAMES: Final = (*map(str, BUCKETS), "+Inf")
SUPPRESSED: Final = f"failed:{FailureCode.SUPPRESSED.value}"
DAY: Final = 86_400
HOURS_AFTER: Final = DAY
"""Minutes of this age, in seconds, are added up to hours."""
DAYS_AFTER: Final = 30 * DAY
"""Hours of this age, in seconds, are added up to days."""

_MINUTE: Final = {
    "postgresql": "date_trunc('minute', stockbell_now(0), 'UTC')",
    "sqlite": "substr(stockbell_now(0), 1, 17) || '00.000000'",
}
COUNTED: Final = """(SELECT minute, kind, n FROM tally UNION ALL SELECT minute, kind, n FROM tally_entry) AS counted"""
"""What was counted, in SQL: what is added up by now, and what is not."""
_ADD = {
    dialect: Sql(f"INSERT INTO tally_entry (minute, kind, n) SELECT {minute}, kind, n FROM ROWS(kind text, n bigint)")
    for dialect, minute in _MINUTE.items()
}

_TOTALS = Sql(f"SELECT kind, CAST(sum(n) AS bigint) AS n FROM {COUNTED} GROUP BY kind")
_TOTALS_SINCE = Sql(f"SELECT kind, CAST(sum(n) AS bigint) AS n FROM {COUNTED} WHERE minute >= :since GROUP BY kind")


def _by_step(number: str) -> Sql:
    return Sql(
        # A minute's rows are added up first: fewer rows need a step, which costs more than to add.
        f"""SELECT {number} AS step, kind, CAST(sum(n) AS bigint) AS n
        FROM (SELECT minute, kind, sum(n) AS n FROM {COUNTED} WHERE minute >= :since GROUP BY minute, kind) AS minutes
        GROUP BY 1, kind ORDER BY 1, kind"""
    )


_BY_STEP = {
    "postgresql": _by_step("CAST(extract(epoch FROM minute) AS bigint) / CAST(:seconds AS int)"),
    "sqlite": _by_step("CAST(strftime('%s', minute) AS integer) / :seconds"),
}


class Count(NamedTuple):
    """How often something happened in one step of time."""

    at: datetime
    """when the step begins"""
    kind: str
    n: int


def add(c: Connection, counts: Mapping[str, int]) -> None:
    """Counts that these kinds of things have happened, in this transaction."""
    rows = [{"kind": kind, "n": n} for kind, n in counts.items() if n]
    if rows:
        _ADD[c.dialect.name](c, rows=rows)


def counting_all(update: str) -> str:
    """SQL for PostgreSQL: one statement that runs an UPDATE with RETURNING and counts what was known before.

    `kinds` and `numbers` are right only if `many` rows are changed. If not, it fails by a division by zero, and the
    server's log says why.
    """
    return f"""WITH done AS ({update}) INSERT INTO tally_entry (minute, kind, n)
    /* A division by zero is no fault here. Some claim does not hold any more, so each is recorded in another way. */
    SELECT {_MINUTE["postgresql"]}, kind, n / (SELECT CAST(count(*) = :many AS int) FROM done)
    FROM unnest(CAST(:kinds AS text[]), CAST(:numbers AS bigint[])) AS counts(kind, n)"""


def back(status: str, kind: str = "released") -> str:
    """Returns what is counted of a claim that ends with this state: the kind, or that its contact is suppressed."""
    return SUPPRESSED if status == Status.FAILED else kind


def of_told(latencies: Sequence[float | None], firsts: Sequence[float | None]) -> dict[str, int]:
    """Returns what is to be counted of told mails with these latencies in seconds, of which some were first mails."""
    counts = {"told": len(latencies), **_of_latencies(latencies)}
    if firsts:
        counts |= {"first": len(firsts)} | {f"first_{kind}": n for kind, n in _of_latencies(firsts).items()}
    return counts


def _of_latencies(latencies: Sequence[float | None]) -> dict[str, int]:
    known = [seconds for seconds in latencies if seconds is not None]
    if not known:
        return {}
    places = Counter([bisect_left(BUCKETS, seconds) for seconds in known])
    return {f"le:{BUCKET_NAMES[place]}": n for place, n in places.items()} | {"seconds": round(1000 * sum(known))}


def totals(c: Connection, since: datetime | None = None) -> dict[str, int]:
    """Returns how often each kind of thing has happened, or has since then. Kinds that did not are left out.

    After a day only hours are known, and after 30 days only days: an older `since` means the beginning of its hour, or
    of its day in UTC.
    """
    rows = _TOTALS_SINCE(c, since=_known(c, since)) if since else _TOTALS(c)
    return {row.kind: int(row.n) for row in rows}


def by_minute(c: Connection, since: datetime, step_minutes: int) -> list[Count]:
    """Returns what has happened since then in steps of so many minutes (from midnight in UTC if they divide a day).

    Steps in which nothing happened are left out. After a day all of an hour is in the step of its first minute, and
    after 30 days all of a day. `since` is as in `totals`.
    """
    seconds = 60 * step_minutes
    rows = _BY_STEP[c.dialect.name](c, since=_known(c, since), seconds=seconds)
    return [Count(datetime.fromtimestamp(row.step * seconds, UTC), row.kind, int(row.n)) for row in rows]


def latency(counts: Mapping[str, int], quantile: float, *, first: bool = False) -> float | None:
    """Returns the latency in seconds that this share (0 to 1) of the told mails did not exceed; None if none was told.

    With `first` it is about the first mails of restocks. It is interpolated within its bucket, as Prometheus does.
    """
    prefix = "first_le:" if first else "le:"
    return histogram.quantile(quantile, BUCKETS, [counts.get(f"{prefix}{bound}", 0) for bound in (*BUCKETS, "+Inf")])


def mean(counts: Mapping[str, int], *, first: bool = False) -> float | None:
    """Returns the mean latency in seconds of the told mails, or None if none was told."""
    prefix = "first_" if first else ""
    amounts = _amounts(counts, first=first)
    return counts.get(f"{prefix}seconds", 0) / 1000 / amounts if amounts else None


def _amounts(counts: Mapping[str, int], *, first: bool) -> int:
    prefix = "first_le:" if first else "le:"
    return sum(n for kind, n in counts.items() if kind.startswith(prefix))


def _known(c: Connection, since: datetime) -> datetime:
    """Returns the beginning of what was added up with this time."""
    since = since.astimezone(UTC)
    age = (clock.now(c) - since).total_seconds()
    if age >= DAYS_AFTER:
        return since.replace(hour=0, minute=0, second=0, microsecond=0)
    if age >= HOURS_AFTER:
        return since.replace(minute=0, second=0, microsecond=0)
    return since.replace(second=0, microsecond=0)
