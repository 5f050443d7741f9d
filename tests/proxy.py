"""A proxy in front of a server of the tests. It adds TLS, and can fall silent as a broken network does."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from tests import tasks
from tests.ports import accept, listen

HOST: Final = "127.0.0.1"


class Proxy:
    """A proxy that passes on what comes. It is a context manager and runs in a thread of its own."""

    def __init__(self, to_port: int, tls: ssl.SSLContext | None = None) -> None:
        """`tls` is for the connections of clients. The proxy speaks clear text to the server behind it."""
        self.port = 0
        self._to_port = to_port
        self._tls = tls
        self._is_silent = False
        self._silences = 0
        self.kept = 0
        """How many packets were not passed on."""

    def fall_silent(self) -> None:
        """Reads everything from now on, but passes nothing on, on new connections too. Neither side is told."""
        self._silences += 1
        self._is_silent = True

    def speak(self) -> None:
        """Serves new connections again. Older ones and those of the silence stay dead, and their ends don't know it."""
        self._is_silent = False

    def lead_to(self, port: int) -> None:
        """Sends new connections to this port, as after a change in the DNS. Open connections stay where they are."""
        self._to_port = port

    def __enter__(self) -> Self:
        self._socket = listen(100, port=self.port)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._loop.add_reader(self._socket, self._accept)
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _end(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await tasks.end(self._tasks)
        await tasks.close(self._accepted)

    def _accept(self) -> None:
        # As in the relay: stopped amid a TLS handshake, `asyncio.start_server` forgets a connection.
        for accepted, _ in accept(self._socket):
            self._accepted.append(accepted)
            task = self._loop.create_task(self._serve(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # a client may leave at once, or not like the certificate
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self._tls)
            try:
                await self._serve_client(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop))
            finally:
                transport.abort()

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        born = self._silences - self._is_silent
        far_reader, far_writer = await asyncio.open_connection(HOST, self._to_port)
        try:
            await asyncio.gather(self._pass_on(reader, far_writer, born), self._pass_on(far_reader, writer, born))
        finally:
            far_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                if born == self._silences:
                    writer.write(data)
                    await writer.drain()
                else:
                    self.kept += 1
            if born == self._silences:
                writer.close()
