"""The page "Insights"."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from worker.domain.admins import Visitor
from worker.web.admin.office import Office


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()

    @router.get("/insights")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> HTMLResponse:
        return office.frame.show(request, visitor, "insights.html", title="Insights", nav="insights")

    return router
