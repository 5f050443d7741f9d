"""Who may do what on the pages for admins, and the secrets of their sessions. Pure."""

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SESSION_SECONDS: Final = 12 * 3600.0
"""A session ends after this time, whatever happens."""
IDLE_SECONDS: Final = 30 * 60.0
"""A session ends if it was not used for so long."""


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
