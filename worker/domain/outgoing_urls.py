"""Which URLs and addresses may be called from here, so that nobody makes us call into our own network (SSRF).

Pure. A name is judged by the addresses that it has when it is connected to, and only by those.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult

from worker.domain.errors import BadUrl
from worker.domain.hosts import host_of, is_loopback, split_url
from worker.domain.redis_url import sentinels_of

LONGEST: Final = 2000
REDIS: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_OPEN: Final = IPv6Network("2000::/3")
"""All that is given out (RFC 4291). Whatever else there is, or will be, is no address of a shop."""
# They lead on to addresses that aren't seen here, or are not for use.
_TUNNELS: Final = tuple(map(IPv6Network, ("2002::/16", "2001::/32", "3fff::/20")))
_NOT_USED: Final = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)


def checked_endpoint(url: str, *, allows_private: bool) -> str:
    """Returns the URL of an endpoint, if it may be one as far as it can be told without DNS. Raises BadUrl."""
    try:
        if len(url) > LONGEST or not url.isascii():
            raise ValueError(f"must have at most {LONGEST:,} ASCII characters (percent-encode others)")
        if is_redis(url):
            sentinels_of(url)
            return url
        return _checked_http(split_url(url), allows_private=allows_private)
    except ValueError as error:
        raise BadUrl(f"the endpoint's URL {error}") from None


def is_redis(url: str) -> bool:
    """Whether it leads to a stream in Redis, and not to a server of HTTP."""
    return url.partition("://")[0] in REDIS


def without_password(url: str) -> str:
    """Returns a URL for people to read. That of a Redis may hold a password."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if is_redis(url) and "?" in rest:  # the password of a key file, or of the sentinels
        path = f"{path.partition('?')[0]}?***"
    return (
        f"{scheme}{separator}***@{authority.rpartition('@')[2]}{slash}{path}"
        if "@" in authority
        else f"{scheme}{separator}{authority}{slash}{path}"
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: nobody's own network, and no way into one."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or (IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None)
        if inner is None:
            return found in _OPEN and found.is_global and not any(found in each for each in _TUNNELS)
        found = inner
    return found.is_global and not found.is_multicast and not any(found in each for each in _NOT_USED)


def refusal(address: str, *, allows_private: bool, is_plain: bool) -> str | None:
    """Returns why an address must not be connected to, or None. `is_plain`: without TLS, so for this machine only."""
    if is_plain and not ip_address(address.partition("%")[0]).is_loopback:
        return "http may lead to this machine only"
    if not (allows_private or is_public(address)):
        return "its address is not a public one (--allow-private)"
    return None


def _checked_http(parts: SplitResult, *, allows_private: bool) -> str:
    if parts.scheme not in ("https", "http"):
        raise ValueError("must be https://host/path, or redis://host:port/0")
    if "@" in parts.netloc:
        raise ValueError("must not have a user or a password: whoever logs it would see them")
    if parts.fragment:
        raise ValueError("must not have a fragment (#)")
    host = host_of(parts.hostname or "")
    if _is_number(host):
        raise ValueError("must name its host, or have an address in the usual form: 192.0.2.1, [2001:db8::1]")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https: only this machine may be told by http")
    if _is_address(host) and (why := refusal(host, allows_private=allows_private, is_plain=False)):
        raise ValueError(f"can't be used: {why}")
    place = f"[{host}]" if ":" in host else host.lower()
    port = f":{parts.port}" if parts.port else ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{place}{port}{parts.path or '/'}{query}"


def _is_number(host: str) -> bool:
    """Whether some programs take it for an address of IPv4 although it is not in the usual form: 0x7f.1."""
    return bool(_NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])) and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
