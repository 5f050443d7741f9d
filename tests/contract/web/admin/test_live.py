"""The live part of Overview: what it costs, and when it ends. On SQLite and PostgreSQL."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.types import Message

from tests.contract.shop import Shop
from tests.contract.web.site import context_of
from worker.domain.admins import Role, Visitor, digest
from worker.domain.errors import DatabaseAway
from worker.store import admins
from worker.store.sql import Sql
from worker.web.admin import live as live_module
from worker.web.admin.live import Live, Look, Stream, Viewer
from worker.web.context import Context
from worker.web.protocol import HANG_UP

ADA = Visitor("ada", Role.ADMIN)
VIC = Visitor("vic", Role.VIEWER)


@pytest.fixture
def context(shop: Shop) -> Iterator[Context]:
    with context_of(shop) as opened:
        yield opened


class Rendered:
    """Counts what is rendered."""

    def __init__(self) -> None:
        self.looks: list[Look] = []

    def __call__(self, look: Look, is_admin: bool, with_charts: bool) -> str:
        self.looks.append(look)
        return f"{'admin' if is_admin else 'viewer'} {look.away or (look.overview and look.overview.waiting)}"


def run(context: Context, work: Callable[[Live, Rendered], Coroutine[Any, Any, Any]]) -> Any:
    """Runs `work`, and ends the poller as the end of the process does."""

    async def main() -> Any:
        context.stopping = asyncio.Event()
        rendered = Rendered()
        live = Live(context, rendered)
        try:
            return await work(live, rendered)
        finally:
            context.stopping.set()
            if live.poller:
                await live.poller

    return asyncio.run(main())


async def news(viewers: list[Viewer]) -> None:
    for viewer in viewers:
        await viewer.news.wait()
        viewer.news.clear()


def test_fifty_viewers_cost_the_database_what_one_does(
    shop: Shop, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.waiting(3)
    statements = 0
    run_plainly = Sql.__call__

    def counted(statement: Sql, c: Any, **params: object) -> Any:
        nonlocal statements
        statements += 1
        return run_plainly(statement, c, **params)

    monkeypatch.setattr(Sql, "__call__", counted)

    async def cost_of(number: int, live: Live, rendered: Rendered) -> tuple[int, int]:
        nonlocal statements
        with ExitStack() as stack:
            viewers = [stack.enter_context(live.watched_by(ADA)) for _ in range(number)]
            await news(viewers)
            for kept in (live._charts, live._books):  # the first look waits for neither to its end
                if reading := kept.ask():
                    await reading
            for viewer in viewers:  # the charts are new to them
                live.text(viewer)
            statements, rendered.looks[:] = 0, []
            await news(viewers)
            texts = {live.text(viewer) for viewer in viewers}
            assert texts == {b"data: admin 3\n\n"}
            return statements, len(rendered.looks)

    one = run(context, lambda live, rendered: cost_of(1, live, rendered))
    many = run(context, lambda live, rendered: cost_of(50, live, rendered))
    assert one == many
    assert 10 < one[0] < 60
    assert one[1] == 1


def test_nobody_looks_at_the_database_while_nobody_watches(context: Context) -> None:
    async def watch(live: Live, _rendered: Rendered) -> None:
        with live.watched_by(ADA) as viewer:
            await news([viewer])
            poller = live.poller
            assert poller
        await poller

    run(context, watch)


def test_each_role_gets_its_own_page(context: Context) -> None:
    async def watch(live: Live, _rendered: Rendered) -> list[bytes]:
        with live.watched_by(ADA) as ada, live.watched_by(VIC) as vic:
            await news([ada, vic])
            return [live.text(ada), live.text(vic)]

    assert run(context, watch) == [b"data: admin 0\n\n", b"data: viewer 0\n\n"]


def test_a_database_that_is_away_is_said_and_waited_for(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch(live: Live, _rendered: Rendered) -> list[bytes]:
        with live.watched_by(ADA) as viewer, pytest.MonkeyPatch.context() as patch:

            async def away(*_: object, **__: object) -> None:
                raise DatabaseAway("no such host")

            patch.setattr(context, "read", away)
            await news([viewer])
            told = [live.text(viewer)]
            patch.undo()
            await news([viewer])
            return [*told, live.text(viewer)]

    assert run(context, watch) == [b"data: admin no such host\n\n", b"data: admin 0\n\n"]


def test_a_stream_ends_when_its_session_does(shop: Shop, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "SESSION_SECONDS", 0.0)
    secrets = [shop.write(admins.open_session, name, Role.ADMIN) for name in ("ada", "ben")]
    visitors = [Visitor("ada", Role.ADMIN, digest(secret)) for secret in secrets]

    async def watch(live: Live, _rendered: Rendered) -> list[bytes]:
        with live.watched_by(visitors[0]) as ada, live.watched_by(visitors[1]) as ben:
            await news([ada, ben])
            shop.write(admins.close_session, digest(secrets[0]))
            await news([ada, ben])
            assert not ben.has_ended
            return [text async for text in live.events(ada, lambda: False)]

    assert run(context, watch)[-1] == b"event: ended\ndata: \n\n"


class Client:
    """A client that takes so many messages, and then nothing more."""

    def __init__(self, takes: int) -> None:
        self.got: list[Message] = []
        self.is_hung_up = False
        self.has_enough = asyncio.Event()
        self._takes = takes
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if len(self.got) >= self._takes:
            await asyncio.Event().wait()
        self.got.append(message)
        if len(self.got) >= 3:
            self.has_enough.set()

    def hang_up(self) -> None:
        self.is_hung_up = True

    def leave(self) -> None:
        self._gone.set()


def test_a_viewer_that_takes_nothing_is_hung_up_on(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "SLOW_SECONDS", 0.01)

    async def watch(live: Live, _rendered: Rendered) -> Client:
        client = Client(takes=2)
        await Stream(live, ADA)({"type": "http", HANG_UP: client.hang_up}, client.receive, client.send)
        assert live.viewers == 0
        return client

    client = run(context, watch)
    assert client.is_hung_up
    assert dict(client.got[0]["headers"])[b"x-accel-buffering"] == b"no"


def test_a_viewer_that_leaves_is_forgotten(context: Context) -> None:
    async def watch(live: Live, _rendered: Rendered) -> Client:
        client = Client(takes=1000)
        stream = asyncio.create_task(Stream(live, ADA)({"type": "http"}, client.receive, client.send))
        await client.has_enough.wait()
        client.leave()
        await stream
        assert live.viewers == 0
        return client

    client = run(context, watch)
    assert client.got[1]["body"] == b"retry: 2000\n\n"
    assert client.got[2]["body"].startswith(b"data: admin 0")
    assert not client.is_hung_up
