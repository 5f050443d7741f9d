"""Queries of Wix's API: filters, sort orders, pages by cursor and by offset, and what comes instead of a query."""

import base64
import json
import zlib
from typing import Any

import pytest

from tests.contract.web.site import Site
from tests.contract.web.wix import MUG, NOBODY, STORES_V3, R, Wix, code_of, packed, violations_of
from worker.domain.api_keys import Scope

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def wix(site: Site) -> Wix:
    """A shop with five requests: a to e, oldest first. c was told, d has failed, e links to its page."""
    wix = Wix(site)
    for name in NAMES:
        link = {"itemUrl": "https://shop.example/E"} if name == "e" else {}
        wix.create(f"{name}@example.com", {**MUG, "catalogItemId": f"mug-{name}"}, **link)
    site.shop.change("UPDATE request SET created_date = stockbell_now(-60) WHERE email < 'c'")  # two at the same time
    site.shop.change("UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = true WHERE email LIKE 'c%'")
    site.shop.change("UPDATE request SET status = 'FAILED', failure_code = 'EXPIRED' WHERE email LIKE 'd%'")
    return wix


def found(wix: Wix, condition: object) -> str:
    return "".join(sorted(email[0] for email in wix.emails(filter=condition)))


FILTERS: list[tuple[object, str]] = [
    ({}, "abcde"),
    ({"status": "RECEIVED"}, "abe"),
    ({"status": {"$ne": "RECEIVED"}}, "cd"),
    ({"status": {"$in": ["FAILED", "UNSPECIFIED"]}}, "d"),
    ({"status": {"$nin": ["FAILED", "RECEIVED"]}}, "c"),
    ({"status": "UNSPECIFIED"}, ""),
    ({"autoNotified": True}, "c"),
    ({"autoNotified": None}, "abde"),
    ({"autoNotified": {"$ne": True}}, "abde"),
    ({"$not": {"autoNotified": True}}, "abde"),
    ({"autoNotified": {"$exists": True}}, "c"),
    ({"itemUrl": {"$startsWith": "HTTPS://SHOP.example/e"}}, "e"),
    ({"itemUrl": {"$startsWith": "%"}}, ""),
    ({"itemUrl": {"$gt": "https://a"}}, "e"),
    ({"$not": {"itemUrl": {"$gt": "https://a"}}}, "abcd"),
    ({"itemUrl": {"$hasSome": ["https://shop.example/E"]}}, "e"),
    ({"createdDate": {"$gte": "2020-01-01T00:00:00.000Z", "$lt": "2021-01-01"}}, ""),
    ({"createdDate": {"$gt": "2020-01-01T00:00:00Z"}}, "abcde"),
    ({"createdDate": {"$le": {"$date": "2020-01-01T00:00:00Z"}}}, ""),
    ({"$or": [{"status": "FAILED"}, {"autoNotified": True}]}, "cd"),
    ({"$and": [{"status": "RECEIVED"}, {"$not": {"itemUrl": {"$exists": True}}}]}, "ab"),
    ({"email": "A@Example.com"}, "a"),
    ({"email": {"$eq": "nobody@example.com"}}, ""),
    ({"catalogReference.catalogItemId": {"$in": ["mug-a", "mug-d"]}}, "ad"),
    ({"catalogReference.appId": STORES_V3}, "abcde"),
    ({"stockbell.failureCode": "EXPIRED"}, "d"),
    ({"stockbell.failureCode": {"$ne": "EXPIRED"}}, "abce"),
    ({"stockbell.waiting": "noStock"}, "abe"),
    ({"id": {"$in": []}}, ""),
    ({"id": {"$gt": NOBODY}, "contactId": {"$exists": True}}, "abcde"),
]


def test_a_filter_finds_whom_it_says(wix: Wix) -> None:
    assert [found(wix, condition) for condition, _ in FILTERS] == [expected for _, expected in FILTERS]


def test_ids_are_found_whole_and_by_their_beginning(wix: Wix) -> None:
    one = wix.query(filter={"email": "b@example.com"})["requests"][0]
    for condition in (
        {"id": one["id"].upper()},
        {"contactId": {"$eq": one["contactId"]}},
        {"id": {"$gte": one["id"], "$lte": one["id"]}},
        {"$and": [{"id": {"$startsWith": one["id"][:20].upper()}}, {"id": one["id"]}]},
    ):
        assert found(wix, condition) == "b"


NO_FILTERS: list[object] = [
    {"name": "x"},
    {"catalogReference.options": {}},
    {"status": "SENT"},
    {"status": {"$gt": "FAILED"}},
    {"email": {"$startsWith": "a"}},
    {"id": "42"},
    {"id": {}},
    {"id": {"$in": "x"}},
    {"createdDate": "yesterday"},
    {"createdDate": 1e18},
    {"autoNotified": "true"},
    {"itemUrl": {"$exists": "no"}},
    {"itemUrl": {"$contains": "x"}},
    {"$or": []},
    {"$and": {"status": "FAILED"}},
    {"$not": []},
    {"$where": "1"},
    {"catalogReference.catalogItemId": "x" * 37},
    "status",
    [1],
]


def test_any_other_filter_is_a_violation(site: Site) -> None:
    wix = Wix(site)
    for condition in NO_FILTERS:
        reply = wix.call("POST", "/query", {"query": {"filter": condition}})
        assert violations_of(reply).keys() == {"query.filter"}, condition


def test_filters_have_limits(site: Site) -> None:
    wix = Wix(site)
    deep: dict[str, Any] = {"status": "FAILED"}
    for _ in range(9):
        deep = {"$not": deep}
    wide = {"$or": [{"status": "FAILED"}] * 101}
    long = {"itemUrl": {"$in": ["https://shop.example/" + "x" * 900] * 13}}
    for condition in (deep, wide, long):
        reply = wix.call("POST", "/query", {"query": {"filter": condition}})
        assert violations_of(reply).keys() == {"query.filter"}


def test_without_a_query_the_newest_come_first(wix: Wix) -> None:
    expected = ["e", "d", "c", *"ba"]
    for reply in (
        wix.call("GET"),
        wix.call("POST", "/query", {}),
        wix.call("POST", "/query"),
        wix.call("GET", f"?.r={packed({})}"),
        wix.call("GET", "?query.cursorPaging.limit=5"),
    ):
        assert [each["email"][0] for each in reply.json()["requests"]] == expected
        assert reply.json()["metadata"] == {"count": 5, "cursors": {}}


def test_pages_by_cursor_lose_nobody_and_repeat_nobody(wix: Wix) -> None:
    for name in ("id", "contactId", "status", "autoNotified", "createdDate", "itemUrl"):
        for order in ("ASC", "DESC"):
            _check_pages(wix, name, order)


def _check_pages(wix: Wix, name: str, order: str) -> None:
    sort = [{"fieldName": name, "order": order}]
    whole = wix.emails(sort=sort)
    assert sorted(whole) == [f"{each}@example.com" for each in NAMES]
    pages = [wix.query(sort=sort, cursorPaging={"limit": 2})]
    while cursor := pages[-1]["metadata"]["cursors"].get("next"):
        pages.append(wix.query(cursorPaging={"limit": 2, "cursor": cursor}))
    forward = [[request["email"] for request in page["requests"]] for page in pages]
    assert forward == [whole[:2], whole[2:4], whole[4:]]
    back = pages[-1]
    for expected in reversed(forward[:-1]):
        back = wix.query(cursorPaging={"limit": 2, "cursor": back["metadata"]["cursors"]["prev"]})
        assert [request["email"] for request in back["requests"]] == expected
    assert "prev" not in back["metadata"]["cursors"]
    assert "prev" not in pages[0]["metadata"]["cursors"]


def test_a_cursor_carries_its_filter_and_refuses_another(wix: Wix) -> None:
    asked = {"filter": {"status": "RECEIVED"}, "sort": [{"fieldName": "createdDate"}]}
    cursor = wix.query(**asked, cursorPaging={"limit": 1})["metadata"]["cursors"]["next"]
    rest = {"cursorPaging": {"cursor": cursor}}
    assert wix.emails(**rest) == wix.emails(**asked, **rest) == ["b@example.com", "e@example.com"]
    for other in ({"filter": {"status": "FAILED"}}, {"sort": [{"fieldName": "id"}]}):
        reply = wix.call("POST", "/query", {"query": {**rest, **other}})
        assert violations_of(reply) == {"query.cursorPaging.cursor": "OTHER"}


def _cursor(**parts: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(parts).encode())).decode()


CURSORS: list[object] = [
    "x",
    "é" * 10,
    "x" * 16_001,
    7,
    ["a"],
    _cursor(q={}, k=[], b=False),
    _cursor(q={}, k=["2026-01-01T00:00:00Z", "'; DROP TABLE request"], b=False),
    _cursor(q={}, k=[{"$gt": 1}, NOBODY], b=False),
    _cursor(q={"filter": {"$where": 1}}, k=["2026-01-01T00:00:00Z", NOBODY], b=False),
    _cursor(q={"sort": [{"fieldName": "itemUrl"}]}, k=["a\0b", NOBODY], b=False),
    _cursor(q={"filter": {"itemUrl": "a\0b"}}, k=["2026-01-01T00:00:00Z", NOBODY], b=False),
    _cursor(q={"filter": {"email": "\ud800"}}, k=["2026-01-01T00:00:00Z", NOBODY], b=False),
    _cursor(q={"limit": 10}, k=["2026-01-01T00:00:00Z", NOBODY], b=False),
    _cursor(q={}, k=["2026-01-01T00:00:00Z", NOBODY], b=1),
    base64.urlsafe_b64encode(zlib.compress(b"1" * 200_000)).decode(),
    base64.urlsafe_b64encode(zlib.compress(b"[" * 60_000)).decode(),
]


def test_a_cursor_is_read_as_input_by_a_stranger(site: Site) -> None:
    wix = Wix(site)
    for cursor in CURSORS:
        reply = wix.call("POST", "/query", {"query": {"cursorPaging": {"cursor": cursor}}})
        assert violations_of(reply).keys() == {"query.cursorPaging.cursor"}, cursor


def test_pages_by_offset_tell_the_total(wix: Wix) -> None:
    reply = wix.query(paging={"limit": 2, "offset": 4})
    assert reply["metadata"] == {"count": 1, "offset": 4, "total": 5}
    assert [each["email"] for each in reply["requests"]] == ["a@example.com"]


def test_what_is_wrong_with_a_page_is_named_at_once(site: Site) -> None:
    wix = Wix(site)
    query = {
        "filter": {"x": 1},
        "sort": [{"fieldName": "email"}, {"fieldName": "x" * 513}, {"fieldName": "id", "order": "UP", "origin": {}}],
        "paging": {"limit": 101, "offset": -1},
        "cursorPaging": {"limit": 5},
    }
    assert violations_of(wix.call("POST", "/query", {"query": query})) == {
        "query.filter": "FORMAT",
        "query.sort[0].fieldName": "FORMAT",
        "query.sort[1].fieldName": "MAX_LENGTH",
        "query.sort[2].order": "FORMAT",
        "query.sort[2].origin": "OTHER",
        "query.paging.limit": "OTHER",
        "query.paging.offset": "OTHER",
        "query.paging": "OTHER",
    }


def test_both_alphabets_of_base64_are_read_padded_or_not(site: Site) -> None:
    wix = Wix(site)
    payload = json.dumps({"query": {"filter": {"itemUrl": "ü?>~"}}}, ensure_ascii=False).encode()
    for text in (base64.urlsafe_b64encode(payload).decode(), base64.b64encode(payload).decode()):
        for written in (text, text.replace("+", "%2B"), f"{text.rstrip('=')}=="):
            assert wix.call("GET", f"?.r={written}").json()["requests"] == []


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"1",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\u0000"}',
        b'{"a":"\\ud800"}',
        b'{"a":1,"a":2}',
    ],
)
def test_what_is_no_good_json_is_a_violation_wherever_it_stands(wix: Wix, raw: bytes) -> None:
    hidden = base64.urlsafe_b64encode(raw).decode()
    for method, path, options in (
        ("GET", f"?.r={hidden}", {}),
        ("POST", "/query", {"content": raw}),
        ("PUT", f"/{NOBODY}/mark-as-notification-sent", {"content": raw}),
    ):
        assert violations_of(wix.call(method, path, **options)).keys() <= {".r", "body", "a"}


def test_deep_huge_and_broken_input_is_a_violation(site: Site) -> None:
    wix = Wix(site)
    deep = '{"query":' + '{"filter":' * 5000 + "1" + "}" * 5001
    huge = '{"query":{"paging":{"limit":' + "9" * 5000 + "}}}"
    for raw in (deep, huge):
        assert violations_of(wix.call("POST", "/query", content=raw.encode()))
    for text in ("!", "a", "aGk", "%00"):
        assert violations_of(wix.call("GET", f"?.r={text}")).keys() == {".r"}


def test_a_body_that_is_not_json_is_415_and_one_that_is_too_large_413(site: Site) -> None:
    wix = Wix(site)
    form = wix.site.client.post(R, headers=wix.headers, data={"email": "jane@example.com"})
    assert code_of(form) == (415, "UNSUPPORTED_MEDIA_TYPE")
    page = {"Origin": "https://shop.example"}
    for body in (b" " * 70_000, iter([b" " * 40_000] * 2)):
        large = wix.site.client.post(R, headers={**wix.headers, **page}, content=body)
        assert code_of(large) == (413, "PAYLOAD_TOO_LARGE")
        assert large.headers["access-control-allow-origin"] == "*"
        assert large.headers["x-wix-request-id"]


def test_reading_keys_may_query(site: Site) -> None:
    assert Wix(site, Scope.READ).query()["requests"] == []
