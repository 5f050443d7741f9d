"""How many mails a second an installation can send, and what a target needs. Pure arithmetic on measured costs.

A connection sends a mail, and the next one when the answer is there. So a worker child sends as many mails a second as
its connections have answers, as one core allows, and as the database's answers allow. All children together send as
many as the cores, the database and the relay allow. The smallest of these is the limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf
from typing import Final

from worker.domain.costs import Costs, Cpu, Processes

BUSY: Final = 0.8
"""Children are planned to be busy for this share of their time, so that a target is also met on a bad day."""
MICROSECONDS: Final = 1e6


class Part(StrEnum):
    """What can hold up the mails."""

    CHILD_CPU = "the worker children's CPU"
    RELAY_ANSWERS = "the relay's answers"
    DATABASE_ANSWERS = "the database's answers"
    CORES = "the cores of the worker hosts"
    DATABASE_CORES = "the cores of the database"
    RELAY_CONNECTIONS = "the connections that the relay lets in"
    RATE_LIMIT = "the rate limit"


@dataclass(frozen=True, slots=True)
class Installation:
    """What is there, or would be. None: as much as it takes, or no limit."""

    connections: int = 10
    """to the relay, of each worker child"""
    relay_seconds: float = 0.0
    """between a command and the relay's answer, with the way there and back"""
    database_seconds: float = 0.001
    """the same for the database, with the writing of a commit to its disk"""
    is_pipelined: bool = True
    has_tls: bool = False
    batch_size: int = 500
    children: int | None = None
    cores: float | None = None
    """of all worker hosts together"""
    database_cores: float | None = None
    relay_connections: int | None = None
    """how many the relay lets in"""
    rate_limit: float | None = None
    """mails a second"""
    mail_bytes: float | None = None
    """the size of a mail; None: as measured"""


@dataclass(frozen=True, slots=True)
class Demand:
    """The mails to send: so many, about so many items, in so many seconds (None: as soon as it can be)."""

    mails: int
    items: int = 1
    seconds: float | None = None

    @property
    def rate(self) -> float:
        """Mails a second that would be needed."""
        return self.mails / self.seconds if self.seconds else inf


@dataclass(frozen=True, slots=True)
class Bound:
    """One part of the line, and how many mails a second it lets through at most."""

    part: Part
    rate: float


@dataclass(frozen=True, slots=True)
class Plan:
    """An installation for a demand, or what a given one can do."""

    demand: Demand
    children: int
    connections: int
    """to the relay, of all children"""
    database_connections: float
    worker_cores: float
    database_cores: float
    relay_cores: float
    megabytes: float
    relay_bytes_a_second: float
    database_bytes_a_second: float
    wal_bytes: float
    """for all mails"""
    bounds: Sequence[Bound]
    """the smallest first"""

    @property
    def limit(self) -> Bound:
        """The part that holds up all others."""
        return self.bounds[0]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.demand.mails / self.limit.rate

    @property
    def is_enough(self) -> bool:
        """Whether the mails are sent in time."""
        return self.demand.seconds is None or self.seconds <= self.demand.seconds


def plan(demand: Demand, there: Installation, costs: Costs) -> Plan:
    """Returns what the demand needs. `there.children`, or else `demand.seconds`, must be given."""
    cpu = _cpu(demand, there, costs)
    each = sorted(_of_a_child(there, costs, cpu), key=_rate)
    fixed = list(_of_all(there, costs, cpu))
    wanted = min([demand.rate, *map(_rate, fixed)])
    children = there.children or max(1, ceil(wanted / (BUSY * each[0].rate)))
    bounds = sorted([*(Bound(one.part, children * one.rate) for one in each), *fixed], key=_rate)
    rate = min(bounds[0].rate, demand.rate)
    return Plan(
        demand,
        children,
        children * there.connections,
        _with_children(costs.database_connections, children),
        rate * cpu.worker / MICROSECONDS,
        rate * cpu.database / MICROSECONDS,
        rate * cpu.relay / MICROSECONDS,
        _with_children(costs.megabytes, children),
        rate * (costs.bytes.relay + ((there.mail_bytes or costs.source.mail_bytes) - costs.source.mail_bytes)),
        rate * costs.bytes.database,
        demand.mails * costs.bytes.wal,
        bounds,
    )


def _with_children(each: Processes, children: int) -> float:
    """Returns the sum for one worker, one listener and one scheduler."""
    return each.worker_parent + children * each.worker_child + each.listener + each.scheduler


def _rate(bound: Bound) -> float:
    return bound.rate


def _cpu(demand: Demand, there: Installation, costs: Costs) -> Cpu:
    """Microseconds a mail: its own, and its share of those of its item."""
    mail = costs.mail if there.is_pipelined else costs.plain
    share = demand.items / demand.mails
    tls = 1.0 if there.has_tls else 0.0

    def sum_of(part: str) -> float:
        return float(getattr(mail, part) + tls * getattr(costs.tls, part) + share * getattr(costs.item, part))

    return Cpu(*map(sum_of, Cpu.__slots__))


def sending_share(there: Installation, costs: Costs) -> float:
    """Returns the share of its time in which a worker child sends, and does not wait for the database to claim more."""
    return 1 / (1 + costs.round_trips.waited * there.database_seconds)


def _of_a_child(there: Installation, costs: Costs, cpu: Cpu) -> Iterator[Bound]:
    own = cpu.worker / MICROSECONDS
    share = sending_share(there, costs)
    trips = costs.round_trips
    answer = (trips.pipelined if there.is_pipelined else trips.plain) * there.relay_seconds
    yield Bound(Part.CHILD_CPU, share / own)
    yield Bound(Part.RELAY_ANSWERS, share * there.connections / (answer + own))
    # Mails that are written, and those whose outcome is not committed, are limited together (`Line.room`). An outcome
    # waits for the commit before its own one, and for its own.
    room = max(50, 4 * there.connections) + there.connections
    record = (answer + 2 * trips.record * there.database_seconds) / room
    claim = trips.claim * there.database_seconds / there.batch_size
    yield Bound(Part.DATABASE_ANSWERS, share / max(record, claim, 1 / MICROSECONDS))


def _of_all(there: Installation, costs: Costs, cpu: Cpu) -> Iterator[Bound]:
    if there.cores is not None:
        yield Bound(Part.CORES, there.cores * MICROSECONDS / cpu.worker)
    if there.database_cores is not None:
        yield Bound(Part.DATABASE_CORES, there.database_cores * MICROSECONDS / cpu.database)
    if there.relay_connections is not None:
        trips = costs.round_trips.pipelined if there.is_pipelined else costs.round_trips.plain
        seconds = trips * there.relay_seconds + cpu.worker / MICROSECONDS
        yield Bound(Part.RELAY_CONNECTIONS, there.relay_connections / seconds)
    if there.rate_limit is not None:
        yield Bound(Part.RATE_LIMIT, there.rate_limit)
