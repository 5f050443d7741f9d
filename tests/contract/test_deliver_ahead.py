"""The rules of a slice hold for mails that a pipelined connection is given ahead of their turn."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from tests.contract.lines import FlakyDatabase, line_of, serve
from tests.contract.shop import Shop
from tests.polling import eventually
from tests.relay import Do, ScriptedRelay
from worker import deliver as deliver_module
from worker import lease as lease_module
from worker.deliver import deliver
from worker.models import Status
from worker.store import claims

SENT, RECEIVED, PROCESSING = Status.NOTIFICATION_SENT, Status.RECEIVED, Status.PROCESSING


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=True) as relay:
        yield relay


def statuses(shop: Shop, requests: list[UUID]) -> list[Status]:
    return [shop.status(request) for request in requests]


def was_ahead(server: ScriptedRelay) -> bool:
    """Whether any mail's commands came along with the content of another."""
    return any(b"\r\n.\r\nMAIL FROM" in packet for packet in server.packets)


async def in_the_middle(line: Any, shop: Shop, server: ScriptedRelay, number: int, what: Any) -> None:
    """A slice in which something happens when the relay has taken so many mails, before it says so."""
    server.on_accept = lambda accepted: what() if accepted == number else None
    await deliver(line, [shop.list_id()])


def test_everybody_is_told_once(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(30)
    serve(shop, server, claim_size=30)
    assert statuses(shop, waiting) == [SENT] * 30
    assert len(set(server.recipients)) == len(server.recipients) == 30
    assert was_ahead(server)


def test_what_is_ahead_is_released_too_if_the_relay_takes_its_time(shop: Shop, server: ScriptedRelay) -> None:
    slow, *others = shop.waiting(4)
    server.script("dot", Do.HOLD, recipient=shop.row(slow).email)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=4) as line:
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: server.holding == 1)
            assert shop.status(others[0]) == PROCESSING
            await asyncio.to_thread(eventually, lambda: statuses(shop, others) == [RECEIVED] * 3)
            assert shop.status(slow) == PROCESSING
            server.release()
            await work

    asyncio.run(run())
    assert was_ahead(server)
    assert statuses(shop, [slow, *others]) == [SENT, *[RECEIVED] * 3]
    assert server.recipients == [shop.row(slow).email]
    assert {(shop.row(request).attempts, shop.row(request).claim_no) for request in others} == {(0, 1)}


@pytest.mark.parametrize("how", ["stopping", "lease lost", "lease run out"])
def test_what_is_ahead_is_not_sent_after_the_end(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    waiting = shop.waiting(10)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=10) as line:
            loop = asyncio.get_running_loop()

            def end() -> None:
                if how == "lease run out":
                    monkeypatch.setattr(lease_module, "boot_time", lambda: float("inf"))
                elif how == "lease lost":
                    shop.die(line.lease.owner)
                    line.lease.beat()
                else:
                    loop.call_soon_threadsafe(line.stopping.set)
                    eventually(line.stopping.is_set)

            await in_the_middle(line, shop, server, 3, end)

    asyncio.run(run())
    assert was_ahead(server)
    assert len(server.accepted) == 3
    assert statuses(shop, waiting) == [SENT] * 3 + [RECEIVED] * 7


def test_no_more_is_sent_than_the_bound_while_commits_hang(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver_module, "SLICE_SECONDS", 60.0)
    waiting = shop.waiting(90)
    connections = 3

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=connections, claim_size=100) as line:
            bound = line.most_uncommitted + connections
            commits = database.hangs(claims.record)
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: len(server.accepted) >= bound)
            server.decide = lambda stage, _: pytest.fail("a mail too many") if not commits.is_set() else None
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(server.accepted) == bound
            commits.set()
            await work

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert was_ahead(server)
    assert statuses(shop, waiting) == [SENT] * 90
    assert len(server.accepted) == 90


def test_with_on_unknown_fail_nobody_is_written_to_who_is_not_noted(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver_module, "SLICE_SECONDS", 60.0)
    waiting = shop.waiting(20)
    noted: list[tuple[bool, int]] = []

    def look(stage: str, recipient: str | None) -> None:
        if stage == "dot":
            handed = [row.email for row in shop.rows() if row.handed_at is not None]
            noted.append((recipient in handed, len(handed)))

    server.decide = look
    serve(shop, server, on_unknown="fail", connections=2, claim_size=20)
    assert statuses(shop, waiting) == [SENT] * 20
    assert all(is_noted for is_noted, _ in noted)
    assert min(count for _, count in noted) <= 2 * 2
    assert was_ahead(server)
