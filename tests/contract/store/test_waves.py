"""So many customers are told for each piece, in waves: who takes a seat, who gives it back, and when the next are told.

`docs/policies.md` has the rules, and `domain.ledger` the arithmetic. Time passes by moving what was stored into the
past.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Connection, Row

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.domain.catalog import CatalogReference
from worker.domain.ledger import MOST_SEATS
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.verdicts import Tries
from worker.services.intake import take_events
from worker.store import admin, claims, figures, lists, recording, seats, stock
from worker.store.claims import Claim
from worker.store.recording import Ended, Ends, Try
from worker.store.seats import Seat
from worker.store.sql import Sql

HOUR: Final = 3600.0
_AGE: Final = Sql("UPDATE owner SET seen_at = stockbell_now(-61) WHERE id = :id")
TWO: Final = Policies(per_unit=2, wave_seconds=HOUR)
RED, BLUE = ref(colour="red"), ref(colour="blue")


class House:
    """A shop that tells so many customers for each piece."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.owner = shop.owner()
        self.policies = TWO

    def tell(self, quantity: int | None, about: CatalogReference = MUG, *, in_stock: bool | None = None) -> None:
        event = replace(self.shop.event(about), in_stock=in_stock, quantity=quantity)
        self.shop.write(stock.apply, [event], self.policies)

    def claim(self, *references: CatalogReference, most: int = 100) -> list[Claim]:
        list_ids = [self.shop.list_id(reference) for reference in references or (MUG,)]
        claimed = self.shop.write(claims.claim, self.owner, 60.0, list_ids, most, self.policies, first=True)
        return list(claimed.claims)

    def end(self, told: Sequence[Claim] = (), *, released: Sequence[Claim] = ()) -> None:
        self.shop.write(recording.record, Ends(told=list(told), released=list(released)))

    def tell_all(self, *references: CatalogReference) -> list[UUID]:
        """Claims all who can be, and tells them."""
        found = self.claim(*references)
        self.end(told=found)
        return [claim.id for claim in found]

    def row(self, options: str = "{}") -> Row[Any]:
        (row,) = self.shop.ask(f"SELECT * FROM stock WHERE options = '{options}'", seat_at="time", item_id="uuid")
        return row

    @property
    def left(self) -> int | None:
        left: int | None = self.row().seats
        return left

    def since_last_seat(self, seconds: float) -> None:
        """Lets so much time have passed since the last seat was taken."""
        self.shop.change("UPDATE stock SET seat_at = stockbell_now(-:ago) WHERE seat_at IS NOT NULL", ago=seconds)
        left = self.policies.wave_seconds - seconds
        self.shop.change(
            "UPDATE waiting_list SET opens_at = stockbell_now(:left) WHERE opens_at IS NOT NULL", left=left
        )

    def waiting_for(self, request_id: UUID) -> str | None:
        return self.shop.waiting_for(request_id)


@pytest.fixture
def house(shop: Shop) -> House:
    return House(shop)


def deferred(claim: Claim) -> Ended:
    return Ended(claim, Tries(1), None, "450 later", delay=0.0)


def test_so_many_are_told_for_each_piece_the_oldest_first(house: House) -> None:
    waiting = house.shop.sign_up_many(10)
    house.tell(3)
    assert house.tell_all() == waiting[:6]
    assert house.left == 0
    assert house.claim() == []
    assert {house.waiting_for(id_) for id_ in waiting[6:]} == {"wave"}
    assert house.shop.with_work() == set()


def test_the_next_wave_comes_an_interval_after_the_last_seat_with_what_is_left_then(house: House) -> None:
    waiting = house.shop.sign_up_many(20)
    house.tell(5)
    first = house.tell_all()
    house.tell(2)  # three were bought
    house.since_last_seat(HOUR - 60)
    assert house.claim() == []
    house.since_last_seat(HOUR + 1)
    assert house.shop.with_work() == {house.shop.list_id()}
    assert (house.tell_all(), house.row().wave) == (waiting[10:14], 2)
    assert first == waiting[:10]


def test_what_is_added_brings_its_seats_at_once(house: House) -> None:
    waiting = house.shop.sign_up_many(10)
    house.tell(1)
    assert house.tell_all() == waiting[:2]
    house.tell(3)
    assert house.shop.with_work() == {house.shop.list_id()}
    assert house.tell_all() == waiting[2:6]


def test_a_fall_brings_nothing_and_cuts_what_is_left(house: House) -> None:
    house.shop.sign_up_many(20)
    house.tell(8)
    house.end(told=house.claim(most=4))
    house.tell(3)
    assert house.left == 6
    house.tell(1)
    assert house.left == 2
    assert len(house.tell_all()) == 2


def test_an_event_that_repeats_the_quantity_changes_nothing(house: House) -> None:
    house.shop.sign_up_many(10)
    house.tell(2)
    house.tell_all()
    before = house.row()
    house.tell(2)
    assert (house.row().seats, house.row().wave, house.row().seat_at) == (0, before.wave, before.seat_at)
    assert house.claim() == []


def test_who_came_in_again_gets_a_new_wave(house: House) -> None:
    waiting = house.shop.sign_up_many(10)
    house.tell(1)
    house.tell_all()
    house.tell(0)
    house.tell(2)
    assert house.tell_all() == waiting[2:6]


def test_who_surely_was_not_told_gives_the_seat_back(house: House) -> None:
    waiting = house.shop.sign_up_many(6)
    house.tell(2)
    held = house.claim()
    assert len(held) == 4
    assert house.claim() == []
    failed, later, free, told = held
    end = Ended(failed, Tries(1), "RECIPIENT_REJECTED", "550 no")
    house.shop.write(recording.record, Ends(told=[told], failed=[end], deferred=[deferred(later)], released=[free]))
    assert house.left == 3
    assert house.shop.with_work() == {house.shop.list_id()}
    house.shop.end_back_offs()
    assert house.tell_all() == [later.id, free.id, waiting[4]]


def test_who_may_have_been_told_keeps_it(house: House) -> None:
    house.shop.sign_up_many(4)
    house.tell(1)
    lost, gone = house.claim()
    log = [Try(claim, recording.UNKNOWN, None, None, "the connection was lost") for claim in (lost, gone)]
    ended = Ended(gone, Tries(1, 3), "OUTCOME_UNKNOWN", "the connection was lost")
    house.shop.write(recording.record, Ends(deferred=[deferred(lost)], failed=[ended], log=log))
    house.shop.end_back_offs()
    assert house.left == 0
    assert house.claim() == []


def test_a_seat_of_an_earlier_wave_is_not_given_back(house: House) -> None:
    house.shop.sign_up_many(9)
    house.tell(1)
    held = house.claim()
    house.tell(0)
    house.tell(1)
    house.end(released=held)
    assert house.left == 2


def test_no_more_is_given_back_than_the_pieces_allow(house: House) -> None:
    house.shop.sign_up_many(20)
    house.tell(5)
    held = house.claim()
    house.tell(1)
    house.end(released=held)
    assert house.left == 2


def test_who_is_rescued_gives_the_seat_back(house: House) -> None:
    waiting = house.shop.sign_up_many(4)
    house.tell(1)
    house.claim()
    house.shop.die(house.owner)
    assert house.shop.rescue().back_in_line == 2
    assert house.left == 2
    house.owner = house.shop.owner()
    assert house.tell_all() == waiting[:2]


def test_whose_owner_is_gone_only_now_is_rescued_with_the_seat_by_the_next_sweep(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.shop.sign_up_many(2)
    house.tell(1)
    house.claim(most=1)
    first, house.owner = house.owner, house.shop.owner()
    house.claim(most=1)
    house.shop.die(first)
    lock_for = seats.lock_for

    def locked_late(c: Connection, held: Iterable[Seat], list_ids: Collection[UUID] = ()) -> None:
        lock_for(c, held, list_ids)
        _AGE(c, id=house.owner)

    monkeypatch.setattr(seats, "lock_for", locked_late)
    assert (house.shop.rescue().back_in_line, house.left) == (1, 1)
    monkeypatch.undo()
    assert (house.shop.rescue().back_in_line, house.left) == (1, 2)


def test_an_end_that_comes_too_late_gives_nothing_back(house: House) -> None:
    waiting = house.shop.sign_up_many(3)
    house.tell(1)
    late, _ = house.claim()
    house.shop.die(house.owner)
    house.shop.rescue()
    house.owner = house.shop.owner()
    told, _ = house.claim()
    assert told.id == late.id == waiting[0]
    house.shop.write(recording.record, Ends(told=[told], deferred=[deferred(late)]))
    house.shop.write(recording.record, Ends(released=[late]))
    assert house.left == 0


def test_all_lists_of_an_item_share_what_there_is(house: House) -> None:
    oldest = house.shop.sign_up(RED)
    anybody = house.shop.sign_up_many(2)
    blue = house.shop.sign_up(BLUE)
    house.tell(1, RED)
    house.tell(2, BLUE)
    assert house.tell_all(MUG) == [oldest, *anybody, blue]


def test_nobody_passes_those_of_another_list_who_have_waited_longer(house: House) -> None:
    red = house.shop.sign_up_many(2, RED)
    house.shop.sign_up_many(5)
    house.tell(1, RED)
    assert house.tell_all(MUG) == red  # though only the bell of the others was rung
    assert house.claim(RED, MUG) == []


def test_a_list_without_a_seat_is_not_drained(house: House) -> None:
    house.shop.sign_up_many(5)
    house.tell(1)
    house.tell_all()
    woken = house.shop.list_row().woken_at
    assert woken is not None
    house.claim()
    assert house.shop.list_row().woken_at == woken


@pytest.mark.parametrize(
    ("quantity", "in_stock"), [(None, True), (0, True), (-3, True)], ids=["unknown", "sold on order", "below zero"]
)
def test_what_has_no_count_has_no_limit(quantity: int | None, in_stock: bool, house: House) -> None:
    waiting = house.shop.sign_up_many(9)
    house.tell(quantity, in_stock=in_stock)
    assert house.left is None
    assert house.tell_all() == waiting


def test_a_quantity_may_be_assumed(house: House) -> None:
    house.policies = Policies(per_unit=2, assumed_quantity=3)
    house.shop.sign_up_many(9)
    house.tell(None, in_stock=True)
    assert len(house.tell_all()) == 6
    house.tell(None, in_stock=True)
    assert house.claim() == []


@pytest.mark.parametrize("quantity", [10**12, 2**62, 2**63 - 1])
def test_there_are_never_more_seats_than_a_column_holds(quantity: int, house: House) -> None:
    house.shop.sign_up()
    house.tell(quantity)
    house.tell(2**63 - 1)
    assert house.left == MOST_SEATS
    assert len(house.tell_all()) == 1


def test_who_is_ordered_needs_no_seat(house: House) -> None:
    waiting = house.shop.sign_up_many(4)
    house.tell(1)
    house.tell_all()
    house.shop.write(admin.report, [waiting[3]])
    assert house.tell_all() == [waiting[3]]
    assert house.left == 0


def test_switched_off_everybody_is_told(house: House) -> None:
    waiting = house.shop.sign_up_many(5)
    house.tell(1)
    house.tell_all()
    house.policies = NO_POLICIES
    house.shop.write(seats.open_all)  # as the scheduler does at its start
    assert house.tell_all() == waiting[2:]


def test_switched_on_what_is_in_stock_begins_a_wave(house: House) -> None:
    waiting = house.shop.sign_up_many(5)
    house.policies = NO_POLICIES
    house.tell(2)
    house.policies = TWO
    assert house.tell_all() == waiting[:4]
    assert house.claim() == []


def test_an_item_may_have_its_own(house: House) -> None:
    waiting = house.shop.sign_up_many(5)
    cups = house.shop.sign_up_many(3, CUP)
    house.policies = NO_POLICIES
    house.shop.change("UPDATE item SET per_unit = 1, wave_seconds = 0 WHERE catalog_item_id = 'mug-1'")
    house.tell(2)
    house.tell(1, CUP)
    assert house.tell_all(MUG, CUP) == [*waiting[:2], *cups]
    assert house.tell_all() == waiting[2:4]  # no pause between waves
    assert house.tell_all() == waiting[4:]


def test_a_trial_takes_seats_too(house: House) -> None:
    waiting = house.shop.sign_up_many(4)
    house.tell(1)
    claimed = house.shop.write(claims.claim_these, house.owner, 60.0, waiting, house.policies)
    assert [claim.id for claim in claimed.claims] == waiting[:2]
    assert house.left == 0


def test_nobody_is_held_back_who_was_claimed_with_the_last_seat(house: House) -> None:
    house.shop.sign_up_many(4)
    house.tell(1)
    held = house.claim()
    assert house.shop.write(claims.still_wanted, held) == {claim.id for claim in held}


def test_a_door_that_is_open_too_early_costs_one_claim(house: House) -> None:
    house.shop.sign_up_many(4)
    house.tell(1)
    house.tell_all()
    closed = house.shop.list_row().opens_at
    house.shop.write(seats.open_all)
    assert house.shop.database.read(lists.with_work) == [house.shop.list_id()]
    assert house.claim() == []
    assert house.shop.list_row().opens_at == closed


def test_settling_nobody_is_told_before_it_is_over(house: House) -> None:
    house.policies = Policies(settle_seconds=600)
    (first, second) = house.shop.sign_up_many(2)
    house.tell(5)
    assert house.claim() == []
    assert house.waiting_for(first) == "settling"
    settles_at = house.shop.list_row().settles_at
    house.tell(6)  # more came in meanwhile
    assert house.shop.list_row().settles_at == settles_at
    house.shop.change("UPDATE waiting_list SET settles_at = stockbell_now(-1)")
    assert house.tell_all() == [first, second]


def test_going_out_ends_settling(house: House) -> None:
    house.policies = Policies(settle_seconds=600)
    waiting = house.shop.sign_up()
    house.tell(5)
    house.tell(0)
    assert house.shop.list_row().settles_at is None
    assert house.waiting_for(waiting) == "soldOut"
    house.tell(5)
    assert house.waiting_for(waiting) == "settling"


def test_what_goes_out_for_a_moment_does_not_settle_as_before(house: House) -> None:
    house.policies = Policies(settle_seconds=600)
    house.shop.sign_up()
    house.tell(5)
    house.policies = NO_POLICIES
    blink = [replace(house.shop.event(), in_stock=None, quantity=quantity) for quantity in (0, 2)]
    house.shop.write(stock.apply, blink, house.policies)
    assert house.shop.list_row().settles_at is None


def test_a_variant_that_was_in_stock_with_its_item_settles_with_it(house: House) -> None:
    house.policies = Policies(settle_seconds=600)
    house.shop.sign_up()
    house.tell(5)
    until = house.shop.list_row().settles_at
    house.policies = NO_POLICIES
    house.tell(5, RED)
    house.shop.sign_up(RED)
    assert until is not None
    assert house.shop.list_row(RED).settles_at == until


def test_a_new_list_settles_with_its_stock(house: House) -> None:
    house.policies = Policies(settle_seconds=600)
    house.shop.sign_up()
    house.tell(5)
    house.shop.sign_up(RED, created=house.shop.now().replace(year=2020))
    assert house.shop.list_row(RED).settles_at == house.shop.list_row().settles_at
    assert house.claim(RED) == []


@pytest.mark.parametrize("policies", [TWO, Policies(settle_seconds=600)], ids=["wave", "settling"])
def test_who_waits_for_a_turn_was_woken_all_the_same(policies: Policies, house: House) -> None:
    house.policies = policies
    house.shop.sign_up_many(3)
    house.shop.sign_up(RED)
    house.tell(0, RED)
    house.tell(1)
    house.tell_all()
    again = replace(house.shop.event(), in_stock=None, quantity=1)
    taken = take_events(house.shop.database, [again], house.policies)
    assert taken.woken == {again.entry_id: 1}
    assert taken.rung == []
    assert house.shop.database.read(figures.read, 60.0).unheard is None
