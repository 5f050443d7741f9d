"""Waiting lists: which requests may be sent now, and bells that ring once. On SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import CUP, LONG_AGO, MUG, Shop, ref, shop_at
from worker.domain.catalog import CatalogReference
from worker.models import Item as ItemRow
from worker.models import WaitingList
from worker.store import admin, breaker, lists, pauses, requests

RED = ref(color="red")
RED_L = ref(color="red", size="L")


# Finding and making lists


def test_a_reference_has_one_list_however_often_it_is_asked_for(shop: Shop) -> None:
    assert shop.list_id(RED) == shop.list_id(RED)
    assert shop.list_id(MUG) != shop.list_id(RED)
    assert shop.count(WaitingList) == 2
    assert shop.count(ItemRow) == 1


def test_the_same_options_in_another_order_are_the_same_list(shop: Shop) -> None:
    assert shop.list_id(ref(size="L", color="red")) == shop.list_id(RED_L)


def test_lists_of_many_references_are_found_at_once(shop: Shop) -> None:
    references = [ref(f"mug-{number}", size=size) for number in range(20) for size in ("L", 'M "x" é')]
    shop.list_id(references[3])
    found = shop.write(lists.find_or_add, references)
    assert set(found) == set(references)
    assert len(set(found.values())) == 40
    assert found == shop.write(lists.find_or_add, references)


def test_a_list_made_by_many_at_once_is_one(shop_url: str) -> None:
    def add(_number: int) -> UUID:
        with shop_at(shop_url) as shop:
            return shop.list_id(RED)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(add, range(4)))) == 1


def test_a_new_list_learns_from_the_stock_whether_it_can_be_served(shop: Shop) -> None:
    shop.tell(RED_L)
    shop.tell(ref(color="blue"), in_stock=False)
    assert shop.list_row(RED).in_stock
    assert shop.list_row(RED).last_in_stock_at is not None
    assert not shop.list_row(ref(color="blue")).in_stock
    assert shop.list_row(ref(color="blue")).last_in_stock_at is None
    assert not shop.list_row(ref(color="green")).in_stock


def test_a_new_list_remembers_when_its_item_was_last_in_stock_after_it_sold_out(shop: Shop) -> None:
    shop.tell(MUG)
    shop.tell(MUG, in_stock=False)
    row = shop.list_row(MUG)
    assert not row.in_stock
    assert row.last_in_stock_at is not None


# Who may be told: requests that were woken by an in-stock event applied after createdDate


def test_who_signed_up_before_the_event_may_be_told(shop: Shop) -> None:
    request = shop.sign_up()
    assert shop.waiting_for(request) == "noStock"
    shop.tell()
    assert shop.with_work() == {shop.list_id()}
    assert shop.waiting_for(request) == "queued"


def test_who_signs_up_after_the_event_is_not_told_that_it_is_back(shop: Shop) -> None:
    shop.tell()
    request = shop.sign_up()
    assert shop.with_work() == set()
    assert shop.waiting_for(request) == "noStock"


def test_the_next_event_wakes_them_though_the_item_was_never_out(shop: Shop) -> None:
    shop.tell()
    request = shop.sign_up()
    shop.tell()
    assert shop.waiting_for(request) == "queued"


def test_an_imported_created_date_counts_as_given(shop: Shop) -> None:
    shop.tell()
    old = shop.sign_up(created=LONG_AGO)
    assert shop.waiting_for(old) == "queued"


def test_a_created_date_that_is_ahead_counts_as_now(shop: Shop) -> None:
    shop.tell()
    young = shop.sign_up(created=datetime.now(UTC) + timedelta(days=1))
    assert shop.row(young).created_date < shop.now()
    assert shop.waiting_for(young) == "noStock"
    shop.tell()
    assert shop.waiting_for(young) == "queued"


def test_a_batch_keeps_the_order_of_its_dates_though_some_are_ahead(shop: Shop) -> None:
    now = shop.now()
    before, soon, later = (now + timedelta(minutes=minutes) for minutes in (-3, 2, 4))
    dates = {"last": later, "now": None, "later": soon, "again": soon, "old": before, "now too": None}
    new = [requests.NewRequest(f"{name}@example.com", MUG, created_date=date) for name, date in dates.items()]
    shop.write(requests.create, new)
    names = [row.email.partition("@")[0] for row in shop.rows()]
    assert names == ["old", "now", "now too", "later", "again", "last"]
    assert shop.rows()[0].created_date == before
    assert len({row.created_date for row in shop.rows()}) == len(dates)
    assert shop.rows()[-1].created_date < shop.now()


@pytest.mark.parametrize("year", [1, 999, 1000, 1970])
def test_dates_of_every_year_are_kept_and_compared(shop: Shop, year: int) -> None:
    created = datetime(year, 7, 8, 9, 10, 11, 1213, tzinfo=UTC)
    request = shop.sign_up(created=created)
    shop.tell()
    assert shop.row(request).created_date == created
    assert shop.waiting_for(request) == "queued"


def test_a_batch_of_sign_ups_keeps_its_order_and_lies_in_the_past(shop: Shop) -> None:
    emails = [f"{number}@example.com" for number in range(50)]
    shop.write(requests.create, [requests.NewRequest(email, MUG) for email in emails])
    assert [row.email for row in shop.rows()] == emails
    assert shop.rows()[-1].created_date < shop.now()


# Who may not


def test_a_sold_out_item_has_no_work(shop: Shop) -> None:
    (request,) = shop.waiting(1)
    shop.tell(in_stock=False)
    assert shop.with_work() == set()
    assert shop.waiting_for(request) == "soldOut"


def test_who_backs_off_is_no_work(shop: Shop) -> None:
    (request,) = shop.waiting(1)
    shop.change("UPDATE request SET not_before = stockbell_now(60)")
    assert shop.with_work() == set()
    assert shop.waiting_for(request) == "backoff"


@pytest.mark.parametrize("status", ["PROCESSING", "NOTIFICATION_SENT", "FAILED"])
def test_who_is_not_received_is_no_work(shop: Shop, status: str) -> None:
    (request,) = shop.waiting(1)
    shop.change("UPDATE request SET status = :status", status=status)
    assert shop.with_work() == set()
    assert shop.waiting_for(request) is None


def test_while_the_breaker_is_open_there_is_no_work(shop: Shop) -> None:
    woken, ordered = shop.waiting(2)
    shop.write(admin.report, [ordered])
    shop.write(breaker.trip, "421 busy", "relay")
    assert shop.with_work() == set()
    assert {shop.waiting_for(woken), shop.waiting_for(ordered)} == {"relayDown"}
    shop.write(breaker.close)
    assert shop.with_work() == {shop.list_id()}


@pytest.mark.parametrize(
    ("paused", "stopped"),
    [
        (None, {MUG, RED, RED_L, CUP}),
        (MUG, {MUG, RED, RED_L}),
        (RED, {RED}),
        (ref("other"), set()),
    ],
    ids=["all", "item", "variant", "another item"],
)
def test_a_pause_stops_what_it_names_and_resume_lets_it_go_on(
    shop: Shop, paused: CatalogReference | None, stopped: set[CatalogReference]
) -> None:
    references = {MUG, RED, RED_L, CUP}
    request_of = {reference: shop.sign_up(reference) for reference in references}
    shop.tell(MUG)
    shop.tell(RED_L)
    shop.tell(CUP)
    assert shop.write(pauses.pause, paused)
    assert not shop.write(pauses.pause, paused)
    assert shop.with_work() == {shop.list_id(reference) for reference in references - stopped}
    assert {ref_ for ref_ in references if shop.waiting_for(request_of[ref_]) == "paused"} == stopped
    assert shop.write(pauses.resume, paused)
    assert not shop.write(pauses.resume, paused)
    assert shop.with_work() == {shop.list_id(reference) for reference in references}


def test_pauses_are_listed(shop: Shop) -> None:
    assert shop.write(pauses.read) == pauses.Paused(everything=False, items=[])
    for paused in (None, CUP, RED):
        shop.write(pauses.pause, paused)
    assert shop.write(pauses.read) == pauses.Paused(everything=True, items=["cup-1", 'mug-1 {"color":"red"}'])


def test_resume_takes_back_exactly_what_pause_did(shop: Shop) -> None:
    for paused, resumed in ((MUG, RED), (RED, MUG), (RED_L, RED), (None, MUG)):
        shop.write(pauses.pause, paused)
        assert not shop.write(pauses.resume, resumed)
        assert shop.write(pauses.resume, paused)


def test_the_wider_pause_is_told(shop: Shop) -> None:
    assert shop.database.read(pauses.wider, RED) is None
    shop.write(pauses.pause, RED)
    assert shop.database.read(pauses.wider, RED) is None
    shop.write(pauses.pause, MUG)
    assert [shop.database.read(pauses.wider, item) for item in (RED, MUG)] == ["the whole item", None]
    shop.write(pauses.pause, None)
    assert [shop.database.read(pauses.wider, item) for item in (RED, CUP)] == ["everything", "everything"]


def test_an_item_is_known_once_somebody_waited_or_an_event_told_of_it_and_not_by_a_pause(shop: Shop) -> None:
    shop.write(pauses.resume, MUG)
    assert shop.count(ItemRow) == 0
    shop.write(pauses.pause, MUG)
    assert not shop.database.read(pauses.is_known, MUG)
    shop.sign_up(RED)
    shop.tell(CUP)
    told = {reference: shop.database.read(pauses.is_known, reference) for reference in (MUG, RED, RED_L, CUP)}
    assert told == {MUG: True, RED: True, RED_L: False, CUP: True}


def test_a_pause_of_an_item_that_nobody_knew_stops_it_when_it_appears(shop: Shop) -> None:
    shop.write(pauses.pause, RED)
    shop.waiting(1, RED)
    assert shop.with_work() == set()


def test_an_order_needs_no_stock_but_a_pause_still_wins(shop: Shop) -> None:
    request = shop.sign_up()
    shop.write(admin.report, [request])
    assert shop.with_work() == {shop.list_id()}
    assert shop.waiting_for(request) == "queued"
    shop.write(pauses.pause, MUG)
    assert shop.with_work() == set()
    assert shop.waiting_for(request) == "paused"


def test_work_is_looked_for_on_the_lists_that_are_named(shop: Shop) -> None:
    shop.waiting(1, MUG)
    shop.waiting(1, CUP)
    only_cup = shop.database.read(lists.with_work, [shop.list_id(CUP), shop.list_id(RED), uuid4()])
    assert only_cup == [shop.list_id(CUP)]
    assert shop.database.read(lists.with_work, []) == []


# Bells


def test_a_bell_rings_once_until_it_is_taken(shop: Shop) -> None:
    mug = shop.list_id()
    assert shop.write(lists.ring, [mug]) == [mug]
    assert shop.write(lists.ring, [mug]) == []
    shop.write(lists.take_bells, [mug])
    assert shop.list_row().bell_at is None
    assert shop.write(lists.ring, [mug]) == [mug]


def test_a_bell_that_nobody_took_rings_again_after_a_while(shop: Shop) -> None:
    mug = shop.list_id()
    shop.write(lists.ring, [mug])
    shop.change("UPDATE waiting_list SET bell_at = stockbell_now(-29)")
    assert shop.write(lists.ring, [mug]) == []
    shop.change("UPDATE waiting_list SET bell_at = stockbell_now(-31)")
    assert shop.write(lists.ring, [mug]) == [mug]
    assert shop.write(lists.ring, [mug]) == []


def test_where_bells_were_lost_they_ring_whatever_their_time(shop: Shop) -> None:
    mug = shop.list_id()
    shop.write(lists.ring, [mug])
    assert shop.write(lists.ring, [mug], recent=0.0) == [mug]


def test_a_bell_from_before_the_clock_was_set_back_counts_no_more(shop: Shop) -> None:
    mug = shop.list_id()
    shop.write(lists.ring, [mug])
    shop.change("UPDATE waiting_list SET bell_at = stockbell_now(300)")
    assert shop.write(lists.ring, [mug]) == [mug]
    assert shop.write(lists.ring, [mug]) == []


def test_each_list_has_its_own_bell(shop: Shop) -> None:
    mug, cup = shop.list_id(MUG), shop.list_id(CUP)
    shop.write(lists.ring, [mug])
    assert shop.write(lists.ring, [mug, cup, uuid4()]) == [cup]
    shop.write(lists.take_bells, [cup])
    assert shop.list_row(MUG).bell_at is not None


def test_of_many_who_ring_at_once_one_is_let_through(shop_url: str) -> None:
    with shop_at(shop_url) as shop:
        references = [ref(f"mug-{number}") for number in range(10)]
        list_ids = [shop.list_id(reference) for reference in references]

    def ring(backwards: bool) -> list[UUID]:
        with shop_at(shop_url) as shop:
            return shop.write(lists.ring, list_ids[::-1] if backwards else list_ids)

    with ThreadPoolExecutor(4) as pool:
        rung = [list_id for each in pool.map(ring, [False, True, False, True]) for list_id in each]
    assert sorted(rung) == sorted(list_ids)


# Since when a request is due


def test_a_list_is_woken_by_an_event_and_no_more_when_a_claim_found_its_end(shop: Shop) -> None:
    shop.sign_up()
    assert shop.list_row().woken_at is None
    shop.tell()
    since = shop.list_row().woken_at
    shop.tell()
    assert shop.list_row().woken_at == since is not None
    shop.write(lists.drained, [shop.list_id()])
    assert shop.list_row().woken_at is None
