"""Who has logged in, and what they may do. Each handler asks: `visitor: Annotated[Visitor, Depends(gate.admin)]`."""

from typing import Final

from fastapi import Request

from worker.domain.admins import Visitor
from worker.store import admins
from worker.web.context import Context

COOKIE: Final = "stockbell"
SECURE_COOKIE: Final = "__Host-stockbell"
"""The cookie's name on https: browsers take it from no other host, and send it to none."""


class LoginNeeded(Exception):
    """Nobody has logged in, or the session has ended."""


class NotAllowed(Exception):
    """The visitor may look, and change nothing."""


class Gate:
    """Lets visitors in. Its methods are dependencies of handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def viewer(self, request: Request) -> Visitor:
        """Returns who has logged in. Raises LoginNeeded."""
        secret = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE)
        visitor = await self._context.read(admins.session_of, secret) if secret else None
        if visitor is None:
            raise LoginNeeded
        return visitor

    async def admin(self, request: Request) -> Visitor:
        """Returns who has logged in, if they may change things. Raises LoginNeeded and NotAllowed."""
        visitor = await self.viewer(request)
        if not visitor.is_admin:
            raise NotAllowed
        return visitor
