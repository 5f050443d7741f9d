"""Answers a fault of ours with a page. `middleware.Unbroken` would do so in JSON."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.web.middleware import tried


class Whole:
    """Around the pages. An answer that has begun is cut off by whoever is outside."""

    def __init__(self, app: ASGIApp, answer: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        error, has_begun = await tried(self._app, scope, receive, send)
        if error is None:
            return
        if scope["type"] != "http" or has_begun:
            raise error
        answer = await self._answer(Request(scope, receive), error)
        await answer(scope, receive, send)
