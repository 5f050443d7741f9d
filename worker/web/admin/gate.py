"""Who has logged in, and what they may do. Each handler asks: `visitor: Annotated[Visitor, Depends(gate.admin)]`."""

from contextlib import suppress
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from worker.domain.admins import SESSION_SECONDS, Role, Visitor, checked_user
from worker.domain.errors import DatabaseAway
from worker.store import admins
from worker.web import peers
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
        self._proxies = context.parts.settings.trusted_proxies
        self._header = context.parts.settings.admin_proxy_header

    @property
    def trusts_proxy(self) -> bool:
        """Whether a proxy logs people in."""
        return bool(self._header)

    async def viewer(self, request: Request) -> Visitor:
        """Returns who has logged in. Raises LoginNeeded."""
        visitor = await self.known(request)
        if visitor is None:
            raise LoginNeeded
        return visitor

    async def admin(self, request: Request) -> Visitor:
        """Returns who has logged in, if they may change things. Raises LoginNeeded and NotAllowed."""
        visitor = await self.viewer(request)
        if not visitor.is_admin:
            raise NotAllowed
        return visitor

    async def known(self, request: Request) -> Visitor | None:
        """Returns who has logged in, if anybody has. Asks the database once for a request."""
        if not hasattr(request.state, "visitor"):
            request.state.visitor = None
            request.state.visitor = await self._by_proxy(request) or await self._by_session(request)
        found: Visitor | None = request.state.visitor
        return found

    async def _by_session(self, request: Request) -> Visitor | None:
        secret = secret_of(request)
        visitor = await self._context.read(admins.session_of, secret) if secret else None
        if visitor and visitor.session and visitor.is_stale:
            with suppress(DatabaseAway):  # who only looks can do so while nothing can be written
                await self._context.write(admins.note_seen, visitor.session)
        return visitor

    async def _by_proxy(self, request: Request) -> Visitor | None:
        """Returns whom a proxy that logs people in has named. Only the proxy itself is believed, and only one name."""
        if not self._header or not peers.is_in(self._proxies, peers.peer_of(request.scope)):
            return None
        named = request.headers.getlist(self._header)
        if len(named) != 1:
            return None
        try:
            name = checked_user(named[0].encode("latin-1").decode())
        except ValueError:
            return None
        user = await self._context.read(admins.user_of, name)
        return Visitor(name, user.role if user else Role.VIEWER)


# --- the cookie ---


def secret_of(request: Request) -> str | None:
    """Returns the secret of the browser's session.

    On https the other name is not read: a page of another host of the same domain can set that.
    """
    return request.cookies.get(_cookie(request)) or None


def remember(response: Response, request: Request, secret: str) -> Response:
    """Gives the browser the secret of a session."""
    is_secure = request.url.scheme == "https"
    response.set_cookie(
        _cookie(request), secret, max_age=int(SESSION_SECONDS), secure=is_secure, httponly=True, samesite="lax"
    )
    return response


def forget(response: Response, request: Request) -> Response:
    """Takes the secret from the browser."""
    is_secure = request.url.scheme == "https"
    response.delete_cookie(_cookie(request), secure=is_secure, httponly=True, samesite="lax")
    return response


def _cookie(request: Request) -> str:
    return SECURE_COOKIE if request.url.scheme == "https" else COOKIE
