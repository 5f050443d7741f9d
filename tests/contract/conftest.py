"""Fixtures of the contract tests."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, delete

from tests.contract.shop import Shop, shop_at
from tests.postgres_server import Databases
from worker.models import Attempt, Contact, Item, Owner, Pause, Request, Stock, WaitingList


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: Databases, migrated_postgres: str) -> Iterator[str]:
    """A PostgreSQL database with our tables, for one test after the other."""
    with postgres.database(template=migrated_postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def shop_url(request: pytest.FixtureRequest) -> str:
    """A database with our tables and no rows. Unlike `any_database_url` it isn't made anew, which takes its time."""
    url: str
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
    else:
        url = request.getfixturevalue("kept_postgres_url")
        with shop_at(url) as shop:
            _empty(shop)
    return url


@pytest.fixture
def shop(shop_url: str) -> Iterator[Shop]:
    """A new shop; the test runs once on SQLite and once on PostgreSQL."""
    with shop_at(shop_url) as opened:
        yield opened


def _empty(shop: Shop) -> None:
    shop.write(_delete_rows)
    shop.change(
        """UPDATE relay SET state = 'closed', since = NULL, reason = NULL, scope = NULL, probe_at = NULL,
        worked_at = NULL"""
    )
    shop.change("UPDATE sweep SET swept_at = NULL, rescue_from = NULL")


def _delete_rows(c: Connection) -> None:
    for table in (Attempt, Request, WaitingList, Stock, Pause, Item, Contact, Owner):
        c.execute(delete(table))
