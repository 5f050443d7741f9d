"""What a mail costs, as measured: the table `costs.toml`, which `make bench ARGS="--only cost"` writes.

Ops may measure on their own machines, and name that file instead of the shipped one.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, Final, Self

from worker.domain.errors import BadCosts

SHIPPED: Final = Path(__file__).with_name("costs.toml")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Microseconds of CPU time for one thing, for each part of the line."""

    worker: float
    database: float
    redis: float
    listener: float
    relay: float


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """How often something waits for an answer."""

    pipelined: float
    """of the relay, for each mail on its connection"""
    plain: float
    """the same without pipelining"""
    claim: float
    """of the database, for each claim"""
    record: float
    """of the database, for each commit of outcomes"""
    waited: float
    """of the database, while a worker child sends nothing, for each second in which it sends"""


@dataclass(frozen=True, slots=True)
class Processes:
    """Something of each process."""

    worker_child: float
    worker_parent: float
    """what a `stockbell work` needs beside its children"""
    listener: float
    scheduler: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes for each mail."""

    relay: float
    """to the relay, with the mail itself"""
    database: float
    """to the database and back"""
    wal: float
    """in PostgreSQL's write-ahead log, which standbys and archives get"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the figures come from."""

    date: str
    machine: str
    versions: str
    mail_bytes: float
    """the size of the mail that was measured"""


@dataclass(frozen=True, slots=True)
class Costs:
    """All that was measured."""

    source: Source
    mail: Cpu
    plain: Cpu
    """a mail to a relay without pipelining"""
    tls: Cpu
    """what TLS adds to a mail"""
    item: Cpu
    """what an item adds that comes back in stock, however many wait for it"""
    round_trips: RoundTrips
    megabytes: Processes
    database_connections: Processes
    bytes: Traffic

    @classmethod
    def read(cls, path: Path = SHIPPED) -> Self:
        """Reads a table. Raises BadCosts with one line that names what is wrong."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            raise BadCosts("can't be read as a UTF-8 file") from None
        except tomllib.TOMLDecodeError as bad:
            raise BadCosts(f"is not TOML: {bad}") from None
        _refuse_others(cls, table, "")
        return cls(**{field.name: _section(field.type, table, field.name) for field in fields(cls)})


def _section(kind: Any, table: Mapping[str, Any], name: str) -> Any:
    values = table.get(name)
    if not isinstance(values, dict):
        raise BadCosts(f"has no section [{name}]")
    _refuse_others(kind, values, f"[{name}] ")
    return kind(**{field.name: _value(field.type, values, f"[{name}] {field.name}") for field in fields(kind)})


def _refuse_others(kind: Any, values: Mapping[str, Any], where: str) -> None:
    known = {field.name for field in fields(kind)}
    for name in values:
        if name not in known:
            raise BadCosts(f"{where}{name!r} is not one of {', '.join(sorted(known))}")


def _value(kind: Any, values: Mapping[str, Any], name: str) -> Any:
    value = values.get(name.rpartition(" ")[2])
    if kind is str:
        if not isinstance(value, str) or not value.isprintable():
            raise BadCosts(f"{name} must be text")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise BadCosts(f"{name} must be a number, zero or more")
    return float(value)
