"""Every operator on every field finds what a plain reading of the same filter in Python finds, on both databases."""

import operator
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import pytest

from tests.contract.web.site import Site
from tests.contract.web.wix import MUG, STORES, Wix
from worker.domain.wix_query import read_query
from worker.store import request_query

LINKS: Final = (
    None,
    "https://shop.example/",
    "https://shop.example/E",
    "https://shop.example/e_1",
    "https://shop.example/e%1",
    "https://shop.example/e/1",
    "https://shop.example/Übergröße",
    "https://shop.example/a\u00adb",
)
STATES: Final = (
    "status = 'RECEIVED'",
    "status = 'NOTIFICATION_SENT', auto_notified = true",
    "status = 'NOTIFICATION_SENT', auto_notified = false",
    "status = 'FAILED', failure_code = 'EXPIRED'",
)
OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$startsWith": lambda value, prefix: value.lower().startswith(prefix.lower()),
}
SAME: Final = ("$eq", "$ne", "$in", "$nin", "$hasSome", "$exists")
ORDERED: Final = ("$gt", "$gte", "$lt", "$lte")
MAY: Final[Mapping[str, Iterable[str]]] = {
    "id": (*SAME, *ORDERED, "$startsWith"),
    "contactId": (*SAME, *ORDERED, "$startsWith"),
    "status": SAME,
    "autoNotified": SAME,
    "createdDate": (*SAME, *ORDERED),
    "itemUrl": (*SAME, *ORDERED, "$startsWith"),
    "email": ("$eq",),
    "catalogReference.catalogItemId": ("$eq", "$in"),
    "catalogReference.appId": ("$eq", "$in"),
    "stockbell.failureCode": SAME,
    "stockbell.waiting": SAME,
}
Known = Mapping[str, Any]


@pytest.fixture
def known(site: Site) -> list[Known]:
    """What the filters are to be read over: requests by the names that filters use."""
    wix = Wix(site)
    for number in range(16):
        link = LINKS[number % len(LINKS)]
        reference = {**MUG, "catalogItemId": f"mug-{number % 5}"}
        wix.create(f"c{number}@example.com", reference, **({"itemUrl": link} if link else {}))
    for number, state in enumerate(STATES):
        site.shop.change(f"UPDATE request SET {state} WHERE email LIKE '%{number}@%' OR email LIKE '%{number + 4}@%'")
    site.shop.change("UPDATE request SET created_date = stockbell_now(-60) WHERE email LIKE 'c1%'")
    return [_flat(each) for each in wix.query()["requests"]]


def _flat(request: Known) -> Known:
    reference, own = request["catalogReference"], request["stockbell"]
    return {
        **request,
        "createdDate": datetime.fromisoformat(request["createdDate"]),
        "catalogReference.catalogItemId": reference["catalogItemId"],
        "catalogReference.appId": reference["appId"],
        "stockbell.failureCode": own.get("failureCode"),
        "stockbell.waiting": own.get("waiting"),
    }


def test_every_operator_on_every_field_finds_what_it_says(site: Site, known: list[Known]) -> None:
    chance = random.Random(13)
    for condition in [*_each(known, chance), *(_nested(known, chance, 3) for _ in range(60))]:
        found = site.context.database.read(
            request_query.page, read_query({"filter": condition, "cursorPaging": {"limit": 100}})
        )
        expected = {request["id"] for request in known if _holds(condition, request)}
        assert {str(row.id) for row in found.rows} == expected, condition


def _each(known: list[Known], chance: random.Random) -> Iterable[Known]:
    return [{field: {op: _value(known, chance, field, op)}} for field, ops in MAY.items() for op in ops for _ in "ab"]


def _nested(known: list[Known], chance: random.Random, depth: int) -> Known:
    kind = chance.choice(("$and", "$or", "$not", "one")) if depth else "one"
    if kind == "one":
        field = chance.choice([*MAY])
        op = chance.choice([*MAY[field]])
        return {field: {op: _value(known, chance, field, op)}}
    if kind == "$not":
        return {kind: _nested(known, chance, depth - 1)}
    return {kind: [_nested(known, chance, depth - 1) for _ in range(2)]}


def _value(known: list[Known], chance: random.Random, field: str, op: str) -> Any:
    if op == "$exists":
        return chance.random() < 0.5
    values = [_written(each[field]) for each in known if each.get(field) is not None]
    if op in ("$in", "$nin", "$hasSome"):
        return chance.sample(values, 2)
    value = chance.choice(values)
    if op == "$startsWith":
        return value[: chance.randrange(len(value) + 1)]
    return None if op in ("$eq", "$ne") and chance.random() < 0.2 else value


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _holds(condition: Known, request: Known) -> bool:
    return all(_entry_holds(name, given, request) for name, given in condition.items())


def _entry_holds(name: str, given: Any, request: Known) -> bool:
    match name:
        case "$and":
            return all(_holds(each, request) for each in given)
        case "$or":
            return any(_holds(each, request) for each in given)
        case "$not":
            return not _holds(given, request)
    value = request.get(name)
    return all(_compares(op, value, wanted) for op, wanted in given.items())


def _compares(op: str, value: Any, wanted: Any) -> bool:
    if op == "$exists":
        return (value is not None) is wanted
    if isinstance(wanted, list):
        return (_written(value) in wanted) is (op != "$nin")
    if op in ("$eq", "$ne"):
        return (_written(value) == wanted) is (op == "$eq")
    return value is not None and OPERATORS[op](_written(value), wanted)


def test_pages_go_on_from_links_with_any_character(site: Site, known: list[Known]) -> None:
    wix = Wix(site)
    found, cursor = [], None
    while True:
        paging = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        page = wix.query(sort=[{"fieldName": "itemUrl"}], cursorPaging=paging)
        found += [request["id"] for request in page["requests"]]
        if (cursor := page["metadata"]["cursors"].get("next")) is None:
            break
    assert sorted(found) == sorted(request["id"] for request in known)
    assert {request["catalogReference.appId"] for request in known} == {STORES}
