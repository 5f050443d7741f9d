"""Demand: the numbers agree with the rows, pages lose nobody, and exports are no formulas."""

import csv
import io
import random
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.domain.catalog import CatalogReference
from worker.domain.errors import Refused
from worker.models import Status
from worker.services import demand
from worker.store import pauses, requests
from worker.store.demand import By, Place, Sort, Which
from worker.store.requests import NewRequest

STATES = (
    "status = 'RECEIVED'",
    "status = 'RECEIVED', ordered_at = stockbell_now(0)",
    "not_before = stockbell_now(60)",
    "not_before = stockbell_now(249000000000), failure_code = 'UNCONFIRMED'",
    "status = 'PROCESSING'",
    "status = 'FAILED', failed_at = stockbell_now(0)",
    "status = 'NOTIFICATION_SENT', notified_date = stockbell_now(0)",
)
PRICES = ("12.50", "3", "1,234", "", "0.1", "<b>1</b>", "1.2.3", "99999999999")


def _rows(shop: Shop, which: Which) -> list[demand.Row]:
    return list(demand.every(shop.database, which))


def _any_shop(shop: Shop, seed: int) -> list[CatalogReference]:
    """Items and variants with requests in every state."""
    chance = random.Random(seed)
    references = [ref(f"item-{n}", **options) for n in range(6) for options in ({}, {"size": "L"}, {"size": "M"})]
    for n in range(6):
        shop.tell(
            ref(f"item-{n}"), in_stock=False, name=f"Name {n % 3}", price=PRICES[n], currency=("EUR", "USD")[n % 2]
        )
    new = [
        NewRequest(f"person{number}@example.com", reference)
        for reference in references
        for number in range(chance.randrange(6))
    ]
    shop.write(requests.create, new)
    changed: dict[str, list[dict[str, UUID]]] = {}
    for row in shop.rows():
        changed.setdefault(chance.choice(STATES), []).append({"id": row.id})
    for state, rows in changed.items():
        shop.change(f"UPDATE request SET {state} WHERE id IN ROWS(id uuid)", rows=rows)
    return references


def _key(row: Any, reference: CatalogReference, by: By) -> bool:
    is_item = row.catalog_item_id == reference.item.catalog_item_id
    return is_item and (by is By.ITEM or row.options == reference.spelled)


@pytest.mark.parametrize("by", By)
@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_those_of_the_rows(shop: Shop, by: By, seed: int) -> None:
    references = _any_shop(shop, seed)
    present = shop.rows()
    of_list = {shop.list_id(reference): reference for reference in references}
    shown = _rows(shop, Which(by))
    for row in shown:
        own = [each for each in present if _key(row, of_list[each.waiting_list_id], by)]
        waits = [each for each in own if each.status is Status.RECEIVED and each.failure_code != "UNCONFIRMED"]
        states = Counter(each.status for each in own)
        assert row.waiting == len(waits)
        assert row.unconfirmed == states[Status.RECEIVED] - len(waits)
        assert row.sending == states[Status.PROCESSING]
        assert row.ended.failed == states[Status.FAILED]
        assert row.ended.told == states[Status.NOTIFICATION_SENT]
        assert row.oldest == min((each.created_date for each in waits), default=None)
        price = PRICES[int(row.catalog_item_id[-1])]
        assert row.amount == (Decimal(price) * len(waits) if price in ("12.50", "3", "0.1") else None)
    unended = {each.waiting_list_id for each in present if each.status in (Status.RECEIVED, Status.PROCESSING)}
    expected = {of_list[list_id] if by is By.VARIANT else of_list[list_id].item for list_id in unended}
    assert len(shown) == len(expected)


@pytest.mark.parametrize("by", By)
@pytest.mark.parametrize("sort", Sort)
def test_pages_lose_nobody_and_go_back(shop: Shop, by: By, sort: Sort) -> None:
    for n in range(7):  # equal numbers, names, prices and nearly equal times
        shop.tell(ref(f"item-{n}"), in_stock=False, name="Mug", price="2", currency=("EUR", "USD")[n % 2])
        shop.sign_up(ref(f"item-{n}"))
    every = [row.id for row in _rows(shop, Which(by, sort))]
    assert len(every) == 7
    seen, place, pages = [], None, []
    while True:
        page = shop.database.read(demand.page, Which(by, sort), demand.place_of(place, sort) if place else None, 3)
        pages.append([row.id for row in page.rows])
        seen += pages[-1]
        if page.after is None:
            break
        place = page.after
    assert seen == every
    back = shop.database.read(demand.page, Which(by, sort), demand.place_of(page.before or "", sort), 3)
    assert [row.id for row in back.rows] == pages[1]
    first = shop.database.read(demand.page, Which(by, sort), demand.place_of(back.before or "", sort), 3)
    assert [row.id for row in first.rows] == pages[0]
    assert first.before is None


def test_money_comes_first_within_its_currency(shop: Shop) -> None:
    for item, price, currency, number in (("a", "5", "EUR", 1), ("b", "2", "EUR", 3), ("c", "1000", "JPY", 9)):
        shop.tell(ref(item), in_stock=False, price=price, currency=currency)
        shop.sign_up_many(number, ref(item))
    page = shop.database.read(demand.page, Which(sort=Sort.MONEY))
    assert [(row.catalog_item_id, row.money) for row in page.rows] == [("b", "€6.00"), ("a", "€5.00"), ("c", "¥9,000")]
    assert demand.totals_words(page.totals) == "¥9,000 and €11.00"  # never added up


def test_a_search_finds_ids_and_names_and_takes_no_patterns(shop: Shop) -> None:
    shop.tell(ref("Sku%1"), name="Blue_mug")
    shop.tell(ref("Sku-2"), name="Blue mug")

    def found(search: str) -> list[str]:
        return [row.catalog_item_id for row in _rows(shop, Which(sort=Sort.NAME, search=search))]

    assert found("sku") == ["Sku-2", "Sku%1"]
    assert found("SKU%") == ["Sku%1"]
    assert found("blue_") == ["Sku%1"]
    assert found("mug") == []
    assert found("/") == []


def test_stock_is_what_events_said(shop: Shop) -> None:
    shop.sign_up(ref("shirt", size="L"))
    shop.sign_up(CUP)
    shop.tell(ref("shirt", size="M"), in_stock=True)
    shop.tell(ref("shirt", size="L"), in_stock=False)
    (variant,) = [row for row in _rows(shop, Which(By.VARIANT)) if row.catalog_item_id == "shirt"]
    assert variant.stock is not None
    assert not variant.stock.in_stock
    by_item = {row.catalog_item_id: demand.stock_words(row.stock) for row in _rows(shop, Which())}
    assert by_item == {"shirt": "1 of 2 in", "cup-1": "unknown"}


@pytest.mark.parametrize("text", ["", "x", "W10", demand.place_text(Place("x", "", UUID(int=1)))])
def test_a_place_of_another_order_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        demand.place_of(text, Sort.WAITING)


def test_an_export_has_no_formulas(shop: Shop) -> None:
    for number, name in enumerate(('=HYPERLINK("http://x")', "+1", "-1", "@x", 'a"b,c\r\nd')):
        shop.tell(ref(f"{name[0]}item{number}"), name=name, price="1.5")
        shop.sign_up(ref(f"{name[0]}item{number}"))
    lines = "".join(demand.csv_lines(demand.every(shop.database, Which())))
    header, *rows = csv.reader(io.StringIO(lines, newline=""))
    assert header == list(demand.COLUMNS)
    assert len(rows) == 5
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert '\'=HYPERLINK("http://x")' in {row[2] for row in rows}
    assert lines.endswith("\r\n")


def test_a_paused_item_still_counts(shop: Shop) -> None:
    shop.sign_up(MUG)
    shop.write(pauses.pause, MUG)
    assert [row.waiting for row in _rows(shop, Which())] == [1]
