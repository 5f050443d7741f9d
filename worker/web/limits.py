"""How much one client may do with a publishable key: counted in Redis for all processes, and by each for itself.

While Redis is away, only the own count holds, so a client may do a little more. Nobody is refused for that, and nobody
waits: Redis is asked again by one request every few seconds. The own count also holds when Redis was emptied.
"""

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from worker.domain.api_keys import Key
from worker.domain.errors import RedisAway
from worker.domain.moving_window import Windows
from worker.domain.tokens import CLIENT, Tokens
from worker.stream.shared_window import SharedWindows

PATIENCE_SECONDS: Final = 0.1
"""How long a request waits for Redis. On the same network it answers in one hundredth of that."""
AWAY_SECONDS: Final = 5.0
"""How long a Redis that did not answer is left alone."""
THREADS: Final = 4

T = TypeVar("T")

log = structlog.get_logger()


class Limits:
    """The limits of one process. It belongs to one event loop."""

    def __init__(self, url: str, tokens: Tokens | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = SharedWindows(url)
        self._own = Windows()
        self._tokens = tokens
        self._clock = clock
        self._away_until = 0.0
        self._is_away = False
        # The threads for everything else may hang for longer than a request waits here.
        self._threads = ThreadPoolExecutor(THREADS, "limits")

    async def take(self, key: Key, client: str) -> int:
        """Counts a sign-up of a client with a key. Returns 0, or the seconds that the client has to wait."""
        name = self._name(f"{key.id} {client}")
        return await self._asked(self._shared.take, name) or self._own.take(name, self._clock())

    async def use_up(self, name: str, seconds: float) -> bool:
        """Whether this is the first use of something that is good for so many seconds."""
        is_first = await self._asked(self._shared.use_up, name, seconds)
        return is_first is not False and self._own.use_up(name, self._clock(), seconds)

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._threads.shutdown()
        self._shared.close()

    def _name(self, text: str) -> str:
        """Returns what a client is known by for a day. With a secret key nobody can try out which address it is."""
        return self._tokens.mark(CLIENT, text) if self._tokens else hashlib.sha256(text.encode()).hexdigest()[:32]

    async def _asked(self, ask: Callable[..., T], *args: object) -> T | None:
        """Returns what Redis says, or None while it is away."""
        now = self._clock()
        if now < self._away_until:
            return None
        if self._is_away:  # the others go on without it
            self._away_until = now + AWAY_SECONDS
        try:
            asked = asyncio.get_running_loop().run_in_executor(self._threads, partial(ask, *args))
            found = await asyncio.wait_for(asked, PATIENCE_SECONDS)
        except (RedisAway, TimeoutError) as error:
            self._leave_alone(str(error) or "no answer in time")
            return None
        if self._is_away:
            log.info("web.limits_shared")
        self._is_away, self._away_until = False, 0.0
        return found

    def _leave_alone(self, reason: str) -> None:
        if not self._is_away:
            log.warning("web.limits_in_memory", reason=reason)
        self._is_away, self._away_until = True, self._clock() + AWAY_SECONDS


def network_of(host: str) -> str:
    """Returns the network that counts as one client: an IPv4 address, or 64 bits of IPv6, which every home has.

    What is no address stands for itself.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:100]
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
