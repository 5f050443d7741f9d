"""Records of the DNS, for `doctor --dns`. The door to dnspython, whose errors are translated here.

A name that does not exist has no records, and so has one without records of that type. Everything else that goes wrong
is DnsAway.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from worker.domain.errors import DnsAway

if TYPE_CHECKING:
    from dns.resolver import Resolver

SECONDS: Final = 5.0
"""Seconds that a query may take in all, with its repetitions."""
_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class NameServer:
    """A DNS server: an IP address and a port."""

    address: str
    port: int = _PORT


def parse_name_server(text: str) -> NameServer:
    """Parses `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`. Raises ValueError."""
    address, port = (text, str(_PORT)) if _is_address(_bare(text)) else text.rpartition(":")[::2]
    if not _is_address(_bare(address)) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        raise ValueError("must be an IP address, with :PORT or without")
    return NameServer(_bare(address), int(port))


def _bare(address: str) -> str:
    return address.removeprefix("[").removesuffix("]")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Dns:
    """Asks one DNS server, or those that this machine uses. Every method raises DnsAway."""

    def __init__(self, server: NameServer | None = None, seconds: float = SECONDS) -> None:
        self._server = server
        self._seconds = seconds

    def texts(self, name: str) -> Sequence[str]:
        """Returns the TXT records of a name, each as one text."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._records(name, "TXT")]

    def exchangers(self, name: str) -> Sequence[str]:
        """Returns the hosts that take mail for a domain, the first ones first; "." means that none does (RFC 7505)."""
        records = sorted((record.preference, str(record.exchange)) for record in self._records(name, "MX"))
        return [host.rstrip(".").lower() or "." for _, host in records]

    def has_address(self, name: str) -> bool:
        """Whether a host has an IP address."""
        return any(next(self._records(name, type_), None) is not None for type_ in ("A", "AAAA"))

    def _records(self, name: str, type_: str) -> Iterator[Any]:
        from dns.exception import DNSException, Timeout
        from dns.resolver import NXDOMAIN, NoNameservers

        try:
            yield from self._resolver().resolve(
                f"{name}.", type_, lifetime=self._seconds, search=False, raise_on_no_answer=False
            )
        except NXDOMAIN:
            return
        except Timeout:
            raise DnsAway(f"no answer within {self._seconds:g} s about {name} ({type_})") from None
        except NoNameservers:
            raise DnsAway(f"the DNS server failed, or refused, to answer about {name} ({type_})") from None
        except (DNSException, OSError, UnicodeError) as error:
            raise DnsAway(f"{name} ({type_}) can't be looked up: {type(error).__name__}") from None

    def _resolver(self) -> "Resolver":
        from dns.resolver import NoResolverConfiguration, Resolver

        if self._server is None:
            try:
                return Resolver()
            except NoResolverConfiguration:
                raise DnsAway("this machine names no DNS server (/etc/resolv.conf): use --name-server") from None
        resolver = Resolver(configure=False)
        resolver.nameservers = [self._server.address]
        resolver.port = self._server.port
        return resolver
