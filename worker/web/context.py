"""What all handlers share: the program's parts, and threads in which everything that blocks runs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from worker.processes.bootstrap import Parts
from worker.services.signing_up import Desk
from worker.store.database import Connection, Database
from worker.web.first_link import FirstLink
from worker.web.limits import Limits
from worker.web.pages import Pages

P = ParamSpec("P")
T = TypeVar("T")

SQL_THREADS: Final = 6
"""As many transactions at a time. More only wait for each other in the database, and each has a connection."""
STREAM_THREADS: Final = 4
"""For events on their way to Redis. While it hangs, so do they."""
OTHER_THREADS: Final = 4
"""For DNS and what else may hang: neither the database's threads nor the stream's wait for it."""


class Context:
    """The parts of one web process. Only `write`, `read`, `publish` and `run` may block, and they do so in threads."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self.parts = parts
        self.database = Database(
            settings.database_url,
            connections=SQL_THREADS,
            pooler=settings.database_pooler,
            window=settings.send_window,
        )
        self.desk = Desk(self.database, parts.tokens, settings.double_opt_in)
        self.limits = Limits(settings.redis_url, parts.tokens)
        self.pages = Pages(settings.store_name, urlsplit(settings.public_url or "").path)
        self.first_link = FirstLink()
        self.stopping = asyncio.Event()
        """Set when the process shall end. Whatever runs for long waits for it too."""
        self._sql = ThreadPoolExecutor(SQL_THREADS, "sql")
        self._stream = ThreadPoolExecutor(STREAM_THREADS, "stream")
        self._other = ThreadPoolExecutor(OTHER_THREADS, "other")

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `Database.write` in a thread. Raises the same errors."""
        return await self.sql(partial(self.database.write, work, *args, **kwargs))

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `Database.read` in a thread. Raises the same errors."""
        return await self.sql(partial(self.database.read, work, *args, **kwargs))

    async def sql(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs in a database thread what takes the database and opens its own transactions, such as a service."""
        return await _in_thread(self._sql, partial(work, *args, **kwargs))

    async def publish(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs in a thread what publishes events."""
        return await asyncio.get_running_loop().run_in_executor(self._stream, partial(work, *args, **kwargs))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs in a thread what waits for anything but the database."""
        return await _in_thread(self._other, partial(work, *args, **kwargs))

    async def rest(self, seconds: float) -> None:
        """Waits for a time, or for the end of the process."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def close(self) -> None:
        """Ends the threads, once their work is done, and closes the database."""
        self._sql.shutdown()
        self._stream.shutdown(cancel_futures=True)
        self._other.shutdown(cancel_futures=True)
        self.limits.close()
        self.database.close()


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Runs work in one of these threads, whose log lines then name the request as those of the handler do."""
    return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, work)
