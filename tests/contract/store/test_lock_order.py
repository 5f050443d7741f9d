"""Whoever waits for several rows locks them in the order of their keys, so that nobody waits in a circle.

Another connection holds one row. Meanwhile what waits for it may hold none that comes later. PostgreSQL only.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.shop import LEASE, Shop, ref, shop_at, somebody_waits
from tests.contract.store.wave_shop import ends_of
from tests.polling import eventually
from worker.store import admin, claims, lists, recording, requests
from worker.store.claims import Claim
from worker.store.requests import NewRequest
from worker.store.sql import Sql

MANY: Final = 6
TWO: Final = (ref(), ref(color="blue"))

_HOLD = {
    table: Sql(f"SELECT id FROM {table} WHERE id IN ROWS(id uuid) ORDER BY id FOR UPDATE", id="uuid")
    for table in ("request", "contact", "waiting_list")
}
_FREE = {
    table: Sql(f"SELECT id FROM {table} WHERE id IN ROWS(id uuid) ORDER BY id FOR UPDATE SKIP LOCKED", id="uuid")
    for table in _HOLD
}
_AS_IF_LARGE = Sql(
    """SELECT set_config(name, 'off', true) FROM unnest(ARRAY['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin'])
        AS name"""
)
_SOON = Sql("SET LOCAL lock_timeout = '100ms'")


@pytest.fixture
def shop(emptied_postgres_url: str) -> Iterator[Shop]:
    with shop_at(emptied_postgres_url) as opened:
        yield opened


def locks_in_order(shop: Shop, table: str, ids: Sequence[UUID], work: Callable[[Connection], object]) -> None:
    """Fails unless `work`, while it waits for the first of these rows, leaves all others alone."""
    first, *others = ({"id": id_} for id_ in sorted(ids))

    def hold(c: Connection) -> list[UUID]:
        _HOLD[table](c, rows=[first])
        working.append(pool.submit(others_shop.write, work))
        eventually(lambda: working[0].done() or somebody_waits(shop), until="it waits for the first row")
        return [row.id for row in shop.write(lambda other: _FREE[table](other, rows=others))]

    working: list[Future[object]] = []
    with shop_at(shop.url) as others_shop, ThreadPoolExecutor(1) as pool:
        free = shop.write(hold)
    assert free == sorted(ids)[1:]
    working[0].result()


def as_if_large(work: Callable[[Connection], object]) -> Callable[[Connection], object]:
    """Does it with the plan that PostgreSQL makes for a large table: row by row. Of few rows it reads all."""

    def run(c: Connection) -> None:
        _AS_IF_LARGE(c)
        work(c)

    return run


def mixed_up(shop: Shop) -> list[UUID]:
    """Adds requests that wait, the oldest of which has the last key. Returns them, oldest first."""
    made = sorted(shop.waiting(MANY))
    for place, id_ in enumerate(reversed(made)):
        shop.change(
            "UPDATE request SET created_date = stockbell_now(CAST(:ago AS float8)) WHERE id = :id",
            ago=place - 3600.0,
            id=id_,
        )
    return made[::-1]


@pytest.mark.parametrize(
    "verb", [admin.report, admin.mark_sent, admin.delete, partial(admin.retry, ordered=False, force=False)]
)
def test_verbs_of_admins_lock_requests_in_the_order_of_their_keys(
    shop: Shop, verb: Callable[[Connection, Sequence[UUID]], object]
) -> None:
    ids = mixed_up(shop)
    locks_in_order(shop, "request", ids, lambda c: verb(c, ids))


def test_of_several_that_failed_the_oldest_is_retried_whatever_its_key(shop: Shop) -> None:
    old, *_ = ids = mixed_up(shop)
    shop.change("UPDATE request SET status = 'FAILED'")
    shop.change("UPDATE request SET contact_id = (SELECT contact_id FROM request ORDER BY id LIMIT 1)")
    changed = shop.write(admin.retry, ids, ordered=False, force=False)
    assert changed.ids == [old]


@pytest.mark.parametrize(
    "ends",
    [["told"], ["failed"], ["deferred"], ["released"], ["told", "deferred"], ["lost", "told", "failed", "released"]],
    ids=" ".join,
)
def test_outcomes_lock_requests_in_the_order_of_their_keys(shop: Shop, ends: Sequence[str]) -> None:
    held = _claimed_mixed_up(shop)
    ended = ends_of(held, [ends[place % len(ends)] for place in range(len(held))])
    work = as_if_large(lambda c: recording.record(c, ended))
    locks_in_order(shop, "request", [claim.id for claim in held], work)


def test_told_mails_lock_requests_in_the_order_of_their_keys_at_full_speed(shop: Shop) -> None:
    held = _claimed_mixed_up(shop)
    ends = recording.Ends(told=held, receipts=[str(claim.id) for claim in held])
    work = as_if_large(lambda c: recording.record_told(c, ends))
    locks_in_order(shop, "request", [claim.id for claim in held], work)
    assert all(row.receipt == str(row.id) for row in shop.rows())


def _claimed_mixed_up(shop: Shop) -> list[Claim]:
    ids = mixed_up(shop)
    held = list(shop.claim(shop.owner()).claims)
    assert [claim.id for claim in held] == ids
    return held


def test_outcomes_lock_lists_before_requests(shop: Shop) -> None:
    (held,) = _claimed_mixed_up(shop)[:1]
    assert held.restock is not None
    ends = recording.Ends(told=[held], untold=[held.restock])

    def hold(c: Connection) -> list[UUID]:
        _HOLD["waiting_list"](c, rows=[{"id": held.list_id}])
        pool.submit(other.write, recording.record, ends)
        eventually(lambda: somebody_waits(shop), until="it waits for the list")
        return [row.id for row in shop.write(lambda c: _FREE["request"](c, rows=[{"id": held.id}]))]

    with shop_at(shop.url) as other, ThreadPoolExecutor(1) as pool:
        assert shop.write(hold) == [held.id]


@pytest.mark.parametrize("first", [False, True], ids=["goes on", "is the first"])
def test_a_claim_locks_lists_in_the_order_of_their_ids(shop: Shop, first: bool) -> None:
    """It begins the restock of one list, and finds nobody in the other any more."""
    drained, new = sorted(shop.write(lists.find_or_add, TWO).values())
    shop.tell()
    shop.change("UPDATE waiting_list SET begun_at = NULL, woken_at = stockbell_now(0)")
    of = {list_id: reference for reference, list_id in shop.write(lists.find_or_add, TWO).items()}
    shop.sign_up_many(2, of[new])
    shop.tell(in_stock=False)
    shop.tell()
    if first:
        shop.write(lists.ring, [new])
    owner, ids = shop.owner(), [new, drained]
    locks_in_order(shop, "waiting_list", ids, lambda c: claims.claim(c, owner, LEASE, ids, 10, first=first))


def test_two_sign_ups_of_the_same_customers_do_not_wait_in_a_circle(shop: Shop) -> None:
    people = ["anne@example.com", "bob@example.com"]
    shop.write(requests.create, [NewRequest(address, ref("cup-1")) for address in people])
    known = shop.ask("SELECT id, address FROM contact ORDER BY id", id="uuid")
    first, last = (NewRequest(row.address, TWO[0]) for row in known)
    shop.write(lists.find_or_add, TWO)

    def sign_up(c: Connection) -> int:
        tries.append(1)
        _SOON(c)
        requests.create(c, [first])
        pool.submit(other.write, requests.create, [last, first])
        eventually(lambda: somebody_waits(shop), until="the other one waits for the first")
        return len(requests.create(c, [last]))

    tries: list[int] = []
    with shop_at(shop.url) as other, ThreadPoolExecutor(1) as pool:
        assert shop.write(sign_up) == 1
    assert len(tries) == 1


def test_refused_sign_ups_lock_contacts_in_the_order_of_their_keys(shop: Shop) -> None:
    new = [NewRequest(f"customer{number}@example.com", TWO[0], is_public=True) for number in range(MANY)]
    shop.write(requests.create, new)
    known = shop.ask("SELECT id, address FROM contact ORDER BY id DESC", id="uuid")
    again = [NewRequest(row.address, TWO[1], is_public=True) for row in known]
    shop.write(lists.find_or_add, TWO)
    for row in known:  # they lie in the table in the opposite order
        shop.change("UPDATE contact SET created_date = created_date WHERE id = :id", id=row.id)
    locks_in_order(shop, "contact", [row.id for row in known], lambda c: requests.create(c, again))
