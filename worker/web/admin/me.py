"""The page of the visitor: own sessions, and the own password."""

import math
import shlex
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from worker.domain.admins import FIRST, Visitor, checked_password
from worker.domain.errors import Refused
from worker.store import actions, admins
from worker.store.database import Connection
from worker.web.admin import gate, login
from worker.web.admin.desk import In, Wait
from worker.web.admin.office import Office

Text = Annotated[str, Form()]


def routes(office: Office) -> APIRouter:
    """Returns the routes. A viewer may do all of this: it is about themselves."""
    router = APIRouter()
    context, frame = office.context, office.frame
    Own = Annotated[Visitor, Depends(office.gate.viewer)]  # noqa: N806  # a type

    async def page(
        request: Request,
        visitor: Visitor,
        errors: dict[str, str] | None = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> Response:
        sessions = await context.read(admins.sessions_of, visitor.name) if visitor.session else []
        name = visitor.name
        has_password = bool(visitor.session) and name != FIRST
        return frame.show(
            request,
            visitor,
            "me.html",
            title=name,
            status=status,
            headers=headers,
            command=[
                f"stockbell admin {verb} {shlex.quote(name)}" for verb in ("sessions", "password") if has_password
            ],
            sessions=sessions,
            digits=admins.SHOWN_DIGITS,
            errors=errors or {},
            has_password=has_password,
            done=request.query_params.get("done", "") if request.method == "GET" else "",
        )

    @router.get("/me")
    async def show(request: Request, visitor: Own) -> Response:
        return await page(request, visitor)

    @router.post("/me/end")
    async def end(request: Request, visitor: Own, id: Text = "") -> Response:
        if "\0" in id or not await context.write(_end_one, visitor, id):
            raise Refused("this session has ended already")
        return RedirectResponse(f"{frame.here}/me?done=ended", 303)

    @router.post("/me/end-others")
    async def end_others(request: Request, visitor: Own) -> Response:
        await context.write(_end_others, visitor)
        return RedirectResponse(f"{frame.here}/me?done=ended", 303)

    @router.post("/me/password")
    async def change_password(
        request: Request, visitor: Own, password: Text = "", new_password: Text = "", repeated_password: Text = ""
    ) -> Response:
        if not visitor.session or visitor.name == FIRST:
            raise Refused("this log-in has no password")
        errors = {}
        try:
            new = checked_password(new_password, visitor.name)
        except ValueError as error:
            new, errors["new_password"] = "", f"{str(error)[:1].upper()}{str(error)[1:]}."
        if new and new_password != repeated_password:
            errors |= {"repeated_password": "This is not the same as the new password."}
        if errors:
            return await page(request, visitor, errors, 400)
        answer = await office.desk.change_password(request, visitor, password, new)
        if isinstance(answer, In):
            return gate.remember(RedirectResponse(f"{frame.here}/me?done=password", 303), request, answer.secret)
        if isinstance(answer, Wait):
            words, status = login.waiting(answer)
            return await page(
                request, visitor, {"password": words}, status, {"Retry-After": str(math.ceil(answer.seconds))}
            )
        return await page(request, visitor, {"password": "This is not your password."}, 400)

    return router


def _end_one(c: Connection, visitor: Visitor, id_: str) -> int:
    ended = admins.close_one(c, visitor.name, id_)
    if ended:
        actions.note(c, visitor.name, "admin sessions", {"user": visitor.name}, changed=ended)
    return ended


def _end_others(c: Connection, visitor: Visitor) -> None:
    ended = admins.close_all(c, visitor.name, visitor.session or "")
    actions.note(c, visitor.name, "admin sessions", {"user": visitor.name}, changed=ended)
