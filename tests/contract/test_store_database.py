"""Transactions: what is tried again, what is away, and what outlives a server that went away."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.shop import Shop, shop_at, somebody_waits
from tests.polling import eventually
from worker.errors import DatabaseAway
from worker.models import Owner
from worker.store.database import Sql

_TOUCH = Sql("UPDATE owner SET host = :host WHERE id = :id")
on_postgresql = pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)


@pytest.fixture
def other_shop(shop_url: str) -> Iterator[Shop]:
    """The same database, as another process sees it."""
    with shop_at(shop_url) as opened:
        yield opened


@on_postgresql
def test_of_two_that_block_each_other_the_victim_runs_again(shop: Shop, other_shop: Shop) -> None:
    first, second = shop.owner(), shop.owner()
    together = threading.Barrier(2)
    runs: list[str] = []

    def touch(c: Connection, one: UUID, then: UUID, host: str) -> None:
        runs.append(host)
        _TOUCH(c, id=one, host=host)
        if len(runs) <= 2:
            together.wait(30)
        _TOUCH(c, id=then, host=host)

    with ThreadPoolExecutor(2) as pool:
        a = pool.submit(shop.write, touch, first, second, "a")
        b = pool.submit(other_shop.write, touch, second, first, "b")
        a.result(30)
        b.result(30)
    assert len(runs) == 3
    # Whoever ran last wrote both.
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
