"""Ports for servers that a test ends and starts again. No other program gets such a port meanwhile."""

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CHANCE = random.SystemRandom()
"""Not seeded: two processes must not choose the same port."""
_LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(*, second: int = 0) -> int:
    """Returns a port of 127.0.0.1 at which nobody listens, below those that the system gives to outgoing connections.

    If `second` is given, nobody listens at the port so many above it either.
    """
    with listen(second=second) as probe:
        port: int = probe.getsockname()[1]
    return port


def listen(backlog: int = 1, *, port: int = 0, host: str = "127.0.0.1", second: int = 0) -> socket.socket:
    """Returns a socket that listens at this port, or else at such a port."""
    if port:
        return socket.create_server((host, port), backlog=backlog)
    while True:
        port = _CHANCE.randrange(_LOWEST, _highest() - second)
        try:
            if second:
                socket.create_server((host, port + second)).close()
            return socket.create_server((host, port), backlog=backlog)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def accept(listening: socket.socket) -> Iterator[tuple[socket.socket, str]]:
    """Yields the connections that wait at a socket that listens and does not block, for asyncio, and their hosts."""
    with suppress(BlockingIOError):
        while True:
            accepted, (host, _) = listening.accept()
            accepted.setblocking(False)
            # asyncio sets this only for sockets of its own. Without it, small packets wait 40 ms for each other.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield accepted, host


def _highest() -> int:
    """Returns the first port that the system gives to outgoing connections: 32,768, unless Linux is told otherwise."""
    return max(_LOWEST + 1000, int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768)
