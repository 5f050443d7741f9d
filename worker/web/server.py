"""`stockbell web`: serves HTTP until SIGTERM or SIGINT, and ends within a second, with 0."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn

from worker.domain.admins import PAGES
from worker.domain.errors import BadSetting, DatabaseAway, DatabaseUnfit
from worker.processes.bootstrap import Parts, collect_rarely
from worker.processes.stop import Stop
from worker.services.schema_check import check_schema
from worker.store import admins
from worker.web import confirmation_mails, peers
from worker.web.app import Part, create_app
from worker.web.context import Context
from worker.web.first_link import LINK_SECONDS
from worker.web.protocol import Protocol

CUT_SECONDS: Final = 0.4
"""Connections that are still busy then are closed: streams, and requests whose bodies never end."""
SWITCH_SECONDS: Final = 0.0005
"""How soon the event loop gets the interpreter back from a thread that computes. Python's default is ten times that."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """A server that ends as our other processes do.

    Uvicorn waits for open streams, and raises the signal again when it has ended: the exit code would not be 0. Both
    methods take the place of its own, which are not documented; tests stop real processes.
    """

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context
        self._stop = Stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while the server runs."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        self._stop.end_in_time()  # a thread may wait for a database that says nothing
        yield

    def _end(self) -> None:
        self.should_exit = True
        self._context.stopping.set()
        self._stop.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets requests end, and closes what does not."""
        cut = asyncio.get_running_loop().call_later(CUT_SECONDS, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.close()


def run(parts: Parts, host: str, port: int, serve: Collection[Part]) -> None:
    """Serves until it is told to end.

    Raises BadSetting if it can't listen there, can't ask customers to confirm, or has no user for the pages for admins
    and would serve them to other machines, and SchemaOutdated. A database that
    is away is no reason not to start: callers are told to come back, and `/readyz` tells ops.
    """
    if Part.API in serve:
        confirmation_mails.check(parts)
    sys.setswitchinterval(SWITCH_SECONDS)
    context = Context(parts)
    try:
        _check(context)
        with _listening(host, port) as listener:
            server = Server(_config(parts, context, serve), context)
            if Part.ADMIN in serve:
                _open_first(context, listener)
            collect_rarely()
            log.info("web.started", host=host, port=listener.getsockname()[1], serves=sorted(serve))
            server.run([listener])
    finally:
        context.close()
    log.info("web.stopped")


def _check(context: Context) -> None:
    try:
        check_schema(context.database)
    except DatabaseUnfit as unfit:
        raise BadSetting(str(unfit)) from unfit
    except DatabaseAway as away:
        log.warning("database.away", database=context.database.where, reason=str(away))


def _open_first(context: Context, listener: socket.socket) -> None:
    """Before there is a user, makes the one-time link, for this machine only. Raises BadSetting elsewhere."""
    try:
        if context.parts.settings.admin_proxy_header or context.database.read(admins.is_any):
            return
    except DatabaseAway:
        return  # who comes meanwhile is told so; once it is back, a user can be added
    host, port = listener.getsockname()[:2]
    if not peers.is_loopback(host):
        raise BadSetting("the pages for admins have no user yet: run `stockbell admin add NAME --role admin` first")
    shown = f"[{host}]" if ":" in host else host
    print(
        f"stockbell: the first log-in to the pages for admins, within {LINK_SECONDS / 60:.0f} min, once, from this"
        f" machine: http://{shown}:{port}{PAGES}/first/{context.first_link.issue()}",
        flush=True,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise BadSetting(f"can't listen on {host}:{port}: {reason}") from None


def _config(parts: Parts, context: Context, serve: Collection[Part]) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(context, serve),
        loop="uvloop",
        http=Protocol,
        ws="none",
        log_config=None,  # our own logging is there
        log_level="error",  # warnings would tell of whatever strangers send
        access_log=False,  # paths hold tokens
        server_header=False,
        proxy_headers=False,  # `peers` reads them
    )
