"""Keys for the HTTP API: what they look like, what they may do, and how one is recognised.

Pure. A key has a prefix that says its scope and lets scanners for leaked secrets find it, eight characters of id, and
43 of secret. It is random enough that a fast hash of it may be stored.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key is for."""

    CREATE = "create"
    """To sign up. It is publishable: a page holds it, so everybody knows it."""
    READ = "read"
    """To get, query and count."""
    ADMIN = "admin"
    """Everything."""


_PREFIX: Final = {Scope.CREATE: "sb_pub_", Scope.READ: "sb_read_", Scope.ADMIN: "sb_admin_"}
_FORM: Final = re.compile(r"sb_(?:pub|read|admin)_([0-9a-z]{8})[0-9A-Za-z_-]{43}")
_HOST_NAME: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]"
_HOST: Final = re.compile(_HOST_NAME)
_ORIGIN: Final = re.compile(rf"(https?)://({_HOST_NAME})(?::([0-9]{{1,5}}))?")
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65_535
_MOST_NAME: Final = 100
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `text` is shown once."""

    id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was recognised."""

    id: str
    scope: Scope
    origins: Sequence[str] = ()
    """Pages of these may use a publishable key; none: any may."""
    url_hosts: Sequence[str] = ()
    """Requests of a publishable key may link to these and to the hosts of its origins."""

    @property
    def is_publishable(self) -> bool:
        """Whether everybody may know it."""
        return self.scope is Scope.CREATE

    def may(self, scope: Scope) -> bool:
        """Whether it may do what needs this scope."""
        return self.scope is Scope.ADMIN or self.scope is scope


def new_key(scope: Scope) -> NewKey:
    """Makes a key."""
    id_ = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return NewKey(id_, f"{_PREFIX[scope]}{id_}{secrets.token_urlsafe(32)}")


def id_of(text: str) -> str | None:
    """Returns the id in a key, or None if this is no key."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def digest(text: str) -> str:
    """Returns what is stored of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_key(text: str, stored: str) -> bool:
    """Whether a key is the one whose digest was stored. Takes the same time whatever differs."""
    return hmac.compare_digest(digest(text), stored)


def checked_origins(origins: Sequence[str], scope: Scope) -> Sequence[str]:
    """Returns origins as browsers send them: scheme, host and port. Raises ValueError.

    A publishable key needs one at least: without, every page could use it.
    """
    if scope is Scope.CREATE and not origins:
        raise ValueError("a publishable key needs --origin: the pages that may use it")
    _only_publishable(origins, scope, "--origin")
    found = [_ORIGIN.fullmatch(origin.lower().rstrip("/")) for origin in origins]
    if not all(found) or any(int(each[3] or 1) > _MOST_PORT for each in found if each):
        raise ValueError("--origin must be https://host or https://host:port, in ASCII (xn--) and without a path")
    return [_as_browsers_say(*each.groups()) for each in found if each]


def _as_browsers_say(scheme: str, host: str, port: str | None) -> str:
    """Returns an origin without the usual port, which browsers leave out."""
    is_usual = port is None or int(port) == _USUAL_PORTS[scheme]
    return f"{scheme}://{host}" + ("" if is_usual else f":{int(port or 0)}")


def checked_name(name: str) -> str:
    """Returns a name for people. Raises ValueError."""
    name = name.strip()
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise ValueError(f"NAME must have 1 to {_MOST_NAME} characters that can be printed")
    return name


def checked_hosts(hosts: Sequence[str], scope: Scope) -> Sequence[str]:
    """Returns host names in lower case. Raises ValueError."""
    _only_publishable(hosts, scope, "--item-url-host")
    if not all(_HOST.fullmatch(host.lower()) for host in hosts):
        raise ValueError("--item-url-host must be a host's name")
    return [host.lower() for host in hosts]


def _only_publishable(given: Sequence[str], scope: Scope, option: str) -> None:
    if given and scope is not Scope.CREATE:
        raise ValueError(f"{option} is for publishable keys (--scope create)")
