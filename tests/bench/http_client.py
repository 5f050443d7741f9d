"""A client that asks as fast as it is answered, over some kept connections: each sends its next request at once."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Answers:
    """What came back."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.milliseconds) / self.seconds


class _Caller(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], answers: Answers, done: asyncio.Future[None]) -> None:
        self._requests, self._answers, self._done = requests, answers, done
        self._begun, self._wanted = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._begun += data
        if not self._wanted:
            head = self._begun.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._begun, 0, head)
            self._wanted = head + 4 + (int(length[1]) if length else 0)
        if len(self._begun) >= self._wanted:
            self._answers.milliseconds.append(1000 * (time.monotonic() - self._sent))
            status = int(self._begun[9:12])
            self._answers.statuses[status] = self._answers.statuses.get(status, 0) + 1
            self._begun, self._wanted = b"", 0
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._sent = time.monotonic()
        self._transport.write(request)


def ask(port: int, requests: Iterator[bytes], connections: int) -> Answers:
    """Sends all requests, over so many connections. Returns when all are answered."""
    answers = Answers()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        ends = [loop.create_future() for _ in range(connections)]
        for end in ends:

            def caller(end: "asyncio.Future[None]" = end) -> _Caller:
                return _Caller(requests, answers, end)

            await loop.create_connection(caller, "127.0.0.1", port)
        await asyncio.gather(*ends)
        answers.seconds = time.monotonic() - began

    uvloop.run(run())
    return answers
