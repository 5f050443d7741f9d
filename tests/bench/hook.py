"""A webhook endpoint that takes everything at once: `python -m tests.bench.hook PORT`."""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from tests.bench.processes import answers, running, until
from tests.ports import free_port

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Hook(asyncio.Protocol):
    """One connection, whose requests all have a body of a stated length."""

    def __init__(self) -> None:
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class

    def data_received(self, data: bytes) -> None:
        self._begun += data
        while (head := self._begun.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._begun, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._begun) < end:
                return
            self._begun = self._begun[end:]
            self._transport.write(TAKEN)


@contextmanager
def hook(directory: Path) -> Iterator[str]:
    """Yields the URL of an endpoint in a process of its own."""
    port = free_port()
    with running([sys.executable, "-m", __name__, str(port)], log=directory / "hook.log"):
        until(lambda: answers(port), "the endpoint answers")
        yield f"http://127.0.0.1:{port}/"


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Hook, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
