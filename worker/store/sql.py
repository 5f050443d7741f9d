"""The two SQL dialects: statements are written once, in PostgreSQL's words, as `Sql`.

On SQLite row locks are left out (a transaction that writes begins with BEGIN IMMEDIATE and is alone), and `ROWS(...)`
are JSON there and arrays here.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Boolean, Connection, CursorResult, Uuid, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from worker.models import UtcDateTime

TYPES: dict[str, TypeEngine[Any]] = {"uuid": Uuid(), "time": UtcDateTime(), "bool": Boolean()}
ROWS = re.compile(r"ROWS\(([^)]*)\)")
IN_ROWS = re.compile(r"IN ROWS\((\w+) (\w+)\)")
_PARAMETER = re.compile(r"(?<!:):(\w+)")
LOCKS = re.compile(r"FOR (NO KEY )?UPDATE( OF \w+)?( SKIP LOCKED)?")


class Sql:
    """A statement for both dialects.

    `ROWS(id uuid, n int)` is a table made of the parameter `rows`, a sequence of mappings: one statement and one
    parameter a column, however many rows; `IN ROWS(id uuid)` are the values of one column of it.
    `stockbell_now(seconds)` is the database's clock plus so many seconds.
    `returns` names the result columns that need a type on SQLite: uuid, time or bool.
    """

    def __init__(self, words: str, **returns: str) -> None:
        types = {name: TYPES[kind] for name, kind in returns.items()}
        self._sqlite = text(_for_sqlite(words)).columns(**types)
        self._postgresql = _PARAMETER.sub(r"%(\1)s", _for_postgresql(words).replace("%", "%%"))
        columns = [column.split() for found in ROWS.finditer(words) for column in found[1].split(",")]
        self._columns = {name: _ARRAYS.get(kind, _array) for name, kind in columns}

    def __call__(self, c: Connection, **params: object) -> Sequence[Any]:
        """Runs it and returns its rows (none if it returns none)."""
        if c.dialect.name == "sqlite":
            result = self._run_on_sqlite(c, params)
            return result.all() if result.returns_rows else []
        cursor = self._run_on_postgresql(c, params)
        return cursor.fetchall() if cursor.description else []

    def count(self, c: Connection, **params: object) -> int:
        """Runs it and returns how many rows it changed."""
        is_sqlite = c.dialect.name == "sqlite"
        return (self._run_on_sqlite(c, params) if is_sqlite else self._run_on_postgresql(c, params)).rowcount

    def _run_on_sqlite(self, c: Connection, params: dict[str, Any]) -> CursorResult[Any]:
        rows = params.pop("rows", ())
        bound = {name: _sqlite_value(value) for name, value in params.items()}
        if self._columns:
            bound["rows"] = json.dumps(rows, default=_sqlite_value)
        return c.execute(self._sqlite, bound)

    def _run_on_postgresql(self, c: Connection, params: dict[str, Any]) -> psycopg.Cursor[Any]:
        # psycopg itself, within SQLAlchemy's transaction: a statement of words alone is compiled and its rows are
        # wrapped for nothing, which costs as much as all the rest of a small one.
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
            # As SQLAlchemy would raise it. Without the parameters: they hold addresses.
            raise DBAPIError.instance(
                self._postgresql,
                None,
                error,
                psycopg.Error,
                hide_parameters=True,
                connection_invalidated=connection.closed,
                dialect=c.dialect,
            ) from error


def _for_postgresql(words: str) -> str:
    # As an array whose length the planner does not know it is taken for a few values, and an index is used. It would
    # take many for a reason to rather read all of a table.
    in_rows = r"= ANY(ARRAY(SELECT \1 FROM ROWS(\1 \2)))"
    return ROWS.sub(_postgresql_rows, IN_ROWS.sub(in_rows, words))


def _for_sqlite(words: str) -> str:
    return LOCKS.sub("", ROWS.sub(_sqlite_rows, IN_ROWS.sub(r"IN (SELECT \1 FROM ROWS(\1 \2))", words)))


def _postgresql_rows(found: re.Match[str]) -> str:
    # One array a column costs the server two thirds of what one JSON text with a name at every value does, and us half.
    columns = [column.split() for column in found[1].split(",")]
    arrays = ", ".join(f"CAST(:rows_{name} AS {kind}[])" for name, kind in columns)
    return f"unnest({arrays}) AS rows({', '.join(name for name, _ in columns)})"


def _sqlite_rows(found: re.Match[str]) -> str:
    names = [column.split()[0] for column in found[1].split(",")]
    columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names)
    return f"(SELECT {columns} FROM json_each(:rows)) AS rows"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# An escape of JSON that PostgreSQL's arrays don't know; after an escaped backslash it may be none, which does no harm.
_FOREIGN_ESCAPE = re.compile(r'\\[^"\\]')


def _array(values: Sequence[object]) -> str:
    """An array in PostgreSQL's text form, of texts, numbers, truth values and None.

    It is written as JSON writes a list, which is done in C: both quote and escape alike, but for control characters.
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
    """A time as SQLite keeps it: text that sorts."""
    # `strftime` would not fill up years of less than four digits.
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
