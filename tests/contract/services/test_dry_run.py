"""What `doctor --event` foretells is what the listener does, and nothing is changed by it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.domain.catalog import CatalogReference, item_of
from worker.domain.errors import BadEvent
from worker.domain.events import decode
from worker.domain.policies import NO_POLICIES, Policies
from worker.models import Item, Stock
from worker.services import dry_run
from worker.services.dry_run import Outcome, outcome_of
from worker.services.intake import take_events
from worker.store import breaker, pauses

SMALL, LARGE, RED_L = ref(size="S"), ref(size="L"), ref(color="red", size="L")
OTHER_APP = "1484cb44-49cd-5b39-9681-75188ab429de"


def text(item: str = "mug-1", /, **fields: object) -> str:
    return json.dumps({"catalogItemId": item, "quantity": 5, **fields})


def foretold(shop: Shop, item: str = "mug-1", /, *, policies: Policies = NO_POLICIES, **fields: object) -> Outcome:
    return outcome_of(shop.database, text(item, **fields), policies, datetime.now(UTC))


def told(outcome: Outcome) -> dict[str, int]:
    """How many would be told, by their options."""
    return {json.dumps(dict(each.options)): each.told for each in outcome.waiting if each.told}


def why(outcome: Outcome) -> dict[str, str]:
    """Why those who would wait on would not be told, by their options."""
    return {json.dumps(dict(each.options)): each.why_not for each in outcome.waiting if each.left}


def test_it_tells_who_would_be_told_and_who_would_not_and_changes_nothing(shop: Shop) -> None:
    shop.sign_up_many(2, SMALL)
    shop.sign_up(MUG)
    shop.sign_up_many(3, LARGE)
    rows = shop.ask("SELECT * FROM waiting_list ORDER BY id"), shop.ask("SELECT * FROM item")
    found = foretold(shop, options={"size": "S"}, item={"name": "Mug"})
    assert told(found) == {'{"size": "S"}': 2, "{}": 1}
    assert why(found) == {'{"size": "L"}': 'they want size="L", the event says "S"'}
    assert (found.told, found.is_well) == (3, True)
    assert rows == (shop.ask("SELECT * FROM waiting_list ORDER BY id"), shop.ask("SELECT * FROM item"))
    assert (shop.count(Stock), shop.with_work()) == (0, set())


@pytest.mark.parametrize("options", [None, {"size": "S"}, {"size": "L"}, {"color": "red", "size": "L"}, {"size": "XL"}])
@pytest.mark.parametrize("before", [(), (SMALL,), (LARGE, MUG), (RED_L, MUG)], ids=str)
@pytest.mark.parametrize("quantity", [0, 5])
def test_it_foretells_what_the_listener_does(
    shop: Shop, before: tuple[CatalogReference, ...], options: dict[str, str] | None, quantity: int
) -> None:
    for number, reference in enumerate(before):
        shop.tell(reference, in_stock=number % 2 == 0)
    for reference in (MUG, SMALL, LARGE, RED_L):
        shop.sign_up(reference)
    found = foretold(shop, options=options, quantity=quantity)
    entry = f"{int(datetime.now(UTC).timestamp() * 1000)}-0"
    take_events(shop.database, [decode(entry, {b"event": text(options=options, quantity=quantity).encode()})])
    due = shop.ask(
        """SELECT w.options FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE w.in_stock AND r.created_date < w.last_in_stock_at"""
    )
    assert set(told(found)) == {json.dumps(json.loads(row.options)) for row in due}
    assert len(told(found)) + len(why(found)) == 4
    assert all(why(found).values()), "each gets a reason"


def test_it_says_why_an_event_is_too_late(shop: Shop) -> None:
    shop.sign_up(SMALL)
    shop.tell(SMALL, in_stock=False, at=datetime(2026, 11, 23, 9, tzinfo=UTC))
    found = foretold(shop, options={"size": "S"}, occurredAt="2026-11-23T08:00:00Z")
    assert why(found) == {
        '{"size": "S"}': "an event of 2026-11-23T09:00:00.000Z said out of stock, "
        "and this one happened at 2026-11-23T08:00:00.000Z, so it is too late"
    }
    assert not found.is_well
    shop.tell(MUG, in_stock=False, at=datetime(2026, 11, 23, 10, tzinfo=UTC))
    found = foretold(shop, options={"size": "S"}, occurredAt="2026-11-23T09:30:00Z")
    assert "the whole item went out of stock at 2026-11-23T10:00:00.000Z" in why(found)['{"size": "S"}']


def test_it_says_when_a_variant_has_events_of_its_own(shop: Shop) -> None:
    shop.sign_up(SMALL)
    shop.tell(SMALL, in_stock=False, at=datetime(2026, 11, 23, 9, tzinfo=UTC))
    assert why(foretold(shop)) == {
        '{"size": "S"}': 'their variant has events of its own: that of 2026-11-23T09:00:00.000Z about size="s" '
        "said out of stock"
    }


def test_it_speaks_of_options_that_an_older_program_told_apart(shop: Shop) -> None:
    shop.sign_up(ref(size="L"))
    shop.change("""UPDATE waiting_list SET options = '{"Size":"L","size":"M"}', options_key = options""")
    assert why(foretold(shop, options={"Size": "L"})) != {}


def test_who_was_woken_before_is_not_nobody(shop: Shop) -> None:
    shop.sign_up(ref(size="L"))
    shop.sign_up(ref(size="L"))
    shop.tell(ref(size="L"))
    said = lines(foretold(shop))
    assert "going out: 2 who wait: they are told without this event" in said
    assert not any("nobody" in line for line in said)


def test_it_says_that_an_event_sells_out_or_that_people_are_paused(shop: Shop) -> None:
    shop.waiting(2)
    found = foretold(shop, quantity=0)
    assert why(found) == {"{}": "the event says out of stock"}
    assert not found.is_well
    shop.write(pauses.pause, MUG)
    found = foretold(shop)
    assert (found.told, found.is_well) == (0, False)
    assert why(found) == {"{}": "they are paused; see `stockbell resume`"}


def test_pieces_that_are_too_few_are_said_to_be_so(shop: Shop) -> None:
    shop.sign_up()
    found = foretold(shop, policies=Policies(min_quantity=3), quantity=2)
    assert why(found) == {"{}": "the item is in stock from 3 pieces on"}
    assert ": too few to be in stock, quantity 2, as of" in lines(found)[0]
    found = foretold(shop, policies=Policies(min_quantity=3), quantity=2, inStock=False)
    assert why(found) == {"{}": "the event says out of stock"}
    assert ": out of stock, quantity 2, as of" in lines(found)[0]


def test_who_waits_for_the_relay_would_be_told(shop: Shop) -> None:
    shop.sign_up()
    shop.write(breaker.trip, "no answer", "relay")
    found = foretold(shop)
    assert (found.told, found.waiting[0].requests) == (1, {"relayDown": 1})


@pytest.mark.parametrize("item", ["MUG-1", "sku-mug-1", "mug", "Mug-1-blue"])
def test_where_nobody_waits_it_names_similar_items_that_people_wait_for(shop: Shop, item: str) -> None:
    shop.sign_up_many(2)
    shop.sign_up(CUP)
    found = foretold(shop, item)
    assert [(near.item, near.requests) for near in found.near] == [(MUG.item, 2)]
    assert found.is_well
    assert f'nobody waits for "{item}"' in lines(found)[1]
    assert lines(found)[2] == 'similar: 2 who wait for "mug-1"'
    assert shop.count(Item) == 2


def test_the_same_item_of_another_app_is_another_item(shop: Shop) -> None:
    shop.sign_up(CatalogReference(item_of("mug-1", OTHER_APP)))
    found = foretold(shop)
    assert lines(found)[2] == f'similar: 1 who waits for "mug-1" (app {OTHER_APP})'


def test_items_that_have_little_in_common_are_not_similar(shop: Shop) -> None:
    shop.sign_up(ref("1"))
    shop.sign_up(ref("cup"))
    shop.sign_up(ref("%"))
    assert foretold(shop, "mug-1").near == []


def test_of_thousands_of_lists_those_with_most_people_are_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "MOST_LISTS", 2)
    for size, number in (("S", 1), ("M", 2), ("L", 3)):
        for color, most in (("red", 0), ("blue", 3)):
            shop.sign_up_many(number + most, ref(size=size, color=color))
    assert lines(foretold(shop, options={"variantId": "1"}))[1:] == [
        'not told: 6 who wait for color="blue", size="L": the event does not name color; the event does not name size',
        'not told: 5 who wait for color="blue", size="M": the event does not name color; the event does not name size',
        "not told: 10 more",
    ]
    assert lines(foretold(shop))[1:] == [
        'told: 6 who wait for color="blue", size="L"',
        'told: 5 who wait for color="blue", size="M"',
        "told: 10 more",
    ]


def test_who_was_told_already_is_counted(shop: Shop) -> None:
    shop.sign_up_many(2)
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT'")
    found = foretold(shop)
    assert found.others == {"NOTIFICATION_SENT": 2}
    assert lines(found)[-1] == "others: requests for the item that do not wait: 2 NOTIFICATION_SENT"


def test_it_says_how_the_event_is_understood(shop: Shop) -> None:
    found = foretold(shop, options={"size": "S"}, quantity=0, itemUrl="ftp://x", occurredAt="2999-01-01T00:00:00Z")
    understood, left_out, clamped, *_ = lines(found)
    assert understood.startswith('event: "mug-1" with size="S": out of stock, quantity 0, as of 2')
    assert left_out == "left out: itemUrl must begin with https:// or http://"
    assert clamped == "time: occurredAt is in the future, so the event counts as of now"


@pytest.mark.parametrize("bad", ["", "mug-1", "[]", '{"catalogItemId": "mug-1"}', "\udcff", '{"quantity": 5}'])
def test_it_says_why_an_event_would_be_a_dead_letter(shop: Shop, bad: str) -> None:
    with pytest.raises(BadEvent):
        outcome_of(shop.database, bad, NO_POLICIES, datetime.now(UTC))


def test_as_json_it_has_the_same(shop: Shop) -> None:
    shop.sign_up(LARGE, "jane@example.com")
    found = foretold(shop, options={"size": "S"}).as_json()
    event: dict[str, Any] = found.pop("event")
    assert (event["catalogItemId"], event["inStock"], event["options"]) == ("mug-1", True, {"size": "S"})
    assert found == {
        "ok": False,
        "understood": True,
        "told": 0,
        "waiting": [
            {
                "options": {"size": "L"},
                "requests": {"noStock": 1},
                "told": 0,
                "left": 1,
                "why": 'they want size="L", the event says "S"',
            }
        ],
        "next": [],
        "others": {},
        "near": [],
    }
    assert "jane" not in json.dumps(found) + json.dumps(event)


def lines(outcome: Outcome) -> list[str]:
    return [f"{name}: {words}" for name, _, words in outcome.lines()]
