"""The page of an item: its numbers, its restocks, and a guess that changes nothing and comes true."""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from tests.contract.shop import LEASE, MUG, Shop, ref
from worker.domain.catalog import CatalogReference, Item
from worker.domain.errors import Refused
from worker.domain.policies import NO_POLICIES, Policies
from worker.models import Status, uuid7
from worker.services import items
from worker.services.items import Shown
from worker.store import claims, pauses, stock, tally
from worker.store.clock import now
from worker.store.items import candidates, find


def _shown(shop: Shop, reference: CatalogReference = MUG, policies: Policies = NO_POLICIES) -> Shown:
    return shop.database.read(items.show, [reference.item], policies)


def _tables(c: Connection) -> dict[str, list[Any]]:
    names = ("item", "stock", "waiting_list", "request", "pause", "stock_event", "action")
    return {name: sorted(map(repr, c.execute(text(f"SELECT * FROM {name}")).all())) for name in names}


def test_reasons_are_those_of_each_request(shop: Shop) -> None:
    shop.sign_up_many(3)
    shop.tell(MUG)
    shop.sign_up_many(2)
    shop.change("UPDATE request SET ordered_at = stockbell_now(0) WHERE id = :id", id=shop.rows()[-1].id)
    assert _shown(shop).reasons == {"queued": 4, "noStock": 1}
    shop.tell(MUG, in_stock=False)
    assert _shown(shop).reasons == {"soldOut": 3, "queued": 1, "noStock": 1}
    shop.change("UPDATE relay SET state = 'open'")
    assert _shown(shop).reasons == {"soldOut": 3, "relayDown": 1, "noStock": 1}
    shop.write(pauses.pause, MUG)
    assert _shown(shop).reasons == {"paused": 5}
    assert _shown(shop).is_paused


def test_an_unknown_item_is_refused(shop: Shop) -> None:
    with pytest.raises(Refused, match="nix"):
        _shown(shop, ref("nix"))


def test_ids_may_have_slashes(shop: Shop) -> None:
    item = Item("my/app", "a/b//c")
    shop.sign_up(CatalogReference(item))
    found = shop.database.read(find, list(candidates("my/app/a/b//c")))
    assert found is not None
    assert (found.app_id, found.catalog_item_id) == ("my/app", "a/b//c")


@pytest.mark.parametrize(
    ("about", "pieces"), [(ref(), 5), (ref(size="L"), 1), (ref(size="M"), 3), (ref(), 0), (ref(colour="red"), 2)]
)
def test_a_guess_changes_nothing_and_comes_true(shop: Shop, about: CatalogReference, pieces: int) -> None:
    for reference in (ref(), ref(size="L"), ref(size="M")):
        shop.sign_up_many(2, reference)
    shop.tell(ref(size="M"), in_stock=False)
    shop.sign_up_many(1, ref(size="S"))
    shop.write(pauses.pause, ref(size="S"))
    before = shop.database.read(_tables)
    guess = items.what_if(shop.database, about, pieces, NO_POLICIES)
    assert shop.database.read(_tables) == before
    shop.write(stock.apply, [guess.outcome.event])
    lists = [ref(), ref(size="L"), ref(size="M"), ref(size="S")]
    owner = shop.owner()
    claimed = [claim.id for claim in shop.claim(owner, *lists).claims]
    assert guess.told == len(claimed)
    assert [row.id for row in guess.first] == claimed
    left = sum(each.left for each in guess.outcome.waiting)
    assert left == sum(row.status is Status.RECEIVED for row in shop.rows())
    assert all(each.why_not for each in guess.outcome.waiting if each.left)


def test_how_long_it_takes_is_known_from_the_best_minute(shop: Shop) -> None:
    shop.sign_up_many(6)
    assert items.what_if(shop.database, MUG, 1, NO_POLICIES).seconds is None
    at = shop.database.read(now).replace(second=0, microsecond=0)
    for ago, kind, n in ((1, "told", 60), (2, "told", 120), (2, "first", 2), (2, "first_seconds", 500)):
        values = {"minute": at - timedelta(minutes=ago), "kind": kind, "n": n}
        shop.change("INSERT INTO tally (minute, kind, n) VALUES (:minute, :kind, :n)", **values)
    assert shop.database.read(tally.totals)["told"] == 180
    guess = items.what_if(shop.database, MUG, 1, NO_POLICIES)
    assert (guess.rate, guess.seconds, guess.first_seconds) == (2.0, 3.0, 0.25)


def test_restocks_tell_who_was_told_and_how_fast(shop: Shop) -> None:
    requests = shop.sign_up_many(5)
    item_id = _shown(shop).id
    start = shop.database.read(now) - timedelta(hours=9)
    for hours, in_stock in ((0, False), (1, True), (2, True), (3, False), (5, True)):
        _event(shop, item_id, start + timedelta(hours=hours), in_stock=in_stock)
    for request_id, hours, seconds in zip(requests, (1, 1, 1, 5, 0), (2, 4, 9, 30, 1), strict=True):
        shop.change(
            "UPDATE request SET status = 'NOTIFICATION_SENT', notified_date = :at WHERE id = :id",
            at=start + timedelta(hours=hours, seconds=seconds),
            id=request_id,
        )
    found = [
        (each.at, each.told, each.first_seconds, each.median_seconds, each.last_seconds)
        for each in _shown(shop).restocks
    ]
    assert found == [(start + timedelta(hours=5), 1, 30, 30, 30), (start + timedelta(hours=1), 3, 2, 4, 9)]


def _event(shop: Shop, item_id: UUID, at: Any, *, in_stock: bool) -> None:
    shop.change(
        """INSERT INTO stock_event (id, item_id, options, at, occurred_at, entry_id, in_stock, quantity, woke)
        VALUES (:id, :item_id, '{}', :at, :at, '1-0', :in_stock, NULL, 1)""",
        id=uuid7(),
        item_id=item_id,
        at=at,
        in_stock=in_stock,
    )


TWO = Policies(per_unit=2)


def _seats(shop: Shop, left: int, *, taken_ago: float = 600.0) -> None:
    shop.change(
        """UPDATE stock SET quantity = 3, seats = :left, seat_limit = 6, granted = 6, wave = 4,
        seat_at = stockbell_now(-:ago)""",
        left=left,
        ago=taken_ago,
    )


def test_reasons_tell_who_waits_for_a_wave_and_who_for_stock_to_settle(shop: Shop) -> None:
    shop.waiting(3)
    shop.sign_up_many(1)
    shop.change("UPDATE request SET ordered_at = stockbell_now(0) WHERE id = :id", id=shop.rows()[0].id)
    shop.change("UPDATE waiting_list SET opens_at = stockbell_now(60)")
    assert _shown(shop).reasons == {"wave": 2, "queued": 1, "noStock": 1}
    shop.change("UPDATE waiting_list SET settles_at = stockbell_now(60)")
    assert _shown(shop).reasons == {"settling": 2, "queued": 1, "noStock": 1}
    shop.change("UPDATE relay SET state = 'open'")
    assert _shown(shop).reasons == {"settling": 2, "relayDown": 1, "noStock": 1}
    shop.change("UPDATE waiting_list SET settles_at = stockbell_now(-60), opens_at = stockbell_now(-60)")
    assert _shown(shop).reasons == {"relayDown": 3, "noStock": 1}
    each = Counter(filter(None, (shop.waiting_for(row.id) for row in shop.rows())))
    assert each == _shown(shop).reasons


def test_seats_are_those_of_the_next_claim(shop: Shop) -> None:
    shop.waiting(9)
    _seats(shop, 5)
    [found] = _shown(shop, policies=TWO).as_json()["stock"]
    assert found["seats"] == {"left": 5, "granted": 6, "wave": 4, "nextWaveAt": None}
    assert _shown(shop).as_json()["stock"][0]["seats"] is None
    _seats(shop, 0, taken_ago=3600)
    assert _shown(shop, policies=TWO).as_json()["stock"][0]["seats"]["wave"] == 5
    [sentence] = _shown(shop, policies=TWO).next
    assert sentence.startswith("Wave 5 begins now, with 6 seats; 9 wait.")


def test_times_to_come_are_told_and_past_ones_are_not(shop: Shop) -> None:
    shop.waiting(2)
    shop.change("UPDATE waiting_list SET opens_at = stockbell_now(60), settles_at = stockbell_now(-60)")
    shop.change("UPDATE stock SET settles_at = stockbell_now(60)")
    shown = _shown(shop)
    assert [(each.opens_at is None, each.settles_at is None) for each in shown.lists] == [(False, True)]
    found = shown.as_json()
    assert found["stock"][0]["settlesAt"]
    assert found["lists"][0]["opensAt"]
    assert found["lists"][0]["settlesAt"] is None


def test_what_holds_for_an_item_is_told_and_whose_it_is(shop: Shop) -> None:
    shop.sign_up()
    shop.change("UPDATE item SET per_unit = 0, wave_seconds = 60")
    found = _shown(shop, policies=Policies(min_quantity=3, per_unit=2)).as_json()
    assert found["policies"] == {
        "minQuantity": {"value": 3, "own": False},
        "perUnit": {"value": None, "own": True},
        "waveSeconds": {"value": 60.0, "own": True},
        "settleSeconds": {"value": 0.0, "own": False},
    }
    assert found["next"] == [
        "Not in stock: nobody is told until an event says that it is in stock, with at least 3 pieces."
    ]


def test_a_guess_tells_who_has_a_seat_and_comes_true(shop: Shop) -> None:
    for reference in (ref(), ref(size="L")):
        shop.sign_up_many(4, reference)
    shop.change("UPDATE request SET ordered_at = stockbell_now(0) WHERE id = :id", id=shop.rows()[0].id)
    guess = items.what_if(shop.database, MUG, 3, TWO)
    assert guess.outcome.next == [
        "1 of 8 who wait are told now.",
        "Wave 1 begins now, with 6 seats; 7 wait. When all are taken, the next wave begins 1 h later, "
        "with as many seats as pieces are then left, times 2.",
    ]
    assert (guess.told, guess.seconds) == (8, None)
    assert ("then", None, guess.outcome.next[0]) in list(guess.outcome.lines())
    assert guess.as_json()["next"] == list(guess.outcome.next)
    shop.write(stock.apply, [guess.outcome.event], TWO)
    lists = [shop.list_id(ref()), shop.list_id(ref(size="L"))]
    assert len(shop.write(claims.claim, shop.owner(), LEASE, lists, 100, TWO, first=True).claims) == 7


def test_a_guess_without_policies_has_no_more_to_tell(shop: Shop) -> None:
    shop.sign_up_many(2)
    assert list(items.what_if(shop.database, MUG, 3, NO_POLICIES).outcome.next) == []


def test_a_guess_tells_how_long_it_would_have_to_settle(shop: Shop) -> None:
    shop.sign_up_many(2)
    [sentence] = items.what_if(shop.database, MUG, 3, Policies(settle_seconds=600.0)).outcome.next
    assert sentence.startswith("Nobody before ")
    assert sentence.endswith("the item has to be in stock for 10 min first. 2 wait.")
