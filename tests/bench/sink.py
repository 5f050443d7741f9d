"""A relay that writes down when it took a mail: `python -m tests.bench.sink PORT PREFIX FILE [PEM]`.

It offers pipelining and takes everything. For each mail to an address that begins with PREFIX it adds a line to FILE,
`ADDRESS SECONDS`. That is the time (`time.time`) at which the whole mail was there, before the sender is told so. With
PEM, the file of a certificate and its key, it speaks TLS from the start.
"""

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

import uvloop

from tests.bench.processes import NotInTime, answers, running, until
from tests.bench.servers import Relay
from tests.ports import free_port

END = b"\r\n.\r\n"
HELLO = b"250-sink\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"
REPLIES = {b"EHLO": HELLO, b"DATA": b"354 go on\r\n", b"QUIT": b"221 2.0.0 bye\r\n"}
OK = b"250 2.0.0 ok\r\n"
RECIPIENT = re.compile(rb"<([^>]*)>")


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self, prefix: bytes, said: TextIO) -> None:
        self._prefix = prefix
        self._said = said
        self._waiting = b""
        self._recipient = b""
        self._is_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from asyncio's
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        if replies := b"".join(self._replies()):
            self._transport.write(replies)

    def _replies(self) -> Iterator[bytes]:
        while True:
            mark = END if self._is_content else b"\r\n"
            found, is_there, rest = self._waiting.partition(mark)
            if not is_there:
                return
            self._waiting = rest
            yield self._take() if self._is_content else self._obey(found)

    def _take(self) -> bytes:
        self._is_content = False
        if self._recipient.startswith(self._prefix):
            self._said.write(f"{self._recipient.decode()} {time.time():.6f}\n")
        return OK

    def _obey(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT" and (found := RECIPIENT.search(line)):
            self._recipient = found[1]
        self._is_content = verb == b"DATA"
        if verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self._transport.close)
        return REPLIES.get(verb, OK)


class Arrivals:
    """The times that the sink has written down so far, by address."""

    def __init__(self, said: Path) -> None:
        self._said = said.open()
        self._rest = ""
        self._at: dict[str, float] = {}

    def wait_for(self, address: str, seconds: float) -> float | None:
        """Returns when a mail for this address was there, or None if none is there within so many seconds."""
        try:
            until(lambda: address in self._seen(), "", seconds, every=0.002)
        except NotInTime:
            return None
        return self._at[address]

    def _seen(self) -> dict[str, float]:
        *lines, self._rest = (self._rest + self._said.read()).split("\n")
        for line in lines:
            address, _, at = line.partition(" ")
            self._at.setdefault(address, float(at))
        return self._at

    def close(self) -> None:
        self._said.close()


@contextmanager
def timing_sink(directory: Path, prefix: str, pem: Path | None = None) -> Iterator[tuple[Relay, Arrivals]]:
    """Yields the sink in a process of its own, and its arrivals."""
    port, said = free_port(), directory / "arrivals"
    said.write_text("")
    command = [sys.executable, "-m", __name__, str(port), prefix, str(said), *([str(pem)] if pem else [])]
    with running(command, log=directory / "sink.log") as process:
        until(lambda: answers(port), "the sink answers")
        arrivals = Arrivals(said)
        try:
            yield Relay(process.pid, port), arrivals
        finally:
            arrivals.close()


async def _serve(port: int, prefix: str, said: TextIO, *pem: str) -> None:
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if pem else None
    if tls:
        tls.load_cert_chain(*pem)
    server = await loop.create_server(lambda: Sink(prefix.encode(), said), "127.0.0.1", port, backlog=1000, ssl=tls)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[3]).open("a", buffering=1) as file:
        uvloop.run(_serve(int(sys.argv[1]), sys.argv[2], file, *sys.argv[4:]))
