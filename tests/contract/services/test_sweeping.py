"""The sweep as a whole: rescue, the end of back-off, and bells rung through one door. On SQLite and PostgreSQL."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.contract.lines import FlakyDatabase, NotedBell, line_of, serve
from tests.contract.shop import CUP, LEASE, MUG, Shop, may_rescue, ref, shop_at
from tests.relay import ScriptedRelay
from worker.delivery.deliver import deliver
from worker.domain.errors import DatabaseAway
from worker.models import Owner, Status, StockEvent
from worker.services.intake import take_events
from worker.services.ringing import ring_waiting, try_to_ring
from worker.services.sweeping import FORGET_LEASES, Sweeper
from worker.store import breaker, history, lists, owners, pauses, recording, sweep


def sweeper(shop: Shop, bell: NotedBell) -> Sweeper:
    return Sweeper(shop.database, bell, lease=LEASE, interval=5.0)


@pytest.fixture
def bell() -> NotedBell:
    return NotedBell()


# Bells


def test_a_sweep_rings_for_those_who_may_be_told(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(3, MUG)
    shop.waiting(1, CUP)
    shop.sign_up(ref("nobody-has-it"))
    sweeper(shop, bell).sweep()
    (rung,) = bell.rings
    assert set(rung) == {shop.list_id(MUG), shop.list_id(CUP)}
    assert shop.list_row(MUG).bell_at is not None


def test_a_bell_that_waits_in_the_queue_is_not_rung_twice(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    sweeping = sweeper(shop, bell)
    sweeping.sweep()
    bell.waiting = 1
    for _ in range(3):
        sweeping.sweep()
    assert len(bell.rings) == 1


def test_a_bell_that_nobody_answers_for_long_is_rung_again(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    bell.waiting = 1
    sweeping = sweeper(shop, bell)
    sweeping.sweep()
    shop.change("UPDATE waiting_list SET bell_at = stockbell_now(-31)")
    sweeping.sweep()
    assert len(bell.rings) == 2


def test_where_the_queue_is_empty_bells_are_rung_again_at_once(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    sweeping = sweeper(shop, bell)
    sweeping.sweep()
    sweeping.sweep()
    assert bell.rings == [[shop.list_id()]] * 2


@pytest.mark.parametrize("stop", ["nobody waits", "paused", "sold out", "relay down"])
def test_where_nobody_may_be_told_nothing_rings(shop: Shop, bell: NotedBell, stop: str) -> None:
    if stop != "nobody waits":
        shop.waiting(1)
    if stop == "paused":
        shop.write(pauses.pause, MUG)
    if stop == "sold out":
        shop.tell(in_stock=False)
    if stop == "relay down":
        shop.write(breaker.trip, "421 busy", "relay")
    sweeper(shop, bell).sweep()
    assert bell.rings == []


def test_many_schedulers_that_sweep_at_once_ring_each_list_once(shop_url: str, bell: NotedBell) -> None:
    bell.waiting = 1
    together = threading.Barrier(4)

    def sweep_once(_number: int) -> None:
        with shop_at(shop_url) as scheduler:
            together.wait(60)
            sweeper(scheduler, bell).sweep()

    with shop_at(shop_url) as shop:
        for number in range(10):
            shop.waiting(2, ref(f"mug-{number}"))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(sweep_once, range(4)))
        rung = [list_id for each in bell.rings for list_id in each]
        assert sorted(rung) == sorted(shop.with_work())


def test_schedulers_beside_workers_change_nothing_for_anybody(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(30)

    async def run(server: ScriptedRelay) -> None:
        async with line_of(shop, server) as line:
            for _ in range(30):
                await asyncio.to_thread(sweeper(shop, bell).sweep)
                await asyncio.to_thread(sweeper(shop, bell).sweep)
                await deliver(line, [shop.list_id()])

    with ScriptedRelay() as server:
        asyncio.run(run(server))
        assert len(server.accepted) == 30
    assert {row.status for row in shop.rows()} == {Status.NOTIFICATION_SENT}
    assert {row.rescues for row in shop.rows()} == {0}


def test_rings_for_named_lists_ask_whether_somebody_waits_there(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1, MUG)
    shop.waiting(1, CUP)
    named = [shop.list_id(CUP), shop.list_id(ref("other"))]
    assert ring_waiting(shop.database, bell, named) == 1
    assert bell.rings == [[shop.list_id(CUP)]]


def test_who_need_not_know_is_not_told_that_redis_is_away(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    bell.away = True
    with capture_logs() as logs:
        assert try_to_ring(shop.database, bell) == 0
    assert [entry["event"] for entry in logs] == ["bells.lost"]


# The breaker


def test_a_probe_is_asked_for_when_it_is_due(shop: Shop, bell: NotedBell) -> None:
    sweeping = sweeper(shop, bell)
    sweeping.sweep()
    shop.write(breaker.trip, "421 busy", "relay")
    shop.change("UPDATE relay SET probe_at = stockbell_now(60)")
    sweeping.sweep()
    assert bell.probes == 0
    shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
    sweeping.sweep()
    assert bell.probes == 1
    shop.write(breaker.take_probe, 90.0)
    sweeping.sweep()
    assert bell.probes == 1


# Rescue and back-off


def test_what_a_dead_worker_held_is_rescued_and_rung_for(shop: Shop, bell: NotedBell) -> None:
    owner, held = shop.claimed(3)
    shop.die(owner)
    sweeping = sweeper(shop, bell)
    sweeping.sweep()
    assert {row.status for row in shop.rows()} == {Status.PROCESSING}  # the sweep does not trust heartbeats yet
    assert bell.rings == []
    shop.write(may_rescue)
    with capture_logs() as logs:
        sweeping.sweep()
    assert {row.status for row in shop.rows()} == {Status.RECEIVED}
    assert bell.rings == [[shop.list_id()]]
    assert {"event": "claims.rescued", "requests": len(held), "failed": 0, "log_level": "warning"} in logs
    with ScriptedRelay() as server:
        serve(shop, server, claim_size=10)
        assert len(server.accepted) == 3


def test_what_was_rescued_too_often_fails_and_is_said_one_by_one(shop: Shop, bell: NotedBell) -> None:
    owner, (claim,) = shop.claimed(1)
    shop.change("UPDATE request SET rescues = 5")
    shop.die(owner)
    shop.write(may_rescue)
    with capture_logs() as logs:
        sweeper(shop, bell).sweep()
    assert shop.status(claim.id) == Status.FAILED
    (failed,) = [entry for entry in logs if entry["event"] == "mail.failed"]
    assert (failed["request_id"], failed["code"]) == (str(claim.id), "OUTCOME_UNKNOWN")
    assert bell.rings == []


@pytest.mark.parametrize("swept", [29, 31])
def test_after_an_outage_nobody_is_rescued_for_a_lease(shop: Shop, bell: NotedBell, swept: int) -> None:
    owner, _ = shop.claimed(1)
    shop.die(owner)
    shop.write(may_rescue)
    shop.change("UPDATE sweep SET swept_at = stockbell_now(-:swept)", swept=swept)
    sweeper(shop, bell).sweep()
    assert {row.status for row in shop.rows()} == {Status.RECEIVED if swept < 30 else Status.PROCESSING}


def test_who_is_due_again_is_put_in_line_and_rung_for(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    shop.change("UPDATE request SET not_before = stockbell_now(-1)")
    sweeper(shop, bell).sweep()
    assert shop.rows()[0].not_before is None
    assert bell.rings == [[shop.list_id()]]


def test_while_redis_is_away_rescue_goes_on_and_it_is_said_once(shop: Shop, bell: NotedBell) -> None:
    owner, _ = shop.claimed(2)
    shop.die(owner)
    shop.write(may_rescue)
    bell.away = True
    sweeping = sweeper(shop, bell)
    with capture_logs() as logs:
        sweeping.sweep()
        sweeping.sweep()
    assert {row.status for row in shop.rows()} == {Status.RECEIVED}
    assert [entry["event"] for entry in logs].count("sweep.cannot_ring") == 1
    bell.away = False
    sweeping.sweep()
    assert bell.rings == [[shop.list_id()]]
    bell.away = True
    with capture_logs() as logs:
        sweeping.sweep()
    assert [entry["event"] for entry in logs].count("sweep.cannot_ring") == 1


def test_bells_lost_with_redis_are_rung_by_the_next_sweep(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    shop.write(lists.ring, [shop.list_id()])  # but Redis lost the queue
    sweeper(shop, bell).sweep()
    assert bell.rings == [[shop.list_id()]]


def test_a_bell_that_redis_refused_is_rung_again(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    sweeping = sweeper(shop, bell)
    bell.away = True
    sweeping.sweep()
    bell.away = False
    sweeping.sweep()
    assert bell.rings == [[shop.list_id()]]


def test_processes_long_gone_are_forgotten(shop: Shop, bell: NotedBell) -> None:
    gone, alive = shop.owner(), shop.owner()
    shop.change(
        "UPDATE owner SET seen_at = stockbell_now(-:ago) WHERE id = :id", ago=FORGET_LEASES * LEASE + 1, id=gone
    )
    sweeper(shop, bell).sweep()
    assert shop.count(Owner) == 1
    shop.read_one(Owner, alive)


def test_a_database_that_is_away_is_the_callers_to_mind(shop: Shop, bell: NotedBell) -> None:
    shop.waiting(1)
    with closing(FlakyDatabase(shop.url)) as database:
        sweeping = Sweeper(database, bell, lease=LEASE, interval=5.0)
        for work in (sweep.stamp, sweep.put_in_line, owners.forget):
            database.fails(work)
            with pytest.raises(DatabaseAway):
                sweeping.sweep()
        sweeping.sweep()
    assert bell.rings == [[shop.list_id()]]


def test_a_rescue_may_meet_a_worker_that_only_was_slow(shop: Shop, bell: NotedBell) -> None:
    owner, (claim,) = shop.claimed(1)
    shop.die(owner)
    shop.write(may_rescue)
    sweeper(shop, bell).sweep()
    assert shop.write(recording.record, recording.Ends(told=[claim])) == {claim.id}
    sweeper(shop, bell).sweep()
    assert shop.status(claim.id) == Status.NOTIFICATION_SENT


def test_a_sweep_shortens_the_history_of_events_and_goes_on_with_the_next_one(
    shop: Shop, bell: NotedBell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_ROWS", 10)
    shop.sign_up()
    for _ in range(history.MOST_PER_ITEM + 25):
        take_events(shop.database, [shop.event()])
    sweeping = sweeper(shop, bell)
    sweeping.put_in_line()
    ids = sorted(row.id for row in shop.ask("SELECT id FROM stock_event", id="uuid"))
    assert UUID(shop.ask("SELECT position FROM place")[0].position) < ids[-1]
    sweeping.put_in_line()
    assert shop.count(StockEvent) == history.MOST_PER_ITEM
