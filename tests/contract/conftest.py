"""Fixtures of the contract tests."""

from collections.abc import Iterator

import pytest

from tests.contract.shop import Shop, shop_at
from tests.postgres_server import Databases


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: Databases, migrated_postgres: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with our tables, which the tests use one after the other."""
    with postgres.database(template=migrated_postgres) as url:
        yield url


@pytest.fixture(scope="session")
def kept_postgres(kept_postgres_url: str) -> Iterator[Shop]:
    """That database with connections that stay open: to open them takes longer than most tests."""
    with shop_at(kept_postgres_url) as opened:
        yield opened


@pytest.fixture
def emptied_postgres_url(kept_postgres: Shop) -> str:
    """The URL of that database, without rows."""
    kept_postgres.empty()
    return kept_postgres.url


@pytest.fixture(params=["sqlite", "postgresql"])
def shop_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with our tables and no rows.

    Unlike `any_database_url` it is not created anew, because that takes time.
    """
    fixture = "sqlite_url" if request.param == "sqlite" else "emptied_postgres_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def shop(shop_url: str) -> Iterator[Shop]:
    """A new shop; the test runs once on SQLite and once on PostgreSQL."""
    with shop_at(shop_url) as opened:
        yield opened


@pytest.fixture(params=[False, True], ids=["plain", "pipelined"])
def pipelining(request: pytest.FixtureRequest) -> bool:
    """Whether the relay offers pipelining. Every rule holds for both sessions."""
    return bool(request.param)
