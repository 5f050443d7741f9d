"""Expiry: who has waited for too long ends, and nobody else does. On SQLite and PostgreSQL."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from tests.clock import Clock
from tests.contract.ages import pass_days
from tests.contract.lines import NotedBell
from tests.contract.shop import CUP, LEASE, MUG, Shop, ref, shop_at
from worker.domain.policies import Policies
from worker.domain.returned import Cause
from worker.domain.webhooks import Format
from worker.models import Status
from worker.services.expiring import REST_SECONDS, Expiry, limit
from worker.services.sweeping import Sweeper
from worker.store import admin, confirmations, endpoints, expiry, leaving, pauses, stock, suppression, tally
from worker.store.books import books

DAYS: Final = 90


def expire(shop: Shop) -> int:
    """Runs one pass, and returns how many it ended."""
    clock = Clock()
    expiring = Expiry(shop.database, DAYS, clock=clock)
    clock.now = REST_SECONDS  # else a rest would not be seen
    ended = 0
    while True:
        ended += expiring.step()
        if expiring._rest_until > clock.now:
            return ended


def old_request(shop: Shop, days: float = DAYS + 1) -> UUID:
    """Adds a request that is so old."""
    shop.sign_up()
    pass_days(shop, days)
    request_id: UUID = shop.rows()[0].id
    return request_id


def test_who_has_waited_for_too_long_ends_untold(shop: Shop) -> None:
    shop.write(endpoints.add, "https://example.com", Format.STANDARD, is_full=False, allows_private=False)
    old_request(shop)
    before = shop.now()
    assert expire(shop) == 1
    (row,) = shop.rows()
    assert (row.status, row.failure_code, row.failure_reason) == (
        Status.FAILED,
        "EXPIRED",
        "waited for more than 90 days",
    )
    assert row.auto_notified is None
    assert row.not_before is None
    assert before <= row.failed_at <= shop.now()
    assert (row.version, bool(row.news)) == (1, True)
    assert shop.database.read(tally.totals)["failed:EXPIRED"] == 1
    assert shop.database.read(books).is_balanced
    assert expire(shop) == 0


@pytest.mark.parametrize(("days", "ends"), [(DAYS - 0.001, False), (DAYS + 0.001, True)])
def test_a_request_expires_by_the_day(shop: Shop, days: float, ends: bool) -> None:
    old_request(shop, days)
    assert expire(shop) == ends


def _due(shop: Shop, request_id: UUID) -> None:
    shop.tell()


def _due_and_paused(shop: Shop, request_id: UUID) -> None:
    shop.tell()
    shop.write(pauses.pause, MUG)


def _ordered(shop: Shop, request_id: UUID) -> None:
    shop.write(admin.report, [request_id])


def _in_backoff(shop: Shop, request_id: UUID) -> None:
    shop.change("UPDATE request SET not_before = stockbell_now(60)")


def _unconfirmed(shop: Shop, request_id: UUID) -> None:
    shop.write(confirmations.hold, request_id, None, is_new=True, always=True)


def _claimed(shop: Shop, request_id: UUID) -> None:
    shop.tell()
    shop.claim(shop.owner())
    shop.tell(in_stock=False)


def _told(shop: Shop, request_id: UUID) -> None:
    shop.write(admin.mark_sent, [request_id])


def _retried(shop: Shop, request_id: UUID) -> None:
    shop.change("UPDATE request SET status = 'FAILED', failed_at = created_date")
    shop.write(admin.retry, [request_id], ordered=False, force=False)


def _left_and_taken_back(shop: Shop, request_id: UUID) -> None:
    contact = shop.row(request_id).contact_id
    assert shop.write(suppression.leave_item, contact, shop.list_id())
    shop.write(leaving.take_back_item, contact, shop.list_id())


@pytest.mark.parametrize(
    "become",
    [_due, _due_and_paused, _ordered, _in_backoff, _unconfirmed, _claimed, _told, _retried, _left_and_taken_back],
)
def test_nobody_expires_who_does_not_just_wait(shop: Shop, become: Callable[[Shop, UUID], None]) -> None:
    request_id = old_request(shop)
    become(shop, request_id)
    before = shop.row(request_id)
    assert before.status != Status.FAILED
    assert expire(shop) == 0
    assert shop.row(request_id) == before


def test_who_missed_a_restock_expires(shop: Shop) -> None:
    shop.sign_up()
    pass_days(shop, 50)
    shop.tell()
    shop.tell(in_stock=False)
    pass_days(shop, 50)
    assert expire(shop) == 1


def test_of_a_list_in_stock_only_those_expire_who_came_after_the_event(shop: Shop) -> None:
    due = [shop.sign_up(), shop.sign_up()]
    shop.tell()
    pass_days(shop, 1)
    after = shop.sign_up()
    pass_days(shop, DAYS + 1)
    rows = {row.email: row for row in shop.rows()}
    assert len(rows) == len({*due, after})
    assert expire(shop) == 1
    assert [row.status for row in shop.rows()] == [Status.RECEIVED, Status.RECEIVED, Status.FAILED]


def test_in_stock_from_the_start_is_no_restock(shop: Shop) -> None:
    old_request(shop)
    shop.change("UPDATE waiting_list SET in_stock = true, last_in_stock_at = NULL")
    assert expire(shop) == 1


def test_an_expired_request_that_is_retried_waits_until_it_is_told(shop: Shop) -> None:
    old_request(shop)
    assert expire(shop) == 1
    (row,) = shop.rows()
    shop.write(admin.retry, [row.id], ordered=False, force=False)
    assert expire(shop) == 0
    assert shop.row(row.id).created_date == row.created_date
    shop.tell()
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [row.id]
    assert shop.database.read(books).is_balanced


def test_who_has_expired_can_sign_up_again(shop: Shop) -> None:
    shop.sign_up(MUG, "jane@example.com")
    pass_days(shop, DAYS + 1)
    assert expire(shop) == 1
    shop.sign_up(MUG, "jane@example.com")
    assert sorted(row.status for row in shop.rows()) == [Status.FAILED, Status.RECEIVED]


def test_a_step_is_bounded_and_the_next_one_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "MOST_LISTS", 3)
    monkeypatch.setattr(expiry, "MOST_OLD_LISTS", 2)
    monkeypatch.setattr(expiry, "MOST_ROWS", 4)
    for number in range(10):
        shop.sign_up_many(number, ref(f"mug-{number}"))
    pass_days(shop, DAYS + 1)
    shop.sign_up_many(3, CUP)
    expiring = Expiry(shop.database, DAYS, clock=Clock())
    steps = [expiring.step() for _ in range(30)]
    assert sum(steps) == 45
    assert max(steps) == 4
    assert {row.status for row in shop.rows() if row.waiting_list_id != shop.list_id(CUP)} == {Status.FAILED}


def test_those_that_stay_are_looked_at_once_in_a_pass(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "MOST_ROWS", 3)
    kept = shop.sign_up_many(10)
    shop.change("UPDATE request SET status = 'FAILED', failed_at = created_date")
    shop.write(admin.retry, kept, ordered=False, force=False)
    shop.sign_up_many(5)
    pass_days(shop, DAYS + 1)
    expiring = Expiry(shop.database, DAYS, clock=Clock())
    assert [expiring.step() for _ in range(8)] == [0, 0, 0, 2, 3, 0, 0, 0]
    assert [row.status for row in shop.rows()] == [Status.RECEIVED] * 10 + [Status.FAILED] * 5


def test_of_many_with_the_same_date_none_is_passed_over(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "MOST_ROWS", 3)
    shop.sign_up_many(7)
    pass_days(shop, DAYS + 1)
    shop.change("UPDATE request SET created_date = :at", at=shop.rows()[0].created_date)
    expiring = Expiry(shop.database, DAYS, clock=Clock())
    assert [expiring.step() for _ in range(4)] == [3, 3, 1, 0]


def test_after_a_pass_there_is_a_rest(shop: Shop) -> None:
    clock = Clock()
    expiring = Expiry(shop.database, DAYS, clock=clock)
    assert expiring.step() == 0
    old_request(shop)
    clock.now = REST_SECONDS - 1
    assert expiring.step() == 0
    clock.now = REST_SECONDS
    assert expiring.step() == 1


def test_two_schedulers_end_each_request_once(shop_url: str) -> None:
    together = threading.Barrier(4)

    def run(_number: int) -> int:
        with shop_at(shop_url) as scheduler:
            together.wait(60)
            return expire(scheduler)

    with shop_at(shop_url) as shop:
        for number in range(20):
            shop.sign_up_many(20, ref(f"mug-{number}"))
        pass_days(shop, DAYS + 1)
        with ThreadPoolExecutor(4) as pool:
            ended = sum(pool.map(run, range(4)))
        assert ended == shop.database.read(tally.totals)["failed:EXPIRED"] == 400
        assert {row.version for row in shop.rows()} == {1}


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_an_event_that_comes_at_the_same_time_wins(shop: Shop) -> None:
    old_request(shop)

    def apply_meanwhile(c: Connection) -> int:
        stock.apply(c, [shop.event()])
        return expire(shop)  # it does not wait for the list, and leaves it

    assert shop.write(apply_meanwhile) == 0
    assert expire(shop) == 0
    assert shop.with_work() == {shop.list_id()}


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_what_another_one_holds_is_left_for_the_next_pass(shop: Shop) -> None:
    request_id = old_request(shop)

    def hold(c: Connection) -> int:
        admin._load(c, [request_id])
        return expire(shop)

    assert shop.write(hold) == 0
    assert expire(shop) == 1


def test_suppression_counts_before_expiry(shop: Shop) -> None:
    request_id = old_request(shop)
    shop.write(suppression.suppress, [shop.row(request_id).contact_id], Cause.MANUAL, "a test")
    assert expire(shop) == 0
    assert shop.row(request_id).failure_code == "SUPPRESSED"


def test_a_sweep_expires_and_says_how_many(shop: Shop) -> None:
    old_request(shop)
    bell = NotedBell()
    with capture_logs() as logs:
        Sweeper(shop.database, bell, lease=LEASE, interval=5.0).sweep()
    assert shop.rows()[0].status == Status.RECEIVED  # nothing expires unless that is set
    assert [entry for entry in logs if entry["event"] == "requests.expired"] == []
    sweeping = Sweeper(shop.database, bell, lease=LEASE, interval=5.0, policies=Policies(request_ttl_days=DAYS))
    with capture_logs() as logs:
        sweeping.sweep()
    assert {"event": "requests.expired", "requests": 1, "log_level": "info"} in logs
    assert shop.rows()[0].status == Status.FAILED


def test_an_import_is_limited_by_the_databases_clock(shop: Shop) -> None:
    assert limit(shop.database, None) is None
    found = limit(shop.database, DAYS)
    assert found is not None
    age = (shop.now() - found.oldest).total_seconds()
    assert (found.days, round(age / 86_400)) == (DAYS, DAYS)
