"""The page "Mail"."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from worker.domain.admins import Visitor
from worker.web.admin.office import Office


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()

    @router.get("/mail")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> HTMLResponse:
        return office.frame.show(request, visitor, "mail.html", title="Mail", nav="mail")

    return router
