"""What the database's errors mean to us, as a table would say it: away, not migrated, wrong setting, or try again."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from worker.domain.errors import BadSetting, DatabaseAway, SchemaOutdated

_SPOILT = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class Contended(Exception):
    """The transaction lost against another one and was rolled back: it may simply be run again."""


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Raises what `Database.write` says, and Contended."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if str(getattr(error.orig, "sqlstate", None)).startswith("54"):
            raise  # something is too large for it, and will be the next time too
        raise _meaning(error, engine) from error
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505":
            # Unique when we looked, and no more: somebody was faster. The next try sees what they did.
            raise Contended(_first_line(error)) from error
        raise
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}:
            raise SchemaOutdated("the database is not migrated: run `stockbell migrate`") from error
        if error.statement is None:  # there was no server to ask yet
            raise BadSetting(f"DATABASE_URL can't be used: {_first_line(error)}") from error
        raise
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SPOILT:
            raise BadSetting(f"DATABASE_URL can't be used: {_file(engine)}: {_first_line(error)}") from error
        # A server that only reads is one that another has taken over from, or that is not ready yet.
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) == "25006":
            raise DatabaseAway(_first_line(error)) from error
        raise


def _meaning(error: DBAPIError, engine: Engine) -> Exception:
    words = _first_line(error)
    if "no such table" in words or "no such column" in words:
        return SchemaOutdated("the database is not migrated: run `stockbell migrate`")
    if getattr(error.orig, "sqlstate", None) in {"40P01", "40001"} or "database is locked" in words:
        return Contended(words)
    if engine.dialect.name == "sqlite":
        return DatabaseAway(f"{_file(engine)}: {_why_not_opened(_file(engine)) or words}")
    return DatabaseAway(words)


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or ["no answer"])[0]


def _file(engine: Engine) -> Path:
    return Path(engine.url.database or "")


def _why_not_opened(file: Path) -> str | None:
    """What SQLite does not say: it only knows "unable to open database file"."""
    try:
        if file.is_dir():
            return "is a directory"
        if not file.parent.is_dir():
            return "there is no such folder"
        may_use = os.access(file if file.exists() else file.parent, os.R_OK | os.W_OK)
    except PermissionError:
        may_use = False
    return None if may_use else "permission denied"
