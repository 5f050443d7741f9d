"""Transactions: which are tried again, which errors mean "away", and what outlives a server that went away."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.contract.shop import Shop, shop_at, somebody_waits
from tests.polling import eventually
from worker.domain.errors import BadSetting, DatabaseAway, SchemaOutdated
from worker.models import Owner
from worker.store import requests
from worker.store.database import Database
from worker.store.requests import Filter
from worker.store.sql import Sql

_TOUCH = Sql("UPDATE owner SET host = :host WHERE id = :id")
on_postgresql = pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)


@pytest.fixture
def other_shop(shop_url: str) -> Iterator[Shop]:
    """The same shop, with a database connection of its own, as in another process."""
    with shop_at(shop_url) as opened:
        yield opened


@on_postgresql
def test_of_two_that_block_each_other_the_victim_runs_again(shop: Shop, other_shop: Shop) -> None:
    first, second = shop.owner(), shop.owner()
    together, winner_is_done = threading.Barrier(2), threading.Event()
    runs: list[str] = []

    def touch(c: Connection, one: UUID, then: UUID, host: str) -> None:
        is_again = host in runs
        runs.append(host)
        if is_again:  # if it locked its row before the winner wakes up, both would block each other again
            assert winner_is_done.wait(60)
        _TOUCH(c, id=one, host=host)
        if not is_again:
            together.wait(60)
        _TOUCH(c, id=then, host=host)

    def write(shop: Shop, one: UUID, then: UUID, host: str) -> None:
        shop.write(touch, one, then, host)
        winner_is_done.set()

    with ThreadPoolExecutor(2) as pool:
        a = pool.submit(write, shop, first, second, "a")
        b = pool.submit(write, other_shop, second, first, "b")
        a.result(60)
        b.result(60)
    assert len(runs) == 3
    # The last run wrote both rows.
    assert {shop.read_one(Owner, owner).host for owner in (first, second)} == {runs[-1]}


@on_postgresql
def test_a_connection_that_was_cut_is_away_once(shop: Shop, other_shop: Shop) -> None:
    owner = shop.owner()
    (row,) = shop.ask("SELECT pg_backend_pid() AS pid")
    other_shop.ask(f"SELECT pg_terminate_backend({row.pid})")
    eventually(lambda: not other_shop.ask(f"SELECT 1 FROM pg_stat_activity WHERE pid = {row.pid}"))
    with pytest.raises(DatabaseAway):
        shop.count(Owner)
    assert shop.read_one(Owner, owner).id == owner


@on_postgresql
def test_who_stalls_in_a_transaction_keeps_nobody_waiting(shop: Shop, other_shop: Shop) -> None:
    """A process may freeze, or disappear with its host. PostgreSQL releases its locks and rolls back its changes."""
    owner = shop.owner()
    (limit,) = shop.ask("SELECT current_setting('idle_in_transaction_session_timeout') AS now")
    assert limit.now == "8s"

    def stall(c: Connection) -> None:
        c.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
        _TOUCH(c, id=owner, host="stalled")
        other_shop.change("UPDATE owner SET host = 'other'")  # this waits for our lock
        _TOUCH(c, id=owner, host="stalled")

    with pytest.raises(DatabaseAway, match="idle-in-transaction"):
        shop.write(stall)
    assert shop.read_one(Owner, owner).host == "other"


@on_postgresql
def test_who_lists_requests_may_take_any_time_over_it(shop: Shop) -> None:
    shop.waiting(3)

    def read(c: Connection) -> str:
        assert len(list(requests.find(c, Filter()))) == 3
        return str(c.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar())

    assert shop.database.read(read) == "0"


@on_postgresql
def test_a_server_that_only_reads_is_away(shop: Shop) -> None:
    owner = shop.owner()

    def touch_while_it_only_reads(c: Connection) -> None:
        c.exec_driver_sql("SET TRANSACTION READ ONLY")
        _TOUCH(c, id=owner, host="other")

    with pytest.raises(DatabaseAway, match="read-only"):
        shop.write(touch_while_it_only_reads)


def test_whoever_writes_waits_for_the_other_writer(shop: Shop, other_shop: Shop) -> None:
    owner = shop.owner()

    def hold_and_let_them_come(c: Connection, pool: ThreadPoolExecutor) -> object:
        _TOUCH(c, id=owner, host="first")
        second = pool.submit(other_shop.change, "UPDATE owner SET host = :host", host="second")
        if shop.database.dialect == "postgresql":
            eventually(lambda: somebody_waits(shop), until="the second writer waits")
        return second

    with ThreadPoolExecutor(1) as pool:
        shop.write(hold_and_let_them_come, pool)
    assert shop.read_one(Owner, owner).host == "second"


def test_readers_do_not_wait_for_a_writer(shop: Shop, other_shop: Shop) -> None:
    owner = shop.owner()

    def write_while_another_reads(c: Connection) -> str:
        _TOUCH(c, id=owner, host="new")
        return str(other_shop.read_one(Owner, owner).host)

    assert shop.write(write_while_another_reads) == "host:1"
    assert shop.read_one(Owner, owner).host == "new"


def test_a_transaction_that_fails_leaves_nothing(shop: Shop) -> None:
    owner = shop.owner()

    def fail(c: Connection) -> None:
        _TOUCH(c, id=owner, host="new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shop.write(fail)
    assert shop.read_one(Owner, owner).host == "host:1"


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_ROW = st.fixed_dictionaries(
    {
        "id": st.none() | st.uuids(),
        "words": st.none()
        | _TEXTS
        | st.sampled_from(["NULL", "null", "", "{}", '"', "\\", "\\n", "\n", "a,b", '{"a":"\\n"}']),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "yes": st.none() | st.booleans(),
        "part": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "at": st.none() | st.datetimes(timezones=st.just(UTC)),
    }
)
_ECHO = Sql(
    """SELECT id, words, n, yes, part, at
    FROM ROWS(id uuid, words text, n bigint, yes bool, part float8, at timestamptz)""",
    id="uuid",
    yes="bool",
    at="time",
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_ROW, max_size=5))
def test_rows_arrive_as_they_were_given(shop: Shop, rows: list[dict[str, object]]) -> None:
    def echo(c: Connection) -> list[dict[str, object]]:
        return [row._asdict() for row in _ECHO(c, rows=rows)]

    assert shop.database.read(echo) == rows


# A SQLite file that can't be used


@pytest.mark.parametrize("begin", [b"this is a shopping list, no database", b"SQLite format 3\0 and then nothing"])
def test_a_file_that_is_no_database_is_named_with_its_fault(tmp_path: Path, begin: bytes) -> None:
    file = tmp_path / "list.db"
    file.write_bytes(begin * 100)
    with shop_at(f"sqlite:///{file}") as shop, pytest.raises(BadSetting) as told:
        shop.relay()
    assert str(told.value) == f"DATABASE_URL can't be used: {file}: file is not a database"


@pytest.mark.parametrize(("path", "why"), [("no/where.db", "there is no such folder"), (".", "is a directory")])
def test_a_file_that_cant_be_opened_is_named_with_the_reason(tmp_path: Path, path: str, why: str) -> None:
    file = tmp_path / path
    with shop_at(f"sqlite:///{file}") as shop, pytest.raises(DatabaseAway) as told:
        shop.relay()
    assert str(told.value) == f"{file}: {why}"


def test_a_file_that_we_may_not_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "no" / "theirs.db"
    monkeypatch.setattr(Path, "is_dir", lambda path: path == file.parent)  # patched, because root may open every file
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    with shop_at(f"sqlite:///{file}") as shop, pytest.raises(DatabaseAway, match=r"theirs\.db: permission denied"):
        shop.relay()


def test_a_url_that_postgresql_cannot_have_is_a_bad_setting() -> None:
    with pytest.raises(BadSetting, match=r'^DATABASE_URL .*"colour"$') as told:
        Database("postgresql+psycopg://me:hunter2@127.0.0.1:1/shop?colour=blue")
    assert told.value.__cause__ is None


def test_who_only_reads_makes_no_file(tmp_path: Path) -> None:
    looks_in = pytest.raises(SchemaOutdated, match=r"no file .*missing\.db yet: run `stockbell migrate`")
    with shop_at(f"sqlite:///{tmp_path}/missing.db") as shop, looks_in:
        shop.database.read(requests.find, Filter())
    assert list(tmp_path.iterdir()) == []
