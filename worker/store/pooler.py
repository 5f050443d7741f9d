"""What connections and transactions on PostgreSQL are told, with and without a pooler in between.

A pooler in transaction mode (PgBouncer and its kin) gives each transaction any of its connections to the server. What
was set for a session is lost there, or meets the next client. So nothing is sent as a startup parameter `options`,
which poolers refuse. Without a pooler a new connection is told once. With one, each transaction is told as it begins,
in the same round trip, and nothing is prepared.
"""

from typing import Any, Final, Literal, TypeAlias

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

Pooler: TypeAlias = Literal["auto", "none", "transaction"]
"""Whether a pooler is in between. `auto`: each new connection finds out."""

PREPARE_AFTER: Final = 5
"""So many times a statement runs until it is prepared, if there is no pooler. This is psycopg's default."""
CONNECT_ARGS: Final = {"autocommit": True, "prepare_threshold": None}
"""How psycopg opens a connection, as long as it is not known what is at its other end."""

# psycopg reads times in ISO's style only.
_TIMES: Final = {"timezone": "UTC", "datestyle": "ISO, MDY"}
_ALWAYS: Final = _TIMES | {"default_transaction_isolation": "read committed"}
# A process that hangs between two statements, or whose host is gone, must lose its locks before others stop waiting.
_LIMITS: Final = {"lock_timeout": "10s", "statement_timeout": "60s", "idle_in_transaction_session_timeout": "8s"}
_BEGIN: Final = "stockbell_begin"


class Sessions:
    """Tells the connections of an engine, or their transactions, what is to hold in them."""

    def __init__(self, pooler: Pooler, *, is_patient: bool) -> None:
        """With `is_patient` there is no time limit on statements, on locks and on idle transactions."""
        self._pooler = pooler
        limits = dict.fromkeys(_LIMITS, "0") if is_patient else _LIMITS
        settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in (_ALWAYS | limits).items())
        self._set = f"SELECT {settings}"
        local = [f"SET LOCAL {name} = '{value}'" for name, value in (_TIMES | limits).items()]
        self._begin = "; ".join(["BEGIN ISOLATION LEVEL READ COMMITTED", *local])
        self.are_pooled = False
        """Whether the newest connection leads to a pooler."""

    def listen_to(self, engine: Engine) -> None:
        """Prepares all connections and transactions of this engine."""
        # SQLAlchemy asks the server for its version at the first connection. This has to come before.
        event.listen(engine, "connect", self._prepare, insert=True)
        event.listen(engine, "begin", _begin)

    def _prepare(self, connection: "psycopg.Connection[Any]", record: ConnectionPoolEntry) -> None:
        self.are_pooled = not self._is_told(connection)
        if self.are_pooled:
            record.info[_BEGIN] = self._begin  # psycopg stays in autocommit mode, or it would send a BEGIN of its own
        else:
            connection.autocommit = False
            connection.prepare_threshold = PREPARE_AFTER

    def _is_told(self, connection: "psycopg.Connection[Any]") -> bool:
        """Tells a server what is to hold in the session. False: nothing was set, because a pooler is in between.

        A pooler can't pass on the process id of a server's connection, since it has none yet when it lets a client in.
        It makes one up. So the server only sets anything if its own process id is the one that the client was told.
        """
        if self._pooler == "transaction":
            return False
        if self._pooler == "none":
            return bool(connection.execute(self._set.encode()).rowcount)
        condition = f" WHERE pg_backend_pid() = {connection.info.backend_pid:d}"
        return bool(connection.execute((self._set + condition).encode()).rowcount)


def is_pooled(connection: Connection) -> bool:
    """Whether this connection leads to a pooler."""
    return _BEGIN in connection.info


def _begin(connection: Connection) -> None:
    if words := connection.info.get(_BEGIN):
        connection.exec_driver_sql(words)


def is_refused_in_statement_mode(words: str) -> bool:
    """Whether these words are PgBouncer's in statement mode, where it lets no transaction begin."""
    return "not allowed in statement pooling mode" in words
