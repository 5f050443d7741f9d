"""Connections, transactions, and the two SQL dialects.

Statements are written once, in PostgreSQL's words, as `Sql`. On SQLite row locks are left out (a transaction that
writes begins with BEGIN IMMEDIATE and is alone) and `ROWS(...)` reads its JSON with other functions.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Boolean, Connection, Engine, Row, Uuid, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.types import TypeEngine

from worker.errors import DatabaseAway, SchemaOutdated
from worker.models import UtcDateTime

__all__ = ["Connection", "Database", "Sql"]

P = ParamSpec("P")
T = TypeVar("T")

_UTC = "-c timezone=UTC"
_LIMITS = "-c lock_timeout=10s -c statement_timeout=60s"

TRIES = 5
"""How often a transaction that lost against another one is run again at once."""

TYPES: dict[str, TypeEngine[Any]] = {"uuid": Uuid(), "time": UtcDateTime(), "bool": Boolean()}
ROWS = re.compile(r"ROWS\(([^)]*)\)")
IN_ROWS = re.compile(r"IN ROWS\((\w+) (\w+)\)")
LOCKS = re.compile(r"FOR (NO KEY )?UPDATE( OF \w+)?( SKIP LOCKED)?")


class Sql:
    """A statement for both dialects.

    `ROWS(id uuid, n int)` is a table made of the parameter `rows`, a sequence of mappings: one statement and one
    parameter, however many rows; `IN ROWS(id uuid)` are the values of one column of it. `stockbell_now(seconds)` is
    the database's clock plus so many seconds.
    `returns` names the result columns that need a type: uuid, time or bool.
    """

    def __init__(self, words: str, **returns: str) -> None:
        types = {name: TYPES[kind] for name, kind in returns.items()}
        self._clauses = {
            "postgresql": text(_for_postgresql(words)).columns(**types),
            "sqlite": text(_for_sqlite(words)).columns(**types),
        }

    def __call__(self, c: Connection, **params: object) -> Sequence[Row[Any]]:
        """Runs it and returns its rows (none if it returns none)."""
        result = c.execute(self._clauses[c.dialect.name], _bound(c.dialect.name, params))
        return result.all() if result.returns_rows else []

    def count(self, c: Connection, **params: object) -> int:
        """Runs it and returns how many rows it changed."""
        return c.execute(self._clauses[c.dialect.name], _bound(c.dialect.name, params)).rowcount


def _for_postgresql(words: str) -> str:
    # As an array it is taken for a few values, and an index is used. It takes a join with JSON for a hundred rows, and
    # rather reads all of a table of some 10,000.
    return ROWS.sub(_postgresql_rows, IN_ROWS.sub(r"= ANY(ARRAY(SELECT \1 FROM ROWS(\1 \2)))", words))


def _for_sqlite(words: str) -> str:
    return LOCKS.sub("", ROWS.sub(_sqlite_rows, IN_ROWS.sub(r"IN (SELECT \1 FROM ROWS(\1 \2))", words)))


def _postgresql_rows(found: re.Match[str]) -> str:
    return f"json_to_recordset(CAST(:rows AS json)) AS rows({found[1]})"


def _sqlite_rows(found: re.Match[str]) -> str:
    names = [column.split()[0] for column in found[1].split(",")]
    columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names)
    return f"(SELECT {columns} FROM json_each(:rows)) AS rows"


def _bound(dialect: str, params: Mapping[str, object]) -> dict[str, object]:
    plain = _sqlite_value if dialect == "sqlite" else _postgresql_value
    return {
        name: json.dumps(value, default=plain) if name == "rows" else plain(value) if dialect == "sqlite" else value
        for name, value in params.items()
    }


def _sqlite_value(value: object) -> object:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return _sqlite_time(value)
    return value


def _postgresql_value(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Database:
    """One database, PostgreSQL or SQLite. Connects when first used; safe to share between threads.

    Functions that take a `Connection` first are run by `write` and `read`, each in one transaction.
    """

    def __init__(self, url: str, *, connections: int = 2, is_patient: bool = False) -> None:
        """`is_patient`: no limit on how long a statement runs, or waits for a lock (PostgreSQL)."""
        self._engine = _engine(url, connections, _UTC if is_patient else f"{_UTC} {_LIMITS}")
        self.dialect = self._engine.dialect.name

    @property
    def where(self) -> str:
        """Which database this is, for people: no user, no password."""
        url = self._engine.url
        return f"{self.dialect} {url.host or ''}{f':{url.port}' if url.port else ''}/{url.database}".replace(" /", " ")

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in one transaction that may write, again if it was the victim of a deadlock.

        Raises:
            DatabaseAway: it can't be reached, or gave up on us.
            SchemaOutdated: a table is missing.
        """
        return self._run(self._engine, work, *args, **kwargs)

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in one transaction that only reads; raises as `write`."""
        return self._run(self._engine.execution_options(reads_only=True), work, *args, **kwargs)

    def _run(
        self,
        engine: Engine,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        for left in reversed(range(TRIES)):
            try:
                with _translated(), engine.begin() as connection:
                    return work(connection, *args, **kwargs)
            except _Contended as lost:
                if not left:
                    raise DatabaseAway(str(lost)) from lost
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()


class _Contended(Exception):
    """The transaction lost against another one and was rolled back: it may simply be run again."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if str(getattr(error.orig, "sqlstate", None)).startswith("54"):
            raise  # something is too large for it, and will be the next time too
        raise _meaning(error) from error
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505":
            # Unique when we looked, and no more: somebody was faster. The next try sees what they did.
            raise _Contended(_first_line(error)) from error
        raise
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}:
            raise SchemaOutdated("the database is not migrated: run `stockbell migrate`") from error
        raise
    except DBAPIError as error:
        # A server that only reads is one that another has taken over from, or that is not ready yet.
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) == "25006":
            raise DatabaseAway(_first_line(error)) from error
        raise


def _meaning(error: DBAPIError) -> Exception:
    words = _first_line(error)
    if "no such table" in words or "no such column" in words:
        return SchemaOutdated("the database is not migrated: run `stockbell migrate`")
    if getattr(error.orig, "sqlstate", None) in {"40P01", "40001"} or "database is locked" in words:
        return _Contended(words)
    return DatabaseAway(words)


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or ["no answer"])[0]


def _engine(url: str, connections: int, options: str) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, pool_size=connections, hide_parameters=True, connect_args={"timeout": 10})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        url,
        pool_size=connections,
        hide_parameters=True,  # they hold addresses, and errors are logged
        connect_args={
            "connect_timeout": 5,
            "application_name": "stockbell",
            "options": options,
            # A host that vanished without a word is found out in 25 s, not in two hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.create_function("stockbell_now", 1, _sqlite_now)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_now(seconds: float) -> str:
    return _sqlite_time(datetime.now(UTC) + timedelta(seconds=seconds))


def _sqlite_time(value: datetime) -> str:
    # `strftime` would not fill up years of less than four digits.
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later is refused at once when another one wrote meanwhile,
    # whatever the timeout says; one that takes the write lock first waits its turn.
    reads_only = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
