"""Who may do what on the pages for admins: names, passwords, secrets of sessions, and where a log-in leads. Pure."""

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SESSION_SECONDS: Final = 12 * 3600.0
"""A session ends after this time, whatever happens."""
IDLE_SECONDS: Final = 30 * 60.0
"""A session ends if it was not used for so long."""
MOST_GUESSES: Final = 5
"""So many log-ins may fail for a name, and so many from an address."""
GUESS_SECONDS: Final = 15 * 60.0
"""For so long a failed log-in counts."""
LEAST_PASSWORD: Final = 12
"""Characters. NIST SP 800-63B asks for length, and for no rules about which characters."""
MOST_PASSWORD: Final = 200
FIRST: Final = "first"
"""Who came by the one-time link, before there was a user."""
PAGES: Final = "/admin"
"""The path of the pages for admins, as this process sees it."""

_MOST_NAME: Final = 64
_MOST_PATH: Final = 4000
_PATH: Final = re.compile(r"/admin(?:/[\x21-\x7e]*)?(?:\?[\x21-\x7e]*)?")
_WAYS: Final = frozenset({".", "..", "%2e", "%2e%2e", ".%2e", "%2e."})
_DOORS: Final = ("/admin/login", "/admin/logout", "/admin/first")


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    """Look at everything, change nothing."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who has logged in."""

    name: str
    role: Role
    session: str | None = None
    """The digest of the session; None for those whom a proxy has named."""
    is_stale: bool = False
    """Whether the use of the session has to be recorded again."""

    @property
    def is_admin(self) -> bool:
        """Whether they may change anything."""
        return self.role is Role.ADMIN


def new_secret() -> str:
    """Returns what a cookie or a link holds: 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Returns what is stored of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def checked_user(name: str) -> str:
    """Returns the name of a user, in lower case. Raises ValueError.

    What the audit trail says of others, `cli:...` and `first`, is no name.
    """
    name = unicodedata.normalize("NFKC", name).strip().casefold()
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise ValueError(f"NAME must have 1 to {_MOST_NAME} characters that can be printed")
    if name == FIRST or name.startswith("cli:"):
        raise ValueError("NAME must not be `first` or begin with `cli:`: the audit trail means others by that")
    return name


def plain_password(password: str) -> str:
    """Returns a password as it is hashed: one keyboard writes an accented letter as one character, another as two."""
    return unicodedata.normalize("NFKC", password)


def checked_password(password: str, name: str) -> str:
    """Returns a new password as it is hashed. Raises ValueError."""
    password = plain_password(password)
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ValueError(f"the password must have {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
    plain = password.casefold().strip()
    if not plain.replace(name, ""):
        raise ValueError("the password must not be the name")
    if len(set(plain)) < LEAST_PASSWORD // 3:
        raise ValueError("the password must not repeat a few characters")
    return password


def own_path(text: str | None) -> str | None:
    """Returns the path of a page to go to after a log-in, or None if this is no such path.

    Only paths below `/admin`, as they stand in a request's first line, and not those that log in or out. What browsers
    read as another host begins with two slashes or backslashes, so it is none of these.
    """
    if not text or len(text) > _MOST_PATH or not _PATH.fullmatch(text):
        return None
    path = text.partition("?")[0]
    is_a_way = "\\" in path or "//" in path or not _WAYS.isdisjoint(path.lower().split("/"))
    return None if is_a_way or path.startswith(_DOORS) else text


_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser_of(user_agent: str) -> str | None:
    """Returns what a browser says it is, for people: `Firefox on Linux`. None if it says nothing that is known."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    return " on ".join(filter(None, (browser, system))) or None
