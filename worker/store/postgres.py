"""Where PostgreSQL is: the hosts and options of a URL, as libpq reads them, and a connection to the host that writes.

The form of the URL is that of PostgreSQL's manual, section "Connection URIs" of libpq.
"""

import os
import random
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo, TransactionStatus

from worker.store.host_errors import ONLY_READS, Unusable, unusable

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Servers", "parse", "weakness"]

_FORM = "must have user:password@host:port (percent-encode / ? # @ % and spaces in a user or password)"
_QUERY = "must have its options as ?name=value&name=value (percent-encode = & % and spaces in a value)"
_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"')
_HOST_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
_READS = {"read-only", "standby", "prefer-standby"}
_FILES = ("sslrootcert", "sslcert", "sslkey")


@dataclass(frozen=True, slots=True)
class Host:
    """One host: the options that differ from those of the others. All are missing if libpq's defaults decide."""

    options: Mapping[str, str]

    def __str__(self) -> str:
        """The host for messages to people."""
        name = self.options.get("host") or self.options.get("hostaddr") or ""
        port = self.options.get("port")
        return (f"[{name}]" if _is_address(name) and ":" in name else name) + (f":{port}" if port else "")

    @property
    def is_local(self) -> bool:
        """Whether what is said to this host stays on this machine."""
        name = self.options.get("hostaddr") or self.options.get("host") or "/"
        return name.startswith("/") or name.lower().rstrip(".") == "localhost" or _is_loopback(name)


class AnsweredConnection(psycopg.Connection[Any]):
    """Gives up a server that does not answer. The host may still answer keep-alives while its processes hang."""

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Waits for an answer as psycopg does. Raises OperationalError and closes the connection if there is none."""
        seconds = self.answer_seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError:
            if seconds is None or self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise  # this is the answer
            self.close()
            raise psycopg.OperationalError(f"no answer within {seconds:g} s") from None


@dataclass
class Servers:
    """The hosts of one database, of which one at a time takes writes. Threads may share it."""

    hosts: Sequence[Host]
    options: Mapping[str, str] = field(repr=False)
    """What all hosts have in common. Passwords may be among it."""
    setting: str = "DATABASE_URL"
    """Where the URL is from. Errors name it."""
    answer_seconds: float | None = None
    """After so many seconds without an answer a connection is given up. None: never."""
    _last: Host | None = None
    """The host that was connected to last."""

    @property
    def database(self) -> str:
        """The name of the database, or "" if libpq's defaults decide."""
        return self.options.get("dbname", "")

    def connect(
        self, _dialect: object, _record: object, _arguments: object, options: dict[str, Any]
    ) -> AnsweredConnection:
        """Connects to the first host that takes writes. For SQLAlchemy's event `do_connect`.

        The host that was used last is asked first. So a dead one costs its time once, and not for each connection.
        Raises DatabaseAway and DatabaseUnfit.
        """
        if self.options.get("sslrootcert") == "system":
            _trust_the_system()
        refusals: list[Unusable] = []
        for host in self._in_order():
            try:
                connection = self._connect(**options, **host.options)
            except (psycopg.Error, UnicodeError) as error:  # UnicodeError: a host name that DNS can't have
                refusals.append(Unusable(str(host), error))
            else:
                self._last = host
                return connection
        raise unusable(refusals, self.setting) from refusals[-1].error

    def _connect(self, **options: Any) -> AnsweredConnection:
        connection = AnsweredConnection.connect(**options)
        connection.answer_seconds = self.answer_seconds
        try:
            # libpq could find this out (target_session_attrs), but PgBouncer tells it what was true some time ago.
            if connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
                raise psycopg.OperationalError(ONLY_READS)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _in_order(self) -> Iterator[Host]:
        hosts = list(self.hosts)
        if self.options.get("load_balance_hosts") == "random":
            random.shuffle(hosts)
        yield from sorted(hosts, key=lambda host: host is not self._last)


def parse(url: str, setting: str = "DATABASE_URL") -> Servers:
    """Reads `postgresql://user:password@host1:5432,host2/name?option=value`.

    Raises ValueError. Its text is to follow the name of the setting, and contains no value.
    """
    _scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if "@" in place.partition("/")[2]:  # libpq would take a part of the password for the name of the database
        raise ValueError(_FORM)
    try:
        options = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items()}
    except psycopg.ProgrammingError as error:
        raise ValueError(_misread(str(error), query)) from None
    if sum(name == "host" for name, _value in parse_qsl(query)) > 1:  # libpq would take the last one
        raise ValueError("must name its hosts as host1:5432,host2:5432")
    hosts = tuple(_hosts(options.pop("host", ""), options.pop("hostaddr", ""), options.pop("port", "")))
    return Servers(hosts, _checked(options), setting)


def _misread(words: str, query: str) -> str:
    unknown = _UNKNOWN.match(words)
    if "@" in query:  # it may be a part of the password
        return _FORM
    if unknown is None:
        return _QUERY if "query parameter" in words or " " in query else _FORM
    known = [option.keyword.decode() for option in Conninfo.get_defaults()]
    close = get_close_matches(unknown[1], known, n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f'has an option that PostgreSQL does not know: "{unknown[1]}"{hint}'


def _hosts(names: str, addresses: str, ports: str) -> Iterator[Host]:
    """Yields the hosts of libpq's three lists. One port counts for all hosts."""
    lists = {name: text.split(",") for name, text in (("host", names), ("hostaddr", addresses)) if text}
    count = max(map(len, lists.values()), default=1)
    lists["port"] = ports.split(",") * (count if "," not in ports else 1)
    if any(len(each) != count for each in lists.values()):
        raise ValueError("must have as many ports as hosts, or one port for all")
    for values in zip(*lists.values(), strict=True):
        options = dict(zip(lists, values, strict=True))
        if not options["port"]:
            del options["port"]
        _check_host(options)
        yield Host(options)


def _check_host(options: Mapping[str, str]) -> None:
    port = options.get("port", "5432")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(_FORM)
    for name in (options.get("host"), options.get("hostaddr")):
        if name is not None and not (name.startswith("/") or _HOST_NAME.fullmatch(name) or _is_address(name)):
            raise ValueError(_FORM)


def _checked(options: dict[str, str]) -> Mapping[str, str]:
    if options.pop("target_session_attrs", "any") in _READS:
        raise ValueError("must not ask for a server that only reads (target_session_attrs): Stockbell writes")
    if options.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"must have one of {', '.join(sorted(_SSL_MODES))} as sslmode")
    for name in _FILES:
        file = options.get(name, "system")
        if file != "system" and ":" not in file and not Path(file).is_file():  # with a colon: a key in hardware
            raise ValueError(f"must name an existing file as {name}")
    return options


def _trust_the_system() -> None:
    """Tells libpq where the system's certificates are. That of psycopg's binary package looks where there are none."""
    paths = ssl.get_default_verify_paths()
    for name, path in ((paths.openssl_cafile_env, paths.cafile), (paths.openssl_capath_env, paths.capath)):
        if path:
            os.environ.setdefault(name, path)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ip_address(name).is_loopback


def weakness(c: "Connection", servers: Servers | None) -> str | None:
    """Returns why others could read or change what is said to this database, or None. An SQLite file has no servers."""
    if servers is None:
        return None
    used: psycopg.Connection[Any] = c.connection.driver_connection  # type: ignore[assignment]  # it is psycopg's
    # What the URL leaves out may be in PGHOST, PGSSLMODE or the file of a service.
    found = Host({"host": used.info.host, "hostaddr": used.info.hostaddr})
    if all(host.is_local for host in (*servers.hosts, found)):
        return None
    if not used.pgconn.ssl_in_use:
        return f"not encrypted: add sslmode=verify-full to {servers.setting}"
    if used.info.get_parameters().get("sslmode", "prefer") not in {"verify-ca", "verify-full"}:
        return f"encrypted, but the server is not verified: add sslmode=verify-full to {servers.setting}"
    return None
