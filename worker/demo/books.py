"""Reads the state of every request in the demo, and checks that all figures agree."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.demo.inbox import Arrival
from worker.demo.story import (
    BAG,
    BUSY,
    CONSOLE,
    NO_STOCK,
    SOLD_OUT,
    TOLD,
    VISITOR,
    Ending,
    Request,
    endings,
)
from worker.domain.catalog import options_from_text
from worker.models import Status
from worker.store.database import Connection, Database
from worker.store.requests import Filter, find

EXAMPLES_SHOWN = 3


def read(database: Database) -> list[Request]:
    """Reads the current state of all requests. Raises DatabaseAway."""
    return database.read(_read)


def _read(c: Connection) -> list[Request]:
    return [
        Request(
            id=row.id,
            item=row.catalog_item_id,
            size=dict(options_from_text(row.options)).get("size"),
            email=row.email,
            has_link=row.item_url is not None,
            ending=Ending(row.status, row.failure_code or row.waiting or ""),
            detail=row.failure_reason or "",
        )
        for row in find(c, Filter())
    ]


def is_quiet(requests: Sequence[Request]) -> bool:
    """Whether no more mail will be sent until something happens."""
    return all(
        request.ending in {NO_STOCK, SOLD_OUT} or request.ending.status in {Status.NOTIFICATION_SENT, Status.FAILED}
        for request in requests
    )


def by_status(requests: Sequence[Request]) -> tuple[int, int, int]:
    """Returns how many requests were told, how many failed, and how many wait or are being sent."""
    counts = Counter(request.ending.status for request in requests)
    told, failed = counts[Status.NOTIFICATION_SENT], counts[Status.FAILED]
    return told, failed, len(requests) - told - failed


@dataclass(slots=True)
class Facts:
    """What happened in the demo, as reported by commands, database, inbox and Redis."""

    imported: int = 0
    """the count that `stockbell import` printed"""
    requests: Sequence[Request] = ()
    """the rows at the end"""
    first_round: Sequence[Request] = ()
    """the rows before the failed requests were retried"""
    retried: int = 0
    """the count that `stockbell retry` printed"""
    arrived_in_first_round: int = 0
    """how many mails the inbox had accepted before the retry"""
    arrived: Sequence[Arrival] = ()
    """the mails that the inbox accepted"""
    deferred: Sequence[str] = ()
    """the recipients that the inbox refused temporarily"""
    published: dict[str, float] = field(default_factory=dict)
    """for each item: when its first valid event was published (monotonic time)"""
    published_late: float = 0.0
    """when the late event was published, while the queue was empty (monotonic time)"""
    published_for_visitor: float = 0.0
    """when the event was published that the customer of the shop's page waits for (monotonic time)"""
    dead_letters: Sequence[str] = ()
    """the reason of each dead letter"""


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that must hold, and the errors that were found."""

    says: str
    wrong: Sequence[str]


def check(facts: Facts) -> list[Check]:
    """Runs all checks at the end of the demo."""
    told, failed, waiting = by_status(facts.requests)
    stopped, told_of_console = _of_console(facts.requests)
    of_bag = [request for request in facts.requests if request.item == BAG]
    expected = facts.imported + len(of_bag)
    return [
        Check(
            f"{facts.imported:,} imported + {len(of_bag)} signed up = {told:,} told + {failed:,} failed "
            f"+ {waiting:,} waiting",
            list(_unless(told + failed + waiting == expected, f"the database has {len(facts.requests):,}")),
        ),
        Check("every request has the expected status and reason", _endings(facts.requests, at_the_end=True)),
        Check(
            f"{len(facts.arrived):,} mails in the inbox = {told:,} requests NOTIFICATION_SENT, no customer told twice",
            list(_mails(facts)),
        ),
        Check(f"{len(facts.deferred)} temporary refusals, all told at a later attempt", list(_deferred(facts))),
        Check(
            f"{facts.retried} failed requests were retried",
            [
                *_endings(facts.first_round, at_the_end=False),
                *_unless(facts.retried == by_status(facts.first_round)[1], "not all failed requests were retried"),
            ],
        ),
        Check(
            f"the console sold out while mails were sent: {told_of_console} told, {stopped} not",
            list(_unless(bool(stopped and told_of_console), "both figures should be above 0")),
        ),
        Check(
            "the customer who signed up on the shop's page was told",
            list(_unless([r.ending for r in of_bag if r.email == VISITOR] == [TOLD], "she was not")),
        ),
        Check(
            "the invalid event is the only dead letter",
            list(_unless(len(facts.dead_letters) == 1, f"there are {len(facts.dead_letters)} dead letters")),
        ),
    ]


def _unless(holds: bool, wrong: str) -> Iterator[str]:
    if not holds:
        yield wrong


def _endings(requests: Sequence[Request], *, at_the_end: bool) -> list[str]:
    """Describes the requests with an unexpected ending, with some examples of each kind."""
    wrong: dict[str, list[str]] = {}
    for request in requests:
        wanted = endings(request, at_the_end=at_the_end)
        if request.ending not in wanted:
            kind = f"{request.item}: {_named(request.ending)} instead of {' or '.join(map(_named, sorted(wanted)))}"
            wrong.setdefault(kind, []).append(f"{request.id} {request.detail}".strip())
    return [_with_examples(kind, found) for kind, found in wrong.items()]


def _named(ending: Ending) -> str:
    return f"{ending.status} {ending.reason}".strip()


def _mails(facts: Facts) -> Iterator[str]:
    mails = Counter(arrival.request_id for arrival in facts.arrived)
    told = {request.id for request in facts.requests if request.ending == TOLD}
    faults: Mapping[str, list[Any]] = {
        "told twice": [request_id for request_id, count in mails.items() if count > 1],
        "have a mail, but are not NOTIFICATION_SENT": list(mails.keys() - told),
        "are NOTIFICATION_SENT, but have no mail": list(told - mails.keys()),
        "were mailed to another address": list(_misdirected(facts)),
    }
    yield from (_with_examples(fault, list(map(str, found))) for fault, found in faults.items() if found)


def _misdirected(facts: Facts) -> Iterator[object]:
    emails = {request.id: request.email for request in facts.requests}
    for arrival in facts.arrived:
        if emails.get(arrival.request_id) != arrival.recipient:
            yield arrival.request_id


def _deferred(facts: Facts) -> Iterator[str]:
    busy = {request.email for request in facts.requests if request.email.endswith(f"@{BUSY}")}
    yield from _unless(busy == set(facts.deferred), f"there should have been {len(busy)}")
    told = {arrival.recipient for arrival in facts.arrived}
    yield from _unless(busy <= told, f"{len(busy - told)} of them were not told")


def _of_console(requests: Sequence[Request]) -> tuple[int, int]:
    """Returns how many requests for the console were not told because it sold out, and how many were told."""
    of_console = [request.ending for request in requests if request.item == CONSOLE]
    return of_console.count(SOLD_OUT), of_console.count(TOLD)


def _with_examples(kind: str, found: Sequence[str]) -> str:
    more = f" and {len(found) - EXAMPLES_SHOWN} more" if len(found) > EXAMPLES_SHOWN else ""
    return f"{kind} ({', '.join(found[:EXAMPLES_SHOWN])}{more})"
