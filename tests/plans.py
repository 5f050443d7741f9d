"""The statements that a function of the store runs, to ask the database how it would run them."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import psycopg
from sqlalchemy import Connection, event


def statements_of(c: Connection, work: Callable[..., object], *args: Any, **kwargs: Any) -> list[tuple[str, Any]]:
    """Returns the statements of `work` with their parameters. Rolls its changes back."""
    ran: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, params: Any, *_rest: object) -> None:
        ran.append((statement, params))

    execute = psycopg.Cursor.execute

    def noted(cursor: Any, statement: str, params: Any = None, **options: Any) -> Any:  # `Sql` calls psycopg directly
        if ran[-1:] != [(statement, params)]:
            ran.append((statement, params))
        return execute(cursor, statement, params, **options)

    event.listen(c, "before_cursor_execute", note)
    with c.begin_nested() as attempt, patch.object(psycopg.Cursor, "execute", noted):
        work(c, *args, **kwargs)
        attempt.rollback()
    event.remove(c, "before_cursor_execute", note)
    return ran
