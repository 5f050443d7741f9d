"""Connections and transactions on PostgreSQL and SQLite. For statements see `sql`."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event

from worker.domain.errors import BadSetting, DatabaseAway, SchemaOutdated
from worker.domain.send_window import SendWindow
from worker.store import postgres, quiet_hours
from worker.store.errors import Contended, missing_file, translated
from worker.store.pooler import CONNECT_ARGS, Pooler, Sessions, is_pooled
from worker.store.sql import sqlite_time

__all__ = ["Connection", "Database"]

P = ParamSpec("P")
T = TypeVar("T")

ANSWER_SECONDS = 75.0
"""Seconds that PostgreSQL may take for an answer. It ends statements after 60 s, but not if a disk or standby hangs."""

TRIES = 5
"""How often a transaction is run if it conflicts with others."""
PAUSE = 0.02
"""Seconds before a transaction is run again, doubled each time.

Without a pause the loser may take its lock back before the winner wakes up.
"""


class Database:
    """One PostgreSQL or SQLite database. Connects at the first use. Threads may share it.

    `write` and `read` run functions whose first parameter is a `Connection`, each in one transaction.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 3,
        is_patient: bool = False,
        pooler: Pooler = "auto",
        setting: str = "DATABASE_URL",
        window: SendWindow | None = None,
    ) -> None:
        """With `is_patient` there is no time limit on statements, locks, idle transactions and PostgreSQL's answers.

        `setting` is where the URL is from. Errors name it. `window` is the shop's: `quiet_hours` explains by it why
        requests wait. Raises BadSetting if PostgreSQL can't have such a URL.
        """
        self._setting = setting
        self._servers = _servers(url, setting)
        if self._servers and not is_patient:
            self._servers.answer_seconds = ANSWER_SECONDS
        self._sessions = Sessions(pooler, is_patient=is_patient)
        self._engine = (
            _postgresql(self._servers, connections, self._sessions) if self._servers else _sqlite(url, connections)
        )
        self._engine.update_execution_options(**{quiet_hours.OPTION: window})
        self.dialect = self._engine.dialect.name
        self._own: dict[int, Connection] = {}
        """The connection of each thread that uses `write_at_once`."""
        self._begin_at_once = self._engine.begin if self.dialect == "sqlite" else self._begin_one_statement

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler is in between. It is noticed at the first connection."""
        return self._sessions.are_pooled

    @property
    def where(self) -> str:
        """The database for messages to people, without user and password."""
        if self._servers is None:
            return f"sqlite {self._engine.url.database}"
        return f"postgresql {','.join(map(str, self._servers.hosts))}/{self._servers.database}".replace(" /", " ")

    @property
    def weakness(self) -> str | None:
        """Why others could read or change what is said to the database, or None. Raises the same errors as `read`."""
        return self.read(postgres.weakness, self._servers)

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in one transaction that may write. Runs it again if it conflicts with another transaction.

        Raises:
            DatabaseAway: the database can't be reached, ended the connection, or reported conflicts too often.
            SchemaOutdated: a table or column is missing.
            BadSetting: the file is not an SQLite database, or it is damaged; or the URL has an unknown option.
        """
        return self._run(self._engine.begin, work, *args, **kwargs)

    def write_at_once(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `write`, but `work` must be one statement. On PostgreSQL this saves the round trips of BEGIN and COMMIT.

        Behind a pooler it saves none: limits hold within a transaction only. Each thread that calls this keeps its own
        connection.
        """
        return self._run(self._begin_at_once, work, *args, **kwargs)

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in one read-only transaction. Raises the same errors as `write`. Creates no SQLite file."""
        if file := missing_file(self._engine):
            raise SchemaOutdated(f"there is no file {file} yet: run `stockbell migrate`")
        return self._run(self._engine.execution_options(reads_only=True).begin, work, *args, **kwargs)

    def _run(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        for conflicts in range(TRIES):
            try:
                with translated(self._engine, self._setting), begin() as connection:
                    return work(connection, *args, **kwargs)
            except Contended as conflict:
                if conflicts == TRIES - 1:
                    raise DatabaseAway(str(conflict)) from conflict
            time.sleep(random.uniform(0.5, 1) * PAUSE * 2**conflicts)
        raise AssertionError("unreachable")

    @contextmanager
    def _begin_one_statement(self) -> Iterator[Connection]:
        """Yields this thread's connection for one statement. After an error the next call opens a new one."""
        thread = threading.get_ident()
        connection = self._own.pop(thread, None) or self._opened()
        try:
            with connection.begin() if is_pooled(connection) else nullcontext():
                yield connection
        except BaseException:
            connection.close()
            raise
        self._own[thread] = connection

    def _opened(self) -> Connection:
        connection = self._engine.connect()
        return connection if is_pooled(connection) else connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Closes all connections. No other thread may be using one."""
        while self._own:
            self._own.popitem()[1].close()
        self._engine.dispose()


def _servers(url: str, setting: str) -> postgres.Servers | None:
    """Returns where PostgreSQL is. None: the database is an SQLite file."""
    if url.startswith("sqlite:"):
        return None
    try:
        return postgres.parse(url, setting)
    except ValueError as error:
        raise BadSetting(f"{setting} {error}") from None


def _sqlite(url: str, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, hide_parameters=True, connect_args={"timeout": 10})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(servers: postgres.Servers, connections: int, sessions: Sessions) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        pool_size=connections,
        hide_parameters=True,  # errors are logged, and the parameters contain addresses
        connect_args={
            "connect_timeout": 5,  # for each host
            "application_name": "stockbell",
            # Notices a dead server within 25 s. The system's defaults take two hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            **servers.options,
            # The default is the database's own. If that is SQL_ASCII, psycopg returns bytes instead of text.
            "client_encoding": "UTF8",
            **CONNECT_ARGS,
        },
    )
    event.listen(engine, "do_connect", servers.connect)
    sessions.listen_to(engine)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.create_function("stockbell_now", 1, _sqlite_now)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_now(seconds: float) -> str:
    return sqlite_time(datetime.now(UTC) + timedelta(seconds=seconds))


def _begin_sqlite(connection: Connection) -> None:
    # SQLite refuses a transaction that reads first and writes later if another one wrote in between, and ignores the
    # timeout. BEGIN IMMEDIATE takes the write lock first, and waits for it.
    reads_only = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
