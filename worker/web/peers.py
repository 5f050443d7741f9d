"""Who is at the other end of a connection, and for whom a proxy that we trust speaks."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_PEER: Final = "stockbell.peer"


class Peers:
    """Reads X-Forwarded-For and X-Forwarded-Proto from trusted proxies, as uvicorn does, and remembers the peer.

    Uvicorn itself would put the client's address in the place of the peer's: nobody could tell any more whether a
    header is from the proxy or from the client.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        hosts = [str(ipaddress.ip_network(each, strict=False)) for each in proxies]
        self._through = ProxyHeadersMiddleware(cast("Any", app), hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            scope[_PEER] = _client(scope)
        await self._through(cast("Any", scope), cast("Any", receive), cast("Any", send))


def peer_of(scope: Scope) -> str | None:
    """Returns the address at the other end of the connection."""
    return scope.get(_PEER) or _client(scope)


def is_in(networks: Sequence[str], host: str | None) -> bool:
    """Whether an address is in one of these networks."""
    address = _address(host)
    return address is not None and any(address in ipaddress.ip_network(each, strict=False) for each in networks)


def is_loopback(host: str | None) -> bool:
    """Whether an address is of this machine only."""
    address = _address(host)
    return address is not None and address.is_loopback


def _client(scope: Scope) -> str | None:
    return scope["client"][0] if scope.get("client") else None


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address
