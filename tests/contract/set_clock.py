"""A database whose clock stands still until a test sets it. Ids that sort by time follow it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Final

import pytest

from tests.contract.shop import Shop, shop_at
from worker import models
from worker.store import database
from worker.store.sql import sqlite_time

_POSTGRESQL: Final = (
    "CREATE TABLE set_clock (at timestamptz NOT NULL)",
    "INSERT INTO set_clock (at) VALUES (:at)",
    """CREATE OR REPLACE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT at + make_interval(secs => seconds) FROM set_clock $$""",
)


class SetClock:
    """The clock of one shop."""

    def __init__(self, shop: Shop, at: datetime) -> None:
        self.shop = shop
        self.at = at

    def set(self, at: datetime) -> None:
        """Sets it."""
        self.at = at
        if self.shop.database.dialect == "postgresql":
            self.shop.change("UPDATE set_clock SET at = :at", at=at)


@contextmanager
def shop_with_clock(url: str, at: datetime, patch: pytest.MonkeyPatch) -> Iterator[SetClock]:
    """Opens a new database, of which nobody else has a connection."""
    with shop_at(url) as shop:
        clock = SetClock(shop, at)
        patch.setattr(database, "_sqlite_now", lambda seconds: sqlite_time(clock.at + timedelta(seconds=seconds)))
        patch.setattr(models, "time", SimpleNamespace(time_ns=lambda: int(clock.at.timestamp() * 1e9)))
        if shop.database.dialect == "postgresql":
            for words in _POSTGRESQL:
                shop.change(words, **({"at": at} if ":at" in words else {}))
        yield clock
