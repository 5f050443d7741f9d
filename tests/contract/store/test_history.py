"""The history of events: what is noted of a batch, and what sweeps leave of it. On SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.contract.shop import CUP, LONG_AGO, MUG, Shop, ref
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.models import StockEvent
from worker.services.intake import take_events
from worker.store import history, places

LARGE, SMALL = ref("mug-1", Size="L"), ref("mug-1", Size="S")


def item_id(shop: Shop) -> UUID:
    found: UUID = shop.list_row().item_id
    return found


def noted(shop: Shop) -> list[Any]:
    """The events of the mug, oldest first."""
    return list(reversed(shop.database.read(history.of_item, item_id(shop), 1000)))


def ids(events: list[Any]) -> list[str | None]:
    return [event.event_id for event in events]


def named(shop: Shop, name: str, reference: Any = MUG, **said: Any) -> Event:
    event = shop.event(reference, **said)
    return replace(event, event_id=name, quantity=5 if event.in_stock else 0)


def fill(shop: Shop, number: int, *, days: float = 0.0) -> None:
    """Takes so many events in, each in a batch of its own, and makes them as old as this."""
    for place in range(number):
        take_events(shop.database, [named(shop, f"{days:g} days, {place}")])
    if days:
        shop.change("UPDATE stock_event SET at = stockbell_now(-:age)", age=days * 86_400)


def trim(shop: Shop) -> None:
    while shop.write(history.trim):
        pass


def test_an_event_is_noted_with_what_it_says_and_whom_it_woke(shop: Shop) -> None:
    shop.sign_up(LARGE)
    about_it = named(shop, "evt-1", LARGE, at=LONG_AGO)
    take_events(shop.database, [about_it, named(shop, "evt-2", SMALL)])
    first, second = noted(shop)
    assert (first.event_id, first.entry_id, first.options) == ("evt-1", about_it.entry_id, '{"Size":"L"}')
    assert (first.occurred_at, first.in_stock, first.quantity) == (LONG_AGO, True, 5)
    assert first.at == shop.list_row(LARGE).last_in_stock_at
    # Of two events of a batch about one item the newest has the count, as in the log.
    assert (first.woke, second.woke) == (0, 1)


def test_nothing_is_noted_of_items_that_nobody_asked_for(shop: Shop) -> None:
    take_events(shop.database, [named(shop, "evt-1", CUP)])
    assert shop.count(StockEvent) == 0


def test_what_is_stale_or_repeated_is_not_noted(shop: Shop) -> None:
    shop.sign_up()
    event = named(shop, "evt-1")
    take_events(shop.database, [event])
    take_events(shop.database, [event, named(shop, "old", at=LONG_AGO - timedelta(days=1))])
    assert ids(noted(shop)) == ["evt-1"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ([True, True, True], ["3"]),
        ([True, False, True, False, False], ["3", "5"]),
        ([False, False], ["2"]),
        ([False, True], ["2"]),
    ],
)
def test_of_a_batch_the_newest_event_and_the_newest_in_stock_are_noted(
    shop: Shop, said: list[bool], kept: list[str]
) -> None:
    shop.sign_up()
    events = [named(shop, str(number), in_stock=is_in) for number, is_in in enumerate(said, 1)]
    take_events(shop.database, events)
    assert ids(noted(shop)) == kept


def test_a_quantity_below_the_minimum_is_noted_as_out_of_stock(shop: Shop) -> None:
    shop.sign_up()
    take_events(shop.database, [replace(named(shop, "evt-1"), in_stock=None, quantity=2)], Policies(3))
    assert [(event.in_stock, event.quantity) for event in noted(shop)] == [(False, 2)]


def test_a_sweep_keeps_the_newest_of_each_item(shop: Shop) -> None:
    shop.sign_up(MUG)
    shop.sign_up(CUP)
    fill(shop, history.MOST_PER_ITEM + 10)
    take_events(shop.database, [named(shop, "of another item", CUP)])
    trim(shop)
    assert len(noted(shop)) == history.MOST_PER_ITEM
    assert ids(noted(shop))[0] == "0 days, 10"
    assert shop.count(StockEvent) == history.MOST_PER_ITEM + 1
    fill(shop, 5)
    trim(shop)
    assert len(noted(shop)) == history.MOST_PER_ITEM


def test_a_batch_at_the_limit_is_kept_whole(shop: Shop) -> None:
    shop.sign_up()
    sizes = [ref("mug-1", Size=str(number)) for number in range(history.MOST_PER_ITEM + 10)]
    take_events(shop.database, [named(shop, f"size {number}", size) for number, size in enumerate(sizes)])
    trim(shop)
    assert len(noted(shop)) == history.MOST_PER_ITEM + 10


def test_a_sweep_goes_on_where_the_last_one_stopped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_ROWS", 7)
    shop.sign_up()
    fill(shop, history.MOST_PER_ITEM + 10)
    assert shop.write(history.trim) is True
    trim(shop)
    assert len(noted(shop)) == history.MOST_PER_ITEM
    assert shop.write(history.trim) is False


def test_what_is_too_old_is_forgotten_and_nothing_else(shop: Shop) -> None:
    shop.sign_up()
    fill(shop, 3, days=91)
    # Their ids are of now: only a row whose id and time are both old goes.
    trim(shop)
    assert len(noted(shop)) == 3
    old = UUID(int=1)
    shop.change(
        """UPDATE stock_event SET id = :old WHERE id = (SELECT min(CAST(id AS text)) FROM stock_event)"""
        if shop.url.startswith("sqlite")
        else "UPDATE stock_event SET id = :old WHERE id = (SELECT id FROM stock_event ORDER BY id LIMIT 1)",
        old=old,
    )
    take_events(shop.database, [named(shop, "new")])
    trim(shop)
    assert len(noted(shop)) == 3
    assert ids(noted(shop))[-1] == "new"


def test_a_place_in_the_future_does_not_stop_it(shop: Shop) -> None:
    """A clock that was ahead for a while has left it there."""
    shop.sign_up()
    shop.write(places.keep, history.PLACE, str(UUID(int=(1 << 127))))
    trim(shop)
    fill(shop, history.MOST_PER_ITEM + 10)
    trim(shop)
    # The first call brings the place back to now. Events after that are found.
    assert len(noted(shop)) == history.MOST_PER_ITEM
