"""Who of those who may be told goes first, and how a request gets its priority. On SQLite and PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from tests.contract.shop import CUP, LEASE, LONG_AGO, MUG, Shop, ref
from tests.contract.store.test_plans import RESTING, SEATED
from worker.domain.catalog import CatalogReference
from worker.domain.policies import MOST_ITEMS, NO_POLICIES, Policies
from worker.models import Request, Status
from worker.store import admin, claims, items, requests, stock, stories
from worker.store.claims import Claimed
from worker.store.requests import NewRequest

ANN: Final = "ann@example.com"
RED: Final = ref(color="red")
MIXED: Final = (0, 3, 0, 9, 3, 0, 0, 9)
"""Priorities of people who have asked one after the other."""
POLICIES: Final = {
    "all": NO_POLICIES,
    "seats": SEATED,
    "interval": RESTING,
    "seats and interval": Policies(per_unit=1, assumed_quantity=10**6, contact_interval=3600.0),
    "digest": Policies(digest=True),
}
every_way = pytest.mark.parametrize("policies", POLICIES.values(), ids=POLICIES.keys())


def sign_up(shop: Shop, priorities: Sequence[int | None], *wanted: CatalogReference) -> list[UUID]:
    """Adds somebody for each, each younger than the one before, to the lists in turn (default: the mug's)."""
    since = LONG_AGO + timedelta(seconds=shop.count(Request))
    lists = wanted or (MUG,)
    new = [
        NewRequest(
            f"customer{number}-{since:%S}@example.com",
            lists[number % len(lists)],
            created_date=since + timedelta(seconds=number),
            priority=priority,
        )
        for number, priority in enumerate(priorities)
    ]
    ids = shop.write(requests.create_each, new)
    return [id_ for id_ in ids if id_]


def in_turn(ids: Sequence[UUID], priorities: Sequence[int]) -> list[UUID]:
    places = sorted(range(len(ids)), key=lambda place: (-priorities[place], place))
    return [ids[place] for place in places]


def claim(
    shop: Shop, policies: Policies, *wanted: CatalogReference, most: int = 100, owner: UUID | None = None
) -> Claimed:
    list_ids = [shop.list_id(each) for each in wanted or (MUG,)]
    return shop.write(claims.claim, owner or shop.owner(), LEASE, list_ids, most, policies, first=True)


# The claim


@every_way
def test_a_higher_priority_goes_first_and_of_equal_ones_who_has_waited_longer(shop: Shop, policies: Policies) -> None:
    ids = sign_up(shop, MIXED)
    shop.write(stock.apply, [shop.event()], policies)
    one_by_one = [each.id for _ in ids for each in claim(shop, policies, most=1).one_by_one]
    assert one_by_one == in_turn(ids, MIXED)


@every_way
def test_what_is_claimed_together_comes_in_turn(shop: Shop, policies: Policies) -> None:
    ids = sign_up(shop, MIXED)
    shop.write(stock.apply, [shop.event()], policies)
    assert [each.id for each in claim(shop, policies).one_by_one] == in_turn(ids, MIXED)


@every_way
def test_so_it_is_with_those_whom_an_admin_has_ordered(shop: Shop, policies: Policies) -> None:
    ids = sign_up(shop, MIXED)
    shop.write(admin.report, ids)
    found = [each.id for _ in range(4) for each in claim(shop, policies, most=2).one_by_one]
    assert found == in_turn(ids, MIXED)


@every_way
def test_who_has_priority_leaves_less_room_for_others_and_takes_no_more(shop: Shop, policies: Policies) -> None:
    ids = sign_up(shop, (0, 0, 0, 1, 1, 1))
    shop.write(stock.apply, [shop.event()], policies)
    owner = shop.owner()
    found = [claim(shop, policies, most=2, owner=owner) for _ in range(4)]
    assert [[ids.index(each.id) for each in claimed.one_by_one] for claimed in found] == [[3, 4], [5, 0], [1, 2], []]
    assert [len(claimed.full) for claimed in found] == [1, 1, 1, 0]


def test_of_several_lists_each_has_its_share_whoever_has_priority(shop: Shop) -> None:
    sign_up(shop, [9] * 10, MUG)
    cups = sign_up(shop, [0] * 10, CUP)
    for each in (MUG, CUP):
        shop.tell(each)
    found = [each.id for each in claim(shop, NO_POLICIES, MUG, CUP, most=6).claims]
    assert len(found) == 6
    assert found[3:] == cups[:3]


def test_seats_that_lists_share_go_by_priority_whichever_list_is_served(shop: Shop) -> None:
    """Three mugs: all who want one are told of them, and so are those who want a red one."""
    three = Policies(per_unit=1, assumed_quantity=3)
    ids = sign_up(shop, (0, 0, 0, 0, 5, 5, 9, 0), MUG, RED)
    shop.write(stock.apply, [shop.event(MUG)], three)
    assert [each.id for each in claim(shop, three, RED).claims] == [ids[6], ids[4], ids[5]]


def test_a_suspect_with_priority_is_tried_first(shop: Shop) -> None:
    ids = sign_up(shop, (0, 5))
    shop.tell()
    shop.change("UPDATE request SET rescues = 2")
    owner = shop.owner()
    assert [claim(shop, NO_POLICIES, owner=owner).claims[0].id for _ in ids] == [ids[1], ids[0]]


def test_many_with_priority_who_are_not_woken_hide_nobody(shop: Shop) -> None:
    (first,) = sign_up(shop, [0])
    shop.tell()
    sign_up(shop, [9] * 5)
    shop.change("UPDATE request SET created_date = stockbell_now(0) WHERE priority > 0")
    assert [each.id for each in claim(shop, NO_POLICIES, most=2).claims] == [first]


def test_the_first_mail_of_a_digest_has_what_has_priority(shop: Shop) -> None:
    wanted = [ref(f"thing-{number}") for number in range(MOST_ITEMS + 5)]
    new = [
        NewRequest(ANN, each, created_date=LONG_AGO + timedelta(seconds=number), priority=int(number >= MOST_ITEMS))
        for number, each in enumerate(wanted)
    ]
    ids = shop.write(requests.create_each, new)
    policies = Policies(digest=True)
    shop.write(stock.apply, [shop.event(each) for each in wanted], policies)
    (mail,) = claim(shop, policies, wanted[0]).claims
    # The request of the list that is served goes in any case. In a mail the oldest comes first.
    assert [each.id for each in mail.together] == [*ids[: MOST_ITEMS - 5], *ids[MOST_ITEMS:]]


def test_a_mail_that_is_repeated_is_of_the_same_request_though_priorities_changed(shop: Shop) -> None:
    """A receiver that has it already may drop the second one by its Message-ID."""
    policies = Policies(digest=True)
    old, young = (
        shop.sign_up(each, ANN, created=LONG_AGO + timedelta(days=day)) for day, each in enumerate((MUG, CUP))
    )
    shop.write(stock.apply, [shop.event(MUG), shop.event(CUP)], policies)
    for priority in (5, 0, 9):
        shop.change("UPDATE request SET priority = :priority WHERE id = :id", priority=priority, id=young)
        (mail,) = claim(shop, policies, CUP).claims
        assert [each.id for each in mail.together] == [old, young]
        shop.change("UPDATE request SET status = 'RECEIVED', unknowns = 1")


def test_who_is_next_and_the_place_in_line_are_told_by_turn(shop: Shop) -> None:
    ids = sign_up(shop, MIXED)
    order = in_turn(ids, MIXED)
    assert [row.id for row in shop.database.read(items.next_told, [shop.list_id()])] == order
    many = [shop.list_id(ref(f"thing-{number}")) for number in range(items.FEW)]
    assert [row.id for row in shop.database.read(items.next_told, [*many, shop.list_id()])] == order

    def before(request_id: UUID) -> int:
        known = shop.database.read(stories.read, request_id, LEASE)
        assert known
        assert known.line
        return known.line.before

    assert [before(id_) for id_ in order] == list(range(len(ids)))
    shop.write(admin.report, [ids[0], ids[4]])
    assert [before(ids[4]), before(ids[0]), before(ids[3])] == [0, 1, 2]


# How a request gets it


def priority_of(shop: Shop, request_id: UUID) -> int:
    priority: int = shop.row(request_id).priority
    return priority


def again(shop: Shop, priority: int | None, *, days: int | None = None) -> None:
    """Ann asks for a mug, with or without a date."""
    created = None if days is None else LONG_AGO + timedelta(days=days)
    shop.write(requests.create, [NewRequest(ANN, MUG, created_date=created, priority=priority)])


def test_without_one_it_is_0(shop: Shop) -> None:
    again(shop, None)
    assert [row.priority for row in shop.rows()] == [0]


@pytest.mark.parametrize("days", [None, 1, 3, 5], ids=["no date", "older", "the same date", "younger"])
def test_who_waits_takes_the_priority_that_was_said_last(shop: Shop, days: int | None) -> None:
    again(shop, 3, days=3)
    (row,) = shop.rows()
    for said, is_now in ((9, 9), (None, 9), (1, 1), (0, 0), (0, 0)):
        again(shop, said, days=days)
        assert [each.id for each in shop.rows()] == [row.id]
        assert priority_of(shop, row.id) == is_now
    assert shop.row(row.id).created_date == LONG_AGO + timedelta(days=min(3, days or 3))


def test_of_one_batch_the_last_that_says_one_counts_whatever_the_dates_are(shop: Shop) -> None:
    said = [(2, 5), (1, 7), (3, None), (None, 4), (2, None)]
    new = [
        NewRequest(ANN, MUG, created_date=LONG_AGO + timedelta(days=days) if days else None, priority=priority)
        for days, priority in said
    ]
    shop.write(requests.create, new)
    (row,) = shop.rows()
    assert (row.priority, row.created_date) == (4, LONG_AGO + timedelta(days=1))


def test_lines_whose_own_requests_have_ended_say_nothing_beside_others(shop: Shop) -> None:
    again(shop, 1, days=1)
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = true")
    again(shop, 2, days=5)
    new = [
        NewRequest(ANN, MUG, created_date=LONG_AGO + timedelta(days=days), priority=priority)
        for days, priority in ((1, 7), (5, 4), (1, 8))
    ]
    shop.write(requests.create, new)
    assert sorted(row.priority for row in shop.rows()) == [1, 4]
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = true WHERE priority = 4")
    again(shop, 2)
    shop.write(requests.create, [NewRequest(ANN, MUG, created_date=LONG_AGO + timedelta(days=3)), *new])
    (row,) = (row for row in shop.rows() if row.status == Status.RECEIVED)
    assert (row.priority, row.created_date) == (2, LONG_AGO + timedelta(days=3))


def test_it_is_that_of_one_customer_and_one_list(shop: Shop) -> None:
    others = [shop.sign_up(RED, ANN), shop.sign_up(MUG, "bob@example.com")]
    again(shop, 1)
    again(shop, 5)
    assert [priority_of(shop, id_) for id_ in others] == [0, 0]
    assert sorted(row.priority for row in shop.rows()) == [0, 0, 5]


def test_a_line_whose_own_request_has_ended_says_nothing_of_a_newer_one(shop: Shop) -> None:
    again(shop, 1, days=1)
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = true")
    again(shop, 2, days=5)
    again(shop, 9, days=1)
    assert sorted((row.status, row.priority) for row in shop.rows()) == [
        (Status.NOTIFICATION_SENT, 1),
        (Status.RECEIVED, 2),
    ]


@pytest.mark.parametrize("status", ["PROCESSING", "FAILED"])
def test_who_is_being_told_or_has_failed_keeps_it(shop: Shop, status: str) -> None:
    again(shop, 1, days=1)
    shop.change("UPDATE request SET status = :status", status=status)
    again(shop, 9, days=1)
    assert [row.priority for row in shop.rows()] == [1]


def test_a_retry_keeps_it(shop: Shop) -> None:
    ids = sign_up(shop, (0, 7))
    shop.change(
        "UPDATE request SET status = 'FAILED', failure_code = 'RECIPIENT_REJECTED', failed_at = stockbell_now(0)"
    )
    shop.write(admin.retry, ids, ordered=True, force=True)
    assert [each.id for each in claim(shop, NO_POLICIES).claims] == [ids[1], ids[0]]
