"""`stockbell web`: serves HTTP until SIGTERM or SIGINT, and ends within a second, with 0."""

import asyncio
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn

from worker.domain.errors import BadSetting
from worker.processes.bootstrap import Parts
from worker.web import confirmation_mails
from worker.web.app import Part, create_app
from worker.web.context import Context

LATE_SECONDS: Final = 3
"""A request that still runs then is cut off. Supervisors kill after 5 s."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """A server that ends as our other processes do.

    Uvicorn waits for open streams for good, and raises the signal again when it has ended: the exit code would not be
    0. What streams waits for `Context.stopping`.
    """

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes the place of uvicorn's own (not documented; a test stops a real process)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True
        self._context.stopping.set()

    async def startup(self, sockets: object = None) -> None:
        """Says when it is ready."""
        await super().startup(sockets)  # type: ignore[arg-type]  # uvicorn's own type, passed on
        if self.started:
            log.info("web.started", host=self.config.host, port=self.config.port)


def run(parts: Parts, host: str, port: int, serve: Collection[Part]) -> None:
    """Serves until it is told to end. Raises BadSetting if it can't listen there, or can't ask customers to confirm."""
    if Part.API in serve:
        confirmation_mails.check(parts)
    context = Context(parts)
    config = uvicorn.Config(
        create_app(context, serve),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,  # our own logging is there
        access_log=False,  # paths hold tokens
        server_header=False,
        proxy_headers=bool(parts.settings.trusted_proxies),
        forwarded_allow_ips=list(parts.settings.trusted_proxies),
        timeout_graceful_shutdown=LATE_SECONDS,
    )
    server = Server(config, context)
    try:
        server.run()
    except SystemExit:  # uvicorn's, after it has logged why
        raise BadSetting(f"can't listen on {host}:{port}: see the line above") from None
    finally:
        context.close()
    log.info("web.stopped")
