"""Behind a pooler each transaction has its own limits, nothing outlives it, and its troubles are the database's."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from tests.bench.servers import plain
from tests.contract.shop import Shop, ref, shop_at
from tests.pgbouncer import OTHERS, Mode, PgBouncer, needs_pgbouncer
from tests.polling import eventually
from tests.ports import free_port
from tests.postgres_server import Databases, database_name
from worker.domain.errors import BadSetting, DatabaseAway, DatabaseUnfit
from worker.migrations import migrate
from worker.store import schema
from worker.store.database import Database
from worker.store.pooler import PREPARE_AFTER, Pooler
from worker.store.sql import Sql

pytestmark = needs_pgbouncer

OURS: Final = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "lock_timeout": "10s",
    "statement_timeout": "1min",
    "idle_in_transaction_session_timeout": "8s",
    "transaction_isolation": "read committed",
}
TRACKED: Final = {"timezone", "datestyle"}
"""PgBouncer gives each client its own."""
PATIENT: Final = {name: "0" if name.endswith("timeout") else value for name, value in OURS.items()}
_SETTINGS: Final = text("SELECT name, current_setting(name) FROM unnest(CAST(:names AS text[])) AS names(name)")
_COUNT: Final = Sql("SELECT count(*) AS found FROM owner WHERE host = :host")


def in_force(c: Connection, *names: str) -> dict[str, str]:
    """Returns PostgreSQL's settings in this transaction."""
    found = c.execute(_SETTINGS, {"names": list(names) or list(OURS)})
    return {row.name: row.current_setting for row in found}


def count(c: Connection) -> int:
    return int(_COUNT(c, host="nobody")[0].found)


@pytest.fixture
def database(pgbouncer: PgBouncer, kept_postgres_url: str) -> Iterator[Database]:
    """A database behind a pooler in transaction mode."""
    with closing(Database(pgbouncer.url(kept_postgres_url))) as database:
        yield database


@pytest.fixture
def hostile_url(postgres: Databases) -> Iterator[str]:
    """A database whose owner has set for everybody what others set on the connections of the pooler."""
    with postgres.database() as url:
        with closing(psycopg.connect(plain(url), autocommit=True)) as owner:
            for name, value in OTHERS.items():
                owner.execute(f"ALTER DATABASE {database_name(url)} SET {name} = '{value}'".encode())
        yield url


def through(pooler: PgBouncer, url: str) -> Iterator[psycopg.Connection[Any]]:
    """Yields other clients of the pooler, one for each of its connections to the server, all in a transaction."""
    for _ in range(3):
        with closing(psycopg.connect(plain(pooler.url(url)), prepare_threshold=None)) as client:
            yield client


@contextmanager
def role_in(url: str, grants: str = "") -> Iterator[str]:
    """Yields a URL of the same database for a role that owns nothing. `{}` in `grants` is its name."""
    role = f"shop_{database_name(url)[-8:]}"
    with closing(psycopg.connect(plain(url), autocommit=True)) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN; {grants.format(role)}".encode())
        try:
            yield make_url(url).set(username=role).render_as_string(hide_password=False)
        finally:
            owner.execute(f"DROP ROLE {role}".encode())


# What holds in a transaction


@pytest.mark.parametrize("kind", ["write", "read", "write_at_once"])
def test_every_transaction_has_our_settings_whoever_had_the_connection_before(database: Database, kind: str) -> None:
    run: Callable[..., dict[str, str]] = getattr(database, kind)
    assert [run(in_force) for _ in range(4)] == [OURS] * 4
    assert database.is_pooled


@pytest.mark.parametrize("kind", ["write", "read", "write_at_once"])
@pytest.mark.parametrize("pooler", ["auto", "none", "transaction"])
def test_so_it_is_without_a_pooler_and_whatever_is_set(hostile_url: str, kind: str, pooler: Pooler) -> None:
    with closing(Database(hostile_url, pooler=pooler)) as database:
        run: Callable[..., dict[str, str]] = getattr(database, kind)
        assert [run(in_force) for _ in range(2)] == [OURS] * 2
        assert database.is_pooled is (pooler == "transaction")


def test_who_is_patient_has_no_limits(pgbouncer: PgBouncer, kept_postgres_url: str, hostile_url: str) -> None:
    for url in (pgbouncer.url(kept_postgres_url), hostile_url):
        with closing(Database(url, is_patient=True)) as database:
            assert database.write(in_force) == PATIENT


def test_nothing_of_ours_is_left_for_others(database: Database, pgbouncer: PgBouncer, kept_postgres_url: str) -> None:
    for _ in range(6):
        database.write(count)
        database.write_at_once(count)
    kept = [name for name in OTHERS if name not in TRACKED]
    settings = f"SELECT {', '.join(f'current_setting({name!r})' for name in kept)}"
    clients = through(pgbouncer, kept_postgres_url)
    seen = {client.info.backend_pid: client.execute(settings.encode()).fetchone() for client in clients}
    assert len(seen) == 3
    assert set(seen.values()) == {tuple(OTHERS[name] for name in kept)}


def test_a_write_that_fails_at_once_is_undone_and_the_next_one_works(shop: Shop) -> None:
    def fail(c: Connection) -> None:
        Sql("UPDATE owner SET host = 'changed'")(c)
        raise ZeroDivisionError

    shop.owner()
    with pytest.raises(ZeroDivisionError):
        shop.write(fail)
    assert shop.database.write_at_once(count) == 0


# Whether there is a pooler


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_is_noticed_in_every_mode_that_works(kept_postgres_url: str, mode: Mode) -> None:
    with PgBouncer(kept_postgres_url, mode) as pooler, closing(Database(pooler.url(kept_postgres_url))) as database:
        assert database.read(in_force) == OURS
        assert database.is_pooled


def _prepared(c: Connection) -> int:
    return int(c.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar() or 0)


def test_nothing_is_prepared_behind_a_pooler(database: Database, pgbouncer: PgBouncer, kept_postgres_url: str) -> None:
    with closing(Database(pgbouncer.url(kept_postgres_url))) as other:
        for _ in range(2 * PREPARE_AFTER):
            database.write(count)
            other.write(count)
        assert [database.read(_prepared) for _ in range(4)] == [0] * 4


def test_without_a_pooler_what_runs_often_is_prepared(kept_postgres_url: str) -> None:
    with closing(Database(kept_postgres_url)) as database:
        for _ in range(2 * PREPARE_AFTER):
            database.write(count)
        assert database.read(_prepared) > 0


@pytest.mark.parametrize("statement", ["EXECUTE _pg3_0", "PREPARE _pg3_0 AS SELECT 1; PREPARE _pg3_0 AS SELECT 1"])
def test_a_pooler_that_was_not_noticed_is_guessed_from_its_errors(kept_postgres_url: str, statement: str) -> None:
    is_told = pytest.raises(DatabaseAway, match=r'"_pg3_0" .* set STOCKBELL_DATABASE_POOLER=transaction$')
    with closing(Database(kept_postgres_url)) as database, is_told:
        database.write(lambda c: c.exec_driver_sql(statement))


# Its troubles


def test_statement_mode_is_refused_in_one_line(kept_postgres_url: str) -> None:
    with PgBouncer(kept_postgres_url, "statement") as pooler, closing(Database(pooler.url(kept_postgres_url))) as ours:
        for _ in range(2):
            with pytest.raises(BadSetting) as told:
                ours.read(count)
            assert str(told.value) == (
                "DATABASE_URL leads to a pooler in statement mode, but transaction mode is needed"
                " (pool_mode = transaction)"
            )


def test_an_option_that_the_pooler_refuses_is_a_bad_setting(pgbouncer: PgBouncer, kept_postgres_url: str) -> None:
    url = pgbouncer.url(kept_postgres_url) + "?options=-csearch_path%3Dhunter2"
    with closing(Database(url)) as database:
        with pytest.raises(
            DatabaseUnfit,
            match=r"^DATABASE_URL can't be used: .*: a pooler refuses an option of the URL or of PGOPTIONS: "
            r"(options|search_path)$",
        ) as told:
            database.read(count)
        assert "hunter2" not in str(told.value)


def test_an_option_of_the_url_reaches_the_server_where_there_is_no_pooler(kept_postgres_url: str) -> None:
    with closing(Database(kept_postgres_url + "?options=-csearch_path%3Dshop")) as database:
        assert database.read(in_force, "search_path") == {"search_path": "shop"}


def test_a_database_that_the_pooler_does_not_know_is_away(pgbouncer: PgBouncer, kept_postgres_url: str) -> None:
    url = pgbouncer.url(kept_postgres_url).replace(database_name(kept_postgres_url), "nothing")
    with closing(Database(url)) as database, pytest.raises(DatabaseAway, match="nothing"):
        database.read(count)


def test_a_server_that_the_pooler_cant_reach_is_away(kept_postgres_url: str) -> None:
    nobody = psycopg.conninfo.conninfo_to_dict(plain(kept_postgres_url))
    there = f"postgresql+psycopg://{nobody['user']}@127.0.0.1:{free_port()}/{nobody['dbname']}"
    with PgBouncer(there, query_wait_timeout="1", server_connect_timeout="1") as pooler:
        nowhere = shop_at(pooler.url(there))
        with nowhere as shop, pytest.raises(DatabaseAway):
            shop.relay()


def test_a_pool_with_no_connection_free_is_away(kept_postgres_url: str) -> None:
    with PgBouncer(kept_postgres_url, pool_size=1, min_pool_size="1", query_wait_timeout="1") as pooler:
        url = pooler.url(kept_postgres_url)
        with closing(Database(url)) as database, closing(psycopg.connect(plain(url))) as other:
            database.read(count)
            other.execute("SELECT 1")  # and its transaction stays open
            with pytest.raises(DatabaseAway, match="query_wait_timeout"):
                database.read(count)
            other.rollback()
            database.read(count)


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["write", "write_at_once"])
def test_a_pooler_that_was_started_anew_is_away_once(kept_postgres_url: str, how: signal.Signals, kind: str) -> None:
    with PgBouncer(kept_postgres_url) as pooler, closing(Database(pooler.url(kept_postgres_url))) as database:
        run: Callable[..., dict[str, str]] = getattr(database, kind)
        run(in_force)
        pooler.restart(how)
        with pytest.raises(DatabaseAway):
            run(in_force)
        assert run(in_force) == OURS


def test_who_comes_while_the_pooler_is_paused_waits(postgres_url: str) -> None:
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with (
        PgBouncer(postgres_url) as pooler,
        closing(Database(pooler.url(postgres_url))) as database,
        shop_at(postgres_url) as direct,
        ThreadPoolExecutor(1) as pool,
    ):
        database.write(count)
        pooler.pause()
        eventually(lambda: not direct.ask(others), until="its connections to the server are closed")
        waiting = pool.submit(database.write, count)
        assert not waiting.done()
        pooler.resume()
        assert waiting.result(60) == 0


# Migrations


@contextmanager
def encoded(server: str, encoding: str) -> Iterator[str]:
    """Yields a new database with this encoding."""
    name = f"stockbell_test_{encoding.lower()}_{os.getpid()}"
    with closing(psycopg.connect(plain(server), autocommit=True)) as owner:
        owner.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {encoding!r} LOCALE 'C'".encode())
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_database_without_an_encoding_keeps_every_character(kept_postgres_url: str) -> None:
    with encoded(kept_postgres_url, "SQL_ASCII") as url:
        migrate(url)
        with shop_at(url) as shop:
            shop.waiting(1, ref("Łódź-1"))
            assert [row.catalog_item_id for row in shop.ask("SELECT catalog_item_id FROM item")] == ["Łódź-1"]


def test_a_database_that_lacks_characters_is_not_migrated(kept_postgres_url: str) -> None:
    with encoded(kept_postgres_url, "LATIN1") as url:
        with pytest.raises(BadSetting, match="has the encoding LATIN1, but UTF8 is needed: nothing was migrated"):
            migrate(url)
        with closing(Database(url)) as database:
            assert database.read(schema.revision) is None


def test_a_migration_that_a_pooler_ends_says_how_to_go_round_it(postgres_url: str) -> None:
    with PgBouncer(postgres_url, query_timeout="1") as pooler, closing(psycopg.connect(plain(postgres_url))) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (0x570CBE11,))  # as another migration does
        with pytest.raises(DatabaseAway, match=r"query timeout; .*STOCKBELL_MIGRATE_URL"):
            migrate(pooler.url(postgres_url))


def test_a_migration_by_another_way_finds_the_same_database(pgbouncer: PgBouncer, empty_postgres_url: str) -> None:
    with closing(Database(pgbouncer.url(empty_postgres_url))) as database:
        before, after = migrate(empty_postgres_url, used_by=database)
        assert before is None
        assert database.read(schema.revision) == after


def test_a_migration_of_another_database_is_refused_before_anything_changes(
    pgbouncer: PgBouncer, empty_postgres_url: str, postgres_url: str
) -> None:
    with shop_at(empty_postgres_url) as other, closing(Database(pgbouncer.url(postgres_url))) as database:
        with pytest.raises(BadSetting, match="MIGRATE_URL and DATABASE_URL are not the same database: nothing was"):
            migrate(empty_postgres_url, used_by=database)
        assert other.database.read(schema.revision) is None


def test_who_may_not_migrate_is_told(postgres: Databases) -> None:
    with postgres.database() as url, role_in(url) as theirs, closing(Database(url)) as database:
        with pytest.raises(BadSetting, match="the user in STOCKBELL_MIGRATE_URL can't do this: permission denied for"):
            migrate(theirs, used_by=database)
        with pytest.raises(BadSetting, match="the user in DATABASE_URL can't do this: permission denied for"):
            migrate(theirs)


@pytest.mark.parametrize(
    ("grants", "words"),
    [
        ("", "the user in DATABASE_URL can't do this: permission denied for table alembic_version"),
        ("ALTER ROLE {} SET search_path = elsewhere", "DATABASE_URL does not see the migrated tables"),
    ],
)
def test_who_cant_use_the_migrated_tables_is_told(postgres: Databases, grants: str, words: str) -> None:
    is_told = pytest.raises(BadSetting, match=words)
    with postgres.database() as url, role_in(url, grants) as theirs, closing(Database(theirs)) as database, is_told:
        migrate(url, used_by=database)
