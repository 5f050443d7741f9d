"""Redis behind Sentinel: the parsed value of a REDIS_URL or STOCKBELL_EVENTS_URL that names sentinels.

Pure, so that `stream`, `queue` and `config` can use it. Error texts never contain the value, because it may hold a
password.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import SecretStr

from worker.domain.hosts import decoded, has_control, host_of

SENTINEL_PORT: Final = 26379
FORM: Final = "redis+sentinel://user:password@host1:26379,host2:26379/service/0"

_ONE_SERVER: Final = ("redis", "rediss")
_SENTINELS: Final = ("redis+sentinel", "rediss+sentinel")
# Other libraries write redis-sentinel://, sentinel://, ?service_name=, ?sentinelMasterId= or ?master_name=.
_MEANS_SERVICE: Final = re.compile(r"(service|master)_?(name|id)", re.IGNORECASE)
_MEANS_SENTINEL: Final = re.compile(rf"sentinel|{_MEANS_SERVICE.pattern}", re.IGNORECASE)
_PARTS: Final = re.compile(r"(?P<authority>[^/?#]*)(/(?P<path>[^?#]*))?(\?(?P<options>[^#]*))?(?P<fragment>#.*)?")
_HOST: Final = re.compile(r"(\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(:(?P<port>[0-9]{1,5}))?")
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]+")
"""What Redis allows in the name of a service."""
_DATABASE: Final = re.compile(r"[0-9]{1,5}")
_OPTIONS: Final = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password")
"""What redis-py and Celery understand in the same way. Others end in a traceback, or change the shape of replies."""
_VERIFY_OPTIONS: Final = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
"""They may be written, and change nothing."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user of Redis and its password. Without a name it is the user `default`."""

    username: str | None = field(default=None, repr=False)
    password: SecretStr | None = field(default=None, repr=False)

    def as_options(self) -> dict[str, Any]:
        """Returns what redis-py needs to log in: nothing, the password, or both."""
        return {"username": self.username, "password": self.password and self.password.get_secret_value()}


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The sentinels that know which server is the primary of a service. `login` is for the servers, not for them."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int = 0
    is_encrypted: bool = False
    login: Login = Login()
    sentinel_login: Login = Login()


def sentinels_of(url: str) -> Sentinels | None:
    """Parses the URL of a Redis. None: it names one server, not sentinels. Raises ValueError.

    Several sentinels are separated by commas. The default port is 26379, the default database 0. User and password are
    percent-decoded.
    """
    scheme, _, rest = url.partition("://")
    if scheme in _ONE_SERVER:
        _check_one_server(url, rest)
        return None
    if scheme in _SENTINELS:
        return _parsed(rest, is_encrypted=scheme == "rediss+sentinel")
    if _MEANS_SENTINEL.search(scheme):
        raise ValueError(f"must be {FORM} (rediss+sentinel:// with TLS)")
    raise ValueError(
        "must begin with redis:// or rediss://, for sentinels redis+sentinel:// (a cluster is not supported)"
    )


def _check_one_server(url: str, rest: str) -> None:
    if "," in rest or ";" in rest:
        raise ValueError(f"must be one server (in a password write , as %2C and ; as %3B), or {FORM}")
    parts = _split(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    if any(_MEANS_SENTINEL.search(name) for name, _ in options):
        raise ValueError(f"must be {FORM} for a Redis behind Sentinel")
    _check_options(options, is_encrypted=parts.scheme == "rediss")
    # redis-py silently uses database 0 if the path is not a number.
    if parts.path.strip("/") and not _DATABASE.fullmatch(parts.path[1:]):
        raise ValueError("must be redis://host:port/number: the part after the / is a database number")


def _check_options(options: Sequence[tuple[str, str]], *, is_encrypted: bool) -> None:
    if any(value != _VERIFY_OPTIONS.get(name, value) for name, value in options):
        raise ValueError(
            "must be without ssl_cert_reqs and ssl_check_hostname: certificates are always verified"
            " (name your own authority with rediss://...?ssl_ca_certs=/file.pem)"
        )
    names = [name for name, _ in options]
    known = {*_TLS_OPTIONS, *_VERIFY_OPTIONS} if is_encrypted else set()
    if len(names) > len(known.intersection(names)):
        raise ValueError(f"may have options after the ? only with rediss://, each once: {', '.join(_TLS_OPTIONS)}")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.port != 0:
            return parts
    except ValueError:
        pass  # its text contains the value
    raise ValueError("must have user:password@host:port (percent-encode / ? # @ in a password)")


def _parsed(rest: str, *, is_encrypted: bool) -> Sentinels:
    if has_control(rest) or ";" in rest:
        raise ValueError(f"must be {FORM}: hosts are separated by commas (in a password write ; as %3B)")
    parts = _PARTS.fullmatch(rest)
    if parts is None or parts["fragment"]:
        raise ValueError(f"must be {FORM} (percent-encode / ? # in a password)")
    user, _, hosts = parts["authority"].rpartition("@")
    service, database = _service(parts["path"] or "", parts["options"] or "")
    return Sentinels(
        tuple(_host(host.strip(" ")) for host in hosts.split(",")),
        service,
        database,
        is_encrypted,
        _login(user),
        _sentinel_login(parts["options"] or ""),
    )


def _host(text: str) -> tuple[str, int]:
    parts = _HOST.fullmatch(text)
    port = int(parts["port"] or SENTINEL_PORT) if parts else 0
    if parts is None or not 0 < port < 65536:
        raise ValueError(
            f"must be {FORM}: each host with a port from 1 to 65535, IPv6 in [] (percent-encode @ : in a password)"
        )
    return host_of(parts["ipv6"] or parts["name"]), port


def _service(path: str, options: str) -> tuple[str, int]:
    service, _, database = path.removesuffix("/").partition("/")
    is_number_alone = not database and _DATABASE.fullmatch(service)
    if not service or is_number_alone or any(map(_MEANS_SERVICE.search, _names(options))):
        raise ValueError(f"must name the service after the hosts: {FORM}")
    if not _SERVICE.fullmatch(service) or not _DATABASE.fullmatch(database or "0"):
        raise ValueError(f"must be {FORM}: after the hosts the service, then the number of the database")
    return service, int(database or 0)


def _names(options: str) -> list[str]:
    return [option.partition("=")[0] for option in options.split("&")]


def _login(text: str) -> Login:
    name, colon, password = text.partition(":")
    if not text:
        return Login()
    if not colon or not password:
        raise ValueError("must have user:password@ or :password@ before the hosts (a password alone begins with a :)")
    return Login(decoded(name) or None, SecretStr(decoded(password)))


def _sentinel_login(options: str) -> Login:
    given: dict[str, str] = {}
    for option in filter(None, options.split("&")):
        name, _, value = option.partition("=")
        if name not in _OPTIONS or name in given:
            raise ValueError(f"may have each of these options once, and no other: {', '.join(_OPTIONS)}")
        given[name] = decoded(value)
    username, password = (given.get(name) for name in _OPTIONS)
    if username and not password:
        raise ValueError("must have a sentinel_password with its sentinel_username")
    return Login(username or None, SecretStr(password) if password else None)
