"""Ports for servers that are ended and begun again: nobody else is given them meanwhile."""

import errno
import random
import socket
from pathlib import Path

_CHANCE = random.SystemRandom()
"""Not seeded: two processes must not choose the same."""
_LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(*, second: int = 0) -> int:
    """One at which nobody listens on 127.0.0.1, below those that the system gives to outgoing connections.

    Nor does anybody listen at the `second` one, so many above it.
    """
    with listen(second=second) as probe:
        port: int = probe.getsockname()[1]
    return port


def listen(backlog: int = 1, *, second: int = 0) -> socket.socket:
    """A socket that listens at such a port."""
    while True:
        port = _CHANCE.randrange(_LOWEST, _highest() - second)
        try:
            if second:
                socket.create_server(("127.0.0.1", port + second)).close()
            return socket.create_server(("127.0.0.1", port), backlog=backlog)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def _highest() -> int:
    """As Linux has it, unless told otherwise: 32,768."""
    return max(_LOWEST + 1000, int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768)
