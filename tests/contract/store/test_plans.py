"""How the databases run our statements: no row is claimed twice, no claim is too large, and indexes are used.

A database may run a locking subselect once for each outer row. It then locks and claims more than the LIMIT. Whether it
does depends on the plan, so these tests force plans.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.shop import CUP, MUG, Shop, may_rescue, ref, shop_at
from tests.examples import TIMES
from tests.plans import statements_of
from tests.postgres_server import Databases
from worker.domain.catalog import CatalogReference
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.returned import Cause, Kind
from worker.domain.verdicts import Tries
from worker.domain.webhooks import Format
from worker.store import (
    admin,
    claims,
    endpoints,
    expiry,
    figures,
    leaving,
    lists,
    owners,
    recording,
    reports,
    requests,
    resting,
    retention,
    states,
    stock,
    suppression,
    sweep,
    waiters,
)
from worker.store.claims import Claimed
from worker.store.recording import Ended, Ends
from worker.store.requests import Filter, NewRequest
from worker.store.sql import Sql

# Claims are exact

WAITING = 300 * TIMES
"""The number of requests for each of two items. EXAMPLES=34 makes about 20,000 of both."""

PLANS = {
    "as it likes": "",
    "nested loops": "material memoize hashjoin mergejoin",
    "nested loops that keep nothing": "material memoize hashjoin mergejoin hashagg sort",
    "nested loops without indexes": "material memoize hashjoin mergejoin indexscan indexonlyscan bitmapscan",
    "hash joins": "nestloop mergejoin",
    "merge joins": "nestloop hashjoin",
    "no sequential scan": "seqscan material memoize hashjoin",
}
SWITCHED_OFF = [pytest.param(switches.split(), id=name) for name, switches in PLANS.items()]


def _switch_off(c: Connection, switches: Sequence[str]) -> None:
    for switch in switches:
        c.exec_driver_sql(f"SET LOCAL enable_{switch} = off")


@pytest.fixture
def postgres_shop(kept_postgres_url: str, shop_url: str) -> Iterator[Shop]:
    """A new shop on PostgreSQL."""
    assert shop_url == kept_postgres_url
    with shop_at(shop_url) as shop:
        yield shop


SEATED = Policies(per_unit=1, assumed_quantity=10**6)
"""Everybody needs a seat, and there are enough."""
RESTING = Policies(contact_interval=3600.0)
"""Nobody has had a mail."""


def _claim_until_empty(
    url: str, seed: int, switches: Sequence[str], together: threading.Barrier, policies: Policies
) -> list[UUID]:
    """Claims 1 to 100 requests at a time, at the same time as other workers. Returns what this worker got."""
    got: list[UUID] = []
    chance = Random(seed)
    with shop_at(url) as worker:
        owner = worker.owner()
        both = [worker.list_id(MUG), worker.list_id(CUP)]

        def claim(c: Connection, list_ids: Sequence[UUID], most: int) -> Claimed:
            _switch_off(c, switches)
            return claims.claim(c, owner, 60.0, list_ids, most, policies, first=False)

        together.wait(60)
        while True:
            size = chance.randint(1, 100)
            list_ids = both if size > 1 else [chance.choice(both)]
            claimed = worker.write(claim, list_ids, size).claims
            assert len(claimed) <= size
            if list_ids == both and not claimed:
                return got
            got += [claim.id for claim in claimed]


def _race(url: str, switches: Sequence[str], policies: Policies = NO_POLICIES) -> None:
    """Lets eight workers claim at once. Asserts that each request was claimed exactly once."""
    workers = 8
    with shop_at(url) as shop:
        waiting = shop.waiting(WAITING, MUG) + shop.waiting(WAITING, CUP)
        _set(shop, shop.rows()[::3], "priority = 5")
        together = threading.Barrier(workers)
        with ThreadPoolExecutor(workers) as pool:
            runs = [pool.submit(_claim_until_empty, url, seed, switches, together, policies) for seed in range(workers)]
            counts = Counter(request for run in runs for request in run.result())
        assert counts == Counter(waiting)
        assert {row.claim_no for row in shop.rows()} == {1}


@pytest.mark.parametrize("policies", [NO_POLICIES, SEATED, RESTING], ids=["all", "seats", "interval"])
def test_workers_that_claim_at_once_get_each_row_once(shop_url: str, policies: Policies) -> None:
    _race(shop_url, [], policies)


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("plan", ["nested loops", "nested loops that keep nothing"])
@pytest.mark.parametrize("policies", [NO_POLICIES, SEATED, RESTING], ids=["all", "seats", "interval"])
def test_workers_that_claim_at_once_get_each_row_once_under_every_plan(
    shop_url: str, plan: str, policies: Policies
) -> None:
    _race(shop_url, PLANS[plan].split(), policies)


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("switches", SWITCHED_OFF)
@pytest.mark.parametrize("analyzed", [False, True], ids=["no statistics", "statistics"])
@pytest.mark.parametrize("policies", [NO_POLICIES, SEATED], ids=["all", "seats"])
def test_a_claim_gets_what_it_asked_for_under_every_plan(
    postgres_shop: Shop, switches: list[str], analyzed: bool, policies: Policies
) -> None:
    shop = postgres_shop
    waiting = shop.waiting(60)
    if analyzed:
        shop.change("ANALYZE")
    owner, list_id = shop.owner(), shop.list_id()

    def claim(c: Connection) -> Claimed:
        _switch_off(c, switches)
        return claims.claim(c, owner, 60.0, [list_id], 5, policies, first=False)

    assert [claimed.id for claimed in shop.write(claim).claims] == waiting[:5]
    assert sum(row.status == "PROCESSING" for row in shop.rows()) == 5
    shop.write(admin.report, waiting[40:])
    # Of those who are ordered as many as of the others; but with seats so many in all, those first.
    more = waiting[40:45] if policies is SEATED else waiting[5:10] + waiting[40:45]
    assert [claimed.id for claimed in shop.write(claim).claims] == more
    assert sum(row.status == "PROCESSING" for row in shop.rows()) == 5 + len(more)


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_the_plans_are_forced_well_enough_to_show_the_trap(postgres_shop: Shop) -> None:
    postgres_shop.waiting(60)

    def naive_claim(c: Connection) -> int:
        _switch_off(c, PLANS["nested loops that keep nothing"].split())
        return c.exec_driver_sql(
            """UPDATE request SET status = 'PROCESSING' WHERE id IN (
            SELECT id FROM request WHERE status = 'RECEIVED' ORDER BY created_date LIMIT 5 FOR UPDATE SKIP LOCKED)"""
        ).rowcount

    assert postgres_shop.write(naive_claim) > 5


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("switches", SWITCHED_OFF)
def test_a_sweep_moves_no_more_than_it_may_under_every_plan(
    postgres_shop: Shop, monkeypatch: pytest.MonkeyPatch, switches: list[str]
) -> None:
    shop = postgres_shop
    monkeypatch.setattr(sweep, "MOST_ROWS", 5)
    owner, _ = shop.claimed(20)
    shop.die(owner)

    def rescue(c: Connection) -> int:
        _switch_off(c, switches)
        return sweep.rescue(c, 60.0, 30.0).back_in_line

    def put_in_line(c: Connection) -> int:
        _switch_off(c, switches)
        return sweep.put_in_line(c)

    shop.write(may_rescue)
    assert shop.write(rescue) == 5
    assert sum(row.rescues for row in shop.rows()) == 5
    shop.change("UPDATE request SET not_before = stockbell_now(-1), status = 'RECEIVED'")
    assert shop.write(put_in_line) == 5
    assert sum(row.not_before is None for row in shop.rows()) == 5


# Indexes are used: 20,000 requests, most of them history

LISTS = 3000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def big_shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with many sent and many waiting requests, for tests that change nothing."""
    if request.param == "sqlite":
        template = request.getfixturevalue("migrated_sqlite")
        path = tmp_path_factory.mktemp("big") / "stockbell.db"
        path.write_bytes(template.read_bytes())
        with shop_at(f"sqlite:///{path}") as shop:
            _fill(shop)
            yield shop
    else:
        databases: Databases = request.getfixturevalue("postgres")
        template_name: str = request.getfixturevalue("migrated_postgres")
        with databases.database(template=template_name) as url, shop_at(url) as shop:
            _fill(shop)
            yield shop


def _item(number: int) -> CatalogReference:
    return ref(f"mug-{number}")


def _fill(shop: Shop) -> None:
    for batch in range(20):
        reference = _item(0 if batch < 10 else batch)  # half of the requests are for one item
        emails = [f"customer{batch}-{number}@example.com" for number in range(1000)]
        shop.write(requests.create, [NewRequest(email, reference) for email in emails])
    shop.write(lists.find_or_add, [_item(number) for number in range(LISTS)])
    parts = list(shop.ask("SELECT id FROM request ORDER BY created_date, id", id="uuid"))
    _set(shop, parts[:8000] + parts[-8000:], "status = 'NOTIFICATION_SENT'")
    _set(shop, parts[8000:8300], "status = 'FAILED'")
    _set(shop, parts[8300:8400], "status = 'PROCESSING', claimed_at = stockbell_now(0), owner = id")
    _set(shop, parts[8400:8900], "not_before = stockbell_now(3600)")
    _set(shop, parts[8900:8950], "not_before = stockbell_now(-1)")
    _set(shop, parts[8950:9000], "ordered_at = stockbell_now(0)")
    _set(shop, parts[9000:9010], "rescues = 2")
    shop.write(stock.apply, [shop.event(_item(number)) for number in range(0, LISTS, 2)])
    shop.owner()
    if shop.database.dialect == "postgresql":
        shop.change("ANALYZE")


def _set(shop: Shop, rows: Sequence[Any], change: str) -> None:
    words = f"UPDATE request SET {change} FROM ROWS(request_id uuid) WHERE id = rows.request_id"
    shop.change(words, rows=[{"request_id": row.id} for row in rows])


def plans_of(shop: Shop, work: Callable[..., object], *args: Any, about: str = "request", **kwargs: Any) -> str:
    """Returns the plans for the statements of `work` that are about this table. Rolls its changes back."""

    def run(c: Connection) -> str:
        explain = "EXPLAIN QUERY PLAN" if c.dialect.name == "sqlite" else "EXPLAIN"
        ran = statements_of(c, work, *args, **kwargs)
        statements = [(words, params) for words, params in ran if about in words]
        assert statements
        plans = [c.exec_driver_sql(f"{explain} {words}", params).all() for words, params in statements]
        return "\n".join(str(line[-1]) for plan in plans for line in plan)

    return shop.write(run)


def assert_uses(plan: str, *indexes: str, every_list: bool = False) -> None:
    """Asserts that the plan uses these indexes, and scans no table as a whole, but the lists with `every_list`."""
    assert "Seq Scan on request" not in plan, plan
    assert not re.search(r"Seq Scan on contact|SCAN (contact|s)\b(?! USING)", plan), plan
    assert every_list or "Seq Scan on waiting_list" not in plan, plan
    # A scan of a partial index is allowed: it sees only rows that matter.
    assert not re.search(r"SCAN r\b(?! USING (COVERING )?INDEX request_)", plan), plan
    for index in indexes:
        assert re.search(rf"\b{index}\b", plan), plan


@pytest.mark.parametrize("lists_of_a_bell", [1, 100])
def test_a_claim_goes_by_its_indexes(big_shop: Shop, lists_of_a_bell: int) -> None:
    shop = big_shop
    list_ids = [shop.list_id(_item(number)) for number in range(lists_of_a_bell)]
    owner = shop.owner()
    plan = plans_of(shop, claims.claim, owner, 60.0, list_ids, 50, first=False)
    assert_uses(plan, "request_woken", "request_ordered", "request_first")


@pytest.mark.parametrize("lists_of_a_bell", [1, 100])
def test_a_claim_of_seats_goes_by_its_indexes(big_shop: Shop, lists_of_a_bell: int) -> None:
    shop = big_shop
    list_ids = [shop.list_id(_item(number)) for number in range(lists_of_a_bell)]
    for about in ("request", "waiting_list"):
        plan = plans_of(shop, claims.claim, shop.owner(), 60.0, list_ids, 50, SEATED, first=True, about=about)
        assert_uses(plan, *(["request_woken", "request_first"] if about == "request" else []))
        assert not re.search(r"SCAN (w|i)\b(?! USING)", plan), plan


@pytest.mark.parametrize("lists_of_a_bell", [1, 100])
@pytest.mark.parametrize("policies", [RESTING, replace(SEATED, contact_interval=3600.0)], ids=["free", "seated"])
def test_a_claim_with_a_contact_interval_goes_by_its_indexes(
    big_shop: Shop, lists_of_a_bell: int, policies: Policies
) -> None:
    shop = big_shop
    list_ids = [shop.list_id(_item(number)) for number in range(lists_of_a_bell)]
    for about in ("request", "contact"):
        plan = plans_of(shop, claims.claim, shop.owner(), 60.0, list_ids, 50, policies, first=False, about=about)
        assert_uses(plan, "request_unresolved")


def test_who_rests_is_found_by_the_index_of_who_is_put_off(big_shop: Shop) -> None:
    for seconds in (None, 60.0):
        assert_uses(plans_of(big_shop, resting.shorten, seconds), "request_backoff")
    ids = [row.contact_id for row in big_shop.rows()[:500]]
    assert_uses(plans_of(big_shop, resting.note_mailed, ids, about="contact"))


def test_a_search_for_suspects_goes_by_indexes(big_shop: Shop) -> None:
    shop = big_shop
    nobody_else = shop.list_id(_item(1))
    plan = plans_of(shop, claims.claim, shop.owner(), 60.0, [nobody_else], 50, first=True)
    assert_uses(plan, "request_woken", "request_ordered")


def test_records_go_by_the_primary_key(big_shop: Shop) -> None:
    shop = big_shop
    owner = shop.owner()

    def claim_and_end(c: Connection) -> None:
        held = claims.claim(c, owner, 60.0, [shop_list], 500, first=False).claims
        assert len(held) >= 500
        claims.hand_over(c, held)
        ended = [Ended(claim, Tries(1), None, "450 no", delay=60.0) for claim in held]
        recording.record(c, Ends(told=list(held), released=list(held), deferred=ended, failed=ended))

    shop_list = shop.list_id(_item(0))
    assert_uses(plans_of(shop, claim_and_end))


def test_a_rescue_goes_by_its_index(big_shop: Shop) -> None:
    plan = plans_of(big_shop, sweep.rescue, 60.0, 30.0)
    assert_uses(plan, "request_processing")
    # By one its seats are found, by one its rows, which are then looked up by their keys.
    assert plan.count("request_processing") == 2, plan
    assert_uses(plans_of(big_shop, owners.forget, 3600.0), "request_processing")
    assert_uses(plans_of(big_shop, claims.release_all, big_shop.owner()), "request_processing")


def test_the_end_of_back_off_goes_by_its_index(big_shop: Shop) -> None:
    assert_uses(plans_of(big_shop, sweep.put_in_line), "request_backoff")


def test_who_has_waited_for_too_long_is_found_with_one_look_for_each_list(big_shop: Shop) -> None:
    shop = big_shop
    plan = plans_of(shop, expiry.look, 1, expiry.Place())
    assert_uses(plan, "request_woken")
    assert not re.search(r"Hash|Merge", plan), plan
    some = sorted(shop.list_id(_item(number)) for number in range(20))
    plan = plans_of(shop, expiry.expire, -1, some, expiry.Place())  # all are older than tomorrow
    assert_uses(plan, "request_woken")
    assert re.search(r"Index Cond: .*created_date|waiting_list_id=\? AND created_date>\? AND created_date<\?", plan), (
        plan
    )


def test_what_ended_long_ago_is_found_and_deleted_by_keys(big_shop: Shop) -> None:
    # -1: all that have ended did so before tomorrow.
    plan = plans_of(big_shop, retention.forget, -1, -1)
    assert_uses(plan, "request_unresolved", "request_ended")


def test_lists_with_work_are_found_by_indexes(big_shop: Shop) -> None:
    shop = big_shop
    assert_uses(plans_of(shop, lists.with_work), "request_woken", "request_ordered", every_list=True)
    some = [shop.list_id(_item(number)) for number in range(20)]
    assert_uses(plans_of(shop, lists.with_work, some), "request_woken", "request_ordered")


def test_events_that_woke_nobody_are_noted_and_counted_by_indexes(big_shop: Shop) -> None:
    shop = big_shop
    passed_over = [(shop.list_row(_item(number)).item_id, ()) for number in range(20)]
    assert_uses(plans_of(shop, stock.note_unheard, passed_over), "request_woken")
    assert_uses(plans_of(shop, figures._unheard), "item_unheard", "request_woken")


@pytest.mark.parametrize("big_shop", ["postgresql"], indirect=True)
def test_of_a_large_table_status_reads_indexes_only(big_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = big_shop
    counted = shop.write(figures.read, 60.0)
    assert not counted.is_estimated
    monkeypatch.setattr(states, "MANY", 1000)
    found = shop.write(figures.read, 60.0)
    assert found.is_estimated
    assert found.by_status == counted.by_status  # ANALYZE has counted the rows, and nobody has changed any since
    assert found.oldest_due_seconds is not None

    def plan_of_all(c: Connection) -> str:
        # Of a small table PostgreSQL would rather read all.
        _switch_off(c, ["seqscan", "bitmapscan"])
        ran = statements_of(c, figures.read, 60.0)
        plans = [c.exec_driver_sql(f"EXPLAIN {words}", params) for words, params in ran if "FROM request" in words]
        return "\n".join(str(line[0]) for plan in plans for line in plan)

    plan = shop.write(plan_of_all)
    counted_by = [f"Index Only Scan using request_{name}" for name in ("woken", "ordered", "failed")]
    assert_uses(plan, *counted_by, every_list=True)
    assert_uses(plan, "request_processing", "request_backoff", every_list=True)


@pytest.mark.parametrize("big_shop", ["postgresql"], indirect=True)
def test_a_list_of_a_few_requests_looks_up_the_items_of_no_others(big_shop: Shop) -> None:
    plan = plans_of(big_shop, lambda c: list(requests.find(c, Filter(), 10)))
    picked = r"->  Limit .*\n +->  Sort .*\n +Sort Key: r.created_date, r.id\n +->  Seq Scan on request r "
    assert re.search(picked, plan), plan


def test_reports_and_their_sweep_go_by_keys(big_shop: Shop) -> None:
    shop = big_shop
    some = [row for row in shop.rows() if row.status == "NOTIFICATION_SENT"][:100]
    rows = [
        reports.Entry(f"key {n}", Kind.DEAD, 550, "5.1.1", "no", row.id, row.contact_id, 1, Cause.BOUNCED, bounces=True)
        for n, row in enumerate(some)
    ]
    ids = [row.id for row in some]
    plan = plans_of(shop, reports.apply, rows, "imap") + plans_of(shop, reports.find, ids, ids)
    assert_uses(plan)
    assert not re.search(r"Seq Scan on contact|SCAN c\b", plan), plan
    assert_uses(plans_of(shop, reports.retry_early))


def test_reports_find_what_else_a_mail_told_of_by_its_index(big_shop: Shop) -> None:
    shop = big_shop
    told = [row for row in shop.rows() if row.status == "NOTIFICATION_SENT"][:8000]
    mails = [told[start : start + 20] for start in range(0, len(told), 20)]
    beside = Sql(
        "UPDATE request SET mail_id = rows.mail FROM ROWS(request_id uuid, mail uuid) WHERE id = rows.request_id"
    )
    rows = [{"request_id": row.id, "mail": first.id} for first, *others in mails for row in others]
    entries = [reports.Entry(f"key {first.id}", Kind.FAILED, request_id=first.id, bounces=True) for first, *_ in mails]

    def come_back(c: Connection) -> None:
        beside(c, rows=rows)
        if c.dialect.name == "postgresql":
            c.exec_driver_sql("ANALYZE")
        reports.find(c, [first.id for first, *_ in mails[:100]], [])
        reports.apply(c, entries[:100], "imap")

    plan = plans_of(shop, come_back)
    assert_uses(plan)
    assert plan.count("request_beside") == 2, plan


def test_who_waits_for_an_item_is_counted_by_indexes(big_shop: Shop) -> None:
    item_id = big_shop.list_row(_item(11)).item_id
    assert_uses(plans_of(big_shop, waiters.of_item, item_id), "request_woken")


def test_a_retry_looks_for_unresolved_requests_by_their_index(big_shop: Shop) -> None:
    shop = big_shop
    failed = [row.id for row in shop.rows() if row.status == "FAILED"][:100]
    assert_uses(plans_of(shop, admin.retry, failed, ordered=True, force=False), "request_unresolved")


def test_who_is_suppressed_is_found_by_indexes(big_shop: Shop) -> None:
    ids = [row.contact_id for row in big_shop.rows()[:100]]
    assert_uses(plans_of(big_shop, suppression.suppress, ids, Cause.BOUNCED, "a test"), "request_unresolved")
    assert_uses(plans_of(big_shop, suppression.repeat), "contact_suppressed", "request_unresolved")


def test_a_customers_own_page_goes_by_indexes(big_shop: Shop) -> None:
    row = big_shop.rows()[0]
    assert_uses(plans_of(big_shop, leaving.standing, row.contact_id), "request_unresolved", "request_unwanted")
    assert_uses(plans_of(big_shop, suppression.leave_item, row.contact_id, row.waiting_list_id), "request_unresolved")


def test_all_requests_of_a_customer_are_found_by_two_indexes(big_shop: Shop) -> None:
    row = big_shop.rows()[0]
    assert_uses(plans_of(big_shop, requests.of_contact, row.contact_id), "request_unresolved", "request_ended")


def test_new_requests_do_not_make_the_database_read_all_contacts(big_shop: Shop) -> None:
    new = [NewRequest(f"newcomer{number}@example.com", _item(1)) for number in range(1000)]
    assert_uses(plans_of(big_shop, requests.create, new))


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_what_is_due_is_found_by_its_index_though_one_endpoint_is_far_behind(postgres_shop: Shop) -> None:
    far, near = (_endpoint(postgres_shop, number) for number in range(2))
    postgres_shop.change(
        """INSERT INTO webhook_delivery
            (id, endpoint_id, request_id, version, kind, body, created_date, due_at, tries)
        SELECT gen_random_uuid(), :far, gen_random_uuid(), 1, 'created', '{}', now(), now(), 0
        FROM generate_series(1, 20000)""",
        far=far,
    )
    postgres_shop.change("ANALYZE webhook_delivery")

    def plans(c: Connection) -> str:
        ran = [each for each in statements_of(c, endpoints.waiting) if "SELECT" in each[0]]
        return "\n".join(
            str(line[0]) for words, params in ran for line in c.exec_driver_sql(f"EXPLAIN {words}", params)
        )

    plan = postgres_shop.write(plans)
    assert "webhook_delivery_due" in plan, plan
    assert "Seq Scan on webhook_delivery" not in plan, plan
    due = postgres_shop.database.read(endpoints.waiting).endpoints
    assert {endpoint.id: is_due for endpoint, is_due in due.items()} == {far: True, near: False}


def _endpoint(shop: Shop, number: int) -> UUID:
    url = f"https://example.com/{number}"
    return shop.write(endpoints.add, url, Format.STANDARD, is_full=False, allows_private=False).id
