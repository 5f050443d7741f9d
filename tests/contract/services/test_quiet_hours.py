"""Quiet hours as people and programs see them: why a request waits, and what `status` says. On both databases."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.contract.database_clock import DatabaseClock, clock_of
from tests.contract.lines import NotedBell
from tests.contract.shop import LEASE, Shop, ref
from worker.domain.catalog import item_of
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.reply_rules import shipped
from worker.domain.send_window import parse_send_window
from worker.domain.wix_query import read_query
from worker.services import items, metrics, requests, why
from worker.services.intake import take_events
from worker.services.overview import Overview, Watcher, overview_of
from worker.services.selection import WAITING, Selection
from worker.services.status import DUE_SECONDS, Queues
from worker.services.sweeping import Sweeper
from worker.services.wire import request_json, timestamp
from worker.store import breaker, claims, request_list, request_query, stories
from worker.store.claims import Claim
from worker.store.database import Database

WINDOW = parse_send_window("mon-fri 08:00-20:00, sat 09:00-18:00 Europe/Vienna")
SUNDAY, MONDAY_0800 = "2026-01-04T12:00:00", "2026-01-05T07:00:00"
OPENING = "2026-01-05T07:00:00.000Z"


@pytest.fixture
def shop(shop_url: str) -> Iterator[Shop]:
    """A shop with a send window."""
    with closing(Database(shop_url, window=WINDOW)) as database:
        yield Shop(shop_url, database)


@pytest.fixture
def clock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseClock]:
    with clock_of(shop, monkeypatch) as found:
        yield found


def shown(shop: Shop, request: UUID) -> dict[str, object]:
    return request_json(requests.show(shop.database, request).request)


def look(shop: Shop) -> Overview:
    return overview_of(shop.database.read(Watcher(LEASE).look), Queues())


def could_be_sent(shop: Shop) -> float:
    """Returns what `/metrics` says of it."""
    found = metrics.families(metrics.read_database(shop.database, LEASE), None)
    return next(each.samples[0].value for each in found if each.name == "stockbell_requests_due")


def ask(shop: Shop, reason: str) -> set[UUID]:
    """Returns who waits for this reason, by each way to ask, which all have to agree."""
    selection, errors = Selection.read([("waiting", reason)])
    assert not errors
    which = shop.database.read(selection.filter)
    found: list[UUID] = []
    requests.each(shop.database, which, 0, lambda row: found.append(row.id))
    page = shop.database.read(request_list.page, which, None, 100)
    assert sorted(row.id for row in page.rows) == sorted(found)
    assert {row.waiting for row in page.rows} <= {reason}
    assert shop.database.read(request_list.count, which) == len(found)
    query = read_query({"filter": {"stockbell.waiting": reason}})
    assert {row.id for row in shop.database.read(request_query.page, query).rows} == set(found)
    return set(found)


def test_who_could_be_told_waits_for_the_opening_and_the_others_for_their_own_reason(
    shop: Shop, clock: DatabaseClock
) -> None:
    clock.set(SUNDAY)
    nobody_has_it = shop.sign_up(ref("rare-1"))
    put_off = shop.sign_up()
    due, ordered = shop.waiting(1)[0], shop.sign_up(ref("rare-2"))
    shop.change("UPDATE request SET not_before = stockbell_now(60) WHERE id = :id", id=put_off)
    shop.change("UPDATE request SET ordered_at = stockbell_now(0) WHERE id = :id", id=ordered)
    expected = {nobody_has_it: "noStock", put_off: "backoff", due: "quietHours", ordered: "quietHours"}
    shop.write(breaker.trip, "421 busy", "relay")  # that comes after quiet hours
    assert {request: shown(shop, request)["waiting"] for request in expected} == expected
    assert shown(shop, due)["waitingUntil"] == OPENING
    found = shown(shop, put_off)
    assert found["waitingUntil"] == found["notBefore"]
    assert "waitingUntil" not in shown(shop, nobody_has_it)
    assert {reason: ask(shop, reason) for reason in WAITING} == {
        reason: {request for request, its in expected.items() if its == reason} for reason in WAITING
    }
    clock.set(MONDAY_0800)
    assert ask(shop, "quietHours") == set()
    assert ask(shop, "relayDown") == {due, ordered}
    assert "waitingUntil" not in shown(shop, due)


def test_every_way_to_read_a_request_says_the_same(shop: Shop, clock: DatabaseClock) -> None:
    clock.set(SUNDAY)
    (due,) = shop.waiting(1)
    contact = shop.row(due).contact_id
    rows: list[Any] = [
        requests.show(shop.database, due).request,
        shop.database.read(request_query.by_ids, [due])[due],
        *shop.database.read(stories.of_contact, contact),
        *shop.database.read(stories.of_contact, contact, item_of("mug-1")),
    ]
    assert [(row.waiting, request_json(row)["waitingUntil"]) for row in rows] == [("quietHours", OPENING)] * 4
    told = why.story(shop.database, due, lease=LEASE, rules=shipped())
    assert "quiet hours hold all mails until 5 January 2026 07:00:00 UTC" in told.sentence
    of_item = shop.database.read(items.show, [item_of("mug-1")], NO_POLICIES)
    assert of_item.reasons == Counter(quietHours=1)
    clock.set(MONDAY_0800)
    assert shop.database.read(items.show, [item_of("mug-1")], NO_POLICIES).reasons == Counter(queued=1)


def test_nobody_is_late_in_quiet_hours_and_from_the_opening_on_the_time_counts(
    shop: Shop, clock: DatabaseClock
) -> None:
    clock.set(SUNDAY)
    shop.waiting(2)
    status = look(shop).status
    assert status.requests.oldest_due_seconds is None
    assert status.requests.due == 2
    assert could_be_sent(shop) == 0
    assert status.troubles == []
    assert status.as_json()["sendWindow"] == {"window": str(WINDOW), "isOpen": False, "until": OPENING}
    clock.set("2026-01-05T07:00:01")
    status = look(shop).status
    assert status.requests.oldest_due_seconds is not None
    assert 1 <= status.requests.oldest_due_seconds < LEASE, "since the opening"
    assert not status.is_late
    assert could_be_sent(shop) == 2
    assert status.as_json()["sendWindow"]["until"] == "2026-01-05T19:00:00.000Z"
    clock.set("2026-01-05T07:02:00")
    assert look(shop).status.is_late
    assert [trouble for trouble in look(shop).status.troubles if f"{DUE_SECONDS:.0f} s" in trouble]


def test_who_is_woken_while_it_is_open_is_due_since_then(shop: Shop, clock: DatabaseClock) -> None:
    clock.set("2026-01-05T12:00:00")
    shop.waiting(1)
    clock.set("2026-01-05T12:00:30")
    oldest = look(shop).status.requests.oldest_due_seconds
    assert oldest is not None
    assert 0 < oldest < LEASE, "and not since the opening, five hours ago"


def test_how_it_goes_says_that_it_is_quiet(shop: Shop, clock: DatabaseClock) -> None:
    clock.set(SUNDAY)
    shop.waiting(2)
    shop.owner()
    shop.change("UPDATE sweep SET swept_at = stockbell_now(0)")
    assert look(shop).sentence.words == "Quiet hours until 2026-01-05 07:00 UTC: 2 are due, and told then."


def examples() -> Iterator[tuple[str, str, str]]:
    """Yields the lines of the time line in the documentation: when in UTC, what happens, and who is told."""
    page = Path("docs/policies.md").read_text()
    yield from re.findall(r"^\| \w+ [\d:]+ \| ([\d: -]+) \| (.*)\| (\w.*) \|$", page, re.MULTILINE)


def test_the_example_in_the_documentation_is_true(shop: Shop, clock: DatabaseClock) -> None:
    assert str(WINDOW) in Path("docs/policies.md").read_text()
    policies, bell, told = Policies(window=WINDOW), NotedBell(), 0
    for at, what, whom in examples():
        clock.set(at)
        if found := re.fullmatch(r"(\w+) waits for `(.*)`, which comes back ", what):
            shop.sign_up(ref(found[2]), f"{found[1]}@example.com")
            take_events(shop.database, [shop.event(ref(found[2]))], policies)
        Sweeper(shop.database, bell, lease=LEASE, interval=5.0, policies=policies).ring()
        lists = {list_id for rung in bell.rings for list_id in rung}
        bell.rings.clear()
        claimed: list[Claim] = []
        if lists:
            owner = shop.owner()
            claimed += shop.write(claims.claim, owner, LEASE, list(lists), 10, policies, first=True).claims
            shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE status = 'PROCESSING'")
        assert (", ".join(claim.email.split("@")[0] for claim in claimed) or "nobody") == whom, at
        told += len(claimed)
    assert told == 3


def test_a_shop_without_a_window_has_none(shop_url: str) -> None:
    with closing(Database(shop_url)) as database:
        assert look(Shop(shop_url, database)).status.as_json()["sendWindow"] is None


def test_who_waits_for_stock_to_settle_or_for_the_next_wave_is_told_until_when(
    shop: Shop, clock: DatabaseClock
) -> None:
    clock.set(MONDAY_0800)
    (request,) = shop.waiting(1)
    for column, reason in (("opens_at", "wave"), ("settles_at", "settling")):
        shop.change(f"UPDATE waiting_list SET {column} = stockbell_now(600)")
        found = shown(shop, request)
        at = getattr(shop.list_row(), column)
        assert (found["waiting"], found["waitingUntil"]) == (reason, timestamp(at))
