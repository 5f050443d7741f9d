"""Quiet hours: while the send window is closed nobody is told, and nothing is lost. On SQLite and PostgreSQL."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from tests.contract.database_clock import DatabaseClock, clock_of
from tests.contract.lines import FlakyDatabase, NotedBell, line_of, serve
from tests.contract.shop import CUP, LEASE, MUG, Shop
from tests.polling import eventually
from tests.relay import Do, ScriptedRelay
from worker.delivery import in_flight
from worker.delivery import slice as slice_module
from worker.delivery import slice_clock as clock_module
from worker.delivery.deliver import deliver, probe
from worker.domain.policies import Policies
from worker.domain.send_window import SendWindow, parse_send_window
from worker.models import Status
from worker.services.intake import take_events
from worker.services.ringing import try_to_ring
from worker.services.sweeping import Sweeper
from worker.store import admin, breaker, claims, lists

RECEIVED, SENT = Status.RECEIVED, Status.NOTIFICATION_SENT
VIENNA = Policies(window=parse_send_window("mon-fri 08:00-20:00 Europe/Vienna"))
MONDAY_0759, MONDAY_0800 = "2026-01-05T06:59:50", "2026-01-05T07:00:00"
BOUND = 60.0
"""Seconds. Only what is broken takes so long."""


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


@pytest.fixture
def clock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseClock]:
    with clock_of(shop, monkeypatch) as found:
        yield found


def counts(shop: Shop) -> Counter[Status]:
    return Counter(row.status for row in shop.rows())


def claimed(shop: Shop, policies: Policies, *, first: bool = True) -> int:
    """Returns how many a new owner gets."""
    found = shop.write(claims.claim, shop.owner(), LEASE, [shop.list_id()], 100, policies, first=first)
    return len(found.claims)


def sweeper(shop: Shop, bell: NotedBell) -> Sweeper:
    return Sweeper(shop.database, bell, lease=LEASE, interval=5.0, policies=VIENNA)


def test_in_quiet_hours_nobody_is_claimed_and_the_list_stays_woken(shop: Shop, clock: DatabaseClock) -> None:
    clock.set(MONDAY_0759)
    shop.waiting(3)
    shop.write(lists.ring, [shop.list_id()])
    woken_at = shop.list_row().woken_at
    assert claimed(shop, VIENNA) == 0
    assert {row.claim_no for row in shop.rows()} == {0}
    row = shop.list_row()
    assert (row.woken_at, row.bell_at) == (woken_at, None), "only the bell is taken"
    assert claimed(shop, VIENNA, first=False) == 0
    clock.set(MONDAY_0800)
    assert claimed(shop, VIENNA) == 3


def test_whom_an_admin_ordered_to_tell_is_held_too(shop: Shop, clock: DatabaseClock) -> None:
    clock.set(MONDAY_0759)
    ordered = shop.sign_up()
    shop.write(admin.report, [ordered])
    assert claimed(shop, VIENNA) == 0
    clock.set(MONDAY_0800)
    assert claimed(shop, VIENNA) == 1


def test_a_claim_says_when_the_window_closes(shop: Shop, clock: DatabaseClock) -> None:
    shop.waiting(2)
    clock.set("2026-01-05T18:00:00")
    found = shop.write(claims.claim, shop.owner(), LEASE, [shop.list_id()], 1, VIENNA, first=True)
    assert found.closes_in is not None
    assert 3600 - LEASE < found.closes_in <= 3600
    these = shop.write(claims.claim_these, shop.owner(), LEASE, [shop.rows()[1].id], VIENNA)
    assert these.closes_in is not None
    assert 3600 - LEASE < these.closes_in <= 3600
    always = Policies(window=parse_send_window("daily 00:00-24:00 UTC"))
    assert shop.write(claims.claim, shop.owner(), LEASE, [shop.list_id()], 1, always, first=True).closes_in is None


def test_the_time_until_somebody_is_told_counts_from_the_opening(shop: Shop, clock: DatabaseClock) -> None:
    clock.set("2026-01-04T12:00:00")
    shop.waiting(1)
    clock.set("2026-01-05T07:10:00")
    shop.sign_up_many(1)
    shop.change("UPDATE request SET ordered_at = stockbell_now(-60) WHERE id = :id", id=shop.rows()[1].id)
    before = time.monotonic()
    found = shop.write(claims.claim, shop.owner(), LEASE, [shop.list_id()], 10, VIENNA, first=True).claims
    seconds = [before - each.since for each in found if each.since is not None]
    assert seconds == [pytest.approx(600, abs=LEASE), pytest.approx(60, abs=LEASE / 2)]


@pytest.mark.parametrize(
    ("window", "moments"),
    [
        # 02:00 becomes 03:00
        ("sun 02:30-04:00 Europe/Vienna", {"2026-03-29T00:59:00": False, "2026-03-29T01:00:00": True}),
        ("sun 02:00-03:00 Europe/Vienna", {"2026-03-29T00:59:00": False, "2026-03-29T01:00:00": False}),
        # 03:00 becomes 02:00
        (
            "sun 02:00-02:30 Europe/Vienna",
            {
                "2026-10-25T00:10:00": True,
                "2026-10-25T00:40:00": False,
                "2026-10-25T01:10:00": True,
                "2026-10-25T01:40:00": False,
            },
        ),
    ],
)
def test_in_the_nights_when_the_clock_changes_it_goes_by_the_clock_on_the_wall(
    shop: Shop, clock: DatabaseClock, window: str, moments: dict[str, bool]
) -> None:
    policies = Policies(window=parse_send_window(window))
    clock.set("2026-03-01T00:00:00")
    shop.waiting(1)
    for moment, is_open in moments.items():
        clock.set(moment)
        owner = shop.owner()
        found = shop.write(claims.claim, owner, LEASE, [shop.list_id()], 1, policies, first=True)
        assert bool(found.claims) is is_open, moment
        shop.write(claims.release_all, owner)


# Bells


def test_an_event_in_quiet_hours_wakes_and_rings_nothing_until_the_sweep_after_they_end(
    shop: Shop, clock: DatabaseClock
) -> None:
    clock.set(MONDAY_0759)
    shop.sign_up()
    event = shop.event()
    taken = take_events(shop.database, [event], VIENNA)
    assert taken.rung == []
    assert taken.woken == {event.entry_id: 1}, "the event has woken the list all the same"
    row = shop.list_row()
    assert row.woken_at is not None
    assert row.bell_at is None
    bell = NotedBell()
    sweeper(shop, bell).sweep()
    assert bell.rings == []
    clock.set(MONDAY_0800)
    sweeper(shop, bell).sweep()
    assert bell.rings == [[shop.list_id()]]


def test_an_event_while_the_window_is_open_rings_at_once(shop: Shop, clock: DatabaseClock) -> None:
    clock.set(MONDAY_0800)
    shop.sign_up()
    assert take_events(shop.database, [shop.event()], VIENNA).rung == [shop.list_id()]


def test_a_relay_that_is_back_in_quiet_hours_rings_nothing(shop: Shop, clock: DatabaseClock) -> None:
    clock.set(MONDAY_0759)
    shop.waiting(1)
    bell = NotedBell()
    assert try_to_ring(shop.database, bell, policies=VIENNA) == 0
    clock.set(MONDAY_0800)
    assert try_to_ring(shop.database, bell, policies=VIENNA) == 1


# The line


def test_a_worker_that_is_started_anew_in_quiet_hours_sends_nothing_until_they_end(
    shop: Shop, server: ScriptedRelay, clock: DatabaseClock
) -> None:
    clock.set(MONDAY_0759)
    shop.waiting(3)
    for _ in range(2):
        bell = serve(shop, server, policies=VIENNA)
        assert bell.rings == []
    assert (server.accepted, counts(shop)) == ([], {RECEIVED: 3})
    clock.set(MONDAY_0800)
    serve(shop, server, policies=VIENNA)
    assert counts(shop)[SENT] > 0


def test_a_relay_that_refused_is_not_tried_with_mails_in_quiet_hours(
    shop: Shop, server: ScriptedRelay, clock: DatabaseClock
) -> None:
    clock.set(MONDAY_0759)
    shop.waiting(3)

    async def run() -> bool:
        shop.write(breaker.trip, "550 no", "refusals", at_once=True)
        shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
        async with line_of(shop, server, policies=VIENNA) as line:
            return await probe(line)

    assert asyncio.run(run()) is False
    assert shop.write(claims.claim_these, shop.owner(), LEASE, [shop.rows()[0].id], VIENNA).claims == ()
    assert shop.write(claims.candidates, VIENNA) == []
    assert server.accepted == []
    clock.set(MONDAY_0800)
    assert asyncio.run(run()) is True
    assert len(server.accepted) == 1


@dataclass(frozen=True)
class Soon(SendWindow):
    """A window that closes so many seconds after each claim."""

    seconds: float = 0.3
    closings: list[float] = field(default_factory=list, compare=False)
    """by the monotonic clock"""

    def is_open(self, now: datetime) -> bool:
        return True

    def opened_at(self, now: datetime) -> datetime | None:
        return None

    def closes_at(self, now: datetime) -> datetime:
        self.closings.append(time.monotonic() + self.seconds)
        return now + timedelta(seconds=self.seconds)


@pytest.fixture
def long_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice would take much longer than these tests."""
    monkeypatch.setattr(clock_module, "SLICE_SECONDS", 10 * BOUND)
    monkeypatch.setattr(slice_module, "REPLY_SECONDS", 0.05)


@pytest.mark.usefixtures("long_slices")
def test_a_running_slice_ends_at_the_closing_and_releases_what_is_unsent(shop: Shop, server: ScriptedRelay) -> None:
    slow, *others = shop.waiting(10)
    server.script("dot", Do.HOLD, recipient=shop.row(slow).email)
    bell = NotedBell()

    async def run() -> None:
        policies = Policies(window=Soon((), "UTC"))
        async with line_of(shop, server, bell=bell, connections=1, claim_size=50, policies=policies) as line:
            await asyncio.wait_for(deliver(line, [shop.list_id()]), BOUND)
            assert counts(shop) == {RECEIVED: 9, Status.PROCESSING: 1}
            server.release()
            await asyncio.to_thread(eventually, lambda: shop.status(slow) == SENT)

    asyncio.run(run())
    assert len(server.accepted) == 1, "the mail in flight is finished"
    assert {(row.attempts, row.not_before, row.failure_code) for row in map(shop.row, others)} == {(0, None, None)}
    assert bell.rings == [], "nobody could answer it"


@pytest.mark.usefixtures("long_slices")
def test_a_mail_whose_content_was_not_written_by_the_closing_waits(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(in_flight, "RECHECK_SECONDS", 0.01)
    (request,) = shop.waiting(1)
    server.script("data", Do.HOLD)
    window = Soon((), "UTC")

    async def run() -> None:
        with closing(FlakyDatabase(shop.url)) as database:
            looks: list[int] = []
            policies = Policies(window=window)
            async with line_of(shop, server, database=database, connections=1, policies=policies) as line:
                work = asyncio.create_task(deliver(line, [shop.list_id()]))
                await asyncio.to_thread(eventually, lambda: server.holding == 1)
                await asyncio.to_thread(eventually, lambda: time.monotonic() > window.closings[-1])
                database.follows(claims.still_wanted, lambda: looks.append(1))
                await asyncio.to_thread(eventually, lambda: looks)
                server.release()
                await asyncio.wait_for(work, BOUND)
                await asyncio.to_thread(eventually, lambda: shop.status(request) == RECEIVED)

    asyncio.run(run())
    assert server.accepted == []
    assert shop.row(request).attempts == 0


def test_lists_of_a_bell_are_held_alike(shop: Shop, server: ScriptedRelay, clock: DatabaseClock) -> None:
    clock.set(MONDAY_0759)
    shop.waiting(1, MUG)
    shop.waiting(1, CUP)
    serve(shop, server, MUG, CUP, policies=VIENNA)
    assert counts(shop) == {RECEIVED: 2}
