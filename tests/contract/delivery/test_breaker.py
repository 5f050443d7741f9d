"""The breaker: when it opens, who asks the relay again, and what the answer means."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.contract.lines import NotedBell, line_of, serve_until_done
from tests.contract.shop import Shop
from tests.polling import eventually
from tests.relay import Do, ScriptedRelay
from worker.delivery import deliver as delivery
from worker.delivery.breaker import HOLD_SECONDS, trip
from worker.delivery.deliver import deliver, probe
from worker.domain.outcomes import RelayDown, Scope
from worker.domain.replies import Stage
from worker.models import Status
from worker.store import breaker


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


def probe_now(shop: Shop, server: ScriptedRelay) -> None:
    async def run() -> None:
        async with line_of(shop, server) as line:
            assert not await probe(line)

    shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
    asyncio.run(run())


def test_the_relay_is_asked_within_the_connections_that_it_may_be_used_with(shop: Shop, server: ScriptedRelay) -> None:
    async def run() -> None:
        async with line_of(shop, server, connections=3) as line:
            shop.waiting(9)
            await serve_until_done(line, shop)
            shop.waiting(1)
            server.script("mail", "451 4.3.0 not now")
            await deliver(line, [shop.list_id()])

    asyncio.run(run())
    assert len([said for said in server.commands if said == "RSET"]) == 1, "it was asked"
    assert server.most_connections == 3


def test_another_reason_to_stay_down_is_said_once(shop: Shop, server: ScriptedRelay) -> None:
    shop.write(breaker.trip, "421 busy", "relay")
    said = []
    for greeting in ("421 busy", "554 5.7.1 go away", "554 5.7.1 go away"):
        server.script("greeting", greeting)
        with capture_logs() as logs:
            probe_now(shop, server)
        said += [(entry["event"], entry["log_level"], entry["reason"]) for entry in logs]
    assert said == [("breaker.still_open", "error", "554 5.7.1 go away")]
    assert shop.breaker().reason == "554 5.7.1 go away"


def test_a_stop_amid_the_question_opens_nothing(shop: Shop, server: ScriptedRelay) -> None:
    """One recipient upset the relay. The relay is well, but the stop comes before it can say so."""
    shop.waiting(1)
    server.script("rcpt", Do.DROP)
    server.script("ehlo", Do.USUAL, Do.HOLD)

    async def run() -> None:
        async with line_of(shop, server, connections=1) as line:
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: server.holding == 1)
            line.stopping.set()
            await work

    asyncio.run(run())
    assert shop.breaker().state == "closed"


def test_what_was_broken_off_by_a_stop_opens_nothing(shop: Shop, server: ScriptedRelay) -> None:
    async def run() -> None:
        async with line_of(shop, server) as line:
            line.stopping.set()
            assert not await trip(line, RelayDown(Scope.RELAY, Stage.RCPT, "it closed the connection"), 3)

    asyncio.run(run())
    assert shop.breaker().state == "closed"


def test_a_stop_amid_a_probe_leaves_it_to_others_at_once(shop: Shop, server: ScriptedRelay) -> None:
    shop.write(breaker.trip, "421 busy", "relay")
    shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
    server.script("ehlo", Do.HOLD)

    async def run() -> None:
        async with line_of(shop, server) as line:
            work = asyncio.create_task(probe(line))
            await asyncio.to_thread(eventually, lambda: server.holding == 1)
            assert not shop.write(breaker.probe_is_due)
            line.stopping.set()
            assert not await work

    asyncio.run(run())
    assert shop.write(breaker.probe_is_due)
    assert shop.breaker().reason == "421 busy"


# A host that alone lost the relay


def refuses_connections(server: ScriptedRelay) -> None:
    server.decide = lambda stage, _recipient: Do.DROP if stage == "greeting" else None


def test_a_process_that_could_not_connect_leaves_the_probe_to_others(shop: Shop, server: ScriptedRelay) -> None:
    bell = NotedBell()

    async def run() -> None:
        async with line_of(shop, server, bell=bell) as cut_off, line_of(shop, server) as other:
            refuses_connections(server)
            await deliver(cut_off, [shop.list_id()])
            assert not bell.probes, "no probe is due"
            shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
            work = asyncio.create_task(probe(cut_off))
            await asyncio.to_thread(eventually, lambda: bell.probes > 0)
            server.decide = None
            assert await probe(other)
            assert not await work
            await serve_until_done(cut_off, shop)
            assert not cut_off.evidence.is_cut_off

    shop.waiting(2)
    asyncio.run(run())


def test_a_process_that_could_not_connect_probes_if_nobody_else_does(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "YIELD_SECONDS", 0.01)
    bell = NotedBell()
    bell.away = True

    async def run() -> None:
        async with line_of(shop, server, bell=bell) as line:
            refuses_connections(server)
            await deliver(line, [shop.list_id()])
            assert shop.breaker().is_open
            server.decide = None
            shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
            assert await probe(line)

    shop.waiting(1)
    asyncio.run(run())
    assert not shop.breaker().is_open


def test_a_process_that_could_not_connect_claims_nobody_until_it_can(shop: Shop, server: ScriptedRelay) -> None:
    async def run() -> None:
        async with line_of(shop, server, bell=NotedBell()) as line:
            refuses_connections(server)
            await deliver(line, [shop.list_id()])
            shop.write(breaker.close)
            assert not await deliver(line, [shop.list_id()])
            assert shop.breaker().is_open
            shop.write(breaker.close)
            server.decide = lambda stage, _recipient: Do.HOLD if stage == "greeting" else None
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: server.holding == 1)
            assert {row.status for row in shop.rows()} == {Status.RECEIVED}
            server.decide = None
            server.release()
            await work

    shop.waiting(2)
    asyncio.run(run())
    assert {row.status for row in shop.rows()} == {Status.NOTIFICATION_SENT}
    assert {row.claim_no for row in shop.rows()} == {2}


# The database's clock was an hour ahead and was set back


def test_a_breaker_opened_by_a_clock_that_was_ahead_is_probed(shop: Shop) -> None:
    shop.write(breaker.trip, "421 busy", "relay")
    assert not shop.write(breaker.probe_is_due)
    shop.change("UPDATE relay SET probe_at = stockbell_now(3600)")
    assert shop.write(breaker.probe_is_due)
    assert shop.write(breaker.take_probe, HOLD_SECONDS) == "relay"
    assert not shop.write(breaker.probe_is_due)
    assert HOLD_SECONDS < breaker.MOST_AHEAD


def test_a_relay_that_took_mail_by_a_clock_that_was_ahead_can_be_down(shop: Shop) -> None:
    shop.write(breaker.note_sign_of_life)
    assert not shop.write(breaker.trip, "421 busy", "relay")
    shop.change("UPDATE relay SET worked_at = stockbell_now(3600)")
    assert shop.write(breaker.trip, "421 busy", "relay")
