"""What is installed and runs: workers, the sweep, the schema, versions, Redis, and which processes are missing."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from worker.domain.errors import BadSetting, RedisAway
from worker.models import SCHEMA
from worker.store import breaker, owners, schema, sweep
from worker.store.breaker import Breaker
from worker.store.database import Connection
from worker.store.schema import SchemaState
from worker.stream.event_stream import Stream
from worker.stream.figures import LISTENER_QUIET_MS, Figures, Reader

MOST_WORKERS: Final = 200
SWEEP_LATE_SECONDS: Final = 60.0
"""A scheduler that lives sweeps more often."""
LIBRARIES: Final = (
    *("celery", "kombu", "redis", "sqlalchemy", "sqlmodel", "psycopg", "pydantic", "aiosmtplib", "jinja2"),
    *("fastapi", "starlette", "uvicorn"),
)


@dataclass(frozen=True, slots=True)
class InDatabase:
    """What the database tells of the processes."""

    workers: Sequence[Any]
    """rows of `owners.each`"""
    swept_at: datetime | None
    now: datetime
    revision: str | None
    state: SchemaState
    breaker: Breaker
    server: str

    @property
    def sweep_seconds(self) -> float | None:
        """How long ago the last sweep was; None: there was none."""
        return max(0.0, (self.now - self.swept_at).total_seconds()) if self.swept_at else None

    @property
    def newest(self) -> str:
        """The schema that this program expects."""
        return SCHEMA


@dataclass(frozen=True, slots=True)
class InRedis:
    """What Redis tells of the processes, or why it can't be asked."""

    server: str = ""
    figures: Figures | None = None
    readers: Sequence[Reader] = ()
    eviction: str | None = None
    """the policy by which a full Redis would drop events"""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that should run: its command, and whether it was seen. `is_seen` is None if that can't be told."""

    name: str
    is_seen: bool | None
    words: str


def read(c: Connection, lease: float) -> InDatabase:
    """Reads what the database tells. Workers whose heartbeat is younger than `lease` (seconds) are alive."""
    swept_at, now = sweep.last(c)
    workers = owners.each(c, lease, MOST_WORKERS)
    found = schema.revision(c)
    return InDatabase(workers, swept_at, now, found, schema.state(c), breaker.read(c), schema.server(c))


def ask(stream: Stream) -> InRedis:
    """Asks Redis. Never raises: that it is away is told."""
    try:
        return InRedis(str(stream.ping()), stream.figures(), stream.readers(), stream.eviction())
    except (RedisAway, BadSetting) as error:
        return InRedis(trouble=str(error))


def processes(database: InDatabase, redis: InRedis, *, sweep_seconds: float) -> Sequence[Process]:
    """Returns which processes should run, and whether they were seen."""
    return [_work(database), _listen(redis), _schedule(database, max(SWEEP_LATE_SECONDS, 3 * sweep_seconds))]


def _work(database: InDatabase) -> Process:
    alive = sum(1 for row in database.workers if row.is_alive)
    words = f"{alive} worker process{'es' * (alive != 1)}" if alive else "no worker is alive: nothing is sent"
    return Process("stockbell work", alive > 0, words)


def _listen(redis: InRedis) -> Process:
    name = "stockbell listen"
    if redis.figures is None:
        return Process(name, None, "Redis can't be asked")
    if redis.figures.unattended:
        return Process(name, False, "events wait, and nobody reads them")
    if not redis.readers:
        return Process(name, False, "nobody has read events in the last hour")
    quiet = redis.readers[0].quiet_seconds
    if quiet * 1000 <= LISTENER_QUIET_MS:
        return Process(name, True, f"heard of {quiet:.0f} s ago")
    words = (
        f"heard of {quiet:,.0f} s ago; no event waits, and up to Redis 7.0 a listener without events is not heard of"
    )
    return Process(name, None, words)


def _schedule(database: InDatabase, late: float) -> Process:
    name, ago = "stockbell schedule", database.sweep_seconds
    if ago is None:
        return Process(name, False, "no sweep has ever run: nothing is rescued, and no try comes again")
    return Process(name, ago <= late, f"the last sweep was {ago:,.0f} s ago")


@dataclass(frozen=True, slots=True)
class Versions:
    """What runs here."""

    stockbell: str = field(default_factory=lambda: version("stockbell"))
    python: str = field(default_factory=platform.python_version)
    libraries: dict[str, str] = field(default_factory=lambda: dict(_libraries()))


def _libraries() -> Sequence[tuple[str, str]]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
