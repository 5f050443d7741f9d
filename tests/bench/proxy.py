"""Puts a server at a distance: `python -m tests.bench.proxy PORT TO_PORT SECONDS`.

The proxy holds all data for half of SECONDS in either direction, and keeps its order. The relay's greeting comes two
round trips after connecting, as it does where the handshake takes its time too. When the proxy is ended, it writes how
many bytes it has carried.
"""

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from tests.bench.processes import answers, running, until
from tests.bench.servers import Relay
from tests.ports import free_port

RETRY_SECONDS = 0.001


class Way(asyncio.Protocol):
    """One end of a connection. What comes in here leaves at the other end, later."""

    carried = 0
    """The bytes of all connections, in both directions."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._under_way: deque[bytes] = deque()
        """The data that is held. The empty string stands for the end."""
        self.transport: asyncio.Transport | None = None
        self.other: Way | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._under_way.append(data)
        asyncio.get_running_loop().call_later(self._delay, self._arrive)

    def connection_lost(self, error: Exception | None) -> None:
        self.data_received(b"")

    def _arrive(self) -> None:
        if self.other is None or self.other.transport is None:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._arrive)  # the other end is not connected yet
            return
        data = self._under_way.popleft()
        if data:
            Way.carried += len(data)
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Near(Way):
    """Our end. When somebody connects here, it connects to the relay."""

    def __init__(self, port: int, round_trip: float) -> None:
        super().__init__(round_trip / 2)
        self._port = port
        self._round_trip = round_trip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        await asyncio.sleep(1.5 * self._round_trip)
        far = Way(self._round_trip / 2)
        self.other, far.other = far, self
        await asyncio.get_running_loop().create_connection(lambda: far, "127.0.0.1", self._port)


@contextmanager
def at_a_distance(directory: Path, relay: Relay, round_trip: float, log: Path | None = None) -> Iterator[Relay]:
    """Yields the same relay, so many seconds away (there and back). `log` gets the number of bytes at the end."""
    port = free_port()
    command = [sys.executable, "-m", __name__, str(port), str(relay.port), str(round_trip)]
    with running(command, log=log or directory / "proxy.log") as process:
        until(lambda: answers(port), "the proxy answers")
        yield Relay(process.pid, port)


async def _serve(port: int, to_port: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Near(to_port, round_trip), "127.0.0.1", port)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    with suppress(asyncio.CancelledError):
        await server.serve_forever()
    sys.stdout.write(f"{Way.carried}\n")


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
