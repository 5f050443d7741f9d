"""Posts to endpoints. The door for HTTP to others (`httpcore2`).

A name is resolved here, once for each connection; all its addresses are checked, and one of those is connected to: a
second look-up could give another one. TLS and the header Host have the name. Nothing else that an HTTP client does is
wanted: redirects, cookies, proxies of the environment, compressed replies.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

import httpcore2

from worker.domain.outgoing_urls import refusal

ANSWER_SECONDS: Final = 15.0
"""All of a try: DNS, connection, TLS, and the answer."""
READ_SECONDS: Final = 2.0
"""A reply's body, after its status."""
MOST_READ: Final = 4096
"""So many bytes of a reply are read."""
WORDS: Final = 200
AT_ONCE: Final = 16
"""connections to one endpoint"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try."""

    status: int | None = None
    why: str | None = None
    """what went wrong; None: it was taken"""
    retry_after: float | None = None
    """seconds"""
    text: str = field(default="", repr=False)
    """the reply's beginning"""


class Refused(Exception):
    """The name has an address that must not be connected to. The text says why."""


class Poster:
    """Connections to one endpoint. Use it in one event loop."""

    def __init__(self, url: str, *, allows_private: bool, trusted: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=trusted or _trusted(),
            max_connections=AT_ONCE,
            max_keepalive_connections=AT_ONCE,
            keepalive_expiry=30,
            network_backend=_Checked(allows_private=allows_private, is_plain=url.lower().startswith("http:")),
        )

    async def post(self, body: str, headers: Mapping[str, str]) -> Answer:
        """Sends one body. Never raises."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._post(body.encode(), [*headers.items(), ("accept-encoding", "identity")])
        except (TimeoutError, httpcore2.TimeoutException):
            return Answer(why=f"no answer within {ANSWER_SECONDS:.0f} s")
        except Refused as refused:
            return Answer(why=str(refused))
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            return Answer(why=_words(error))

    async def _post(self, body: bytes, headers: Sequence[tuple[str, str]]) -> Answer:
        async with self._pool.stream("POST", self._url, headers=headers, content=body) as reply:
            given = {name.lower(): value.decode("latin-1") for name, value in reply.headers}
            text = (await _beginning(reply)).decode(errors="replace")
            return Answer(reply.status, _trouble(reply.status), _seconds(given.get(b"retry-after")), text)

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()


async def _beginning(reply: httpcore2.Response) -> bytes:
    """Reads the reply's beginning. The status has said all that counts, so a rest that does not come is no failure."""
    read = bytearray()
    with suppress(TimeoutError, httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError):
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in reply.aiter_stream():
                read += chunk
                if len(read) >= MOST_READ:
                    break
    return bytes(read[:MOST_READ])


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Checked(httpcore2.AsyncNetworkBackend):
    def __init__(self, *, allows_private: bool, is_plain: bool) -> None:
        self._allows_private = allows_private
        self._is_plain = is_plain
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the name is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connects to one of the name's addresses. Raises Refused if any of them is not allowed."""
        addresses = await _resolved(host, port)
        check(addresses, allows_private=self._allows_private, is_plain=self._is_plain)
        error: Exception | None = None
        for address in addresses:
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
        raise error or httpcore2.ConnectError("its name has no address")


def check(addresses: Sequence[str], *, allows_private: bool, is_plain: bool) -> None:
    """Raises Refused if one of these must not be connected to."""
    for address in addresses:
        if why := refusal(address, allows_private=allows_private, is_plain=is_plain):
            raise Refused(why)


def addresses_of(host: str, port: int) -> list[str]:
    """Resolves a name. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _resolved(host: str, port: int) -> list[str]:
    """Resolves a name in a thread of its own: it may hang, and then nobody shall wait for it, at the end neither."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def resolve() -> None:
        try:
            addresses = addresses_of(host, port)
        except (OSError, UnicodeError) as error:
            _from_thread(loop, found, None, OSError(f"its name has no address: {error.args[-1]}"))
        else:
            _from_thread(loop, found, addresses, None)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    return await found


def _from_thread(
    loop: asyncio.AbstractEventLoop,
    future: "asyncio.Future[list[str]]",
    addresses: list[str] | None,
    error: Exception | None,
) -> None:
    def put() -> None:
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(addresses or [])

    if not loop.is_closed():
        loop.call_soon_threadsafe(put)


def _trouble(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return f"it redirects ({status}), and that is not followed" if 300 <= status < 400 else f"it answered {status}"


def _seconds(text: str | None) -> float | None:
    """Reads Retry-After (RFC 9110 section 10.2.3): seconds, or a date."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _words(error: Exception) -> str:
    words = " ".join(str(error).split())[:WORDS]
    return "".join(sign for sign in words if sign.isprintable()) or type(error).__name__
