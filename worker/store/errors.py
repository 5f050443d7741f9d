"""Translates database errors: the database is away, not migrated or wrongly set up, or the transaction can be retried.

The SQLSTATE codes are those of PostgreSQL's manual, appendix A.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from worker.domain.errors import BadSetting, DatabaseAway, SchemaOutdated
from worker.store.pooler import is_refused_in_statement_mode

_NO_RIGHT = {"42501", "3F000"}
"""A right to tables or to their schema is missing, or no schema is in the search_path."""
_UNPREPARED = {"42P05", "26000"}
"""Prepared statements meet those of other clients, or are on another connection."""
_CORRUPT = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class Contended(Exception):
    """The transaction conflicted with another one and was rolled back. It can be run again."""


@contextmanager
def translated(engine: Engine, setting: str) -> Iterator[None]:
    """Translates database errors into the errors of `Database.write`, and Contended. `setting` is the URL's name."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if str(getattr(error.orig, "sqlstate", None)).startswith("54"):
            raise  # a program limit of PostgreSQL: a retry would fail too
        if is_refused_in_statement_mode(_first_line(error)):
            raise BadSetting(
                f"{setting} leads to a pooler in statement mode, but transaction mode is needed"
                " (pool_mode = transaction)"
            ) from error
        raise _translate(error, engine) from error
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505":
            # Another transaction inserted the same key first. The next try sees its row.
            raise Contended(_first_line(error)) from error
        raise
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}:
            raise SchemaOutdated("the database is not migrated: run `stockbell migrate`") from error
        if getattr(error.orig, "sqlstate", None) in _NO_RIGHT:
            raise BadSetting(f"the user in {setting} can't do this: {_first_line(error)}") from error
        if getattr(error.orig, "sqlstate", None) in _UNPREPARED:
            hint = "a pooler that was not noticed is in between: set STOCKBELL_DATABASE_POOLER=transaction"
            raise DatabaseAway(f"{_first_line(error)}; {hint}") from error
        raise
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _CORRUPT:
            raise BadSetting(f"{setting} can't be used: {_file(engine)}: {_first_line(error)}") from error
        if getattr(error.orig, "sqlstate", None) == "25006":
            # This server only reads now: another one took over. The next connections are to the one that writes.
            engine.dispose()
            raise DatabaseAway(_first_line(error)) from error
        if error.connection_invalidated:
            raise DatabaseAway(_first_line(error)) from error
        raise


def _translate(error: DBAPIError, engine: Engine) -> Exception:
    words = _first_line(error)
    if "no such table" in words or "no such column" in words:
        return SchemaOutdated("the database is not migrated: run `stockbell migrate`")
    if getattr(error.orig, "sqlstate", None) in {"40P01", "40001"} or "database is locked" in words:
        return Contended(words)
    if engine.dialect.name == "sqlite":
        return DatabaseAway(f"{_file(engine)}: {_open_problem(_file(engine)) or words}")
    return DatabaseAway(words)


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or ["no answer"])[0]


def _file(engine: Engine) -> Path:
    return Path(engine.url.database or "")


def missing_file(engine: Engine) -> Path | None:
    """Returns the SQLite file that is missing and that SQLite would create. None: it is there or can't be created."""
    file = _file(engine)
    can_be_made = engine.dialect.name == "sqlite" and _open_problem(file) is None
    return file if can_be_made and not file.exists() else None


def _open_problem(file: Path) -> str | None:
    """Returns why the file can't be opened. SQLite only says "unable to open database file"."""
    try:
        if file.is_dir():
            return "is a directory"
        if not file.parent.is_dir():
            return "there is no such folder"
        may_use = os.access(file if file.exists() else file.parent, os.R_OK | os.W_OK)
    except PermissionError:
        may_use = False
    return None if may_use else "permission denied"
