"""How it went in a period: the funnel, why requests failed, how fast mails left, and sign-ups. From the tally alone.

So it costs the same however many requests there are, and what it says of the past does not change when requests are
deleted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from worker.domain.outcomes import FailureCode
from worker.services.csv_lines import csv_line
from worker.services.wire import timestamp
from worker.store import tally
from worker.store.database import Connection

MOST_CODES: Final = 5
"""So many codes have a column of their own in a chart. The others are added up."""
OTHERS: Final = "others"
SHARES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_LEFT: Final = ("unsubscribed", "complained", "item")
"""How customers leave by themselves. Others were taken out by an admin, or their address is dead."""
_UNTRIED: Final = (FailureCode.SUPPRESSED, FailureCode.EXPIRED)
"""Codes of requests that ended without a mail that was tried."""
_BOUNCED: Final = FailureCode.BOUNCED
"""The code of requests that were told before they failed: their mail came back."""
TONES: Final = ("failed", "warn", "waits", "sea", "plum", "quiet")
"""Names of colours, for the series of a chart in their order."""


@dataclass(frozen=True, slots=True)
class Period:
    """So many days up to now, in steps that are whole minutes and divide a day."""

    days: int

    @property
    def step_minutes(self) -> int:
        """The length of a step: an hour, six hours or a day, so that a chart has some 30 of them."""
        return 60 if self.days <= 1 else 360 if self.days <= 7 else 1440

    def steps(self, now: datetime) -> list[datetime]:
        """Returns when each step begins: the one that is going on, and as many whole ones as the days have."""
        length = timedelta(minutes=self.step_minutes)
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        current = midnight + (now - midnight) // length * length
        return [current - length * back for back in range(timedelta(days=self.days) // length, -1, -1)]

    def label(self, step: datetime) -> str:
        """Returns a step's beginning in UTC, as short as it is clear."""
        return f"{step:{'%H:%M' if self.days <= 1 else '%d %b %H:%M' if self.days <= 7 else '%d %b'}}"


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers for a chart, a table, a CSV file and a terminal. The first column has labels, the others numbers."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | datetime, *tuple[int, ...]]]
    tones: tuple[str, ...] = ()
    """the colour of each column but the first"""

    def __bool__(self) -> bool:
        """Tells whether there is anything to see."""
        return any(any(row[1:]) for row in self.rows)

    @property
    def highest(self) -> int:
        """The largest sum of a row."""
        return max(sum(row[1:]) for row in self.rows)

    def as_csv(self) -> Iterator[str]:
        """Yields the lines of a CSV file."""
        for row in (self.columns, *self.rows):
            yield csv_line(timestamp(cell) if isinstance(cell, datetime) else cell for cell in row)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long mails took from the restock to the relay's answer, in seconds."""

    mails: int
    quantiles: Mapping[str, float | None]
    """`p50`, `p90`, `p95`, `p99`; None if there were no mails"""
    mean: float | None
    buckets: Mapping[str, int]
    """how many fell into each bucket alone, by its upper bound; `+Inf` last"""

    def as_json(self) -> dict[str, Any]:
        """Returns it with the names that scripts rely on."""
        buckets = [{"le": bound, "n": n} for bound, n in self.buckets.items()]
        return {"mails": self.mails, **self.quantiles, "mean": self.mean, "buckets": buckets}

    def words(self, of: str) -> str:
        """Returns it as a sentence about these, like "mails"; "" if there were none."""
        p50, p95 = self.quantiles["p50"], self.quantiles["p95"]
        if p50 is None or p95 is None:
            return ""
        if p50 >= _LONGEST:
            return f"Half of the {of} left {lasting(p50)} after the restock."
        fewer = "95 of 100" if p95 < _LONGEST else "Fewer than 95 of 100"
        within = lasting(min(p95, _LONGEST - 1))
        return f"{fewer} {of} left within {within} of the restock, half of them within {lasting(p50)}."


@dataclass(frozen=True, slots=True)
class Insights:
    """What was counted in a period."""

    period: Period
    steps: Sequence[datetime]
    counts: Mapping[str, int]
    """of the whole period, by kind"""
    by_step: Mapping[datetime, Mapping[str, int]]

    @property
    def since(self) -> datetime:
        """When the period begins."""
        return self.steps[0]

    def count(self, *kinds: str) -> int:
        """Returns how often these happened in all."""
        return sum(self.counts.get(kind, 0) for kind in kinds)

    @property
    def failures(self) -> dict[str, int]:
        """How many requests ended FAILED, by code, most first."""
        return dict(_failures(self.counts).most_common())

    @property
    def funnel(self) -> dict[str, int]:
        """How many came how far. `confirmed` is there only if anybody was asked to confirm."""
        told = self.count("told")
        tried = sum(n for code, n in self.failures.items() if code not in (*_UNTRIED, _BOUNCED))
        confirmed = self.count("confirmed")
        return {
            "signedUp": self.count("signup:created"),
            **({"confirmed": confirmed} if confirmed else {}),
            "woken": told + tried,
            "told": told,
            "unsubscribed": self.count(*(f"unsubscribed:{how}" for how in _LEFT)),
        }

    @property
    def failed(self) -> int:
        """How many of those whose turn came could not be told."""
        found = self.funnel
        return found["woken"] - found["told"]

    @property
    def failed_share(self) -> float | None:
        """The share of those whose turn came that could not be told; None if it was nobody's turn."""
        woken = self.funnel["woken"]
        return self.failed / woken if woken else None

    @property
    def funnel_words(self) -> str:
        """The funnel as a sentence."""
        found = self.funnel
        confirmed = f", {found['confirmed']:,} confirmed" if "confirmed" in found else ""
        return (
            f"{found['signedUp']:,} signed up{confirmed}. For {found['woken']:,} the item was there and their turn "
            f"came: {found['told']:,} were told. {found['unsubscribed']:,} unsubscribed. These need not be the same "
            "people: many wait for longer than the period. Who failed and was retried counts twice."
        )

    @property
    def failure_words(self) -> str:
        """Why requests failed, as a sentence."""
        found = self.failures
        most, n = next(iter(found.items()), ("", 0))
        return f"{sum(found.values()):,} requests ended FAILED, {n:,} of them as {most}."

    @property
    def signup_words(self) -> str:
        """What came of sign-ups, as a sentence."""
        found = _with_prefix(self.counts, "signup:")
        others = [f"{found[name]:,} {words}" for name, words in _NOT_NEW.items() if found[name]]
        return f"{found['created']:,} new requests" + "".join(f", {each}" for each in others) + "."

    def latency(self, *, first: bool = False) -> Latency:
        """Returns how long all mails took, or the first mail of each restock."""
        prefix = "first_le:" if first else "le:"
        buckets = {str(bound): self.count(f"{prefix}{bound}") for bound in (*tally.BUCKETS, "+Inf")}
        quantiles = {name: tally.latency(self.counts, share, first=first) for name, share in SHARES.items()}
        return Latency(sum(buckets.values()), quantiles, tally.mean(self.counts, first=first), buckets)

    @property
    def tables(self) -> dict[str, Table]:
        """All numbers as tables, by name."""
        found = (
            self._funnel(),
            self._failures(),
            _histogram("latency", self.latency()),
            _histogram("first-latency", self.latency(first=True)),
            self._signups(),
        )
        return {table.name: table for table in found}

    def _funnel(self) -> Table:
        return Table(
            "funnel", ("Step", "Customers"), [(STAGES[name], n) for name, n in self.funnel.items()], ("waits",)
        )

    def _failures(self) -> Table:
        codes = list(self.failures)
        shown = codes if len(codes) <= MOST_CODES + 1 else [*codes[:MOST_CODES], OTHERS]
        rest = codes[MOST_CODES:]

        def row(at: datetime) -> tuple[int, ...]:
            found = _failures(self._at(at))
            return tuple(sum(found[code] for code in (rest if name == OTHERS else [name])) for name in shown)

        return Table("failures", ("Time", *shown), [(at, *row(at)) for at in self.steps], TONES[: len(shown)])

    def _signups(self) -> Table:
        found = _with_prefix(self.counts, "signup:")
        names = [name for name in RESULTS if found[name] or name == "created"]

        def row(at: datetime) -> tuple[int, ...]:
            return tuple(self._at(at).get(f"signup:{name}", 0) for name in names)

        columns = ("Time", *(RESULTS[name] for name in names))
        return Table("signups", columns, [(at, *row(at)) for at in self.steps], _SIGNUP_TONES[: len(names)])

    def _at(self, step: datetime) -> Mapping[str, int]:
        return self.by_step.get(step, {})

    def as_json(self) -> dict[str, Any]:
        """Returns all figures with the names that scripts rely on."""
        return {
            "since": timestamp(self.since),
            "stepMinutes": self.period.step_minutes,
            "funnel": self.funnel,
            "failures": self.failures,
            "latency": self.latency().as_json(),
            "firstLatency": self.latency(first=True).as_json(),
            "steps": [
                {
                    "at": timestamp(at),
                    "failures": dict(_failures(self._at(at))),
                    "signups": dict(_with_prefix(self._at(at), "signup:")),
                }
                for at in self.steps
            ],
        }


STAGES: Final = {
    "signedUp": "Signed up",
    "confirmed": "Confirmed",
    "woken": "Their turn came",
    "told": "Told",
    "unsubscribed": "Unsubscribed",
}
"""The steps of the funnel, for people."""
RESULTS: Final = {
    "created": "New",
    "duplicate": "Waited already",
    "suppressed": "Gets no mail",
    "limited": "Too many",
}
"""What came of sign-ups, for people."""
_NOT_NEW: Final = {
    "duplicate": "who waited already",
    "suppressed": "whose address gets no mail",
    "limited": "refused, since the address signed up too often",
}
_SIGNUP_TONES: Final = ("waits", "quiet", "warn", "failed")
TABLES: Final = ("funnel", "failures", "latency", "first-latency", "signups")
"""The names of the tables."""


def read(c: Connection, period: Period, now: datetime) -> Insights:
    """Reads what was counted in this period up to now."""
    steps = period.steps(now)
    counts: Counter[str] = Counter()
    by_step: dict[datetime, Counter[str]] = {}
    for row in tally.by_minute(c, steps[0], period.step_minutes):
        counts[row.kind] += row.n
        by_step.setdefault(row.at, Counter())[row.kind] += row.n
    return Insights(period, steps, counts, by_step)


def lasting(seconds: float) -> str:
    """Returns a latency for people: `34 ms`, `1.2 s`, `45 s`, `3.5 min`, `2 h`, `over 6 h`."""
    if seconds >= _LONGEST:
        return f"over {_in_unit(_LONGEST)}"
    return _in_unit(seconds)


_LONGEST: Final = float(tally.BUCKETS[-1])
_UNITS: Final[Sequence[tuple[float, str]]] = ((3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))


def _in_unit(seconds: float) -> str:
    """Two digits are enough: buckets are no finer."""
    for size, name in _UNITS:
        # What would be rounded up to the next unit is of that unit.
        if seconds >= size * 0.9995 or name == "ms":
            value = seconds / size
            return f"{value:.0f} {name}" if value >= 9.95 or abs(value - round(value)) < 0.05 else f"{value:.1f} {name}"
    raise AssertionError


def _histogram(name: str, latency: Latency) -> Table:
    """The buckets from the first to the last one that has anything."""
    filled = [place for place, n in enumerate(latency.buckets.values()) if n]
    shown = list(latency.buckets.items())[filled[0] : filled[-1] + 1] if filled else []
    rows = [(_bucket_words(bound), n) for bound, n in shown]
    return Table(name, ("Within", "Mails"), rows, ("told",))


def _bucket_words(bound: str) -> str:
    return lasting(float("inf")) if bound == "+Inf" else _in_unit(float(bound))


def _with_prefix(counts: Mapping[str, int], prefix: str) -> Counter[str]:
    return Counter({kind.removeprefix(prefix): n for kind, n in counts.items() if kind.startswith(prefix) and n})


def _failures(counts: Mapping[str, int]) -> Counter[str]:
    """Returns how many requests ended FAILED, by code; those whose mail came back, too."""
    return _with_prefix(counts, "failed:") + Counter({_BOUNCED.value: counts.get("bounced", 0)})
