"""At most one mail in a while to a customer, and one on its way to them at any time. On SQLite and PostgreSQL.

`docs/policies.md` has the rules. Time passes by moving what was stored into the past.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.lines import NotedBell
from tests.contract.shop import CUP, LEASE, MUG, Shop, ref, shop_at
from worker.domain.catalog import CatalogReference
from worker.domain.events import Event
from worker.domain.outcomes import INTERVAL
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.returned import Cause
from worker.domain.verdicts import Tries
from worker.models import Status
from worker.services.sweeping import Sweeper
from worker.services.wire import request_json
from worker.store import (
    admin,
    breaker,
    claims,
    contact_intervals,
    digests,
    lists,
    recording,
    requests,
    resting,
    seat_claims,
    stock,
    suppression,
    sweep,
    undoing,
)
from worker.store.claims import Claim, Claimed
from worker.store.database import Database
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import Filter, NewRequest
from worker.store.sql import Sql

HOUR: Final = 3600.0
ON: Final = Policies(contact_interval=HOUR)
PAN: Final = ref("pan-1")
ANN, BOB = "ann@example.com", "bob@example.com"


class House:
    """A shop with a contact interval."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.owner = shop.owner()
        self.policies = ON

    def waits(self, email: str, *references: CatalogReference) -> list[UUID]:
        """A customer waits for these items, and each is in stock then."""
        found = [self.shop.sign_up(reference, email) for reference in references]
        for reference in references:
            self.shop.tell(reference)
        return found

    def look(self, *references: CatalogReference, most: int = 100, first: bool = True) -> Claimed:
        list_ids = [self.shop.list_id(reference) for reference in references or (MUG, CUP, PAN)]
        return self.shop.write(claims.claim, self.owner, LEASE, list_ids, most, self.policies, first=first)

    def claim(self, *references: CatalogReference, most: int = 100) -> list[Claim]:
        return self.look(*references, most=most).one_by_one

    def end(self, told: Sequence[Claim] = (), **others: Any) -> None:
        self.shop.write(recording.record, Ends(told=list(told), **others), notes_mails=True)

    def tell_all(self, *references: CatalogReference, most: int = 100) -> list[UUID]:
        """Claims all who can be, and tells them."""
        found = self.claim(*references, most=most)
        self.end(found)
        return [claim.id for claim in found]

    def pass_time(self, seconds: float) -> None:
        """Lets so much time pass since the last mails, and a sweep put in line whose rest is over."""
        for table, column in (("contact", "mailed_at"), ("request", "not_before")):
            for row in self.shop.ask(f"SELECT id, {column} AS at FROM {table} WHERE {column} IS NOT NULL", at="time"):
                earlier = row.at - timedelta(seconds=seconds)
                self.shop.change(f"UPDATE {table} SET {column} = :at WHERE id = :id", at=earlier, id=UUID(str(row.id)))
        self.shop.write(sweep.put_in_line)

    def mailed(self, *emails: str, ago: float = 60.0) -> None:
        """These customers had a mail so long ago."""
        rows = [{"address": email} for email in emails]
        statement = Sql("UPDATE contact SET mailed_at = stockbell_now(-:ago) WHERE address IN ROWS(address text)")
        self.shop.write(lambda c: statement(c, rows=rows, ago=ago))

    def sweeper(self, policies: Policies) -> Sweeper:
        return Sweeper(self.shop.database, NotedBell(), lease=LEASE, interval=5.0, policies=policies)

    def line(self, request_id: UUID) -> tuple[str | None, str | None]:
        """Returns why a request waits, and its code."""
        return self.shop.waiting_for(request_id), self.shop.row(request_id).failure_code


@pytest.fixture
def house(shop: Shop) -> House:
    return House(shop)


def is_woken(house: House, reference: CatalogReference = MUG) -> bool:
    return house.shop.list_row(reference).woken_at is not None


# one mail at a time


def test_of_several_requests_of_a_customer_the_oldest_is_claimed_and_the_others_stay_in_line(house: House) -> None:
    cup, mug, pan = house.waits(ANN, CUP, MUG, PAN)
    claimed = house.look(MUG, PAN, CUP)
    assert ([claim.id for claim in claimed.claims], claimed.full) == ([cup], [])
    assert [house.line(id_) for id_ in (mug, pan)] == [("queued", None)] * 2
    assert [is_woken(house, each) for each in (CUP, MUG, PAN)] == [False, True, True]
    assert house.claim() == []
    assert {house.shop.row(id_).claim_no for id_ in (mug, pan)} == {0}


def test_with_digests_as_many_may_be_claimed_as_a_mail_has_items(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.policies = Policies(contact_interval=HOUR, digest=True)
    for module in (digests, claims):
        monkeypatch.setattr(module, "MOST_ITEMS", 2)
    cup, mug, pan = house.waits(ANN, CUP, MUG, PAN)
    assert {claim.id for claim in house.claim()} == {cup, mug}
    assert house.line(pan) == ("queued", None)


def test_with_digests_the_oldest_are_claimed_whichever_lists_are_served(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.policies = Policies(contact_interval=HOUR, digest=True)
    for module in (digests, claims):
        monkeypatch.setattr(module, "MOST_ITEMS", 3)
    things = [ref(f"thing-{number}") for number in range(6)]
    wanted = house.waits(ANN, *things)
    assert {claim.id for claim in house.claim(*things[3:])} == {wanted[0], wanted[1], wanted[3]}


def test_a_mail_on_its_way_holds_an_order_too(house: House) -> None:
    cup, mug = house.waits(ANN, CUP, MUG)
    (held,) = house.claim(CUP)
    house.shop.write(admin.report, [mug])
    assert house.claim() == []
    assert house.line(mug) == ("queued", None)
    house.end(released=[held])
    assert [claim.id for claim in house.claim()] == [cup]


def test_who_is_released_or_refused_has_had_no_mail(house: House) -> None:
    house.waits(ANN, CUP, MUG)
    (held,) = house.claim()
    house.end(released=[held])
    (held,) = house.claim()
    house.end(failed=[Ended(held, Tries(1), "RECIPIENT_REJECTED", "550 no")])
    (held,) = house.claim()
    house.end(deferred=[Ended(held, Tries(1), None, "450 later", delay=60.0)])
    assert house.shop.ask("SELECT id FROM contact WHERE mailed_at IS NOT NULL") == []


# the rest


def test_whoever_was_told_rests_and_is_told_of_the_next_then(house: House) -> None:
    cup, mug, pan = house.waits(ANN, CUP, MUG, PAN)
    assert house.tell_all() == [cup]
    mailed_at = house.shop.ask("SELECT mailed_at FROM contact", mailed_at="time")[0].mailed_at
    claimed = house.look()
    assert (claimed.claims, claimed.full) == ([], [])
    assert [house.line(id_) for id_ in (mug, pan)] == [("interval", INTERVAL)] * 2
    row = house.shop.row(mug)
    assert (row.not_before, row.claim_no, row.owner) == (mailed_at + timedelta(seconds=HOUR), 0, None)
    house.pass_time(HOUR - 60)
    assert house.claim() == []
    house.pass_time(61)
    assert [house.line(id_) for id_ in (mug, pan)] == [("queued", None)] * 2
    assert house.shop.row(mug).failure_reason is None
    assert house.tell_all() == [mug]
    assert house.claim() == []
    assert house.line(pan) == ("interval", INTERVAL)


def test_who_may_have_been_told_rests_too(house: House) -> None:
    house.waits(ANN, CUP, MUG)
    house.waits(BOB, CUP, MUG)
    lost, gone = house.claim(CUP)
    log = [Try(lost, recording.UNKNOWN, None, None, "the connection was lost")]
    ended = Ended(gone, Tries(1, 3), "OUTCOME_UNKNOWN", "the connection was lost")
    house.end(deferred=[Ended(lost, Tries(1, 1), None, "lost", delay=0.0)], failed=[ended], log=log)
    assert house.claim(MUG) == []
    assert {row.failure_code for row in house.shop.rows() if row.waiting_list_id == house.shop.list_id(MUG)} == {
        INTERVAL
    }


def test_a_mail_counts_whose_outcome_comes_too_late(house: House) -> None:
    house.waits(ANN, CUP, MUG)
    (late,) = house.claim()
    house.shop.change("UPDATE request SET claim_no = claim_no + 1 WHERE status = 'PROCESSING'")
    house.end([late])
    assert house.shop.row(late.id).status is Status.PROCESSING
    house.shop.write(claims.release_all, house.owner)
    assert house.claim() == []
    assert {row.failure_code for row in house.shop.rows()} == {INTERVAL}


def test_an_order_passes_the_rest(house: House) -> None:
    _, mug = house.waits(ANN, CUP, MUG)
    house.tell_all(CUP)
    house.claim()
    assert house.line(mug) == ("interval", INTERVAL)
    house.shop.write(admin.report, [mug])
    assert house.line(mug) == ("queued", None)
    assert house.tell_all() == [mug]


def test_a_mail_in_a_future_that_the_clock_has_left_counts_for_nothing(house: House) -> None:
    (mug,) = house.waits(ANN, MUG)
    house.mailed(ANN, ago=-7200.0)
    assert house.tell_all() == [mug]


def test_without_an_interval_no_statement_looks_at_contacts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.policies = NO_POLICIES
    cup, mug = house.waits(ANN, CUP, MUG)
    house.mailed(ANN)
    words, call = [], Sql.__call__

    def noted(statement: Sql, c: Connection, **params: object) -> Any:
        words.append(statement._postgresql)
        return call(statement, c, **params)

    monkeypatch.setattr(Sql, "__call__", noted)
    found = house.claim()
    house.shop.write(recording.record, Ends(told=found))
    monkeypatch.undo()
    assert [claim.id for claim in found] == [cup, mug]
    assert words
    assert not [each for each in words if " contact " in each]


# nobody is starved


def test_a_claim_looks_further_than_those_who_rest(house: House) -> None:
    waiting = house.shop.waiting(40)
    house.mailed(*(house.shop.row(id_).email for id_ in waiting[:39]))
    assert house.tell_all(MUG, most=1) == [waiting[39]]
    assert {house.line(id_) for id_ in waiting[:39]} == {("interval", INTERVAL)}


def test_a_claim_looks_further_than_those_who_have_a_mail_on_its_way(house: House) -> None:
    busy = house.shop.waiting(12, CUP)
    emails = [house.shop.row(id_).email for id_ in busy]
    house.claim(CUP)
    house.shop.sign_up(MUG, *emails)
    free = house.shop.waiting(2)
    claimed = house.look(MUG, most=1)
    assert ([claim.id for claim in claimed.claims], claimed.full) == ([free[0]], [house.shop.list_id()])
    assert [claim.id for claim in house.claim(MUG)] == [free[1]]
    assert is_woken(house)


def test_a_list_of_people_who_have_a_mail_on_its_way_is_neither_full_nor_drained(house: House) -> None:
    emails = [house.shop.row(id_).email for id_ in house.shop.waiting(6, CUP)]
    house.claim(CUP)
    house.shop.sign_up(MUG, *emails)
    house.shop.tell()
    claimed = house.look(MUG, most=2)
    assert (claimed.claims, claimed.full) == ([], [])
    assert is_woken(house)
    assert house.shop.with_work() == {house.shop.list_id()}


@pytest.mark.parametrize("per_unit", [None, 1])
def test_those_who_rest_leave_the_line_in_bulk_until_somebody_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch, per_unit: int | None
) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=per_unit)
    for module in (contact_intervals, seat_claims):
        monkeypatch.setattr(module, "ROUNDS", 2)
        monkeypatch.setattr(module, "MOST_LOOKED", 10)
    waiting = house.shop.sign_up_many(50)
    house.shop.write(stock.apply, [_event(house.shop, 10)], house.policies)
    house.mailed(*(house.shop.row(id_).email for id_ in waiting[:49]))
    found = [house.look(MUG, most=5)]
    while not found[-1].claims and len(found) < 10:
        assert found[-1].full == [house.shop.list_id()]
        assert is_woken(house)
        found.append(house.look(MUG, most=5))
    assert [claim.id for claim in found[-1].claims] == [waiting[49]]
    assert len(found) > 2


def _event(shop: Shop, quantity: int, about: CatalogReference = MUG) -> Event:
    return replace(shop.event(about), in_stock=None, quantity=quantity)


def test_ten_thousand_requests_of_one_customer_are_no_trouble(house: House) -> None:
    references = [ref(f"item-{number}") for number in range(10_000)]
    ids: dict[CatalogReference, UUID] = {}
    for start in range(0, len(references), 1000):
        some = references[start : start + 1000]
        house.shop.write(requests.create, [NewRequest(ANN, reference) for reference in some])
        ids |= house.shop.write(lists.find_or_add, some)
    house.shop.change("UPDATE waiting_list SET in_stock = true, last_in_stock_at = stockbell_now(0)")
    list_ids = list(ids.values())

    def claim(some: Sequence[UUID]) -> Claimed:
        return house.shop.write(claims.claim, house.owner, LEASE, some, 500, house.policies, first=True)

    (one,) = claim(list_ids[:100]).claims
    assert claim(list_ids[100:200]).claims == []
    house.end([one])
    for start in range(0, len(list_ids), 500):
        assert claim(list_ids[start : start + 500]).claims == []
    assert house.shop.with_work() == set()
    assert house.shop.ask("SELECT count(*) AS n FROM request WHERE failure_code = 'INTERVAL'")[0].n == 9999
    house.sweeper(NO_POLICIES).put_in_line()
    assert house.shop.ask("SELECT count(*) AS n FROM request WHERE failure_code = 'INTERVAL'")[0].n == 0
    assert len(house.shop.with_work()) == 9999


# suspects, trials


def test_a_suspect_obeys_too(house: House) -> None:
    _, mug = house.waits(ANN, CUP, MUG)
    pan = house.waits(BOB, PAN)[0]
    house.tell_all(CUP)
    house.shop.change("UPDATE request SET rescues = 3 WHERE status = 'RECEIVED'")
    claimed = house.look()
    assert ([claim.id for claim in claimed.claims], claimed.is_suspect) == ([pan], True)
    assert house.line(mug) == ("interval", INTERVAL)
    assert house.claim() == []


@pytest.mark.parametrize("per_unit", [None, 5])
def test_a_trial_obeys_too(house: House, per_unit: int | None) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=per_unit)
    _, mug, pan = house.waits(ANN, CUP, MUG, PAN)
    cup = house.shop.sign_up(CUP, BOB)
    bobs = house.shop.sign_up(MUG, BOB)
    for about in (MUG, CUP, PAN):
        house.shop.write(stock.apply, [_event(house.shop, 10, about)], house.policies)
    house.mailed(ANN)
    house.shop.write(admin.report, [pan])
    house.shop.write(breaker.trip, "refused", "refusals")
    ids = [mug, bobs, cup, pan]
    claimed = house.shop.write(claims.claim_these, house.owner, LEASE, ids, house.policies)
    assert [claim.id for claim in claimed.claims] == [bobs, pan]
    assert house.shop.row(mug).failure_code == INTERVAL
    assert house.shop.row(cup).status is Status.RECEIVED
    again = house.shop.write(claims.claim_these, house.owner, LEASE, ids, house.policies)
    assert again.claims == []


def test_a_trial_has_one_mail_of_a_customer_as_it_joins_none(house: House) -> None:
    ids = house.waits(ANN, CUP, MUG)
    house.shop.write(breaker.trip, "refused", "refusals")
    policies = replace(ON, digest=True)
    claimed = house.shop.write(claims.claim_these, house.owner, LEASE, ids, policies)
    assert [claim.id for claim in claimed.claims] == ids[:1]


# seats


def test_who_rests_takes_no_seat_and_nobody_is_passed_over(house: House) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=1)
    waiting = house.shop.sign_up_many(6)
    house.mailed(*(house.shop.row(id_).email for id_ in waiting[1:3]))
    house.shop.write(stock.apply, [_event(house.shop, 3)], house.policies)
    assert house.tell_all(MUG) == [waiting[0], waiting[3], waiting[4]]
    assert [house.line(id_)[0] for id_ in (waiting[1], waiting[2], waiting[5])] == ["interval", "interval", "wave"]
    assert house.shop.ask("SELECT seats FROM stock")[0].seats == 0


def test_who_has_a_mail_on_its_way_takes_no_seat_and_the_next_does(house: House) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=1)
    house.waits(ANN, CUP)
    house.claim(CUP)
    anns = house.shop.sign_up(MUG, ANN)
    others = house.shop.sign_up_many(3)
    house.shop.write(stock.apply, [_event(house.shop, 2)], house.policies)
    assert [claim.id for claim in house.claim(MUG)] == others[:2]
    assert house.shop.row(anns).seat is None


def test_of_two_variants_one_customer_takes_one_seat(house: House) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=1)
    red, blue = ref(colour="red"), ref(colour="blue")
    first, second = house.shop.sign_up(red, ANN), house.shop.sign_up(blue, ANN)
    bobs = house.shop.sign_up(blue, BOB)
    for about in (red, blue):
        house.shop.write(stock.apply, [_event(house.shop, 1, about)], house.policies)
    claimed = house.look(red, blue)
    assert {claim.id for claim in claimed.claims} == {first, bobs}
    assert house.line(second)[0] == "wave"
    house.end(claimed.claims)
    assert {row.seats for row in house.shop.ask("SELECT seats FROM stock")} == {0}


def test_who_is_ordered_passes_the_rest_of_an_item_with_seats_too(house: House) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=1)
    waiting = house.shop.sign_up_many(3)
    house.mailed(*(house.shop.row(id_).email for id_ in waiting))
    house.shop.write(stock.apply, [_event(house.shop, 1)], house.policies)
    house.shop.write(admin.report, waiting[2:])
    assert house.tell_all(MUG) == waiting[2:]
    assert house.shop.ask("SELECT seats FROM stock")[0].seats == 1


def test_a_suspect_of_an_item_with_seats_obeys_too(house: House) -> None:
    house.policies = Policies(contact_interval=HOUR, per_unit=1)
    waiting = house.shop.sign_up_many(2)
    house.mailed(house.shop.row(waiting[0]).email)
    house.shop.change("UPDATE request SET rescues = 3")
    house.shop.write(stock.apply, [_event(house.shop, 5)], house.policies)
    claimed = house.look(MUG)
    assert ([claim.id for claim in claimed.claims], claimed.is_suspect) == (waiting[1:], True)


# other settings


@pytest.mark.parametrize("seconds", [None, 30.0, 600.0, 7200.0])
def test_with_another_interval_nobody_rests_longer_than_by_the_new_one(
    house: House, monkeypatch: pytest.MonkeyPatch, seconds: float | None
) -> None:
    monkeypatch.setattr(resting, "MOST_ROWS", 2)
    waiting = house.shop.waiting(5)
    house.mailed(*(house.shop.row(id_).email for id_ in waiting), ago=60.0)
    put_off = house.shop.sign_up(CUP)
    house.shop.change("UPDATE request SET not_before = stockbell_now(99) WHERE id = :id", id=put_off)
    house.claim(MUG)
    before = [house.shop.row(id_).not_before for id_ in waiting]
    sweeper = house.sweeper(Policies(contact_interval=seconds))
    sweeper.put_in_line()
    found = {house.line(id_) for id_ in waiting}
    if seconds in (None, 30.0):
        assert found == {("queued", None)}
    else:
        assert found == {("interval", INTERVAL)}
        moved = timedelta(seconds=HOUR - 600.0 if seconds == 600.0 else 0.0)
        assert [house.shop.row(id_).not_before for id_ in waiting] == [at - moved for at in before]
    assert house.line(put_off) == ("backoff", None)


def test_the_settings_are_looked_at_once(house: House) -> None:
    (mug,) = house.waits(ANN, MUG)
    house.mailed(ANN)
    sweeper = house.sweeper(NO_POLICIES)
    sweeper.put_in_line()
    house.claim()
    sweeper.put_in_line()
    assert house.line(mug) == ("interval", INTERVAL)


# what else happens to who rests


def test_verbs_on_a_request_that_rests(house: House) -> None:
    house.waits(ANN, CUP, MUG, PAN)
    house.mailed(ANN)
    house.claim()
    rows = house.shop.rows()
    marked, deleted, suppressed = [row.id for row in rows]
    assert {row.failure_code for row in rows} == {INTERVAL}
    house.shop.write(admin.mark_sent, [marked])
    row = house.shop.row(marked)
    assert (row.status, row.failure_code, row.not_before) == (Status.NOTIFICATION_SENT, None, None)
    assert house.shop.write(admin.delete, [deleted]).ids == [deleted]
    house.shop.write(suppression.suppress, [row.contact_id], Cause.MANUAL, "cli")
    row = house.shop.row(suppressed)
    assert (row.status, row.failure_code, row.not_before) == (Status.FAILED, "SUPPRESSED", None)


def test_a_report_that_is_undone_lets_it_rest_on(house: House) -> None:
    (mug,) = house.waits(ANN, MUG)
    house.mailed(ANN)
    house.claim()
    rested = house.shop.row(mug)
    changed = house.shop.write(admin.report, [mug], hold=10.0)
    assert house.line(mug) == ("backoff", None)
    kept = {id_: undoing.kept(row) for id_, row in changed.before.items()}
    house.shop.write(undoing.undo, "report", kept)
    assert house.shop.row(mug) == rested


def test_the_end_of_an_outage_ends_no_rest(house: House) -> None:
    (mug,) = house.waits(ANN, MUG)
    house.mailed(ANN)
    house.claim()
    house.shop.write(breaker.trip, "refused", "refusals")
    house.shop.change("UPDATE request SET judged_from = stockbell_now(5)")
    house.shop.write(breaker.close)
    assert house.line(mug) == ("interval", INTERVAL)


def test_it_is_told_until_when_and_can_be_listed(house: House) -> None:
    _, mug = house.waits(ANN, CUP, MUG)
    house.tell_all()
    house.claim()
    (found,) = house.shop.database.read(lambda c: list(requests.find(c, Filter(waiting="interval"))))
    assert found.id == mug
    shown = request_json(found)
    assert (shown["waiting"], shown["failureCode"]) == ("interval", INTERVAL)
    assert shown["waitingUntil"] == shown["notBefore"]
    assert house.shop.database.read(lambda c: list(requests.find(c, Filter(waiting="backoff")))) == []


# PostgreSQL: others at the same time


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[House]:
    with shop_at(postgres_url) as shop:
        yield House(shop)


def test_a_customer_whom_another_claim_holds_is_passed_over_and_nobody_waits(on_postgres: House) -> None:
    house = on_postgres
    _, mug = house.waits(ANN, CUP, MUG)
    bobs = house.waits(BOB, MUG)
    other = house.shop.owner()
    cups = [house.shop.list_id(CUP)]
    with closing(Database(house.shop.url, connections=1)) as database:

        def meanwhile(c: Connection) -> None:
            assert len(claims.claim(c, other, LEASE, cups, 10, ON, first=True).claims) == 1
            assert [claim.id for claim in house.claim(MUG)] == bobs

        database.write(meanwhile)
    assert house.line(mug) == ("queued", None)
    assert is_woken(house)


def test_who_is_told_between_two_looks_rests(on_postgres: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house = on_postgres
    _, mug = house.waits(ANN, CUP, MUG)
    held = house.claim(CUP)
    lock = contact_intervals.Gate.lock

    def told_before(gate: Any, c: Connection, request_ids: Sequence[UUID]) -> list[UUID]:
        house.end(held)
        return lock(gate, c, request_ids)

    with closing(Database(house.shop.url, connections=1)) as database:
        monkeypatch.setattr(contact_intervals.Gate, "lock", told_before)
        claimed = database.write(claims.claim, house.owner, LEASE, [house.shop.list_id()], 10, ON, first=False)
    assert claimed.claims == []
    assert house.line(mug) == ("interval", INTERVAL)
