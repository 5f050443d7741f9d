"""What admins do to requests, and what stops the line: every allowed arrow, and every refused one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from tests.contract.shop import CUP, LONG_AGO, MUG, Shop, ref, shop_at, somebody_waits, statuses
from tests.polling import eventually
from worker.domain.outcomes import FailureCode
from worker.domain.verdicts import Tries
from worker.models import Attempt, Contact, Status
from worker.store import admin, breaker, claims, recording, requests
from worker.store.admin import Changed
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import NewRequest

ANNE = "anne@example.com"
SPENT = Tries(attempts=3, unknowns=1, policy_refusals=1)


def request_in(shop: Shop, status: Status, *, code: FailureCode = FailureCode.RECIPIENT_REJECTED) -> UUID:
    """Makes a request that came to this state in the normal way."""
    _, (claim,) = shop.claimed()
    ends = {
        Status.RECEIVED: Ends(deferred=[Ended(claim, SPENT, None, "450 later", delay=60)]),
        Status.PROCESSING: Ends(),
        Status.NOTIFICATION_SENT: Ends(told=[claim]),
        Status.FAILED: Ends(
            failed=[Ended(claim, SPENT, code.value, "550 no")], log=[Try(claim, "rejected", 550, None, "550 no")]
        ),
    }
    shop.write(recording.record, ends[status])
    return claim.id


def failed_requests(shop: Shop, number: int, *, code: FailureCode = FailureCode.RECIPIENT_REJECTED) -> list[UUID]:
    """Makes FAILED requests of one person for one item. Returns them, oldest first."""
    failed = []
    for _ in range(number):
        failed.append(shop.sign_up(MUG, ANNE))
        shop.change(
            "UPDATE request SET status = 'FAILED', auto_notified = true, failure_code = :code WHERE id = :id",
            id=failed[-1],
            code=code.value,
        )
    return failed


def retry(shop: Shop, *ids: UUID, ordered: bool = True, force: bool = False, dry_run: bool = False) -> Changed:
    return shop.write(admin.retry, ids, ordered=ordered, force=force, dry_run=dry_run)


def report(shop: Shop, *ids: UUID) -> Changed:
    return shop.write(admin.report, ids)


def mark(shop: Shop, *ids: UUID) -> Changed:
    return shop.write(admin.mark_sent, ids)


# Refused: every change that is no arrow

REFUSED = [
    (retry, Status.RECEIVED, "is RECEIVED, not FAILED"),
    (retry, Status.PROCESSING, "being sent"),
    (retry, Status.NOTIFICATION_SENT, "is NOTIFICATION_SENT, not FAILED"),
    (report, Status.PROCESSING, "being sent"),
    (report, Status.NOTIFICATION_SENT, "is NOTIFICATION_SENT"),
    (report, Status.FAILED, "is FAILED"),
    (mark, Status.PROCESSING, "being sent"),
    (mark, Status.NOTIFICATION_SENT, "is NOTIFICATION_SENT"),
]


@pytest.mark.parametrize(("verb", "status", "reason"), REFUSED)
def test_what_is_no_arrow_is_refused_and_changes_nothing(
    shop: Shop, verb: Callable[[Shop, UUID], Changed], status: Status, reason: str
) -> None:
    request = request_in(shop, status)
    before = shop.rows()
    changed = verb(shop, request)
    assert (changed.ids, changed.lists, changed.refused) == ([], set(), {request: reason})
    assert shop.rows() == before


@pytest.mark.parametrize("verb", [retry, report, mark])
def test_an_unknown_id_is_refused_and_the_others_are_done(shop: Shop, verb: Callable[..., Changed]) -> None:
    status = Status.FAILED if verb is retry else Status.RECEIVED
    request, unknown = request_in(shop, status), uuid4()
    changed = verb(shop, unknown, request, request)
    assert changed.ids == [request]
    assert changed.lists == {shop.list_id()}
    assert changed.refused == {unknown: "no such request"}


# retry: FAILED -> RECEIVED


def test_a_retry_begins_anew_keeping_date_and_history(shop: Shop) -> None:
    request = request_in(shop, Status.FAILED)
    before = shop.row(request)
    assert retry(shop, request, ordered=False).ids == [request]
    row = shop.row(request)
    assert (row.status, row.auto_notified) == (Status.RECEIVED, None)
    assert (row.attempts, row.unknowns, row.policy_refusals, row.rescues) == (0, 0, 0, 0)
    assert (row.not_before, row.handed_at, row.failure_code, row.failure_reason) == (None, None, None, None)
    assert (row.created_date, row.claim_no) == (before.created_date, before.claim_no)
    assert row.ordered_at is None
    assert [attempt.event for attempt in shop.attempts(request)] == ["rejected"]


def test_a_retry_by_id_is_sent_whatever_the_stock_and_others_when_in_stock(shop: Shop) -> None:
    by_id, by_filter = request_in(shop, Status.FAILED), request_in(shop, Status.FAILED)
    shop.tell(in_stock=False)
    retry(shop, by_id, ordered=True)
    retry(shop, by_filter, ordered=False)
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [by_id]
    shop.tell()
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [by_filter]


def test_an_earlier_order_does_not_outlive_a_retry_without_one(shop: Shop) -> None:
    request = request_in(shop, Status.FAILED)
    retry(shop, request, ordered=True)
    (claim,) = shop.claim(shop.owner()).claims
    shop.write(recording.record, Ends(failed=[Ended(claim, SPENT, "MESSAGE_REJECTED", "554 no")]))
    retry(shop, request, ordered=False)
    assert shop.row(request).ordered_at is None


def test_a_retry_takes_the_oldest_of_a_person_and_list(shop: Shop) -> None:
    oldest, middle, youngest = failed_requests(shop, 3)
    changed = retry(shop, youngest, middle, oldest)
    assert changed.ids == [oldest]
    assert changed.refused == {middle: f"superseded by {oldest}", youngest: f"superseded by {oldest}"}
    assert statuses(shop.rows()) == [Status.RECEIVED, Status.FAILED, Status.FAILED]


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.PROCESSING])
def test_a_retry_is_superseded_by_an_unresolved_request(shop: Shop, status: Status) -> None:
    (failed,) = failed_requests(shop, 1)
    newer = shop.sign_up(MUG, ANNE)
    shop.change("UPDATE request SET status = :status WHERE id = :id", status=status.value, id=newer)
    before = shop.rows()
    assert retry(shop, failed).refused == {failed: f"superseded by {newer}"}
    assert shop.rows() == before


def test_other_items_and_persons_do_not_supersede(shop: Shop) -> None:
    (failed,) = failed_requests(shop, 1)
    shop.sign_up(CUP, ANNE)
    shop.sign_up(ref(color="red"), ANNE)
    shop.sign_up(MUG, "bob@example.com")
    assert retry(shop, failed).ids == [failed]


def test_who_may_have_been_told_is_retried_only_by_force(shop: Shop) -> None:
    (unknown,) = failed_requests(shop, 1, code=FailureCode.OUTCOME_UNKNOWN)
    refusal = retry(shop, unknown).refused[unknown]
    assert "--force" in refusal
    assert shop.status(unknown) == Status.FAILED
    assert retry(shop, unknown, force=True).ids == [unknown]
    assert shop.status(unknown) == Status.RECEIVED


def test_a_dry_run_says_what_would_be_done_and_does_nothing(shop: Shop) -> None:
    oldest, younger = failed_requests(shop, 2)
    before = shop.rows()
    changed = retry(shop, oldest, younger, dry_run=True)
    assert (changed.ids, list(changed.refused)) == ([oldest], [younger])
    assert shop.rows() == before


def test_two_retries_of_a_person_at_once_bring_back_one(shop_url: str) -> None:
    with shop_at(shop_url) as shop:
        failed = failed_requests(shop, 4)
    together = threading.Barrier(4)

    def retry_one(request: UUID) -> Changed:
        with shop_at(shop_url) as admins:
            admins.now()  # connects
            together.wait(60)
            return retry(admins, request)

    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(retry_one, failed))
    (winner,) = [request for each in changed for request in each.ids]
    refused = {request: reason for each in changed for request, reason in each.refused.items()}
    assert refused == {request: f"superseded by {winner}" for request in failed if request != winner}


def test_a_retry_and_a_sign_up_at_once_leave_one_unresolved(shop_url: str) -> None:
    with shop_at(shop_url) as shop:
        (failed,) = failed_requests(shop, 1)
        together = threading.Barrier(2)

        def retry_it() -> list[UUID]:
            with shop_at(shop_url) as admins:
                admins.now()
                together.wait(60)
                return retry(admins, failed).ids

        def sign_up() -> list[UUID]:
            with shop_at(shop_url) as storefront:
                storefront.now()
                together.wait(60)
                return storefront.write(requests.create, [NewRequest(ANNE, MUG)])

        with ThreadPoolExecutor(2) as pool:
            retried, created = pool.submit(retry_it), pool.submit(sign_up)
            assert len(retried.result()) + len(created.result()) == 1
        assert statuses(shop.rows()).count(Status.RECEIVED) == 1


# report: RECEIVED, notify now


def test_a_report_orders_what_waits_whatever_stock_and_back_off(shop: Shop) -> None:
    request = request_in(shop, Status.RECEIVED)
    shop.tell(in_stock=False)
    assert report(shop, request).ids == [request]
    row = shop.row(request)
    assert (row.status, row.not_before, row.attempts) == (Status.RECEIVED, None, 3)
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [request]


def test_a_second_report_keeps_the_time_of_the_first(shop: Shop) -> None:
    request = shop.sign_up()
    report(shop, request)
    since = shop.row(request).ordered_at
    report(shop, request)
    assert shop.row(request).ordered_at == since


# mark: RECEIVED, FAILED -> NOTIFICATION_SENT


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.FAILED])
def test_mark_says_that_the_mail_went_out_by_other_means(shop: Shop, status: Status) -> None:
    request = request_in(shop, status)
    assert mark(shop, request).ids == [request]
    row = shop.row(request)
    assert (row.status, row.auto_notified) == (Status.NOTIFICATION_SENT, False)
    assert shop.now() - row.notified_date < timedelta(minutes=1)
    assert (row.not_before, row.failure_code, row.failure_reason) == (None, None, None)


def test_a_receipt_is_of_the_last_mail_that_the_relay_took(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    shop.write(recording.record, Ends(told=[claim], receipts=["4711"]))
    shop.change("UPDATE request SET status = 'FAILED', failure_code = 'BOUNCED'")
    shop.write(admin.retry, [claim.id], force=False, ordered=True)
    assert shop.row(claim.id).receipt == "4711"
    (again,) = shop.claim(owner).claims
    shop.write(recording.record, Ends(told=[again], receipts=["4712"]))
    assert shop.row(claim.id).receipt == "4712"
    shop.change("UPDATE request SET status = 'FAILED', failure_code = 'BOUNCED'")
    mark(shop, claim.id)
    assert shop.row(claim.id).receipt is None


def test_what_was_marked_is_not_sent_any_more(shop: Shop) -> None:
    (request,) = shop.waiting(1)
    mark(shop, request)
    assert shop.claim(shop.owner()).claims == []
    assert shop.with_work() == set()


# A verb and a claim at once


def test_a_verb_that_meets_a_claim_waits_and_is_refused(postgres_url: str) -> None:
    with shop_at(postgres_url) as shop, shop_at(postgres_url) as admins, ThreadPoolExecutor(1) as pool:
        (request,) = shop.waiting(1)
        owner, list_id = shop.owner(), shop.list_id()

        def claim_and_let_them_come(c: Connection) -> "Future[Changed]":
            claims.claim(c, owner, 60.0, [list_id], 1, first=True)
            marking = pool.submit(mark, admins, request)
            eventually(lambda: somebody_waits(shop), until="the verb waits for the row")
            return marking

        assert shop.write(claim_and_let_them_come).result(60).refused == {request: "being sent"}


# create and delete


def test_one_request_of_a_person_for_an_item_and_options_is_unresolved_at_a_time(shop: Shop) -> None:
    first = shop.sign_up(MUG, ANNE)
    assert shop.write(requests.create, [NewRequest(ANNE, MUG)]) == []
    assert shop.write(requests.create, [NewRequest("ANNE@Example.com", MUG)]) == []
    assert shop.write(requests.equal, NewRequest(ANNE, MUG)) == first
    assert shop.write(requests.equal, NewRequest(ANNE, CUP)) is None
    shop.sign_up(CUP, ANNE)
    shop.sign_up(ref(color="red"), ANNE)
    assert shop.count(Contact) == 1


@pytest.mark.parametrize("status", Status)
def test_only_what_is_unresolved_stands_in_the_way(shop: Shop, status: Status) -> None:
    shop.sign_up(MUG, ANNE)
    shop.change("UPDATE request SET status = :status", status=status.value)
    added = shop.write(requests.create, [NewRequest(ANNE, MUG)])
    assert len(added) == (1 if status in {Status.NOTIFICATION_SENT, Status.FAILED} else 0)


@pytest.mark.parametrize("dates", [(None, None), (LONG_AGO + timedelta(days=1), LONG_AGO)], ids=["today", "imported"])
def test_of_the_same_wish_twice_in_a_batch_the_oldest_is_kept(
    shop: Shop, dates: tuple[datetime | None, datetime | None]
) -> None:
    twice = [NewRequest(ANNE, MUG, f"https://{number}.example", created_date=dates[number]) for number in range(2)]
    assert len(shop.write(requests.create, twice)) == 1
    assert shop.rows()[0].item_url == ("https://1.example" if dates[1] else "https://0.example")


def test_of_many_sign_ups_at_once_one_is_kept(shop_url: str) -> None:
    together = threading.Barrier(4)

    def sign_up(number: int) -> int:
        with shop_at(shop_url) as storefront:
            storefront.now()
            together.wait(60)
            people = [ANNE, "bob@example.com", "carl@example.com"]
            new = [NewRequest(email, reference) for email in people for reference in (MUG, CUP)]
            return len(storefront.write(requests.create, new[::-1] if number % 2 else new))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(sign_up, range(4))) == 6


@pytest.mark.parametrize("status", Status)
def test_a_request_can_be_deleted_in_every_state(shop: Shop, status: Status) -> None:
    request = request_in(shop, status)
    assert shop.write(requests.remove, request)
    assert shop.rows() == []
    assert shop.count(Attempt) == 0
    assert not shop.write(requests.remove, request)


def test_the_unresolved_rule_is_the_databases_own(shop: Shop) -> None:
    failed_requests(shop, 2)
    with pytest.raises(Exception, match=r"(?i)unique"):
        shop.change("UPDATE request SET status = 'RECEIVED'")


# The breaker: closed -> open -> closed


def test_the_breaker_trips_once(shop: Shop) -> None:
    assert shop.breaker().state == "closed"
    assert shop.write(breaker.trip, "421 busy", "relay")
    since = shop.breaker().since
    assert not shop.write(breaker.trip, "535 wrong password", "configuration")
    found = shop.breaker()
    assert (found.state, found.since, found.reason, found.scope) == ("open", since, "421 busy", "relay")


def test_the_breaker_closes_once_and_forgets_why(shop: Shop) -> None:
    assert not shop.write(breaker.close)
    shop.write(breaker.trip, "421 busy", "relay")
    assert shop.write(breaker.close)
    assert not shop.write(breaker.close)
    after = shop.breaker()
    assert (after.state, after.reason, after.scope) == ("closed", None, None)


def _probe_in(shop: Shop, seconds: float) -> None:
    shop.change("UPDATE relay SET probe_at = stockbell_now(:seconds)", seconds=seconds)


def test_a_closed_breaker_is_not_probed(shop: Shop) -> None:
    assert not shop.database.read(breaker.probe_is_due)
    assert shop.write(breaker.take_probe, 90.0) is None


def test_a_probe_is_due_a_moment_after_the_trip(shop: Shop) -> None:
    shop.write(breaker.trip, "421 busy", "relay")
    row = shop.relay()
    assert timedelta(seconds=1) <= row.probe_at - row.since < timedelta(seconds=2)
    _probe_in(shop, 60)
    assert not shop.database.read(breaker.probe_is_due)
    assert shop.write(breaker.take_probe, 90.0) is None
    _probe_in(shop, -1)
    assert shop.database.read(breaker.probe_is_due)


@pytest.mark.parametrize("scope", ["relay", "configuration"])
def test_one_at_a_time_probes_and_learns_what_to_look_at(shop: Shop, scope: str) -> None:
    shop.write(breaker.trip, "no", scope)
    _probe_in(shop, -1)
    assert shop.write(breaker.take_probe, 90.0) == scope
    assert shop.write(breaker.take_probe, 90.0) is None
    assert not shop.database.read(breaker.probe_is_due)
    _probe_in(shop, -1)  # the worker that took the probe has died
    assert shop.write(breaker.take_probe, 90.0) == scope


def test_of_many_who_want_to_probe_at_once_one_does(shop_url: str) -> None:
    with shop_at(shop_url) as shop:
        shop.write(breaker.trip, "421 busy", "relay")
        _probe_in(shop, -1)

    def take(_number: int) -> bool:
        with shop_at(shop_url) as worker:
            return worker.write(breaker.take_probe, 90.0) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(4))) == 1


@pytest.mark.parametrize(("open_for", "pause"), [(0, 1), (3, 1), (20, 5), (60, 15), (119, 29.75), (86400, 30)])
def test_the_longer_it_is_down_the_longer_the_pause_between_probes(shop: Shop, open_for: float, pause: float) -> None:
    shop.write(breaker.trip, "421 busy", "relay")
    shop.change("UPDATE relay SET since = stockbell_now(-:ago)", ago=open_for)
    since = shop.breaker().since
    assert since is not None
    before = shop.now()
    shop.write(breaker.still_down, "535 wrong password", "configuration")
    after = shop.now()
    found = shop.breaker()
    assert (found.state, found.since, found.reason, found.scope) == (
        "open",
        since,
        "535 wrong password",
        "configuration",
    )
    # This is exact, however slow the machine is. The breaker has been open for longer while the test runs.
    longer = (after - since).total_seconds() - open_for
    probe_at = shop.relay().probe_at
    assert (probe_at - before).total_seconds() >= pause
    assert (probe_at - after).total_seconds() <= pause + longer / 4 + 0.001


def test_a_probe_that_failed_tells_whether_the_reason_is_new(shop: Shop) -> None:
    shop.write(breaker.trip, "421 busy", "relay")
    reasons = ["421 busy", "535 wrong password", "535 wrong password"]
    assert [shop.write(breaker.still_down, reason, "relay") for reason in reasons] == [False, True, False]


def test_a_probe_that_failed_after_the_breaker_was_closed_changes_nothing(shop: Shop) -> None:
    assert not shop.write(breaker.still_down, "421 busy", "relay")
    assert shop.breaker().state == "closed"
    assert shop.relay().probe_at is None


def test_an_imported_request_keeps_its_place_in_line(shop: Shop) -> None:
    today = shop.sign_up()
    imported = shop.sign_up(created=LONG_AGO)
    shop.tell()
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [imported, today]
