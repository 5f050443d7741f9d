"""Connections and transactions, on PostgreSQL and SQLite. What is said in them: see `sql`."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from worker.domain.errors import DatabaseAway
from worker.store.errors import Contended, translated
from worker.store.sql import sqlite_time

__all__ = ["Connection", "Database"]

P = ParamSpec("P")
T = TypeVar("T")

_UTC = "-c timezone=UTC"
# Who stalls between two statements, or whose host has vanished, must not keep its locks for longer than others wait.
_LIMITS = "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=8s"

TRIES = 5
"""How often a transaction that lost against another one is run."""
PAUSE = 0.02
"""Seconds, doubled each time. Without it, the loser may take its lock back before the winner has woken up."""


class Database:
    """One database, PostgreSQL or SQLite. Connects when first used; safe to share between threads.

    Functions that take a `Connection` first are run by `write` and `read`, each in one transaction.
    """

    def __init__(self, url: str, *, connections: int = 3, is_patient: bool = False) -> None:
        """`is_patient`: no limit on how long a statement runs, or waits, or the next one is waited for (PostgreSQL)."""
        self._engine = _engine(url, connections, _UTC if is_patient else f"{_UTC} {_LIMITS}")
        self.dialect = self._engine.dialect.name
        self._kept: dict[int, Connection] = {}
        """Per thread: what `write_at_once` uses."""
        self._at_once = self._engine.begin if self.dialect == "sqlite" else self._keep

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
            BadSetting: the file is no SQLite database, or a damaged one; the URL has an unknown option.
        """
        return self._run(self._engine.begin, work, *args, **kwargs)

    def write_at_once(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for work that is one statement: on PostgreSQL one round trip, without BEGIN and COMMIT.

        Each thread that uses it keeps a connection of its own.
        """
        return self._run(self._at_once, work, *args, **kwargs)

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in one transaction that only reads; raises as `write`."""
        return self._run(self._engine.execution_options(reads_only=True).begin, work, *args, **kwargs)

    def _run(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        for lost in range(TRIES):
            try:
                with translated(self._engine), begin() as connection:
                    return work(connection, *args, **kwargs)
            except Contended as against:
                if lost == TRIES - 1:
                    raise DatabaseAway(str(against)) from against
            time.sleep(random.uniform(0.5, 1) * PAUSE * 2**lost)
        raise AssertionError("unreachable")

    @contextmanager
    def _keep(self) -> Iterator[Connection]:
        """This thread's connection in autocommit mode; a new one after an error."""
        thread = threading.get_ident()
        connection = self._kept.pop(thread, None)
        if connection is None:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._kept[thread] = connection

    def close(self) -> None:
        """Closes all connections. Nobody may be using one."""
        while self._kept:
            self._kept.popitem()[1].close()
        self._engine.dispose()


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
    return sqlite_time(datetime.now(UTC) + timedelta(seconds=seconds))


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later is refused at once when another one wrote meanwhile,
    # whatever the timeout says; one that takes the write lock first waits its turn.
    reads_only = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
