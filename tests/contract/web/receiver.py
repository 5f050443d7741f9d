"""A receiver of webhooks that answers as a test says, and the part of a web process that tells it."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from config.settings import Settings
from tests.contract.shop import Shop
from worker.domain.webhooks import Format
from worker.processes.bootstrap import Parts
from worker.store import deliveries, endpoints
from worker.store.endpoints import Endpoint
from worker.web.context import Context
from worker.web.signing import new_private_pem
from worker.web.telling import Teller


@dataclass(frozen=True, slots=True)
class Call:
    """What was posted."""

    path: str
    headers: Mapping[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Script = Callable[[Call], Reply]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # else some of 16 connections at once are turned away while the machine is busy


class Receiver:
    """Listens on a port of 127.0.0.1, and keeps what it got."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[Call] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever hangs up is no fault
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    @property
    def ids(self) -> list[str]:
        return [call.id for call in self.calls]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                given = {name.lower(): value for name, value in self.headers.items()}
                call = Call(self.path, given, body)
                receiver.calls.append(call)
                reply = receiver.script(call)
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST  # noqa: N815  # a redirect that was followed would come as GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def receiver(script: Script = lambda _call: Reply()) -> Iterator[Receiver]:
    opened = Receiver(script)
    try:
        yield opened
    finally:
        opened.close()


class Office:
    """One web process that tells others, round by round."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.context = Context(Parts(Settings(database_url=shop.url, redis_url="redis://127.0.0.1:1/0")))
        self._runner = asyncio.Runner()
        self.is_cpu_short = False
        self.teller = Teller(self.context, lambda: self.is_cpu_short)

    def add(self, url: str, format_: Format = Format.STANDARD, *, is_full: bool = False) -> Endpoint:
        return self.shop.write(endpoints.add, url, format_, is_full=is_full, allows_private=True)

    def tell(self) -> None:
        """Hands out what is new, and brings what is due, until nothing is under way."""
        self._runner.run(self._tell())

    def round(self) -> None:
        """Hands out, and begins to bring, what can be."""
        self._runner.run(self.teller.round())

    async def _tell(self) -> None:
        await self.teller.round()
        while self.teller.is_busy:
            await self.teller.wait(10)
            await self.teller.round()

    def begin_and_stop(self, has_begun: threading.Event) -> None:
        """Sends what is due, and ends the process once the receiver has got something."""

        async def run() -> None:
            await self.teller.round()
            await asyncio.to_thread(has_begun.wait, 10)
            await self.teller.stop()

        self._runner.run(run())

    def run_until(self, has_come: threading.Event) -> None:
        """Runs as in the process, until the receiver has got something."""

        async def run() -> None:
            running = asyncio.create_task(self.teller())
            await asyncio.to_thread(has_come.wait, 10)
            self.context.stopping.set()
            await running

        self._runner.run(run())

    def later(self, seconds: float) -> None:
        """Moves what waits so much nearer to now."""
        self.shop.change(
            "UPDATE webhook_delivery SET due_at = stockbell_now(-1) WHERE due_at <= stockbell_now(:seconds)",
            seconds=seconds,
        )
        self.shop.change(
            "UPDATE webhook_endpoint SET slow_until = NULL WHERE slow_until <= stockbell_now(:s)", s=seconds
        )

    def deliveries(self, endpoint: Endpoint) -> Sequence[Any]:
        """Returns all, oldest first."""
        return list(reversed(self.shop.database.read(deliveries.last, endpoint.id, 1000)))

    def row(self, endpoint: Endpoint) -> Any:
        return next(row for row in self.shop.database.read(endpoints.each) if row.id == endpoint.id)

    def close(self) -> None:
        self._runner.run(self.teller.stop())
        self._runner.close()
        self.context.close()


@cache
def pem(_which: str = "one") -> str:
    """Returns a private key. To make one takes a second, so tests share them."""
    return new_private_pem()


def id_of(request_id: UUID, sequence: int) -> str:
    return f"{request_id}.{sequence}"
