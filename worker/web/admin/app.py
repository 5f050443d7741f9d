"""Puts the pages for admins together. It is an application of its own: it answers errors with pages, not with JSON."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final
from urllib.parse import urlencode, urlsplit

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from worker.domain.errors import DatabaseAway, RedisAway, Refused, SchemaOutdated
from worker.web import middleware
from worker.web.acting import Actor
from worker.web.admin import (
    actions,
    again,
    contacts,
    dead_letters,
    demand,
    failed,
    insights,
    items,
    keys,
    login,
    mail,
    me,
    overview,
    requests,
    system,
    webhooks,
    why,
)
from worker.web.admin.desk import Desk
from worker.web.admin.frame import Frame
from worker.web.admin.gate import Gate, LoginNeeded, NotAllowed
from worker.web.admin.office import Office
from worker.web.admin.whole import Whole
from worker.web.context import Context
from worker.web.errors import fault

RETRY_SECONDS: Final = 5

log = structlog.get_logger()

_PAGES: Final[Sequence[Callable[[Office], APIRouter]]] = (
    login.routes,
    me.routes,
    overview.routes,
    requests.routes,
    why.routes,
    failed.routes,
    demand.routes,
    items.routes,
    insights.routes,
    actions.routes,
    dead_letters.routes,
    contacts.routes,
    mail.routes,
    webhooks.routes,
    keys.routes,
    system.routes,
)


def office_of(context: Context) -> Office:
    """Returns what the pages share."""
    settings = context.parts.settings
    frame = Frame(settings.store_name, urlsplit(settings.public_url or "").path)
    return Office(context, Gate(context), frame, Desk(context), Actor(context))


def create_app(office: Office) -> FastAPI:
    """Returns the application that is mounted at `/admin`."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, max_body_size=middleware.MAX_BODY)
    _answer_errors(app, office)
    for page in _PAGES:
        app.include_router(page(office))
    return app


def door(office: Office) -> APIRouter:
    """Returns the route that leads from the path of the application to its first page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/admin")
    async def to_overview() -> Response:
        return RedirectResponse(f"{office.frame.here}/", 308)

    return router


def _answer_errors(app: FastAPI, office: Office) -> None:
    frame = office.frame

    async def problem(request: Request, status: int, title: str, words: str, *, retry: bool = False) -> HTMLResponse:
        headers = {"Retry-After": str(RETRY_SECONDS), "Refresh": str(RETRY_SECONDS)} if retry else {}
        is_form = request.method != "GET"
        visitor = None
        with suppress(DatabaseAway):
            visitor = await office.gate.known(request)
        return frame.show(
            request,
            visitor,
            "problem.html",
            title=title,
            status=status,
            headers=headers if not is_form else {"Retry-After": str(RETRY_SECONDS)} if retry else {},
            words=words,
            is_form=is_form,
        )

    async def on_login_needed(request: Request, _error: Exception) -> Response:
        if request.method != "GET":
            return await login.ask_again(office, request)
        to_login = f"{frame.here}/login?{urlencode({'next': again.path_of(request)})}"
        if "text/event-stream" in request.headers.get("accept", ""):
            return Response(status_code=401)  # a script would read the log-in page as events
        return RedirectResponse(to_login, 303)

    async def on_not_allowed(request: Request, _error: Exception) -> Response:
        return await problem(request, 403, "Not allowed", "You may look at everything here, and change nothing.")

    async def on_refused(request: Request, error: Exception) -> Response:
        return await problem(request, 404, "Not there", f"{str(error)[:1].upper()}{str(error)[1:]}.")

    async def on_unreadable(request: Request, error: Exception) -> Response:
        return await problem(request, 400, "Not understood", "The address or the form has a value that can't be read.")

    async def on_http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = "There is no such page." if status == 404 else "This can't be answered."
        return await problem(request, status, "Not there" if status == 404 else "Not understood", words)

    async def on_database_away(request: Request, error: Exception) -> Response:
        log.warning("web.database_away", reason=str(error))
        words = "The database can't be reached now. Mails wait there, and go on when it is back."
        return await problem(request, 503, "The database is away", words, retry=True)

    async def on_fault(request: Request, error: Exception) -> Response:
        fault(request.scope, error)
        return await problem(
            request, 500, "Something went wrong", "This is a fault of ours. The log has more about it."
        )

    async def on_redis_away(request: Request, error: Exception) -> Response:
        log.warning("web.redis_away", reason=str(error))
        words = "Redis can't be reached now. Requests are safe: they are in the database."
        return await problem(request, 503, "Redis is away", words, retry=True)

    app.add_middleware(partial(Whole, answer=on_fault))
    app.add_exception_handler(LoginNeeded, on_login_needed)
    app.add_exception_handler(NotAllowed, on_not_allowed)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(RequestValidationError, on_unreadable)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(DatabaseAway, on_database_away)
    app.add_exception_handler(SchemaOutdated, on_database_away)
    app.add_exception_handler(RedisAway, on_redis_away)
