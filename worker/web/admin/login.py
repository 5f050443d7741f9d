"""Log in and out, and the one-time link before there is a user."""

import math
from typing import Annotated, Final, assert_never
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import checked_user, digest, own_path
from worker.services import logging_in
from worker.store import admins
from worker.web import peers
from worker.web.admin import again, gate
from worker.web.admin.again import Kept
from worker.web.admin.desk import In, Wait, Wrong, browser
from worker.web.admin.frame import seconds
from worker.web.admin.office import Office

Text = Annotated[str, Form()]
_BY_PROXY: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""What proxies add. One on this machine that was not named as trusted would make everybody look like a neighbour."""


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    frame, link = office.frame, office.context.first_link

    @router.get("/login")
    async def show(request: Request, next: str = "") -> Response:  # the usual name of this parameter
        if await office.gate.known(request):
            return RedirectResponse(_after(office, next), 303)
        return await _page(office, request, next=next)

    @router.post("/login")
    async def log_in(
        request: Request,
        name: Text = "",
        password: Text = "",
        next: Text = "",
        again_path: Text = "",
        again_fields: Text = "",
    ) -> Response:
        kept = again.read(again_path, again_fields)
        answer = await office.desk.log_in(request, _user(name), password)
        match answer:
            case In():
                response = _send_again(office, request, kept) if kept else RedirectResponse(_after(office, next), 303)
                return gate.remember(response, request, answer.secret)
            case Wrong():
                words, status, headers = "The name or the password is wrong.", 401, {}
            case Wait():
                words, status = waiting(answer)
                headers = {"Retry-After": str(math.ceil(answer.seconds))}
            case _:
                assert_never(answer)
        return await _page(
            office, request, status=status, headers=headers, error=words, name=name[:100], next=next, kept=kept
        )

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        secret = gate.secret_of(request)
        if secret:
            await office.context.write(admins.close_session, digest(secret))
        return gate.forget(RedirectResponse(f"{frame.here}/login?{urlencode({'out': 1})}", 303), request)

    def first(request: Request, *, is_good: bool) -> HTMLResponse:
        status, command = (200 if is_good else 404), "stockbell admin add NAME --role admin"
        return frame.show(
            request, None, "first.html", title="First log-in", command=command, status=status, is_good=is_good
        )

    @router.get("/first/{secret}")
    async def show_first(request: Request, secret: str) -> HTMLResponse:
        is_good = link.is_good(secret) and _is_here(request)
        return first(request, is_good=is_good)

    @router.post("/first/{secret}")
    async def log_in_first(request: Request, secret: str) -> Response:
        if link.is_good(secret) and _is_here(request):
            link.use_up()  # before the next await, so that of two clicks at the same time one counts
            session = await office.context.write(logging_in.enter_first, browser(request))
            if session:
                return gate.remember(RedirectResponse(f"{frame.here}/", 303), request, session)
        return first(request, is_good=False)

    return router


async def ask_again(office: Office, request: Request) -> Response:
    """Answers a form whose session has ended: log in, and nothing of it is lost."""
    kept = await again.of(request)
    return await _page(office, request, status=401, kept=kept, is_lost=kept is None)


def waiting(answer: Wait) -> tuple[str, int]:
    """Returns what to say to somebody who has to wait, and the status."""
    if answer.is_busy:
        return "Many people log in at this moment. Try again in some seconds.", 503
    return f"Too many log-ins have failed. Try again in {seconds(answer.seconds)}, with the right password.", 429


async def _page(
    office: Office,
    request: Request,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    error: str = "",
    name: str = "",
    next: str = "",
    kept: Kept | None = None,
    is_lost: bool = False,
) -> HTMLResponse:
    has_users = bool(office.gate.trusts_proxy or await office.context.read(admins.is_any))
    is_out = "out" in request.query_params and request.method == "GET"
    return office.frame.show(
        request,
        None,
        "login.html",
        title="Log in",
        status=status,
        headers=headers,
        has_users=has_users,
        is_out=is_out,
        is_lost=is_lost,
        error=error,
        name=name,
        next=own_path(next) or "",
        kept=kept,
    )


def _send_again(office: Office, request: Request, kept: Kept) -> Response:
    action = f"{office.frame.root}{kept.path}"
    return office.frame.show(request, None, "again.html", title="Send it again?", kept=kept, action=action)


def _after(office: Office, next_: str) -> str:
    """Returns where a log-in leads: to a page of ours, and nowhere else."""
    path = own_path(next_)
    return f"{office.frame.root}{path}" if path else f"{office.frame.here}/"


def _user(name: str) -> str:
    try:
        return checked_user(name)
    except ValueError:
        return name.replace("\0", "")[:100]  # which PostgreSQL does not take in a text


def _is_here(request: Request) -> bool:
    """Whether the browser is on this machine, and no proxy of it speaks for others."""
    if any(name in request.headers for name in _BY_PROXY):
        return False
    client = request.client.host if request.client else None
    return peers.is_loopback(client) and peers.is_loopback(peers.peer_of(request.scope))
