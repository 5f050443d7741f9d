"""Looks at everything that Stockbell stands on, one thing after the other."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from worker.bell import Bell
from worker.errors import RedisAway, StockbellError
from worker.mailer import Mailer
from worker.render import Renderer
from worker.services.startup import check_schema
from worker.services.wire import timestamp
from worker.store import breaker
from worker.store.database import Database
from worker.stream import Stream

OLDEST_REDIS: Final = (6, 2)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one thing showed."""

    name: str
    is_well: bool
    text: str


class Unwell(StockbellError):
    """Something works, but not as it should; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at. Those that may not be set up are made when it is their turn."""

    database: Database
    stream: Stream
    bell: Bell
    renderer: Callable[[], Renderer]
    mailer: Callable[[], Mailer]


def examine(patient: Patient) -> Iterator[Finding]:
    """Looks at everything, whatever the findings before."""
    checks: dict[str, Callable[[Patient], str]] = {
        "database": _database,
        "breaker": _breaker,
        "redis (events)": _events,
        "redis (broker)": _broker,
        "smtp": _smtp,
        "templates": _templates,
    }
    for name, check in checks.items():
        try:
            yield Finding(name, is_well=True, text=check(patient))
        except StockbellError as error:
            yield Finding(name, is_well=False, text=str(error))


def _database(patient: Patient) -> str:
    check_schema(patient.database)
    return f"{patient.database.where}, schema is current"


def _breaker(patient: Patient) -> str:
    found = patient.database.read(breaker.read)
    if found.state == "open":
        since = f" since {timestamp(found.since)}" if found.since else ""
        raise Unwell(f"open{since}, nothing is sent: {found.reason}")
    return "closed"


def _events(patient: Patient) -> str:
    try:
        version = patient.stream.ping()
    except RedisAway as away:
        raise Unwell(f"{away}: check STOCKBELL_EVENTS_URL (or REDIS_URL)") from away
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        raise Unwell(f"version {version}, but Redis 6.2 or newer is needed")
    return f"version {version}, stream {patient.stream.name}"


def _broker(patient: Patient) -> str:
    try:
        return f"{patient.bell.queued()} bells queued"
    except RedisAway as away:
        raise Unwell(f"{away}: check REDIS_URL") from away


def _smtp(patient: Patient) -> str:
    down = asyncio.run(patient.mailer().probe(mail_from=True))
    if down is not None:
        raise Unwell(f"{down.reason} (at {down.stage}): check SMTP_URL and MAIL_FROM")
    return "logged in, and our sender is accepted"


def _templates(patient: Patient) -> str:
    return f"{len(patient.renderer().check())} files render"
