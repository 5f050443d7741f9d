"""What happens around every request: an id, CORS, and headers that browsers obey."""

import random
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.web.errors import application_error, fault

REQUEST_ID: Final = "x-wix-request-id"
"""Wix's SDK shows the value of this header with an error."""
CAPTCHA: Final = "x-stockbell-captcha"
"""A proof of work, from clients that can add a header and no field, such as Wix's SDK."""
MAX_BODY: Final = 64 * 1024
"""Octets. Routes that take more say so themselves."""

WIX_PREFIX: Final = "/back-in-stock-service"
_TOO_LARGE: Final = "the body is too large"
_HEADERS: Final = ["authorization", "content-type", "x-wix-bi-gateway", "wix-site-id", "wix-account-id", CAPTCHA]
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "DELETE"]
_SAFE: Final = ((b"x-content-type-options", b"nosniff"),)


class Named:
    """Gives each request an id, which is in its log lines and in the reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Not from the system: a call to it lets go of the interpreter, which other threads then hold for a while.
        request_id = f"{random.getrandbits(64):016x}"

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID.encode(), request_id.encode()), *_SAFE]
            await send(message)

        with structlog.contextvars.bound_contextvars(http_request=request_id):
            await self._app(scope, receive, named)


class Unprefixed:
    """Takes away what a Wix SDK that calls Wix's own host has before all paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http" and scope["path"].startswith(f"{WIX_PREFIX}/v1/"):
            scope = {**scope, "path": scope["path"].removeprefix(WIX_PREFIX)}
            scope.pop("raw_path", None)
        await self._app(scope, receive, send)


class Worded:
    """Says in our shape that a body is too large. Starlette says so in plain text, also over what a route answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        is_replaced = False

        async def worded(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                is_replaced = Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
                if is_replaced:
                    await application_error(413, "PAYLOAD_TOO_LARGE", _TOO_LARGE)(scope, receive, send)
            if not is_replaced:
                await send(message)

        await self._app(scope, receive, worded)


async def tried(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> tuple[Exception | None, bool]:
    """Passes a request on. Returns what it raised, if anything, and whether the reply had begun."""
    has_begun = False

    async def watched(message: Message) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    try:
        await app(scope, receive, watched)
    except Exception as error:
        return error, has_begun
    return None, has_begun


class Unbroken:
    """Answers for a fault of ours. Starlette would do so outside of CORS and `Named`, and uvicorn log it once more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on. A reply that has begun is cut off."""
        error, has_begun = await tried(self._app, scope, receive, send)
        if error is None:
            return
        if scope["type"] != "http":
            raise error
        answer = fault(scope, error)
        if has_begun:
            raise error
        await answer(scope, receive, send)


def add_to(app: FastAPI) -> None:
    """Adds all of them. CORS is the outermost: else a browser would take an error for a broken network.

    Every page may call: no cookie is ever looked at, and a key is checked against the origin by `access`.
    """
    # Each route has the limit, or its own. Outside of the routes Starlette's answer would have no headers of ours.
    app.max_body_size = None
    app.add_middleware(Unprefixed)
    app.add_middleware(Worded)
    app.add_middleware(Unbroken)
    app.add_middleware(Named)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=_METHODS,
        allow_headers=_HEADERS,
        expose_headers=[REQUEST_ID, "Retry-After"],
        max_age=86400,
    )
