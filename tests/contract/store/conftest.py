"""The store's rules also hold behind a PgBouncer whose connections have others' settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pgbouncer import PgBouncer, needs_pgbouncer

DATABASES = ["sqlite", "postgresql", pytest.param("pgbouncer", marks=needs_pgbouncer)]


@pytest.fixture(scope="session")
def pgbouncer(kept_postgres_url: str) -> Iterator[PgBouncer]:
    """A pooler in transaction mode, with few connections to the server."""
    with PgBouncer(kept_postgres_url) as pooler:
        yield pooler


@pytest.fixture(params=DATABASES)
def shop_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with our tables and no rows."""
    fixture = "sqlite_url" if request.param == "sqlite" else "emptied_postgres_url"
    return _through(request, str(request.getfixturevalue(fixture)))


@pytest.fixture(params=DATABASES)
def any_database_url(request: pytest.FixtureRequest) -> str:
    """A new database with our tables and no rows."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return _through(request, str(request.getfixturevalue(fixture)))


@pytest.fixture(params=DATABASES)
def unmigrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database without tables, which is to be migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return _through(request, str(request.getfixturevalue("empty_postgres_url")))


def _through(request: pytest.FixtureRequest, url: str) -> str:
    if request.param != "pgbouncer":
        return url
    pooler: PgBouncer = request.getfixturevalue("pgbouncer")
    return pooler.url(url)
