"""The page "Overview": how it goes, live. Sending is paused here, and goes on."""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.services.verbs import Verbs
from worker.web.admin.gate import LoginNeeded
from worker.web.admin.live import HEADERS, Live, Look, Stream, event
from worker.web.admin.office import Office

SAID: Final = {
    "paused": "Sending is paused. It stops within a second; requests are kept.",
    "was-paused": "It was paused already.",
    "resumed": "Sending goes on.",
    "was-not-paused": "It was not paused.",
}
COMMANDS: Final = ["stockbell status --watch"]


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    live = Live(office.context, partial(_parts, office))

    @router.get("/")
    async def show(
        request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)], said: str = ""
    ) -> HTMLResponse:
        look = await live.current()
        paused = look.overview and look.overview.status.paused.everything
        return office.frame.show(
            request,
            visitor,
            "overview.html",
            title="Overview",
            nav="overview",
            command=[*COMMANDS, *(["stockbell resume" if paused else "stockbell pause"] if visitor.is_admin else [])],
            said=SAID.get(said, ""),
            look=look,
            is_admin=visitor.is_admin,
        )

    @router.get("/live")
    async def stream(request: Request) -> Response:
        try:
            return Stream(live, await office.gate.viewer(request))
        except LoginNeeded:  # a stream can't show a form
            return Response(event("", "ended"), headers={k.decode(): v.decode() for k, v in HEADERS})

    async def act(visitor: Visitor, verb: str) -> Response:
        verbs = Verbs(office.context.database, office.context.parts.bell)
        changed = await office.context.sql(getattr(verbs, verb), None, visitor.name)
        live.forget()
        done = {"pause": "paused", "resume": "resumed"}[verb]
        said = done if changed else {"pause": "was-paused", "resume": "was-not-paused"}[verb]
        return RedirectResponse(f"{office.frame.here}/?said={said}", 303)

    @router.post("/pause")
    async def pause(visitor: Annotated[Visitor, Depends(office.gate.admin)]) -> Response:
        return await act(visitor, "pause")

    @router.post("/resume")
    async def resume(visitor: Annotated[Visitor, Depends(office.gate.admin)]) -> Response:
        return await act(visitor, "resume")

    return router


def _parts(office: Office, look: Look, is_admin: bool, with_charts: bool) -> str:
    values: dict[str, Any] = {"look": look, "is_admin": is_admin, "with_charts": with_charts}
    return office.frame.part("_overview_live.html", **values)
