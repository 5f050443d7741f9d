"""The live part of Overview: Server-Sent Events. One poller a process looks once a second, while somebody watches.

Fifty viewers cost the database what one does: the poller's look is turned into HTML once, and all viewers get the same.
A viewer has no queue. It is told that there is news, and takes the newest when it has sent the last: so one that is
slow misses some, and one that takes nothing at all is hung up on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from worker.domain.admins import Visitor
from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.services.charts import Charts, read_charts
from worker.services.overview import Overview, Watcher, overview_of
from worker.services.status import Queues, read_redis
from worker.store import admins
from worker.store.books import Books, books
from worker.web.admin.kept import Kept
from worker.web.context import Context
from worker.web.protocol import HANG_UP

TICK_SECONDS: Final = 1.0
REST_SHARE: Final = 4.0
"""The poller rests this many times as long as its look took: it never takes more than a fifth of one connection."""
KEEPALIVE_SECONDS: Final = 15.0
"""So often something is sent, that proxies keep the connection."""
SLOW_SECONDS: Final = 10.0
"""A viewer that takes nothing for so long is hung up on."""
SESSION_SECONDS: Final = 30.0
"""So often it is asked whether the viewers' sessions have ended."""
REDIS_SECONDS: Final = 2.0
"""A page waits no longer for Redis."""
CHARTS_SECONDS: Final = 10.0
BOOKS_SECONDS: Final = 60.0
"""So old the charts and the books may be. The books count a whole table."""
FRESH_SECONDS: Final = 1.0
"""A page shows what the last look has found, if it is not older."""
WATCHED_SECONDS: Final = 5.0
"""The same while somebody watches: the poller looks as often as is good for the database."""
FAULT: Final = "a fault of the program, which the log tells"
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold it back
)

log = structlog.get_logger()

Render = Callable[["Look", bool, bool], str]
"""makes the live part of the page, for those who may change things or not, with the charts or without"""


@dataclass(frozen=True, slots=True)
class Look:
    """What the last look has found, or why it has found nothing."""

    overview: Overview | None = None
    away: str = ""
    """why the database could not be read"""
    at: float = 0.0
    """by this process's clock"""
    charts: Charts | None = None
    books: Books | None = None


@dataclass(slots=True, eq=False)
class Viewer:
    """Somebody who watches."""

    visitor: Visitor
    news: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: bool = False
    """the session has"""
    charts: Charts | None = None
    """those it was sent last"""


class Live:
    """The poller, and who watches. `render` makes HTML of a look."""

    def __init__(self, context: Context, render: Render) -> None:
        self._context = context
        self._render = render
        self._watcher = Watcher(context.parts.settings.lease_seconds)
        self._lock = asyncio.Lock()
        self._viewers: set[Viewer] = set()
        self.poller: asyncio.Task[None] | None = None
        """It runs while somebody watches."""
        self._redis = Kept(partial(context.run, self._read_redis), 0.0)
        self._charts = Kept(partial(context.read, read_charts), CHARTS_SECONDS)
        self._books = Kept(partial(context.read, books), BOOKS_SECONDS)
        self._look = Look()
        self._sessions_at = float("-inf")
        self._texts: dict[tuple[bool, bool], bytes] = {}

    async def current(self) -> Look:
        """Returns the newest look, for a page. Raises DatabaseAway and SchemaOutdated."""
        async with self._lock:
            fresh = WATCHED_SECONDS if self._viewers else FRESH_SECONDS
            if self._look.overview is None or time.monotonic() - self._look.at > fresh:
                await self._read(wait=REDIS_SECONDS)
            return self._look

    def forget(self) -> None:
        """Lets the next page look anew: something was changed."""
        self._look = Look()

    async def _run(self) -> None:
        """Looks as long as somebody watches, until the process ends."""
        while self._viewers and not self._context.stopping.is_set():
            began = time.monotonic()
            await self._tick()
            took = time.monotonic() - began
            await self._context.rest(max(TICK_SECONDS - took, REST_SHARE * took))
        self._tell()

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    def text(self, viewer: Viewer) -> bytes:
        """Returns the newest event for a viewer. It is made once for each role, however many watch.

        The charts are in it when they are new to the viewer.
        """
        kind = (viewer.visitor.is_admin, viewer.charts is not self._look.charts)
        viewer.charts = self._look.charts
        if kind not in self._texts:
            self._texts[kind] = event(self._render(self._look, *kind))
        return self._texts[kind]

    @contextmanager
    def watched_by(self, visitor: Visitor) -> Iterator[Viewer]:
        """Adds a viewer for a while."""
        viewer = Viewer(visitor)
        self._viewers.add(viewer)
        if self.poller is None or self.poller.done():
            self.poller = asyncio.create_task(self._run())
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    async def events(self, viewer: Viewer, gone: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yields what a viewer is sent, until the process or the session ends, or the viewer has gone."""
        yield b"retry: 2000\n\n"
        while True:
            try:
                await asyncio.wait_for(viewer.news.wait(), KEEPALIVE_SECONDS)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            viewer.news.clear()
            if gone() or self._context.stopping.is_set():
                return
            if viewer.has_ended:
                yield event("", "ended")
                return
            yield self.text(viewer)

    async def _tick(self) -> None:
        try:
            async with self._lock:
                await self._read(wait=0.0 if self._redis.late_seconds else TICK_SECONDS / 2)
            await self._check_sessions()
        except (DatabaseAway, SchemaOutdated) as away:
            self._look = Look(away=str(away))
        except Exception:
            # It must not end: nobody would be told anything until the process is started again.
            log.exception("admin.live_failed")
            self._look = Look(away=FAULT)
        self._texts.clear()
        self._tell()

    def _tell(self) -> None:
        for viewer in self._viewers:
            viewer.news.set()

    async def _read(self, *, wait: float) -> None:
        """Looks once. Waits up to `wait` seconds for Redis: it may hang, and a page goes without it then."""
        asking = [task for task in (self._redis.ask(), self._charts.ask()) if task]
        self._books.ask()
        seen = await self._context.read(self._watcher.look)
        if wait and asking:
            await asyncio.wait(asking, timeout=wait)
        is_late = self._redis.late_seconds > REDIS_SECONDS
        queues = None if is_late else self._redis.value
        policies = self._context.parts.policies
        overview = overview_of(seen, queues or Queues(trouble="it does not answer"), policies)
        self._look = Look(overview, at=time.monotonic(), charts=self._charts.value, books=self._books.value)

    def _read_redis(self) -> Queues:
        return read_redis(self._context.parts.stream, self._context.parts.bell)

    async def _check_sessions(self) -> None:
        if time.monotonic() - self._sessions_at < SESSION_SECONDS:
            return
        self._sessions_at = time.monotonic()
        sessions = {viewer.visitor.session for viewer in self._viewers if viewer.visitor.session}
        still_open = await self._context.read(admins.still_open, sessions)
        for viewer in self._viewers:
            session = viewer.visitor.session
            viewer.has_ended = viewer.has_ended or (session in sessions and session not in still_open)


class Stream(Response):
    """The answer that does not end. It ends itself for a viewer that takes nothing."""

    media_type = "text/event-stream"

    def __init__(self, live: Live, visitor: Visitor) -> None:
        super().__init__()
        self._live = live
        self._visitor = visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until there is nobody to send to."""
        with self._live.watched_by(self._visitor) as viewer:
            gone = asyncio.create_task(_until_gone(receive))
            gone.add_done_callback(lambda _: viewer.news.set())
            try:
                await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
                async for text in self._live.events(viewer, gone.done):
                    body = {"type": "http.response.body", "body": text, "more_body": True}
                    await asyncio.wait_for(send(body), SLOW_SECONDS)
                await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), SLOW_SECONDS)
            except TimeoutError:
                log.info("admin.viewer_dropped")
                scope.get(HANG_UP, _nothing)()
            finally:
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    await gone


def event(data: str, name: str = "") -> bytes:
    """Returns an event of a stream of Server-Sent Events: WHATWG HTML, section 9.2."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"{f'event: {name}{chr(10)}' if name else ''}{lines}\n".encode()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    pass
