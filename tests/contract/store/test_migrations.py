"""Migrations create the tables of the models, one at a time. Every process can read the revision of a database."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, String, TypeDecorator, inspect, text
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

import worker.migrations
from tests.bench.servers import plain
from tests.contract.shop import LONG_AGO, MUG, Shop, shop_at
from tests.polling import eventually
from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.migrations import migrate
from worker.models import SCHEMA
from worker.services.schema_check import check_schema
from worker.store import figures, schema
from worker.store.schema import SchemaState


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(worker.migrations.__file__).parent))
    return ScriptDirectory.from_config(config)


def _tables(shop: Shop) -> set[str]:
    return shop.database.read(lambda c: set(inspect(c).get_table_names()))


def _set_revision(shop: Shop, revision: str) -> None:
    shop.change("UPDATE alembic_version SET version_num = :revision", revision=revision)


# What a migration makes


def test_the_migrated_schema_is_the_models(shop: Shop) -> None:
    def differences(c: Connection) -> list[object]:
        context = MigrationContext.configure(c, opts={"compare_type": _is_other_type, "compare_server_default": True})
        return list(compare_metadata(context, SQLModel.metadata))

    assert shop.database.read(differences) == []


def test_partial_indexes_are_those_of_the_models(shop: Shop) -> None:
    # Alembic doesn't compare the conditions of indexes.
    dialect = shop.database.dialect
    wanted = {
        index.name: str(index.dialect_options[dialect]["where"])
        for table in SQLModel.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[dialect]["where"] is not None
    }
    source = {
        "sqlite": "SELECT name, sql FROM sqlite_master",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes",
    }
    made = {row[0]: row[1] for row in shop.database.read(lambda c: c.execute(text(source[dialect])).all())}
    assert len(wanted) == 7
    for name, condition in wanted.items():
        assert _words(condition) <= _words(made[str(name)])


def _words(condition: str) -> set[str]:
    """Returns the words of a condition, without IN: PostgreSQL writes `IN (...)` in another way."""
    return set(re.findall(r"'?\w+'?", condition)) - {"IN"}


def _is_other_type(
    _context: object, _made: object, _wanted: object, made: TypeEngine[Any], wanted: TypeEngine[Any]
) -> bool | None:
    plain = wanted.impl_instance if isinstance(wanted, TypeDecorator) else wanted
    both_are_text = isinstance(made, String) and isinstance(plain, String) and made.length is plain.length is None
    return False if both_are_text else None


def test_the_schema_of_the_models_is_the_newest_revision() -> None:
    assert _scripts().get_heads() == [SCHEMA]


def test_revisions_sort_as_they_follow_each_other() -> None:
    ids = [script.revision for script in _scripts().walk_revisions()]
    assert ids == sorted(ids, reverse=True)


def test_the_rows_that_are_always_there_are_there(shop: Shop) -> None:
    assert shop.breaker().state == "closed"
    assert shop.database.read(figures.read, 60.0).by_status["RECEIVED"] == 0
    assert len(shop.ask("SELECT id FROM sweep")) == 1
    for table in ("relay", "sweep"):
        with pytest.raises(Exception, match=r"(?i)check|constraint"):
            shop.change(f"UPDATE {table} SET id = 2")


# One at a time


def test_a_migration_says_where_it_began_and_ended(any_empty_database_url: str) -> None:
    assert migrate(any_empty_database_url) == (None, SCHEMA)
    assert migrate(any_empty_database_url) == (SCHEMA, SCHEMA)


def test_migrations_at_once_are_safe(any_empty_database_url: str) -> None:
    together = threading.Barrier(4)

    def run(_number: int) -> tuple[str | None, str | None]:
        together.wait(60)
        return migrate(any_empty_database_url)

    with ThreadPoolExecutor(4) as pool:
        runs = sorted(pool.map(run, range(4)), key=str)
    assert sorted(runs, key=str) == sorted([(None, SCHEMA), *[(SCHEMA, SCHEMA)] * 3], key=str)
    with shop_at(any_empty_database_url) as shop:
        assert len(shop.ask("SELECT id FROM relay")) == 1


def test_a_migration_gives_way_to_those_who_hold_what_it_needs(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expand(config: Config, _to: str) -> None:
        for table in ("owner", "request"):
            config.attributes["connection"].execute(text(f"ALTER TABLE {table} ADD COLUMN note text"))

    monkeypatch.setattr("worker.migrations.command.upgrade", expand)
    with shop_at(postgres_url) as shop, ThreadPoolExecutor(1) as pool:
        _set_revision(shop, "0000")
        with psycopg.connect(plain(postgres_url)) as theirs:
            theirs.execute("SET deadlock_timeout = '0.5s'")  # it would be the victim of a deadlock
            theirs.execute("UPDATE request SET attempts = 0")
            migration = pool.submit(migrate, postgres_url)
            waiting = f"SELECT pid FROM pg_stat_activity WHERE {theirs.info.backend_pid} = ANY(pg_blocking_pids(pid))"
            eventually(lambda: shop.ask(waiting), until="it waits for them")
            theirs.execute("UPDATE owner SET host = ''")
            assert not migration.done()
        assert migration.result(60) == ("0000", "0000")
        shop.ask("SELECT r.note, o.note AS owners FROM request AS r CROSS JOIN owner AS o")


def test_a_database_that_is_up_to_date_is_not_locked(postgres_url: str) -> None:
    with psycopg.connect(plain(postgres_url)) as theirs:
        theirs.execute("UPDATE request SET attempts = 0")
        assert migrate(postgres_url) == (SCHEMA, SCHEMA)


def test_a_migration_that_breaks_off_leaves_nothing(
    any_empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.create_index", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            migrate(any_empty_database_url)
    with shop_at(any_empty_database_url) as shop:
        assert "request" not in _tables(shop)
    assert migrate(any_empty_database_url) == (None, SCHEMA)


def test_a_database_that_is_not_there_is_away() -> None:
    with pytest.raises(DatabaseAway):
        migrate("postgresql+psycopg://nobody@127.0.0.1:1/nothing")


# From one revision to the next


def test_items_from_before_0002_keep_their_details_until_an_event_names_others(
    any_empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr("worker.migrations.command.upgrade", lambda config, _to: upgrade(config, "0001"))
        migrate(any_empty_database_url)
    with shop_at(any_empty_database_url) as shop:
        item = {"id": uuid4(), "app": MUG.item.app_id, "item": MUG.item.catalog_item_id}
        insert = "INSERT INTO item (id, app_id, catalog_item_id, name, price) VALUES (:id, :app, :item, 'Mug', '1')"
        shop.change(insert, **item)
        assert migrate(any_empty_database_url) == ("0001", SCHEMA)
        shop.tell(MUG, price="2", at=LONG_AGO)
        assert [tuple(row) for row in shop.ask("SELECT name, price FROM item")] == [("Mug", "2")]
        # An older program goes on, although it does not know the column.
        shop.change(insert, **item | {"id": uuid4(), "item": "cup-1"})
        shop.change("UPDATE item SET name = 'Cup' WHERE catalog_item_id = 'cup-1'")


# Where a database stands


def test_a_database_without_tables_is_told_to_be_migrated(any_empty_database_url: str) -> None:
    with shop_at(any_empty_database_url) as shop:
        assert shop.database.write(schema.state) == SchemaState.MISSING  # a write creates the file of SQLite
        with pytest.raises(SchemaOutdated, match="no tables yet: run `stockbell migrate`"):
            check_schema(shop.database)
        with pytest.raises(SchemaOutdated, match="run `stockbell migrate`"):
            shop.rows()
        with pytest.raises(SchemaOutdated, match="run `stockbell migrate`"):
            shop.owner()


@pytest.mark.parametrize(
    ("revision", "state"),
    [("0000", SchemaState.OLDER), (SCHEMA, SchemaState.CURRENT), ("9999", SchemaState.NEWER)],
)
def test_a_databases_revision_is_compared_with_ours(any_database_url: str, revision: str, state: SchemaState) -> None:
    with shop_at(any_database_url) as shop:
        _set_revision(shop, revision)
        assert shop.database.read(schema.revision) == revision
        assert shop.database.read(schema.state) == state
        if state == SchemaState.OLDER:
            with pytest.raises(SchemaOutdated, match="older than this program: run `stockbell migrate`"):
                check_schema(shop.database)
        else:
            check_schema(shop.database)


def test_what_is_said_of_a_database_names_no_password(postgres_url: str) -> None:
    with shop_at(postgres_url.replace("stockbell@", "stockbell:geheim@")) as shop:
        assert "geheim" not in shop.database.where
        assert "stockbell_test" in shop.database.where


def test_what_a_newer_program_has_migrated_is_left_as_it_is(shop: Shop) -> None:
    newer = f"{int(SCHEMA) + 1:04}"
    _set_revision(shop, newer)
    try:
        assert migrate(shop.url) == (newer, newer)
    finally:
        _set_revision(shop, SCHEMA)
