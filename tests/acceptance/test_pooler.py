"""The real processes and commands behind a PgBouncer."""

from collections.abc import Iterator

import pytest

from tests.acceptance.stockbell import Loaded, Stockbell, done, refused, told_exactly_once
from tests.pgbouncer import PgBouncer, needs_pgbouncer
from worker.models import SCHEMA

KIND = Loaded

pytestmark = needs_pgbouncer
STATEMENT_MODE = "DATABASE_URL leads to a pooler in statement mode, but transaction mode is needed"


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[PgBouncer]:
    """A pooler with fewer connections than it has clients."""
    with PgBouncer(postgres_url) as pooler:
        yield pooler


def test_the_line_works_behind_a_pooler(stockbell: Stockbell, pooler: PgBouncer, postgres_url: str) -> None:
    stockbell.environment["DATABASE_URL"] = pooler.url(postgres_url)
    told = stockbell.waiting("mug-1", 120)
    stockbell.start_all(children=2)
    stockbell.publish(catalogItemId="mug-1", quantity=5)
    stockbell.until(NOTIFICATION_SENT=120)
    assert told_exactly_once(stockbell.mails(), told)
    assert stockbell.status()["requests"]["NOTIFICATION_SENT"] == 120
    assert "answers through a pooler" in stockbell.run("doctor").stdout
    assert len(stockbell.requests("--item", "mug-1")) == 120
    assert "Traceback" not in stockbell.logs()
    assert '"database.away"' not in stockbell.logs()


def test_in_statement_mode_nothing_starts_and_one_line_says_why(stockbell: Stockbell, postgres_url: str) -> None:
    with PgBouncer(postgres_url, "statement") as pooler:
        stockbell.environment["DATABASE_URL"] = pooler.url(postgres_url)
        for command in ("listen", "work", "schedule", "migrate", "status", "requests list"):
            assert STATEMENT_MODE in refused(stockbell.run(*command.split()))
        answer = stockbell.run("doctor")
        assert answer.returncode == 1
        assert f"FAIL  database    {STATEMENT_MODE}" in answer.stdout


def test_migrations_go_by_their_own_way(
    stockbell: Stockbell, pooler: PgBouncer, postgres_url: str, empty_postgres_url: str
) -> None:
    stockbell.environment["DATABASE_URL"] = pooler.url(empty_postgres_url)
    stockbell.environment["STOCKBELL_MIGRATE_URL"] = postgres_url
    assert "not the same database: nothing was migrated" in refused(stockbell.run("migrate"))
    stockbell.environment["STOCKBELL_MIGRATE_URL"] = empty_postgres_url
    assert done(stockbell.run("migrate")) == f"schema {SCHEMA}: migrated from nothing\n"
    assert done(stockbell.run("migrate")) == f"schema {SCHEMA}: nothing to do\n"
    assert "is current" in stockbell.run("doctor").stdout
