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
    for name, look in _LOOKS.items():
        try:
            is_well, text = look(patient)
        except StockbellError as error:
            is_well, text = False, str(error)
        yield Finding(name, is_well, text)


_Look = tuple[bool, str]


def _database(patient: Patient) -> _Look:
    check_schema(patient.database)
    return True, f"{patient.database.where}, schema is current"


def _breaker(patient: Patient) -> _Look:
    found = patient.database.read(breaker.read)
    if found.state != "open":
        return True, "closed"
    since = f" since {timestamp(found.since)}" if found.since else ""
    return False, f"open{since}, nothing is sent: {found.reason}"


def _events(patient: Patient) -> _Look:
    try:
        version = patient.stream.ping()
    except RedisAway as away:
        return False, f"{away}; check REDIS_URL or STOCKBELL_EVENTS_URL"
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        return False, f"Redis {version}, but 6.2 or newer is needed"
    return True, f"Redis {version}, stream {patient.stream.name}"


def _broker(patient: Patient) -> _Look:
    try:
        return True, f"bells queued: {patient.bell.queued()}"
    except RedisAway as away:
        return False, f"{away}; check REDIS_URL"


def _smtp(patient: Patient) -> _Look:
    down = asyncio.run(patient.mailer().probe(mail_from=True))
    if down is not None:
        return False, f"{down.reason}; check SMTP_URL and MAIL_FROM"
    return True, "the relay lets us in and takes mail from our sender"


def _templates(patient: Patient) -> _Look:
    return True, f"all {len(patient.renderer().check())} files render"


_LOOKS: Final[dict[str, Callable[[Patient], _Look]]] = {
    "database": _database,
    "breaker": _breaker,
    "events": _events,
    "broker": _broker,
    "smtp": _smtp,
    "templates": _templates,
}
