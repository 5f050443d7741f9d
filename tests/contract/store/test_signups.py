"""The limits of an address for sign-ups by publishable keys: they hold in the database, for any number of processes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.domain.catalog import CatalogReference
from worker.domain.returned import Cause
from worker.models import Status
from worker.services.signing_up import Desk, OptIn, SignUp
from worker.store import contacts, requests, signups, suppression
from worker.store.database import Database
from worker.store.requests import NewRequest
from worker.store.sql import Sql

JANE = "jane@shop.example"
ADDRESSES = ("known", "new", "gone", "complained", "confirmed")
PUBLIC = f'{signups.PUBLIC},"key":"abcd1234"}}'


def sign_up(shop: Shop, reference: CatalogReference = MUG, email: str = JANE, *, public: bool = True) -> list[UUID]:
    return shop.write(requests.create, [a_request(reference, email, public=public)])


def a_request(reference: CatalogReference = MUG, email: str = JANE, *, public: bool = True) -> NewRequest:
    return NewRequest(email, reference, signup=PUBLIC if public else None, is_public=public)


def wait(shop: Shop, seconds: float = signups.EVERY_SECONDS + 1) -> None:
    shop.change("UPDATE contact SET signed_up_at = stockbell_now(-:ago)", ago=seconds)


def test_an_address_gets_one_request_in_half_a_minute(shop: Shop) -> None:
    assert sign_up(shop)
    assert not sign_up(shop, CUP)
    assert not sign_up(shop, CUP, JANE.upper())
    assert sign_up(shop, CUP, "john@shop.example")
    wait(shop, signups.EVERY_SECONDS - 1)
    assert not sign_up(shop, CUP)
    wait(shop)
    assert sign_up(shop, CUP)


def test_an_address_waits_for_twenty_items_at_most(shop: Shop) -> None:
    for number in range(signups.MOST_WAITING):
        assert sign_up(shop, ref(f"item-{number}"))
        wait(shop)
    assert not sign_up(shop)
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id = :id", id=shop.rows()[3].id)
    assert sign_up(shop)
    assert sum(row.status is Status.RECEIVED for row in shop.rows()) == signups.MOST_WAITING


def test_what_others_signed_up_does_not_count_and_is_not_limited(shop: Shop) -> None:
    for number in range(signups.MOST_WAITING + 2):
        assert sign_up(shop, ref(f"item-{number}"), public=False)
    assert sign_up(shop)
    assert sign_up(shop, CUP, public=False)


def test_a_request_that_is_there_takes_no_turn(shop: Shop) -> None:
    assert sign_up(shop)
    wait(shop)
    assert not sign_up(shop)
    assert sign_up(shop, CUP)


def test_a_clock_that_was_set_back_locks_nobody_out(shop: Shop) -> None:
    assert sign_up(shop)
    wait(shop, -3600)
    assert sign_up(shop, CUP)


def test_of_one_batch_an_address_gets_its_first(shop: Shop) -> None:
    batch = [a_request(ref(f"item-{number}")) for number in range(3)]
    added = shop.write(requests.create, [*batch, a_request(CUP, public=False), a_request(MUG, "john@shop.example")])
    assert len(added) == 3
    items = {row.id: row.catalog_item_id for row in shop.database.read(found)}
    assert {items[id_] for id_ in added} == {"item-0", "cup-1", "mug-1"}


def found(c: Connection) -> list[Any]:
    return list(requests.find(c, requests.Filter()))


def test_many_processes_at_once_add_one(shop: Shop) -> None:
    with ExitStack() as stack:
        databases = [stack.enter_context(closing(Database(shop.url, connections=2))) for _ in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(8))
        references = [ref(f"item-{number}") for number in range(32)]
        tasks = [
            pool.submit(databases[number % 4].write, requests.create, [a_request(reference)])
            for number, reference in enumerate(references)
        ]
        added = [task.result() for task in tasks]
    assert sum(map(len, added)) == 1


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collects what is run."""
    seen: list[str] = []
    run_on_sqlite, run_on_postgresql = Sql._run_on_sqlite, Sql._run_on_postgresql

    def on_sqlite(self: Any, c: Connection, params: dict[str, Any]) -> Any:
        seen.append(str(self._sqlite))
        return run_on_sqlite(self, c, params)

    def on_postgresql(self: Any, c: Connection, params: dict[str, Any]) -> Any:
        seen.append(str(self._sqlite))
        return run_on_postgresql(self, c, params)

    with monkeypatch.context() as patch:
        patch.setattr(Sql, "_run_on_sqlite", on_sqlite)
        patch.setattr(Sql, "_run_on_postgresql", on_postgresql)
        yield seen


@pytest.mark.parametrize("opt_in", ["off", "on", "first"])
def test_all_addresses_cost_the_same_statements(shop: Shop, monkeypatch: pytest.MonkeyPatch, opt_in: OptIn) -> None:
    desk = Desk(shop.database, None, opt_in)
    public = [SignUp(a_request(CUP, f"{who}@shop.example"), "abcd1234", is_public=True) for who in ADDRESSES]
    desk.sign_up_many([public[ADDRESSES.index(who)] for who in ("known", "confirmed")])
    wait(shop)
    shop.change("UPDATE contact SET confirmed_at = stockbell_now(0) WHERE address LIKE 'confirmed%'")
    for who, cause in (("gone", Cause.UNSUBSCRIBED), ("complained", Cause.COMPLAINED)):
        address = f"{who}@shop.example"
        contact = shop.write(contacts.add, [address]).contacts[address].id
        shop.write(suppression.suppress, [contact], cause, "test")
    costs: dict[str, tuple[str, ...]] = {}
    for one in [*public, *public]:
        for many in (False, True):
            with statements(monkeypatch) as seen:
                if many:
                    desk.sign_up_many([one])
                else:
                    desk.sign_up(one)
            costs[f"{one.new.email} {many} {len(costs)}"] = (str(many), *seen)
    assert {len(seen) > 6 for seen in costs.values()} == {True}
    assert len(set(costs.values())) == 2
