"""Replies of a slow relay, long after the end of the slice that sent the mails. On SQLite and PostgreSQL."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from tests.contract.lines import FlakyDatabase, line_of, serve
from tests.contract.shop import Shop
from tests.polling import eventually
from tests.relay import Do, Later, ScriptedRelay
from worker.delivery import in_flight as in_flight
from worker.delivery import slice as slice_module
from worker.delivery.deliver import deliver
from worker.models import Status
from worker.smtp.rules import Timeouts
from worker.store import claims, recording
from worker.store.sweep import CLAIM_SECONDS

SOON = 0.8
"""A delay in seconds that is longer than a slice takes in these tests."""


@pytest.fixture(autouse=True)
def no_stragglers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that do not wait for replies once they are over."""
    monkeypatch.setattr(slice_module, "REPLY_SECONDS", 0.0)


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=True) as relay:
        yield relay


def serve_until_open(shop: Shop, server: ScriptedRelay, connections: int, timeouts: Timeouts | None = None) -> None:
    """Runs slices of one worker until the breaker is open or nobody waits. Then it stops the worker."""

    async def run() -> None:
        patience = timeouts or Timeouts(connect=60, command=60, final=60)
        async with line_of(shop, server, connections=connections, timeouts=patience) as line:
            while shop.breaker().state == "closed" and shop.with_work():
                await deliver(line, [shop.list_id()])
            await line.finish()

    asyncio.run(run())


def test_refusals_in_a_row_open_the_breaker_however_late_they_come(shop: Shop, server: ScriptedRelay) -> None:
    """Otherwise every request would fail, although the refusals are about us."""
    shop.waiting(80)
    server.script("rcpt", Later(SOON, "550 5.7.1 odd"), always=True)
    serve_until_open(shop, server, connections=25)
    assert shop.breaker().state == "open"
    assert {row.status for row in shop.rows()} == {Status.RECEIVED}


def test_a_sender_refused_late_opens_the_breaker(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(5)
    server.script("mail", Later(SOON, "550 5.7.1 sender rejected"), always=True)
    serve_until_open(shop, server, connections=3)
    assert (shop.breaker().state, shop.breaker().scope) == ("open", "configuration")
    assert {row.status for row in shop.rows()} == {Status.RECEIVED}


def test_a_relay_that_never_greets_opens_the_breaker(shop: Shop, server: ScriptedRelay) -> None:
    """The mailer waits for the greeting longer than a slice takes."""
    shop.waiting(5)
    server.script("greeting", Do.SILENCE, always=True)
    serve_until_open(shop, server, connections=3, timeouts=Timeouts(connect=SOON, command=60, final=60))
    assert shop.breaker().state == "open"
    assert {row.status for row in shop.rows()} == {Status.RECEIVED}


def test_what_is_known_and_not_recorded_is_not_put_back(shop: Shop, server: ScriptedRelay) -> None:
    """A verdict comes while the database is away. When it is back, the claims of a failed slice are put back first."""
    (slow,) = shop.waiting(1)
    server.script("dot", Do.HOLD)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=1) as line:
            await deliver(line, [shop.list_id()])
            assert shop.status(slow) == Status.PROCESSING
            database.fails(claims.claim)
            database.fails(recording.record, times=1000)
            server.release()
            await asyncio.to_thread(eventually, lambda: line.recorder.uncommitted == 1)
            await deliver(line, [shop.list_id()])
            assert shop.status(slow) == Status.PROCESSING
            await asyncio.to_thread(serve, shop, server)
            database.recovers(recording.record)
            await line.recorder.flushed()

    with closing(FlakyDatabase(shop.url)) as database, capture_logs() as logs:
        asyncio.run(run(database))
    assert [entry["event"] for entry in logs] == ["outcomes.waiting", "slice.failed", "outcomes.caught_up"]
    assert shop.status(slow) == Status.NOTIFICATION_SENT
    assert len(server.accepted) == 1


def test_a_mail_that_waited_too_long_behind_another_is_not_written(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its claim would be taken away while the relay may still accept the mail."""
    monkeypatch.setattr(in_flight, "OLDEST_SECONDS", 0.5)
    monkeypatch.setattr(in_flight, "RECHECK_SECONDS", 0.01)
    first, second = shop.waiting(2)
    server.script("dot", Do.HOLD)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=2) as line:
            await deliver(line, [shop.list_id()])
            assert {shop.status(first), shop.status(second)} == {Status.PROCESSING}
            await asyncio.to_thread(_wait_until, time.monotonic() + 0.6)
            server.release()
            await asyncio.to_thread(eventually, lambda: shop.status(second) == Status.RECEIVED)
            await line.recorder.flushed()

    asyncio.run(run())
    assert shop.status(first) == Status.NOTIFICATION_SENT
    assert (shop.row(second).attempts, len(server.accepted)) == (0, 1)


def test_a_verdict_is_in_before_the_claim_is_taken_away() -> None:
    spare = 30
    assert in_flight.OLDEST_SECONDS + Timeouts().final + spare < CLAIM_SECONDS


def test_a_claim_that_was_made_unheard_is_put_back_at_a_stop(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(3)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database) as line:
            loop = asyncio.get_running_loop()
            database.follows(claims.claim, lambda: loop.call_soon_threadsafe(line.stopping.set))
            database.fails(claims.claim, when="after")
            await deliver(line, [shop.list_id()])

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert {row.status for row in shop.rows()} == {Status.RECEIVED}


def _wait_until(moment: float) -> None:
    eventually(lambda: time.monotonic() > moment)
