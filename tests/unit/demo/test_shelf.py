"""The shelf of the demo's shop: what somebody waits for comes back after a while, and sells out again."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final
from uuid import UUID

import pytest

from worker.demo.shelf import RESTOCK_SECONDS, SELL_SECONDS, Shelf
from worker.demo.shop.server import Shop
from worker.demo.story import BAG, NO_STOCK, TOLD, Ending, Event, Request

SOMEBODY: Final = "somebody@mail.example"


def rows(ending: Ending) -> list[Request]:
    return [Request(UUID(int=1), BAG, None, SOMEBODY, True, ending, "")]


@pytest.fixture
def shop() -> Iterator[Shop]:
    with closing(Shop(1, [])) as opened:
        yield opened


def test_it_comes_back_for_whoever_waits_and_then_sells_out(shop: Shop) -> None:
    events: list[Event] = []
    shelf = Shelf(shop, events.append)
    for second in range(100):
        shelf.look(rows(NO_STOCK), second)
        if shop.has_olive:
            break
    assert second == RESTOCK_SECONDS
    for later in range(second + 1, second + 100):
        shelf.look(rows(TOLD), later)
        if not shop.has_olive:
            break
    assert later == second + 1 + SELL_SECONDS
    for event in events:
        assert '"Olive"' in event.fields["event"]
    assert [event.wakes for event in events] == [True, False]


def test_nothing_comes_back_while_nobody_waits(shop: Shop) -> None:
    events: list[Event] = []
    shelf = Shelf(shop, events.append)
    for second in range(100):
        shelf.look(rows(TOLD), second)
    assert events == []


def test_the_shop_serves_its_page_and_nothing_of_the_machine(shop: Shop) -> None:
    page = shop.reply("/")
    assert page is not None
    assert "<stockbell-notify" in page.text
    assert "{" not in page.text
    for path in (
        "/../server.py",
        "/mail/../../x",
        "/mail/0",
        "/mail/٣",
        "/mail/" + "9" * 5000,
        "/server.py",
        "//etc/passwd",
    ):
        assert shop.reply(path) is None, path
