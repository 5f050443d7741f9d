"""`/metrics`, for Prometheus. Any one process of a system tells everything."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from typing import Final, Generic, TypeVar

from fastapi import APIRouter, Request, Response

from worker.domain.api_keys import Scope
from worker.domain.errors import DatabaseAway, RedisAway, SchemaOutdated
from worker.services import metrics
from worker.web.access import Access
from worker.web.context import Context
from worker.web.http_counts import HttpCounts

T = TypeVar("T")

EVERY_SECONDS: Final = 5.0
"""Nothing is read more often, however many ask."""
PATIENCE_SECONDS: Final = 4.0
"""What takes longer counts as away. Prometheus gives up after ten."""
TRUSTED_SECONDS: Final = 3600.0
"""For so long after it was last looked up a key is good while the database is away: then metrics matter most."""


def routes(context: Context, access: Access, counts: HttpCounts, *, is_open: bool) -> APIRouter:
    """Returns the route. It needs a key to read unless it `is_open`."""
    parts = context.parts
    lease = parts.settings.lease_seconds
    stored = _Latest(lambda: context.sql(metrics.read_database, context.database, lease))
    queued = _Latest(lambda: context.run(lambda: metrics.read_redis(parts.stream, parts.bell)))
    door = _Door(access)
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    async def scrape(request: Request) -> Response:
        """Returns all families."""
        if not is_open:
            await door.check(request.headers.get("authorization"))
        found = await asyncio.gather(stored.get(), queued.get())
        families = chain(metrics.families(*found), counts.families())
        content, content_type = metrics.text(families, request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type, "cache-control": "no-store"})

    return router


class _Latest(Generic[T]):
    """What was last read from one place. It is read by one at a time, and not often."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._begun = float("-inf")
        self._reading: asyncio.Task[T | None] | None = None

    async def get(self) -> T | None:
        """Returns it, or None if that place is away, or takes too long."""
        reading = self._reading
        if reading is None or (reading.done() and time.monotonic() - self._begun >= EVERY_SECONDS):
            self._begun = time.monotonic()
            reading = self._reading = asyncio.create_task(self._read_once())
        await asyncio.wait({reading}, timeout=PATIENCE_SECONDS)
        return reading.result() if reading.done() else None

    async def _read_once(self) -> T | None:
        with suppress(DatabaseAway, SchemaOutdated, RedisAway):
            return await self._read()
        return None


class _Door:
    """Asks for a key. One that was good lately is so while the database is away."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._good_until: dict[bytes, float] = {}

    async def check(self, authorization: str | None) -> None:
        """Raises ApiError unless this is a key to read."""
        mark = sha256((authorization or "").encode()).digest()
        try:
            await self._access.of(authorization, None, Scope.READ)
        except DatabaseAway:
            if time.monotonic() >= self._good_until.get(mark, 0.0):
                raise
            return
        except BaseException:
            self._good_until.pop(mark, None)
            raise
        self._good_until[mark] = time.monotonic() + TRUSTED_SECONDS
