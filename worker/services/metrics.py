"""Metrics for Prometheus, made from the database and Redis at the moment when they are read.

Nothing is kept in a process: counters are those of the tally, which is written with the rows. So they survive restarts,
and every process of a system tells the same. No item and no address is ever a label.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from worker.domain.errors import DatabaseAway, RedisAway, SchemaOutdated
from worker.domain.outcomes import FailureCode
from worker.domain.returned import Cause
from worker.models import SCHEMA, Status
from worker.store import breaker, clock, endpoints, figures, pauses, sweep, tally
from worker.store.breaker import Breaker
from worker.store.database import Connection, Database
from worker.store.figures import RequestFigures
from worker.store.pauses import Paused
from worker.stream.event_stream import Stream
from worker.stream.figures import Figures

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process needs when it is first asked

_TRIES: Final = ("told", "deferred", "released", "unknown", "bounced")
_CODES: Final = tuple(code for code in FailureCode if code is not FailureCode.BOUNCED)
_RESULTS: Final = ("created", "duplicate", "suppressed", "limited")
_WAYS: Final = (*(cause.value for cause in Cause), "item")


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says."""

    requests: RequestFigures
    breaker: Breaker
    paused: Paused
    backlog: Mapping[str, int]
    """deliveries that wait, by the id of their endpoint"""
    oldest_seconds: float
    """the age of the oldest of those whose endpoint is not disabled; 0 if none waits"""
    sweep_seconds: float | None
    """the age of the last sweep; None if there was none"""
    counts: Mapping[str, int]
    """the tally's totals"""


@dataclass(frozen=True, slots=True)
class Queued:
    """What Redis says."""

    events: Figures
    bells: int


def read_database(database: Database, lease: float) -> Stored:
    """Reads what the database says. Workers whose heartbeat is younger than `lease` (seconds) are alive.

    Raises DatabaseAway and SchemaOutdated.
    """
    return database.read(_read, lease)


def read_redis(stream: Stream, bell: "Bell") -> Queued:
    """Reads what Redis says. Raises RedisAway."""
    return Queued(stream.figures(), bell.queued())


def read_all(
    database: Database, stream: Stream, bell: "Bell", lease: float
) -> tuple[Stored | None, Queued | None, str]:
    """Reads both. What is away is None. The text says why the database is away; "" if it is there."""
    stored, queued, reason = None, None, ""
    try:
        stored = read_database(database, lease)
    except (DatabaseAway, SchemaOutdated) as error:
        reason = str(error)
    with suppress(RedisAway):
        queued = read_redis(stream, bell)
    return stored, queued, reason


def _read(c: Connection, lease: float) -> Stored:
    hooks = endpoints.each(c)
    waiting = [row.oldest for row in hooks if row.disabled_at is None and row.oldest]
    oldest = max(0.0, (clock.now(c) - min(waiting)).total_seconds()) if waiting else 0.0
    return Stored(
        figures.read(c, lease),
        breaker.read(c),
        pauses.read(c),
        {str(row.id): row.backlog for row in hooks},
        oldest,
        sweep.age(c),
        tally.totals(c),
    )


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def text(families: Iterable[Metric], accept: str = "") -> tuple[bytes, str]:
    """Returns families in the format that a client accepts (the header Accept), and its content type.

    That is OpenMetrics if it asks for it, else Prometheus' own text.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Families(families)), content_type


def families(stored: Stored | None, queued: Queued | None) -> Iterator[Metric]:
    """Yields all families that are known. None: that part is away, and its families are left out."""
    yield InfoMetricFamily(
        "stockbell_build",
        "The program that tells this.",
        {"version": version("stockbell"), "schema": SCHEMA, "python": platform.python_version()},
    )
    parts = {"database": stored, "redis": queued}
    yield _gauges(
        "stockbell_up", "Whether this part answers.", "part", {part: int(bool(parts[part])) for part in parts}
    )
    if stored:
        yield from _of_requests(stored)
        yield from _of_the_line(stored)
        yield from _counters(stored.counts)
    if queued:
        yield from _of_redis(queued)


def _of_requests(stored: Stored) -> Iterator[Metric]:
    found = stored.requests
    states = {status.value: found.by_status.get(status.value, 0) for status in Status}
    yield _gauges("stockbell_requests", "Requests in each state.", "status", states)
    could_be_sent = 0 if found.oldest_due_seconds is None else found.due  # in quiet hours nobody could
    yield _gauge("stockbell_requests_due", "Requests that could be sent now.", could_be_sent)
    yield _gauge("stockbell_requests_held", "Requests whose mail can't be made: a template is broken.", _held(found))
    yield _gauge("stockbell_requests_unconfirmed", "Requests whose customers have not confirmed.", found.unconfirmed)
    yield _gauge(
        "stockbell_oldest_due_seconds", "For how long the oldest due request is due.", found.oldest_due_seconds or 0.0
    )
    yield _gauge("stockbell_overdue_claims", "Claims whose worker is gone or that are too old.", found.overdue_claims)


def _held(found: RequestFigures) -> int:
    return sum(found.held.values())


def _of_the_line(stored: Stored) -> Iterator[Metric]:
    yield _gauge("stockbell_workers", "Worker processes with a recent heartbeat.", stored.requests.workers)
    if stored.sweep_seconds is not None:
        yield _gauge("stockbell_last_sweep_seconds", "The age of the last sweep.", stored.sweep_seconds)
    yield _gauge("stockbell_breaker_open", "Whether nothing is sent since the relay is down.", stored.breaker.is_open)
    yield _gauge("stockbell_paused", "Whether everything is paused.", stored.paused.everything)
    yield _gauge("stockbell_paused_items", "Items and variants that are paused.", len(stored.paused.items))
    yield _gauges("stockbell_webhook_backlog", "Changes that wait for an endpoint.", "endpoint", stored.backlog)
    yield _gauge("stockbell_webhook_oldest_seconds", "The age of the oldest of them.", stored.oldest_seconds)


def _counters(counts: Mapping[str, int]) -> Iterator[Metric]:
    # Those that are known are there from the start, so that the first one is an increase.
    mails = CounterMetricFamily(
        "stockbell_mails", "Claims by how they ended, and later bounces.", labels=["outcome", "code"]
    )
    for outcome in _TRIES:
        mails.add_metric([outcome, ""], counts.get(outcome, 0))
    for code in _details(counts, "failed", _CODES):
        mails.add_metric(["failed", code], counts.get(f"failed:{code}", 0))
    yield mails
    yield _counted("stockbell_signups", "Sign-ups and imported requests.", "result", counts, "signup", _RESULTS)
    words = "Customers who get no mail any more, or none about one item."
    yield _counted("stockbell_unsubscribes", words, "how", counts, "unsubscribed", _WAYS)
    words = "From the wake-up, or the later sign-up, until the relay took the mail."
    yield _latencies("stockbell_restock_to_mail_seconds", words, counts, "")
    words = "From the wake-up of a waiting list until the relay took its first mail."
    yield _latencies("stockbell_restock_to_first_mail_seconds", words, counts, "first_")


def _of_redis(queued: Queued) -> Iterator[Metric]:
    events = queued.events
    if events.lag is not None:
        yield _gauge("stockbell_events_lag", "Events that no listener has read.", events.lag)
    yield _gauge("stockbell_events_pending", "Events that a listener has read and not finished.", events.pending)
    yield _gauge("stockbell_dead_letters", "Events that could not be understood.", events.dead_letters)
    yield _gauge("stockbell_bells", "Bells that wait for a worker.", queued.bells)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, float(value))


def _gauges(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counted(name: str, words: str, label: str, counts: Mapping[str, int], kind: str, known: Iterable[str]) -> Metric:
    family = CounterMetricFamily(name, words, labels=[label])
    for detail in _details(counts, kind, known):
        family.add_metric([detail], counts.get(f"{kind}:{detail}", 0))
    return family


def _details(counts: Mapping[str, int], kind: str, known: Iterable[str]) -> list[str]:
    """Returns the known details of a kind, and then those that a newer program has counted."""
    counted = (name.partition(":")[2] for name in sorted(counts) if name.startswith(f"{kind}:"))
    return list(dict.fromkeys([*map(str, known), *counted]))


def _latencies(name: str, words: str, counts: Mapping[str, int], prefix: str) -> Metric:
    bounds = [*map(str, tally.BUCKETS), "+Inf"]
    amounts = accumulate(counts.get(f"{prefix}le:{bound}", 0) for bound in bounds)
    family = HistogramMetricFamily(name, words)
    total = counts.get(f"{prefix}seconds", 0) / 1000
    family.add_metric([], [(bound, float(n)) for bound, n in zip(bounds, amounts, strict=True)], total)
    return family
