"""A batch of events in the database: levels, item details, waiting lists. On SQLite and PostgreSQL."""

import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Connection, Row, select

from tests.contract.shop import CUP, LONG_AGO, MUG, Shop, ref, shop_at, somebody_waits
from tests.polling import eventually
from worker.domain.catalog import CatalogReference, Options, item_of
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.domain.stock import Level, Levels
from worker.models import Item as ItemRow
from worker.models import Stock
from worker.store import requests, stock
from worker.store.requests import NewRequest

RED = ref(color="red")
RED_L = ref(color="red", size="L")


def at(minute: int) -> dict[str, Any]:
    return {"at": LONG_AGO + timedelta(minutes=minute)}


def levels(shop: Shop) -> dict[tuple[str, str], Row[Any]]:
    """Returns the stock rows, by the item's id in the catalog and the options."""
    query = select(ItemRow.catalog_item_id, Stock).join(ItemRow, ItemRow.id == Stock.item_id)  # type: ignore[call-overload]
    return {(row.catalog_item_id, row.options): row for row in shop.database.read(lambda c: c.execute(query).all())}


def item_row(shop: Shop) -> Row[Any]:
    (row,) = _items(shop)
    return row


def _items(shop: Shop) -> Sequence[Row[Any]]:
    return shop.database.read(lambda c: c.execute(select(ItemRow)).all())


def apply(shop: Shop, *events: Event, minimum: int = 1) -> stock.Applied:
    return shop.write(stock.apply, events, Policies(minimum))


def test_a_batch_is_stored_with_everything_it_says(shop: Shop) -> None:
    red = shop.event(RED, **at(1), name="Mug", price="12.50", currency="EUR")
    blue = shop.event(ref(color="blue"), in_stock=False, **at(2), url="https://shop.example/p/mug-1")
    apply(shop, blue, red)
    rows = levels(shop)
    assert rows["mug-1", '{"color":"red"}'].in_stock
    assert rows["mug-1", '{"color":"red"}'].occurred_at == red.occurred_at
    assert rows["mug-1", '{"color":"red"}'].entry_id == red.entry_id
    assert rows["mug-1", '{"color":"red"}'].last_in_stock_at is not None
    assert not rows["mug-1", '{"color":"blue"}'].in_stock
    assert rows["mug-1", '{"color":"blue"}'].last_in_stock_at is None
    item = item_row(shop)
    assert (item.name, item.price, item.currency, item.image_url, item.url) == (
        "Mug",
        "12.50",
        "EUR",
        None,
        "https://shop.example/p/mug-1",
    )


def test_details_merge_over_batches_and_null_clears(shop: Shop) -> None:
    shop.tell(name="Mug", price="12.50")
    shop.tell(price=None, image_url="https://shop.example/mug.png")
    item = item_row(shop)
    assert (item.name, item.price, item.image_url) == ("Mug", None, "https://shop.example/mug.png")


def test_details_end_the_same_in_whatever_order_events_are_committed(shop: Shop) -> None:
    outcomes = set()
    for number, order in enumerate(permutations(range(4))):
        red, mug = ref(f"mug-{number}", color="red"), ref(f"mug-{number}")
        events = [
            shop.event(red, **at(1), name="Old", url="https://shop.example/old"),
            shop.event(mug, **at(2), name="Mug", price="1"),
            shop.event(red, **at(3), name="Mug"),
            shop.event(mug, **at(4), in_stock=False, price="2", currency=None),
        ]
        for place in order:
            apply(shop, events[place])
            apply(shop, shop.event(red, **at(0)))
        (row,) = (row for row in _items(shop) if row.catalog_item_id == f"mug-{number}")
        outcomes.add((row.name, row.price, row.currency, row.url))
    assert outcomes == {("Mug", "2", None, "https://shop.example/old")}


def test_details_from_before_their_time_was_kept_are_older_than_every_event(shop: Shop) -> None:
    shop.tell(name="Mug", price="1", **at(9))
    shop.change("UPDATE item SET details_at = NULL")
    shop.change("UPDATE stock SET details = NULL")
    shop.tell(RED, name="Cup", **at(1))
    shop.tell(RED, in_stock=False, name="Old", **at(0))
    assert (item_row(shop).name, item_row(shop).price) == ("Cup", "1")


def test_the_largest_quantity_is_kept(shop: Shop) -> None:
    plenty = Event("1-0", None, MUG, LONG_AGO, False, None, 2**31 - 1, {}, ())
    apply(shop, plenty)
    assert levels(shop)["mug-1", "{}"].quantity == 2**31 - 1


def test_an_empty_batch_does_nothing(shop: Shop) -> None:
    assert apply(shop) == stock.Applied({}, set())


def test_the_lists_that_wait_are_woken_and_named(shop: Shop) -> None:
    shop.sign_up(RED)
    shop.sign_up(CUP)
    applied = shop.tell(RED_L)
    assert applied.woken == {item_of("mug-1"): [shop.list_id(RED)]}
    assert shop.list_row(RED).in_stock
    assert not shop.list_row(CUP).in_stock
    assert shop.list_row(CUP).last_in_stock_at is None


def test_nobody_is_woken_for_what_is_sold_out_again_within_its_batch(shop: Shop) -> None:
    shop.sign_up()
    applied = apply(shop, shop.event(in_stock=True), shop.event(in_stock=False))
    assert applied.woken == {}
    assert not shop.list_row().in_stock


def test_stale_and_repeated_events_wake_nobody_and_are_named(shop: Shop) -> None:
    shop.sign_up()
    news = shop.event(**at(2))
    assert apply(shop, news).stale == set()
    shop.change("UPDATE waiting_list SET last_in_stock_at = NULL, woken_at = NULL")
    old = shop.event(**at(1))
    again = apply(shop, old, news)
    assert again.stale == {old.entry_id, news.entry_id}
    assert again.woken == {}
    assert shop.list_row().last_in_stock_at is None


def test_an_items_out_is_remembered_against_older_variants(shop: Shop) -> None:
    shop.sign_up(RED)
    shop.tell(MUG, in_stock=False, **at(2))
    applied = shop.tell(RED, **at(1))
    assert len(applied.stale) == 1
    assert applied.woken == {}
    assert not shop.list_row(RED).in_stock
    assert not shop.tell(RED, **at(3)).stale
    assert shop.list_row(RED).in_stock


def test_an_item_out_sets_variants_and_their_lists_out(shop: Shop) -> None:
    shop.sign_up(RED)
    shop.tell(RED_L)
    shop.tell(MUG, in_stock=False)
    assert not any(row.in_stock for row in levels(shop).values())
    assert not shop.list_row(RED).in_stock


def test_an_item_in_changes_no_variant_row(shop: Shop) -> None:
    shop.sign_up(RED)
    shop.sign_up(ref(color="green"))
    shop.tell(RED_L, in_stock=False)
    before = levels(shop)["mug-1", '{"color":"red","size":"L"}']
    shop.tell(MUG)
    assert levels(shop)["mug-1", '{"color":"red","size":"L"}'] == before
    assert not shop.list_row(RED).in_stock
    assert shop.list_row(ref(color="green")).in_stock


def test_the_minimum_decides_what_quantity_is_in_stock(shop: Shop) -> None:
    shop.sign_up()
    five = Event("1-0", None, MUG, LONG_AGO, False, None, 5, {}, ())
    apply(shop, five, minimum=6)
    assert not shop.list_row().in_stock


def test_the_same_events_end_in_the_same_rows_in_whatever_order_they_are_committed(shop: Shop) -> None:
    outcomes = set()
    for number, order in enumerate(permutations(range(3))):
        item = f"mug-{number}"
        red, mug = ref(item, color="red"), ref(item)
        shop.list_id(red)
        shop.list_id(mug)
        events = [
            Event(f"{minute}-0", None, reference, LONG_AGO + timedelta(minutes=minute), False, is_in, minute, {}, ())
            for minute, (reference, is_in) in enumerate([(red, True), (mug, False), (mug, True)])
        ]
        for place in order:
            apply(shop, events[place])
            apply(shop, events[place])
        rows = [row for (catalog_id, _), row in sorted(levels(shop).items()) if catalog_id == item]
        outcomes.add(
            (
                tuple((row.options, row.in_stock, row.occurred_at, row.entry_id, row.quantity) for row in rows),
                shop.list_row(red).in_stock,
                shop.list_row(mug).in_stock,
            )
        )
    assert len(outcomes) == 1


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of an item's rows, for each time that they were laid out for its waiting lists."""
    sizes: list[int] = []
    lay_out = Levels.__init__

    def counted(self: Levels, levels: Mapping[Options, Level], came_in: Collection[Options] = ()) -> None:
        sizes.append(len(levels))
        lay_out(self, levels, came_in)

    monkeypatch.setattr(Levels, "__init__", counted)
    return sizes


def test_an_items_rows_are_laid_out_once_for_all_its_lists(shop: Shop, laid_out: list[int]) -> None:
    variants = [ref(variantId=f"{number}") for number in range(30)]
    apply(shop, *map(shop.event, variants))
    assert laid_out == []
    shop.write(requests.create, [NewRequest("anne@example.com", reference) for reference in variants])
    assert laid_out == [30]
    apply(shop, *map(shop.event, variants), shop.event(CUP))
    assert laid_out == [30, 30]


# Several at once


def test_listeners_that_touch_the_same_items_at_once_all_succeed(shop_url: str) -> None:
    items = [ref(f"mug-{number}") for number in range(8)]

    def listen(number: int) -> None:
        with shop_at(shop_url) as shop:
            for turn in range(5):
                order: Sequence[CatalogReference] = items if (number + turn) % 2 else items[::-1]
                minute = LONG_AGO + timedelta(minutes=turn)
                events = [
                    Event(f"{number}-{place}", None, reference, minute, False, turn == 4, None, {}, ())
                    for place, reference in enumerate(order)
                ]
                shop.write(stock.apply, events)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(listen, range(4)))
    with shop_at(shop_url) as shop:
        rows = levels(shop)
        assert len(rows) == len(items)
        assert all(row.in_stock and row.occurred_at == LONG_AGO + timedelta(minutes=4) for row in rows.values())


def test_whoever_signs_up_while_a_batch_is_committed_misses_nothing(shop_url: str) -> None:
    with shop_at(shop_url) as shop, shop_at(shop_url) as storefront, ThreadPoolExecutor(1) as pool:
        shop.tell(in_stock=False)
        applied = threading.Event()

        def apply_slowly(c: Connection) -> None:
            stock.apply(c, [shop.event()])
            applied.set()
            if shop.database.dialect == "postgresql":
                eventually(lambda: somebody_waits(shop), until="the sign-up waits for the item's lock")

        listening = pool.submit(shop.write, apply_slowly)
        applied.wait(60)
        request = storefront.sign_up(created=LONG_AGO)
        listening.result()
        assert shop.list_row().in_stock
        assert shop.waiting_for(request) == "queued"


def test_an_item_that_somebody_adds_while_its_events_are_applied_wakes_who_waits(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = shop.sign_up(MUG)
    shop.tell(MUG, in_stock=False, name="Mug", price="1")
    found: list[dict[object, object]] = [{}]  # at first the lock finds no item, as if it were added a moment later
    lock = stock._lock
    monkeypatch.setattr(stock, "_lock", lambda c, items: found.pop() if found else lock(c, items))
    applied = shop.tell(MUG, price="2")
    assert not found
    assert applied.woken == {MUG.item: [shop.list_id(MUG)]}
    assert (item_row(shop).name, item_row(shop).price) == ("Mug", "2")
    assert shop.list_row().last_in_stock_at > shop.row(waiting).created_date


def test_of_two_batches_with_the_same_new_items_both_are_applied(shop: Shop) -> None:
    batches = [[shop.event(ref(f"mug-{number}"), in_stock=turn == 1) for number in range(50)] for turn in range(2)]
    together = threading.Barrier(2)

    def run(batch: Sequence[Event]) -> None:
        with shop_at(shop.url) as listener:
            together.wait(60)
            listener.write(stock.apply, batch)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, batches))
    rows = levels(shop)
    assert len(rows) == 50
    assert all(row.in_stock for row in rows.values())
