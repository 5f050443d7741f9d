"""Requests as pages list them: what a brute-force filter would find, newest first, and nobody twice or never."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.contract.shop import Shop, ref
from worker.models import Status
from worker.services.selection import WAITING, Selection
from worker.store import pauses, request_list, requests
from worker.store.request_list import Page, Place
from worker.store.requests import NewRequest

FILTERS: list[list[tuple[str, str]]] = [
    [],
    *([("status", status.value)] for status in Status),
    *([("waiting", why)] for why in WAITING),
    *([("code", code)] for code in ("RECIPIENT_REJECTED", "BOUNCED", "UNCONFIRMED", "TEMPLATE_ERROR", "INTERVAL")),
    [("item", "mug-1")],
    [("item", "mug-1"), ("option", "size=L")],
    [("item", "cup-1"), ("waiting", "soldOut")],
    [("item", "mug-1"), ("status", "NOTIFICATION_SENT")],
    [("email", "Person3@A.example")],
    [("email", "person3@a.example"), ("waiting", "queued")],
    [("domain", "a.example"), ("status", "FAILED")],
    [("domain", "b.example")],
    [("words", "unknown")],
    [("locale", "de")],
    [("until", "2020-06-01")],
    [("since", "2020-06-01"), ("locale", "de")],
    [("since", "2020-06-01"), ("until", "2020-08-01"), ("status", "RECEIVED")],
]


@pytest.fixture
def mixed(shop: Shop) -> Shop:
    """Requests in every state and for every reason."""
    chance = random.Random(7)
    wanted = [
        ref("mug-1"),
        ref("mug-1", size="L"),
        ref("cup-1"),
        ref("cup-2"),
        ref("cup-3"),
        ref("cup-4"),
        ref("cup-5"),
    ]
    people = [f"person{n}@{domain}.example" for n in range(6) for domain in ("a", "b")]
    new = [
        NewRequest(
            person, reference, None, chance.choice(("de", "de-AT", "en", None)), _date(chance) if number % 2 else None
        )
        for number, reference in enumerate(wanted)
        for person in people
    ]
    shop.write(requests.create, new)
    shop.tell(ref("mug-1"))
    shop.tell(ref("cup-1"), in_stock=True)
    shop.tell(ref("cup-1"), in_stock=False)
    shop.tell(ref("cup-2"))
    shop.write(pauses.pause, ref("cup-2"))
    for item, column in (("cup-4", "settles_at"), ("cup-5", "opens_at")):
        shop.tell(ref(item))
        shop.change(f"UPDATE waiting_list SET {column} = stockbell_now(900) WHERE id = :id", id=shop.list_id(ref(item)))
    states = (
        "status = 'NOTIFICATION_SENT', notified_date = stockbell_now(0)",
        "status = 'FAILED', failure_code = 'RECIPIENT_REJECTED', failure_reason = 'Unknown'",
        "status = 'FAILED', failed_at = stockbell_now(-99), failure_code = 'BOUNCED', failure_reason = 'it came back'",
        "status = 'PROCESSING'",
        "not_before = stockbell_now(60), failure_reason = 'user unknown'",
        "not_before = stockbell_now(60), failure_code = 'INTERVAL'",
        "not_before = stockbell_now(249000000000), failure_code = 'UNCONFIRMED'",
        "ordered_at = stockbell_now(0)",
        "failure_code = 'TEMPLATE_ERROR', failure_reason = 'no such name'",
    )
    changed: dict[str, list[dict[str, UUID]]] = {}
    for row in shop.rows():
        if chance.random() < 0.7:
            changed.setdefault(chance.choice(states), []).append({"id": row.id})
    for state, rows in changed.items():
        shop.change(f"UPDATE request SET {state} WHERE id IN ROWS(id uuid)", rows=rows)
    return shop


def _date(chance: random.Random) -> datetime:
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(365))


def _all(shop: Shop, which: Any, limit: int, *, is_backward: bool = False) -> list[UUID]:
    found: list[UUID] = []
    place = Place(UUID(int=0), is_backward=True) if is_backward else None
    while True:
        page: Page = shop.database.read(request_list.page, which, place, limit)
        ids = [row.id for row in page.rows]
        assert ids == sorted(ids, reverse=True)
        found = ids + found if is_backward else found + ids
        place = page.before if is_backward else page.after
        if place is None:
            return found


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("look", "relay", "is_quiet"),
    [(20_000, "open", False), (0, "closed", False), (7, "open", True), (0, "closed", True)],
    ids=["looked-through", "by-index", "both-in-quiet-hours", "by-index-in-quiet-hours"],
)
def test_every_filter_finds_what_a_scan_finds(
    mixed: Shop, monkeypatch: pytest.MonkeyPatch, look: int, relay: str, is_quiet: bool
) -> None:
    monkeypatch.setattr(request_list, "FIRST_LOOK", look)
    monkeypatch.setattr(request_list, "MOST_LOOKED", max(look, 9))
    mixed.change("UPDATE relay SET state = :state", state=relay)
    for pairs in FILTERS:
        selection, errors = Selection.read(pairs)
        assert not errors
        which = replace(mixed.database.read(selection.filter), is_quiet=is_quiet)
        expected = sorted(
            (row.id for row in mixed.database.read(lambda c, w: list(requests.find(c, w)), which)), reverse=True
        )
        assert _all(mixed, which, 13) == expected, pairs
        assert _all(mixed, which, 13, is_backward=True) == expected, pairs
        counted = mixed.database.read(request_list.count, which)
        assert counted in (None, len(expected)), pairs


def test_a_page_says_if_it_did_not_look_through_all(mixed: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_list, "FIRST_LOOK", 3)
    monkeypatch.setattr(request_list, "MOST_LOOKED", 9)
    which = mixed.database.read(Selection.read([("domain", "nowhere.example")])[0].filter)
    page = mixed.database.read(request_list.page, which, None, 5)
    assert page.is_cut
    assert not page.rows
    assert page.after is not None


def test_the_filters_meet_every_state_and_reason(mixed: Shop) -> None:
    """Else the test above would compare nothing with nothing."""
    empty: list[list[tuple[str, str]]] = []
    for pairs in FILTERS:
        if pairs == [("waiting", "relayDown")]:
            continue
        is_quiet = pairs == [("waiting", "quietHours")]
        which = replace(mixed.database.read(Selection.read(pairs)[0].filter), is_quiet=is_quiet)
        if not mixed.database.read(lambda c, w: list(requests.find(c, w)), which):
            empty.append(pairs)
    assert empty == []
