"""An item's own sending policies: what is taken, what holds, and what follows at once from a change."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tests.contract.lines import NotedBell
from tests.contract.shop import CUP, MUG, Shop, ref
from tests.contract.web.admin.trail import trail
from worker.domain.catalog import CatalogReference, Item
from worker.domain.policies import ALL, Own, Policies
from worker.services import item_policies
from worker.services.item_policies import Done, read
from worker.store import stock
from worker.store.policies import policies_of

SHOP = Policies(min_quantity=2, per_unit=3, wave_seconds=60.0, settle_seconds=600.0)


def _set(shop: Shop, *, reset: bool = False, of: CatalogReference = MUG, bell: Any = None, **given: str) -> Done:
    wish, errors = read(given, is_reset=reset)
    assert errors == {}
    return item_policies.change(shop.database, bell or NotedBell(), of.item, wish, SHOP, "cli:ada")


def _holding(shop: Shop, reference: CatalogReference = MUG) -> Policies:
    return shop.database.read(policies_of, reference.item, SHOP)


def test_what_is_set_holds_for_that_item_alone(shop: Shop) -> None:
    done = _set(shop, min_quantity="5", per_unit="all", wave_seconds="1h 30min", settle_seconds="0")
    assert done.is_changed
    assert done.own == Own(5, ALL, 5400.0, 0.0)
    assert _holding(shop) == done.policies == Policies(5, None, 5400.0, 0.0)
    assert _holding(shop, CUP) == SHOP


def test_what_is_not_named_stays(shop: Shop) -> None:
    _set(shop, per_unit="1")
    _set(shop, wave_seconds="90")
    assert _holding(shop) == Policies(2, 1, 90.0, 600.0)


def test_a_reset_comes_before_what_is_set_with_it(shop: Shop) -> None:
    _set(shop, per_unit="1", settle_seconds="5")
    assert _set(shop, reset=True, wave_seconds="0.5").own == Own(wave_seconds=0.5)
    assert _set(shop, reset=True).own == Own()
    assert _holding(shop) == SHOP


def test_an_unknown_item_is_kept(shop: Shop) -> None:
    _set(shop, of=ref("nobody-asked"), per_unit="1")
    assert _holding(shop, ref("nobody-asked")).per_unit == 1


def test_a_change_is_noted_with_the_command_that_does_the_same(shop: Shop) -> None:
    _set(shop, of=CatalogReference(Item("my app", "-x y")), reset=True, per_unit="all", wave_seconds="2h")
    [done] = trail(shop)
    assert (done.who, done.verb, done.changed) == ("cli:ada", "items set", 1)
    assert done.about == {"item": "-x y", "app": "my app"}
    assert done.result == {"before": {}, "after": {"perUnit": 0, "waveSeconds": 7200}}
    command = "stockbell items set --reset --per-unit all --wave-seconds 7200 --app-id 'my app' -- '-x y'"
    assert command in done.everything


def test_what_holds_already_changes_nothing(shop: Shop) -> None:
    bell = NotedBell()
    shop.waiting(1)
    _set(shop, per_unit="3")
    assert not _set(shop, bell=bell, per_unit="3").is_changed
    assert (len(trail(shop)), bell.rings) == (1, [])


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("min_quantity", text) for text in ("0", "-1", "1.5", "x", "all", "9223372036854775808", "٣", "9" * 5000)),
        *(("per_unit", text) for text in ("0", "-1", "1.5", "none", "1000001", str(2**64), "1e3")),
        *(("wave_seconds", text) for text in ("-1", "x", "1y", "316224001", "3661d", "nan", "inf", "1e3", "9" * 400)),
        *(("settle_seconds", text) for text in ("-0.1", "1h 2h", "316224000.1", "all")),
    ],
)
def test_what_means_nothing_is_refused_in_a_line(field: str, text: str) -> None:
    wish, errors = read({field: text}, is_reset=False)
    assert wish.values == {}
    assert list(errors) == [field]
    assert errors[field].startswith("it must be ")
    assert "\n" not in errors[field]
    assert len(errors[field]) < 120


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({"min_quantity": "9223372036854775807"}, Own(min_quantity=2**63 - 1)),
        ({"per_unit": "1000000"}, Own(per_unit=1_000_000)),
        ({"per_unit": "ALL "}, Own(per_unit=ALL)),
        ({"wave_seconds": "0"}, Own(wave_seconds=0.0)),
        ({"wave_seconds": "316224000"}, Own(wave_seconds=316_224_000.0)),
        ({"settle_seconds": "3660d"}, Own(settle_seconds=316_224_000.0)),
        ({"settle_seconds": "10min"}, Own(settle_seconds=600.0)),
        ({"settle_seconds": " "}, Own()),
    ],
)
def test_the_least_and_the_most_are_taken_and_kept(shop: Shop, given: dict[str, Any], own: Own) -> None:
    _set(shop, **given)
    kept = _set(shop, min_quantity="1")
    assert kept.own == Own(1, own.per_unit, own.wave_seconds, own.settle_seconds)


# --- what follows at once ---


def _doors(shop: Shop, column: str = "opens_at") -> dict[str, datetime | None]:
    rows = shop.ask(f"SELECT options, {column} AS at FROM waiting_list ", at="time")
    return {row.options: row.at for row in rows}


def _open(shop: Shop, column: str = "opens_at") -> list[str]:
    return sorted(options for options, at in _doors(shop, column).items() if at is None)


@pytest.fixture
def shut(shop: Shop) -> Shop:
    """A shop where nobody of the mug or of the cup has a seat for an hour, and both have to settle until then."""
    for reference in (MUG, ref(size="L"), ref("cup-1", colour="red")):
        shop.sign_up(reference)
    for reference in (MUG, ref("cup-1", colour="red")):
        shop.tell(reference)
    shop.change("UPDATE waiting_list SET opens_at = stockbell_now(3600), settles_at = stockbell_now(3600)")
    shop.change("UPDATE stock SET settles_at = stockbell_now(3600)")
    return shop


@pytest.mark.parametrize("given", [{"per_unit": "4"}, {"per_unit": "all"}, {"wave_seconds": "0"}])
def test_doors_open_by_other_seats_or_waves(shut: Shop, given: dict[str, Any]) -> None:
    _set(shut, **given)
    assert _open(shut) == ['{"size":"L"}', "{}"]


@pytest.mark.parametrize("given", [{"settle_seconds": "0"}, {"per_unit": "3"}])
def test_doors_stay_shut_by_what_changes_no_seat(shut: Shop, given: dict[str, Any]) -> None:
    before = _doors(shut)
    assert _set(shut, **given).is_changed
    assert _doors(shut) == before


def test_no_time_to_settle_ends_that_which_runs(shut: Shop) -> None:
    _set(shut, settle_seconds="0")
    assert _open(shut, "settles_at") == ['{"size":"L"}', "{}"]
    stock = shut.ask("SELECT settles_at FROM stock ORDER BY options", settles_at="time")
    assert [row.settles_at is None for row in stock] == [False, True]  # that of the red cup stays


def test_a_shorter_time_to_settle_counts_at_most_from_now(shut: Shop) -> None:
    before = shut.now()
    _set(shut, settle_seconds="9min")
    mug, large, cup = (_doors(shut, "settles_at")[text] for text in ("{}", '{"size":"L"}', '{"colour":"red"}'))
    assert mug
    assert large
    assert cup
    for at in (mug, large):
        assert 540 <= (at - before).total_seconds() < (cup - before).total_seconds()


@pytest.mark.parametrize("given", [{"settle_seconds": "2h"}, {"wave_seconds": "1"}])
def test_a_longer_time_to_settle_counts_from_the_next_restock(shut: Shop, given: dict[str, Any]) -> None:
    before = _doors(shut, "settles_at")
    _set(shut, **given)
    assert _doors(shut, "settles_at") == before


def test_what_has_settled_does_not_begin_anew(shut: Shop) -> None:
    shut.change("UPDATE waiting_list SET settles_at = stockbell_now(-60)")
    before = _doors(shut, "settles_at")
    _set(shut, settle_seconds="1")
    assert _doors(shut, "settles_at") == before


def test_bells_ring_for_those_who_may_be_told(shop: Shop) -> None:
    shop.waiting(1)
    shop.sign_up(CUP)
    bell = NotedBell()
    _set(shop, bell=bell, per_unit="1")
    _set(shop, of=CUP, bell=bell, per_unit="1")
    assert bell.rings == [[shop.list_id(MUG)]]


def test_without_redis_it_is_set_all_the_same(shop: Shop) -> None:
    shop.waiting(1)
    bell = NotedBell()
    bell.away = True
    assert _set(shop, bell=bell, per_unit="1").is_changed
    assert _holding(shop).per_unit == 1


def test_what_holds_is_told_as_json_and_in_words(shop: Shop) -> None:
    done = _set(shop, per_unit="all", wave_seconds="0")
    assert done.as_json() == {
        "changed": 1,
        "refused": [],
        "policies": {
            "minQuantity": {"value": 2, "own": False},
            "perUnit": {"value": None, "own": True},
            "waveSeconds": {"value": 0.0, "own": True},
            "settleSeconds": {"value": 600.0, "own": False},
        },
    }
    assert [(each.words, each.whose, each.plain) for each in done.lines] == [
        ("2 pieces", "the shop's", ""),
        ("everybody", "its own", "all"),
        ("no time", "its own", "0"),
        ("10 min", "the shop's", ""),
    ]


def test_items_with_policies_of_their_own_are_listed(shop: Shop) -> None:
    shop.sign_up(CUP)
    _set(shop, per_unit="all")
    _set(shop, of=ref("pan-1"), settle_seconds="0")
    _set(shop, of=CUP, min_quantity="3")
    _set(shop, of=CUP, reset=True)
    found = item_policies.with_own(shop.database, SHOP)
    assert [(item, holding.own) for item, holding in found] == [
        (MUG.item, Own(per_unit=ALL)),
        (ref("pan-1").item, Own(settle_seconds=0)),
    ]
    assert found[0][1].policies == SHOP.of(Own(per_unit=ALL))


def test_another_minimum_puts_stock_out_and_in_as_of_now(shop: Shop) -> None:
    waiting = shop.sign_up_many(2)
    event = replace(shop.event(), in_stock=None, quantity=2)
    shop.write(stock.apply, [event], SHOP)
    bell = NotedBell()
    _set(shop, bell=bell, min_quantity="3", per_unit="all", settle_seconds="0")
    assert {shop.waiting_for(id_) for id_ in waiting} == {"soldOut"}
    assert bell.rings == []
    late = shop.sign_up()
    _set(shop, bell=bell, min_quantity="2")
    assert {shop.waiting_for(id_) for id_ in (*waiting, late)} == {"queued"}
    assert bell.rings == [[shop.list_id()]]


def test_what_an_event_said_itself_is_not_judged_by_the_minimum(shop: Shop) -> None:
    shop.sign_up()
    shop.write(stock.apply, [replace(shop.event(), in_stock=True, quantity=2)], SHOP)
    _set(shop, min_quantity="3")
    assert shop.list_row().in_stock
