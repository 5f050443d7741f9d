"""The one-time link: how the first admin gets in, on this machine, before there is a user."""

import hmac
import time
from collections.abc import Callable
from typing import Final

from worker.domain.admins import digest, new_secret

LINK_SECONDS: Final = 600.0


class FirstLink:
    """A link of this process. It is good once, and for `LINK_SECONDS`. It belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._digest = ""
        self._until = 0.0

    def issue(self) -> str:
        """Makes the link good, and returns the secret in it."""
        secret = new_secret()
        self._digest, self._until = digest(secret), self._clock() + LINK_SECONDS
        return secret

    def is_good(self, secret: str) -> bool:
        """Whether the link with this secret can be used now."""
        return self._clock() < self._until and hmac.compare_digest(digest(secret), self._digest)

    def use_up(self) -> None:
        """Makes the link useless."""
        self._digest, self._until = "", 0.0
