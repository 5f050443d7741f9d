"""Retention: what ended long ago is deleted with all that belongs to it, and nothing else. On SQLite and PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import Connection
from sqlmodel import SQLModel
from structlog.testing import capture_logs

from tests.clock import Clock
from tests.contract.ages import pass_days
from tests.contract.lines import NotedBell
from tests.contract.reporting import report, return_token, take
from tests.contract.shop import CUP, LEASE, MUG, Shop, shop_at
from worker.domain.policies import Policies
from worker.domain.returned import Cause, Kind
from worker.domain.verdicts import Tries
from worker.domain.webhooks import Format
from worker.models import ActionRequest, Attempt, Report, Status, WebhookDelivery
from worker.services.retaining import REST_SECONDS, Retention
from worker.services.sweeping import Sweeper
from worker.store import actions, admin, confirmations, endpoints, places, requests, retention, suppression, tally
from worker.store.actions import Draft
from worker.store.books import books
from worker.store.contacts import ERASED
from worker.store.recording import Ended, Ends, Try, record
from worker.store.requests import NewRequest
from worker.store.retention import Forgotten

DAYS: Final = 30


def forget(shop: Shop, told: int | None = DAYS, failed: int | None = DAYS) -> Forgotten:
    """Runs one pass, and returns what it deleted."""
    done = Forgotten(0, 0, is_end=False)
    while not done.is_end:
        latest = shop.write(retention.forget, told, failed)
        done = Forgotten(done.requests + latest.requests, done.contacts + latest.contacts, latest.is_end)
    return done


def end(shop: Shop, request_id: UUID, status: Status) -> None:
    """Ends a request now, as far as its row shows, and counts it."""
    if status is Status.NOTIFICATION_SENT:
        shop.write(admin.mark_sent, [request_id])
    else:
        shop.change(
            """UPDATE request SET status = 'FAILED', failure_code = 'EXPIRED', failed_at = stockbell_now(0)
            WHERE id = :id""",
            id=request_id,
        )
        shop.write(tally.add, {"failed:EXPIRED": 1})


def statuses(shop: Shop) -> list[Status]:
    return sorted(row.status for row in shop.rows())


@pytest.mark.parametrize("status", [Status.NOTIFICATION_SENT, Status.FAILED])
@pytest.mark.parametrize(("days", "goes"), [(DAYS - 0.001, False), (DAYS + 0.001, True)])
def test_what_ended_is_kept_for_so_many_days(shop: Shop, status: Status, days: float, goes: bool) -> None:
    end(shop, shop.sign_up(), status)
    pass_days(shop, days)
    assert forget(shop).requests == goes
    assert len(shop.rows()) == (not goes)
    assert shop.database.read(tally.totals).get(f"deleted:{status.value}", 0) == goes
    assert shop.database.read(books).is_balanced


@pytest.mark.parametrize(
    ("told", "failed", "kept"),
    [
        (DAYS, None, [Status.FAILED]),
        (None, DAYS, [Status.NOTIFICATION_SENT]),
        (DAYS, DAYS, []),
        (DAYS + 2, DAYS, [Status.NOTIFICATION_SENT]),
        (DAYS, DAYS + 2, [Status.FAILED]),
    ],
)
def test_each_state_has_its_own_time(shop: Shop, told: int | None, failed: int | None, kept: list[Status]) -> None:
    for status in (Status.NOTIFICATION_SENT, Status.FAILED):
        end(shop, shop.sign_up(), status)
    pass_days(shop, DAYS + 1)
    forget(shop, told, failed)
    assert statuses(shop) == kept


def test_what_has_not_ended_is_kept_however_old(shop: Shop) -> None:
    shop.claimed(1)
    shop.sign_up(CUP)
    pass_days(shop, 1000)
    assert forget(shop).requests == 0
    assert statuses(shop) == [Status.PROCESSING, Status.RECEIVED]


def test_who_waited_for_a_year_and_was_told_yesterday_is_kept(shop: Shop) -> None:
    for reference in (MUG, CUP):
        shop.sign_up(reference)
    pass_days(shop, 365)
    for row, status in zip(shop.rows(), (Status.NOTIFICATION_SENT, Status.FAILED), strict=True):
        end(shop, row.id, status)
    pass_days(shop, 1)
    assert forget(shop).requests == 0
    pass_days(shop, DAYS)
    assert forget(shop).requests == 2


def test_an_imported_request_is_as_old_as_its_end(shop: Shop) -> None:
    shop.sign_up(created=shop.now() - timedelta(days=400))
    end(shop, shop.rows()[0].id, Status.NOTIFICATION_SENT)
    assert forget(shop).requests == 0
    pass_days(shop, DAYS + 1)
    assert forget(shop).requests == 1


def test_what_belongs_to_a_request_goes_with_it(shop: Shop) -> None:
    shop.waiting(2)
    pass_days(shop, 100)
    shop.tell()
    claim, other = both = shop.claim(shop.owner()).claims
    tries = [Try(each, "rejected", 550, None, "550 no") for each in both]
    shop.write(record, Ends(failed=[Ended(each, Tries(1), "MESSAGE_REJECTED", "550 no") for each in both], log=tries))
    for each in both:
        take(shop, report(Kind.FAILED, return_token(each), arrival=str(each.id)))
    action = shop.write(actions.begin, Draft("ann", "retry", {}), UUID(int=1))
    done = [{"request_id": each.id, "refusal": None, "before": None} for each in both]
    shop.write(actions.add_requests, action, done)
    kept: dict[type[SQLModel], int] = {Attempt: 2, Report: 2, ActionRequest: 2}
    assert {table: shop.count(table) for table in kept} == kept
    shop.change("UPDATE request SET failed_at = stockbell_now(:ago) WHERE id = :id", ago=-4e6, id=claim.id)
    assert forget(shop) == Forgotten(1, 1, is_end=True)
    assert [row.id for row in shop.rows()] == [other.id]
    assert {table: shop.count(table) for table in kept} == dict.fromkeys(kept, 1)
    assert shop.attempts(other.id)
    assert shop.database.read(books).is_balanced


def test_a_step_is_bounded_and_goes_on_where_the_last_one_ended(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_LOOKED", 10)
    monkeypatch.setattr(retention, "MOST_DELETED", 3)
    for place, request_id in enumerate(shop.sign_up_many(25)):
        if place % 2:
            end(shop, request_id, Status.NOTIFICATION_SENT)
    pass_days(shop, DAYS + 1)
    steps: list[Forgotten] = []
    while not steps or not steps[-1].is_end:
        steps.append(Retention(shop.database, DAYS, None, clock=Clock()).step())  # each is a scheduler that was started
    assert sum(step.requests for step in steps) == 12
    assert max(step.requests for step in steps) == 3
    assert len(shop.rows()) == 13
    assert shop.database.read(places.read, retention.PLACE) == str(UUID(int=0))


def test_after_a_pass_there_is_a_rest(shop: Shop) -> None:
    clock = Clock()
    retaining = Retention(shop.database, DAYS, None, clock=clock)
    assert retaining.step().is_end
    end(shop, shop.sign_up(), Status.NOTIFICATION_SENT)
    pass_days(shop, DAYS + 1)
    clock.now = REST_SECONDS - 1
    assert retaining.step().requests == 0
    clock.now = REST_SECONDS
    assert retaining.step().requests == 1


def test_two_schedulers_delete_each_request_once(shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_LOOKED", 50)
    together = threading.Barrier(4)

    def run(_number: int) -> int:
        with shop_at(shop_url) as scheduler:
            together.wait(60)
            return forget(scheduler).requests

    with shop_at(shop_url) as shop:
        for request_id in shop.sign_up_many(300):
            end(shop, request_id, Status.NOTIFICATION_SENT)
        pass_days(shop, DAYS + 1)
        with ThreadPoolExecutor(4) as pool:
            deleted = sum(pool.map(run, range(4)))
        deleted += forget(shop).requests  # what was held by another one at its turn
        assert deleted == shop.database.read(tally.totals)["deleted:NOTIFICATION_SENT"] == 300
        assert shop.database.read(books).is_balanced


def test_nobody_is_told_of_it(shop: Shop) -> None:
    shop.write(endpoints.add, "https://example.com", Format.STANDARD, is_full=False, allows_private=False)
    end(shop, shop.sign_up(), Status.NOTIFICATION_SENT)
    pass_days(shop, DAYS + 1)
    before = shop.count(WebhookDelivery)
    assert forget(shop).requests == 1
    assert shop.count(WebhookDelivery) == before == 1  # of the sign-up


# Contacts


def addresses(shop: Shop) -> list[str]:
    return [row.address for row in shop.ask("SELECT address FROM contact ORDER BY address")]


def told_long_ago(shop: Shop, email: str = "jane@example.com") -> UUID:
    """Adds a request that is to be deleted, and returns its contact."""
    request_id = shop.sign_up(MUG, email)
    end(shop, request_id, Status.NOTIFICATION_SENT)
    contact: UUID = shop.row(request_id).contact_id
    pass_days(shop, DAYS + 1)
    return contact


def test_whose_requests_are_all_deleted_is_forgotten(shop: Shop) -> None:
    contact = told_long_ago(shop)
    shop.change("UPDATE contact SET confirmed_at = stockbell_now(0), signed_up_at = stockbell_now(0)")
    assert forget(shop) == Forgotten(1, 1, is_end=True)
    (row,) = shop.ask("SELECT address, address_key, confirmed_at, signed_up_at, refused_at FROM contact")
    assert tuple(row) == (f"{ERASED}{contact}", None, None, None, None)
    shop.sign_up(MUG, "jane@example.com")
    assert len({row.contact_id for row in shop.rows()} - {contact}) == 1


@pytest.mark.parametrize("status", list(Status))
def test_who_has_another_request_is_known(shop: Shop, status: Status) -> None:
    told_long_ago(shop)
    shop.sign_up(CUP, "jane@example.com")
    shop.change("UPDATE request SET status = :status WHERE status = 'RECEIVED'", status=status.value)
    assert forget(shop) == Forgotten(1, 0, is_end=True)
    assert addresses(shop) == ["jane@example.com"]


def test_who_gets_no_mail_is_known_for_ever(shop: Shop) -> None:
    contact = told_long_ago(shop)
    shop.write(suppression.suppress, [contact], Cause.UNSUBSCRIBED, "a test")
    assert forget(shop) == Forgotten(1, 0, is_end=True)
    request_id = shop.sign_up(MUG, "jane@example.com")
    assert (shop.status(request_id), shop.row(request_id).contact_id) == (Status.FAILED, contact)


def test_who_was_asked_to_confirm_is_known_until_that_is_over(shop: Shop) -> None:
    contact = told_long_ago(shop)
    shop.write(confirmations.ask, contact, None)
    assert forget(shop) == Forgotten(1, 0, is_end=True)
    assert addresses(shop) == ["jane@example.com"]


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_who_signs_up_at_this_moment_is_known(shop: Shop) -> None:
    contact = told_long_ago(shop)

    def sign_up_meanwhile(c: Connection) -> Forgotten:
        requests.create(c, [NewRequest("jane@example.com", CUP)])
        return forget(shop)  # it does not wait for the contact, and leaves it

    shop.list_id(CUP)
    assert shop.write(sign_up_meanwhile) == Forgotten(1, 0, is_end=True)
    assert [row.contact_id for row in shop.rows()] == [contact]
    assert addresses(shop) == ["jane@example.com"]


def test_a_sweep_deletes_and_says_how_many(shop: Shop) -> None:
    told_long_ago(shop)
    bell = NotedBell()
    with capture_logs() as logs:
        Sweeper(shop.database, bell, lease=LEASE, interval=5.0).sweep()
    assert len(shop.rows()) == 1  # all is kept unless that is set
    assert [entry for entry in logs if entry["event"] == "requests.deleted"] == []
    with capture_logs() as logs:
        Sweeper(shop.database, bell, lease=LEASE, interval=5.0, policies=Policies(keep_told_days=DAYS)).sweep()
    assert {"event": "requests.deleted", "requests": 1, "contacts": 1, "log_level": "info"} in logs
    assert shop.rows() == []
