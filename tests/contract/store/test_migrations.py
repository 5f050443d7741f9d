"""Migrations create the tables of the models, one at a time. Every process can read the revision of a database."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

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
from tests.contract.shop import LONG_AGO, MUG, Shop, ref, shop_at
from tests.polling import eventually
from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.domain.stock import Level
from worker.migrations import migrate
from worker.models import SCHEMA, Status, WaitingList, uuid7
from worker.services.schema_check import check_schema
from worker.store import figures, lists, pauses, schema, tally
from worker.store.books import books
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
        found = list(compare_metadata(context, SQLModel.metadata))
        # Of SQLite Alembic can't read in which direction an index sorts. The next test compares that.
        return [each for each in found if c.dialect.name != "sqlite" or not _sorts_downwards(each)]

    assert shop.database.read(differences) == []


def _sorts_downwards(difference: Any) -> bool:
    is_about_index = difference[0] in {"add_index", "remove_index"}
    return is_about_index and difference[1].name == "request_first"


def test_partial_indexes_are_those_of_the_models(shop: Shop) -> None:
    # Alembic doesn't compare the conditions of indexes.
    dialect = shop.database.dialect
    wanted = {
        index.name: " ".join(map(str, [*index.expressions, index.dialect_options[dialect]["where"]]))
        for table in SQLModel.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[dialect]["where"] is not None
    }
    source = {
        "sqlite": "SELECT name, sql FROM sqlite_master",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes",
    }
    made = {row[0]: row[1] for row in shop.database.read(lambda c: c.execute(text(source[dialect])).all())}
    assert len(wanted) == 21
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


def test_a_migration_says_where_it_began_and_ended(unmigrated_url: str) -> None:
    assert migrate(unmigrated_url) == (None, SCHEMA)
    assert migrate(unmigrated_url) == (SCHEMA, SCHEMA)


def test_migrations_at_once_are_safe(unmigrated_url: str) -> None:
    together = threading.Barrier(4)

    def run(_number: int) -> tuple[str | None, str | None]:
        together.wait(60)
        return migrate(unmigrated_url)

    with ThreadPoolExecutor(4) as pool:
        runs = sorted(pool.map(run, range(4)), key=str)
    assert sorted(runs, key=str) == sorted([(None, SCHEMA), *[(SCHEMA, SCHEMA)] * 3], key=str)
    with shop_at(unmigrated_url) as shop:
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


def test_a_migration_that_breaks_off_leaves_nothing(unmigrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.create_index", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            migrate(unmigrated_url)
    with shop_at(unmigrated_url) as shop:
        assert "request" not in _tables(shop)
    assert migrate(unmigrated_url) == (None, SCHEMA)


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


@pytest.fixture
def older(any_empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["OlderShop"]:
    """A database of revision 0002, in which an older program works."""
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr("worker.migrations.command.upgrade", lambda config, _to: upgrade(config, "0002"))
        migrate(any_empty_database_url)
    with shop_at(any_empty_database_url) as shop:
        yield OlderShop(shop)


_numbers = count(1)


@dataclass(frozen=True, slots=True)
class OlderShop:
    """What a program from before 0003 writes."""

    shop: Shop

    def migrate(self) -> Shop:
        assert migrate(self.shop.url) == ("0002", SCHEMA)
        return self.shop

    def item(self, catalog_id: str = "mug-1", **columns: object) -> UUID:
        item = uuid7()
        self._insert("item", id=item, app_id=MUG.item.app_id, catalog_item_id=catalog_id, **columns)
        return item

    def list(self, item: UUID, options: str = "{}", **columns: object) -> UUID:
        found = UUID(int=next(_numbers))  # the list with the lowest id is the oldest
        self._insert("waiting_list", id=found, item_id=item, options=options, **{"in_stock": False} | columns)
        return found

    def level(self, item: UUID, options: str, *, in_stock: bool, minute: int, **columns: object) -> None:
        at = LONG_AGO + timedelta(minutes=minute)
        row = {"item_id": item, "options": options, "in_stock": in_stock, "occurred_at": at, "entry_id": f"{minute}-0"}
        self._insert("stock", **row | columns)

    def request(self, waiting: UUID, email: str, *, minute: int = 0, **columns: object) -> UUID:
        contacts = {row.address: row.id for row in self.shop.ask("SELECT address, id FROM contact", id="uuid")}
        at = LONG_AGO + timedelta(minutes=minute)
        if email not in contacts:
            contacts[email] = uuid7()
            self._insert("contact", id=contacts[email], address=email, created_date=at)
        counts = dict.fromkeys(("claim_no", "attempts", "unknowns", "policy_refusals", "rescues"), 0)
        row = {"waiting_list_id": waiting, "contact_id": contacts[email], "email": email, "created_date": at}
        request = uuid7()
        self._insert("request", **{"id": request, "status": "RECEIVED"} | row | counts | columns)
        return request

    def pause(self, item: UUID, options: str) -> None:
        self._insert("pause", key=f"{item}:{options}", item_id=item, options=options, since=LONG_AGO)

    def _insert(self, table: str, **columns: object) -> None:
        names = ", ".join(columns)
        self.shop.change(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in columns)})", **columns
        )


def test_what_is_there_before_0008_is_in_the_books(older: OlderShop) -> None:
    waiting = older.list(older.item())
    for number, status in enumerate(("RECEIVED", "FAILED", "FAILED", "NOTIFICATION_SENT")):
        older.request(waiting, f"customer{number}@example.com", status=status)
    shop = older.migrate()
    assert shop.database.read(tally.totals) == {"before:RECEIVED": 1, "before:FAILED": 2, "before:NOTIFICATION_SENT": 1}
    kept = shop.database.read(books)
    assert (kept.is_balanced, kept.signed_up) == (True, 4)


LARGE, LARGE_TOO = '{"Size":"L"}', '{"size":"L "}'


def test_lists_of_0003_that_differ_only_in_spelling_become_one(older: OlderShop) -> None:
    item = older.item()
    kept, merged, other = older.list(item, LARGE), older.list(item, LARGE_TOO), older.list(item, '{"Size":"M"}')
    older.level(item, LARGE_TOO, in_stock=True, minute=5)
    anne, bob = older.request(kept, "anne@example.com"), older.request(merged, "bob@example.com")
    carl = older.request(other, "carl@example.com")
    shop = older.migrate()
    lists_now = {row.id: row for row in shop.ask("SELECT * FROM waiting_list", id="uuid", in_stock="bool")}
    assert {list_id: (row.options, row.options_key) for list_id, row in lists_now.items()} == {
        kept: (LARGE, '{"size":"l"}'),
        other: ('{"Size":"M"}', '{"size":"m"}'),
    }
    assert lists_now[kept].in_stock
    assert [shop.row(request).waiting_list_id for request in (anne, bob, carl)] == [kept, kept, other]
    assert shop.list_id(ref(SIZE="l")) == kept
    assert [shop.row(request).given for request in (anne, carl)] == [None, None]
    assert json.loads(shop.row(bob).given)["options"] == {"size": "L "}
    shop.tell(ref(size="L"), at=LONG_AGO + timedelta(hours=1))
    assert shop.with_work() == {kept}
    assert {claim.id for claim in shop.claim(shop.owner(), ref(size="L")).claims} == {anne, bob}


def test_of_requests_that_become_one_the_oldest_is_told_and_nobody_twice(older: OlderShop) -> None:
    item = older.item()
    first, second = older.list(item, LARGE), older.list(item, LARGE_TOO)
    young, old = older.request(first, "anne@example.com", minute=9), older.request(second, "anne@example.com", minute=1)
    waits = older.request(second, "bob@example.com", minute=1, ordered_at=LONG_AGO)
    sent = older.request(first, "bob@example.com", minute=9, status="PROCESSING", owner=uuid7())
    told = older.request(second, "carl@example.com", status="NOTIFICATION_SENT", auto_notified=True)
    again = older.request(first, "carl@example.com", minute=9)
    shop = older.migrate()
    unresolved = {row.id for row in shop.rows() if row.status in {Status.RECEIVED, Status.PROCESSING}}
    assert unresolved == {old, sent, again}
    for ended in (young, waits):
        row = shop.row(ended)
        assert (row.status, row.auto_notified, row.owner) == (Status.NOTIFICATION_SENT, False, None)
        assert row.failure_reason == "an equal request of the same person tells them"
    assert shop.row(old).created_date == LONG_AGO + timedelta(minutes=1)
    assert shop.row(told).auto_notified
    assert {row.waiting_list_id for row in shop.rows()} == {first}


def test_of_a_request_that_was_ordered_the_order_is_kept(older: OlderShop) -> None:
    item = older.item()
    kept = older.request(older.list(item, LARGE), "anne@example.com", minute=1)
    older.request(older.list(item, LARGE_TOO), "anne@example.com", minute=2, ordered_at=LONG_AGO)
    assert older.migrate().row(kept).ordered_at == LONG_AGO


@pytest.mark.parametrize(("newest_is_in", "minute"), [(True, 9), (False, 1)])
def test_of_rows_that_become_one_the_newest_counts(older: OlderShop, newest_is_in: bool, minute: int) -> None:
    item = older.item()
    older.level(item, LARGE, in_stock=False, minute=5)
    older.level(item, LARGE_TOO, in_stock=True, minute=minute, last_in_stock_at=LONG_AGO)
    kept = older.list(item, LARGE)
    older.list(item, LARGE_TOO, in_stock=True, last_in_stock_at=LONG_AGO)
    row = older.migrate().read_one(WaitingList, kept)
    assert row.in_stock is newest_is_in
    assert row.last_in_stock_at == LONG_AGO
    assert (row.woken_at is not None) is newest_is_in


def test_a_pause_of_a_merged_list_goes_on_and_can_be_ended(older: OlderShop) -> None:
    item = older.item()
    kept = older.list(item, LARGE)
    older.list(item, LARGE_TOO)
    older.pause(item, LARGE)
    older.pause(item, LARGE_TOO)
    shop = older.migrate()
    shop.sign_up(ref(size="L"))
    shop.tell(ref(size="L"))
    assert shop.with_work() == set()
    assert not shop.write(pauses.pause, ref(Size="l"))
    assert shop.write(pauses.resume, ref(Size="l"))
    assert shop.with_work() == {kept}


def test_a_pause_of_a_list_as_it_was_spelled_goes_on_and_can_be_ended(older: OlderShop) -> None:
    item = older.item()
    waiting = older.list(item, LARGE)
    older.pause(item, LARGE)
    shop = older.migrate()
    shop.sign_up(ref(size="L"))
    shop.tell(ref(size="L"))
    assert shop.with_work() == set()
    assert shop.write(pauses.resume, ref(size="L"))
    assert shop.with_work() == {waiting}


def test_a_variant_that_went_out_with_its_item_comes_back_with_it(older: OlderShop) -> None:
    item = older.item(out_at=LONG_AGO + timedelta(minutes=5), out_entry="5-0")
    older.level(item, "{}", in_stock=False, minute=5)
    older.level(item, LARGE, in_stock=False, minute=1, quantity=3, last_in_stock_at=LONG_AGO)
    older.level(item, '{"Size":"M"}', in_stock=False, minute=1, quantity=0, last_in_stock_at=LONG_AGO)
    older.level(item, '{"Size":"S"}', in_stock=False, minute=9, quantity=3, last_in_stock_at=LONG_AGO)
    for size, minute in (
        ("X", 1),
        ("Y", 3),
    ):  # their events only said whether they are in stock, the last at this minute
        seen = LONG_AGO + timedelta(minutes=2)
        older.level(item, f'{{"Size":"{size}"}}', in_stock=False, minute=minute, last_in_stock_at=seen)
    shop = older.migrate()
    lists_now = {size: shop.list_id(ref(size=size)) for size in "SMLXY"}
    for size in "SMLXY":
        shop.sign_up(ref(size=size))
    shop.tell(MUG, at=LONG_AGO + timedelta(minutes=10))
    assert shop.with_work() == {lists_now["L"], lists_now["X"]}


NFD, NFC = "mu\u0308tze", "m\u00fctze"


@pytest.mark.parametrize("is_twice", [False, True])
def test_items_whose_ids_become_equal_become_one(older: OlderShop, is_twice: bool) -> None:
    item = older.item(NFD, name="Hat")
    waiting = older.request(older.list(item), "anne@example.com", minute=1)
    large = older.request(older.list(item, LARGE), "bob@example.com")
    older.level(item, "{}", in_stock=False, minute=5)
    older.pause(item, LARGE)
    if is_twice:
        same = older.item(NFC)
        older.request(older.list(same), "anne@example.com", minute=2)
        older.request(older.list(same, '{"Size":"M"}'), "carl@example.com")
        older.level(same, "{}", in_stock=True, minute=4)
    shop = older.migrate()
    assert [row.catalog_item_id for row in shop.ask("SELECT catalog_item_id FROM item")] == [NFC]
    assert shop.row(waiting).waiting_list_id == shop.list_id(ref(NFD))
    assert not shop.list_row(ref(NFC)).in_stock
    assert shop.read_one(WaitingList, shop.row(large).waiting_list_id).options == LARGE
    shop.tell(ref(NFC), at=LONG_AGO + timedelta(hours=1))
    assert shop.list_id(ref(NFC)) in shop.with_work()
    assert shop.list_id(ref(NFC, size="L")) not in shop.with_work()
    assert shop.status(waiting) is Status.RECEIVED


def test_an_older_program_goes_on_after_0003_and_nobody_is_lost(older: OlderShop) -> None:
    shop = older.migrate()
    shop.tell(MUG, in_stock=False)
    (row,) = shop.ask("SELECT id FROM item", id="uuid")
    waiting, same = older.list(row.id, LARGE), older.list(row.id, LARGE_TOO)
    for place, list_id in enumerate((waiting, same)):
        older.request(list_id, f"customer{place}@example.com")
    older.level(row.id, LARGE, in_stock=False, minute=1)
    older.level(row.id, LARGE_TOO, in_stock=False, minute=2)
    shop.tell(ref(size="L"), at=LONG_AGO + timedelta(hours=1))
    assert shop.with_work() == {waiting, same}
    assert shop.list_id(ref(size="L")) in {waiting, same}
    keys = {row.options_key for row in shop.ask("SELECT options_key FROM waiting_list WHERE options <> '{}'")}
    assert keys == {'{"size":"l"}', None}


def test_a_variant_that_an_older_program_stored_since_does_not_follow_its_item(older: OlderShop) -> None:
    shop = older.migrate()
    large = ref(size="L")
    shop.sign_up(large)
    shop.tell(large)
    shop.tell(MUG, in_stock=False)
    assert [row.follows_item for row in levels_of(shop, "L")] == [True]
    shop.change(
        "UPDATE stock SET in_stock = false, occurred_at = :at, entry_id = '9-0' WHERE options <> '{}'",
        at=LONG_AGO + timedelta(hours=1),
    )
    shop.tell(MUG, at=LONG_AGO + timedelta(hours=2))
    assert shop.with_work() == set()


def levels_of(shop: Shop, size: str) -> list[Level]:
    items = shop.ask("SELECT id FROM item", id="uuid")
    found = shop.database.read(lists.levels, [row.id for row in items])
    return [level for each in found.values() for options, level in each.items() if options == ref(size=size).options]


def test_more_lists_than_a_page_of_the_migration_get_their_keys(
    older: OlderShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        item = older.item(f"mug-{number}")
        for size in ("{}", LARGE, LARGE_TOO, '{"Size":"M"}'):
            older.list(item, size)
    upgrade = command.upgrade

    def with_small_pages(config: Config, to: str) -> None:
        load = ScriptDirectory.from_config

        def small(config: Config) -> ScriptDirectory:
            found = load(config)
            newest: Any = found.get_revision("0003")
            assert newest.module.PAGE > 100
            newest.module.PAGE = 2
            return found

        with monkeypatch.context() as patch:
            patch.setattr(ScriptDirectory, "from_config", small)
            upgrade(config, to)

    monkeypatch.setattr("worker.migrations.command.upgrade", with_small_pages)
    shop = older.migrate()
    rows = shop.ask("SELECT options_key, count(*) AS lists FROM waiting_list GROUP BY options_key")
    assert {row.options_key: row.lists for row in rows} == {"{}": 3, '{"size":"l"}': 3, '{"size":"m"}': 3}


# Where a database stands


def test_a_database_without_tables_is_told_to_be_migrated(unmigrated_url: str) -> None:
    with shop_at(unmigrated_url) as shop:
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
