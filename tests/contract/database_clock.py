"""The database's clock as a test sets it: from then on it goes on as usual."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from tests.contract.shop import Shop
from worker.store import database
from worker.store.sql import sqlite_time

_FUNCTION = """CREATE OR REPLACE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz
    LANGUAGE sql STABLE AS $$ SELECT statement_timestamp() + make_interval(secs => {} + seconds) $$"""


class DatabaseClock:
    """Sets the clock of one database, which on SQLite is that of every process."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._ahead = timedelta()

    def set(self, at: datetime | str) -> None:
        """From now on it is this time; a text is in UTC."""
        time = datetime.fromisoformat(at).replace(tzinfo=UTC) if isinstance(at, str) else at
        self._ahead = time - datetime.now(UTC)
        if self._shop.database.dialect == "postgresql":
            self._shop.write(_run, _FUNCTION.format(self._ahead.total_seconds()))

    def sqlite_now(self, seconds: float) -> str:
        """Is `stockbell_now` on SQLite."""
        return sqlite_time(datetime.now(UTC) + self._ahead + timedelta(seconds=seconds))


@contextmanager
def clock_of(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseClock]:
    """Yields the clock of a shop that has not connected to its database yet."""
    clock = DatabaseClock(shop)
    if shop.database.dialect == "sqlite":
        monkeypatch.setattr(database, "_sqlite_now", clock.sqlite_now)
        yield clock
        return
    usual = shop.ask("SELECT pg_get_functiondef('stockbell_now'::regproc) AS words")[0].words
    try:
        yield clock
    finally:
        shop.write(_run, usual)


def _run(c: Connection, words: str) -> None:
    c.exec_driver_sql(words)
