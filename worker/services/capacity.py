"""What `stockbell capacity` says: a plan in words, its assumptions, the source of its costs, and what it leaves out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from worker.domain.capacity import BUSY, Installation, Part, Plan, sending_share
from worker.domain.costs import Costs

POSTGRESQL_LETS_IN: Final = 97
"""Connections by PostgreSQL's default: 100, of which 3 are for superusers."""

LEAST: Final = 0.01
"""Smaller amounts are not told from nothing."""

_MORE: Final[Mapping[Part, str]] = {
    Part.CHILD_CPU: "more children, on more cores",
    Part.RELAY_ANSWERS: "more children or a higher STOCKBELL_SMTP_CONNECTIONS, if the relay allows them",
    Part.DATABASE_ANSWERS: "more children, or a database that is nearer or has a faster disk",
    Part.CORES: "more cores for the workers",
    Part.DATABASE_CORES: "more cores for the database",
    Part.RELAY_CONNECTIONS: "a relay that lets in more connections, or is nearer",
    Part.RATE_LIMIT: "a higher limit of the relay, and of STOCKBELL_MAX_SEND_RATE",
}
_NOT_IN_IT: Final = (
    "mails that are refused and tried again",
    "the commits before sending with STOCKBELL_ON_UNKNOWN=fail",
    "templates that must be rendered for each customer (docs/operations.md, Sizing)",
    "what the relay does with the mails, and its own limits",
    "links that are slower than the traffic",
    "anything else that the hosts and the database do",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A plan, and what it was made of."""

    plan: Plan
    there: Installation
    costs: Costs

    def lines(self) -> Iterator[str]:
        """Yields the answer for people."""
        yield self._question()
        yield ""
        for name, value, note in self._amounts():
            yield f"  {name:<22}{value:<20}{note}".rstrip()
        yield ""
        yield "At most, in mails/s:"
        for bound in self.plan.bounds:
            mark = "  <- the limit" if bound is self.plan.limit else ""
            yield f"  {bound.part:<40}{rounded(bound.rate):>10}{mark}"
        yield ""
        yield self._verdict()
        yield ""
        yield f"Assumed:   {self._assumed()}"
        source = self.costs.source
        yield f"Measured:  on {source.date}, {source.machine}, {source.versions}; another machine differs"
        yield "Left out:  " + "\n           ".join(_NOT_IN_IT)

    def _question(self) -> str:
        demand = self.plan.demand
        about = (
            f"{demand.mails:,} mail{'s' * (demand.mails != 1)} about {demand.items:,} item{'s' * (demand.items != 1)}"
        )
        if demand.seconds is None:
            return f"{about}, sent by {_children(self.plan.children)}"
        return f"{about} in {duration(demand.seconds)}: {rounded(demand.rate)} mails/s"

    def _amounts(self) -> Iterator[tuple[str, str, str]]:
        plan, each = self.plan, self.there.connections
        many = "; PostgreSQL lets in 100 by default" if plan.database_connections > POSTGRESQL_LETS_IN else ""
        yield "worker children", f"{plan.children:,}", "`stockbell work -c`, on one host or several"
        yield "SMTP connections", f"{plan.connections:,}", f"{each:,} for each child"
        yield "database connections", f"{plan.database_connections:,.0f}", f"with listener and scheduler{many}"
        waiting = 1 - sending_share(self.there, self.costs)
        yield "waiting for claims", f"{waiting:.0%}", "of a child's time, by the distance of the database"
        yield "CPU of the workers", _amount(plan.worker_cores, "cores"), "on average"
        yield "CPU of the database", _amount(plan.database_cores, "cores"), ""
        yield (
            "CPU of the relay",
            _amount(plan.relay_cores, "cores"),
            "for SMTP only; to keep and pass on mails costs more",
        )
        yield "memory", _amount(plan.megabytes, "MB"), "without database, Redis and relay"
        yield "to the relay", _amount(plan.relay_bytes_a_second * 8 / 1e6, "Mbit/s"), ""
        yield "to the database", _amount(plan.database_bytes_a_second * 8 / 1e6, "Mbit/s"), "both ways"
        yield "write-ahead log", _amount(plan.wal_bytes / 1e6, "MB"), "for all mails"

    def _verdict(self) -> str:
        plan = self.plan
        begin = "It" if plan.is_enough else f"NOT in {duration(plan.demand.seconds or 0)}: it"
        limit = plan.limit.part
        return f"{begin} takes {duration(plan.seconds)}. The limit is {limit}.\nFor more: {_MORE[limit]}."

    def _assumed(self) -> str:
        there = self.there
        return ", ".join(
            [
                f"the relay answers after {duration(there.relay_seconds)}",
                f"the database commits in {duration(there.database_seconds)}",
                "pipelining" if there.is_pipelined else "no pipelining",
                "TLS" if there.has_tls else "no TLS",
                f"children {BUSY:.0%} busy" if there.children is None else "children as given",
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the answer for programs."""
        plan, demand, source = self.plan, self.plan.demand, self.costs.source
        return {
            "enough": plan.is_enough,
            "seconds": round(plan.seconds, 3),
            "mailsPerSecond": round(plan.limit.rate, 1),
            "limit": plan.limit.part.name.lower(),
            "mails": demand.mails,
            "items": demand.items,
            "wantedSeconds": demand.seconds,
            "children": plan.children,
            "smtpConnections": plan.connections,
            "databaseConnections": ceil(plan.database_connections),
            "workerCores": round(plan.worker_cores, 3),
            "databaseCores": round(plan.database_cores, 3),
            "relayCores": round(plan.relay_cores, 3),
            "megabytes": round(plan.megabytes),
            "relayBytesPerSecond": round(plan.relay_bytes_a_second),
            "databaseBytesPerSecond": round(plan.database_bytes_a_second),
            "walBytes": round(plan.wal_bytes),
            "bounds": {bound.part.name.lower(): round(bound.rate, 1) for bound in plan.bounds},
            "measured": {"date": source.date, "machine": source.machine, "versions": source.versions},
        }


def _children(number: int) -> str:
    return f"{number:,} worker {'child' if number == 1 else 'children'}"


def _amount(number: float, unit: str) -> str:
    return f"{rounded(number) if number >= LEAST else f'under {LEAST}'} {unit}"


def rounded(number: float) -> str:
    """Returns a number with the two digits that a prediction is good for, or three from 100 on."""
    digits = 3 if number >= 100 else 2
    return f"{float(f'{number:.{digits}g}'):,.10g}"


def duration(seconds: float) -> str:
    """Returns a time as people write it, in its two largest units."""
    if seconds < 1:
        return f"{rounded(seconds * 1000)} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s"
    for size, name, less, less_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // less
            return f"{whole // size:,} {name}" + (f" {rest} {less_name}" if rest else "")
    raise AssertionError("unreachable")
