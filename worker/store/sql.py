"""SQL for both dialects. Each statement is written once, in PostgreSQL's dialect, as `Sql`.

For SQLite row locks are removed: a transaction that writes begins with BEGIN IMMEDIATE, so no other one writes.
`ROWS(...)` becomes JSON on SQLite, and arrays on PostgreSQL.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import BindParameter, Boolean, Connection, CursorResult, String, Uuid, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from worker.models import UtcDateTime

TYPES: dict[str, TypeEngine[Any]] = {"uuid": Uuid(), "time": UtcDateTime(), "bool": Boolean()}
ROWS = re.compile(r"ROWS\(([^)]*)\)")
IN_ROWS = re.compile(r"IN ROWS\((\w+) (\w+)\)")
_PARAMETER = re.compile(r"(?<!:):(\w+)")
LOCKS = re.compile(r"FOR (NO KEY )?UPDATE( OF \w+)?( SKIP LOCKED)?")


class Sql:
    """A statement for both dialects.

    `ROWS(id uuid, n int)` is a table made from the parameter `rows`, a sequence of mappings. Any number of rows needs
    one statement, with one parameter per column. `IN ROWS(id uuid)` uses the values of one column.
    `stockbell_now(seconds)` is the database's clock plus that many seconds.
    `returns` maps result columns to their type, where SQLite needs one: uuid, time or bool.
    """

    def __init__(self, words: str, **returns: str) -> None:
        types = {name: TYPES[kind] for name, kind in returns.items()}
        self._sqlite = text(_for_sqlite(words)).columns(**types)
        self._postgresql = _PARAMETER.sub(r"%(\1)s", _for_postgresql(words).replace("%", "%%"))
        columns = [column.split() for found in ROWS.finditer(words) for column in found[1].split(",")]
        self._columns = {name: _ARRAYS.get(kind, array) for name, kind in columns}

    def __call__(self, c: Connection, **params: object) -> Sequence[Any]:
        """Runs the statement and returns its rows, if it has any."""
        if c.dialect.name == "sqlite":
            result = self._run_on_sqlite(c, params)
            return result.all() if result.returns_rows else []
        cursor = self._run_on_postgresql(c, params)
        return cursor.fetchall() if cursor.description else []

    def count(self, c: Connection, **params: object) -> int:
        """Runs the statement and returns how many rows it changed."""
        is_sqlite = c.dialect.name == "sqlite"
        return (self._run_on_sqlite(c, params) if is_sqlite else self._run_on_postgresql(c, params)).rowcount

    def _run_on_sqlite(self, c: Connection, params: dict[str, Any]) -> CursorResult[Any]:
        rows = params.pop("rows", ())
        bound = {name: _sqlite_value(value) for name, value in params.items()}
        if self._columns:
            bound["rows"] = json.dumps(rows, default=_sqlite_value)
        return c.execute(self._sqlite, bound)

    def _run_on_postgresql(self, c: Connection, params: dict[str, Any]) -> psycopg.Cursor[Any]:
        # Calls psycopg directly, within SQLAlchemy's transaction. SQLAlchemy would compile the text and wrap the rows,
        # which doubles the cost of a small statement.
        rows: Sequence[Mapping[str, Any]] = params.pop("rows", ())
        for name, array in self._columns.items():
            params[f"rows_{name}"] = array([row[name] for row in rows])
        connection = cast("psycopg.Connection[Any]", c.connection.driver_connection)
        cursor = connection.cursor(row_factory=namedtuple_row)
        try:
            return cursor.execute(self._postgresql, params)
        except psycopg.Error as error:
            if connection.closed:
                c.invalidate(error)
            # The error that SQLAlchemy would raise, but without the parameters, which contain addresses.
            raise DBAPIError.instance(
                self._postgresql,
                None,
                error,
                psycopg.Error,
                hide_parameters=True,
                connection_invalidated=connection.closed,
                dialect=c.dialect,
            ) from error


def is_one_of(column: str, ids: Sequence[UUID], dialect: str) -> ColumnElement[bool]:
    """A condition for a query that is put together: one parameter, however many ids.

    With one for each there can be no more than a driver lets through: 65,535 on PostgreSQL, 32,766 on SQLite.
    """
    if dialect == "sqlite":
        values = json.dumps(ids, default=_sqlite_value)
        condition = text(f"{column} IN (SELECT value FROM json_each(:ids))")
    else:
        values = _array_of_uuids(ids)
        # The text is parsed once in a subselect, and else once for every row that it is compared with.
        condition = text(f"{column} = ANY(CAST((SELECT CAST(:ids AS uuid[])) AS uuid[]))")
    unique = BindParameter("ids", values, String(), unique=True)
    return cast("ColumnElement[bool]", condition.bindparams(unique))


def _for_postgresql(words: str) -> str:
    # The planner does not know the length of this array, expects few values and uses an index. If it expected many, it
    # would read the whole table.
    in_rows = r"= ANY(ARRAY(SELECT \1 FROM ROWS(\1 \2)))"
    return ROWS.sub(_postgresql_rows, IN_ROWS.sub(in_rows, words))


def _for_sqlite(words: str) -> str:
    return LOCKS.sub("", ROWS.sub(_sqlite_rows, IN_ROWS.sub(r"IN (SELECT \1 FROM ROWS(\1 \2))", words)))


def _postgresql_rows(found: re.Match[str]) -> str:
    # One array per column costs the server two thirds, and this process half, of one JSON text that repeats the names.
    columns = [column.split() for column in found[1].split(",")]
    # The planner counts an array that it can see, and would read a whole table for some hundred values. In a subselect
    # it can't, and expects ten, as in a plan that it keeps for all lengths.
    arrays = ", ".join(f"(SELECT CAST(:rows_{name} AS {kind}[]))" for name, kind in columns)
    return f"unnest({arrays}) AS rows({', '.join(name for name, _ in columns)})"


def _sqlite_rows(found: re.Match[str]) -> str:
    # The limit, which is none, keeps SQLite from reading the JSON again for every row of the other table. A record of
    # 500 was 15 times as slow without it.
    names = [column.split()[0] for column in found[1].split(",")]
    columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names)
    return f"(SELECT {columns} FROM json_each(:rows) LIMIT -1) AS rows"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# A JSON escape that PostgreSQL's arrays don't have. It also matches after an escaped backslash, which is harmless.
_FOREIGN_ESCAPE = re.compile(r'\\[^"\\]')


def array(values: Sequence[object]) -> str:
    """Encodes texts, numbers, booleans and None as an array in PostgreSQL's text format.

    The JSON encoder does the work because it is written in C. Both formats quote and escape alike, except for control
    characters.
    """
    encoded = _encode(values)
    if _FOREIGN_ESCAPE.search(encoded):
        encoded = f"[{','.join(map(_element, values))}]"
    return f"{{{encoded[1:-1]}}}"


def _element(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encode(value)


def _array_of_uuids(values: Sequence[UUID | None]) -> str:
    return f"{{{','.join([value.hex if value else 'NULL' for value in values])}}}"


def _array_of_times(values: Sequence[datetime | None]) -> str:
    return f"{{{','.join([value.isoformat() if value else 'NULL' for value in values])}}}"


_ARRAYS: Mapping[str, Callable[[Sequence[Any]], str]] = {"uuid": _array_of_uuids, "timestamptz": _array_of_times}


def _sqlite_value(value: object) -> object:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return sqlite_time(value)
    return value


def sqlite_time(value: datetime) -> str:
    """Formats a time as sortable text for SQLite."""
    # `strftime` does not pad years of fewer than four digits.
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
