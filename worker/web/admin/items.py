"""The page of one item."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from worker.domain.admins import Visitor
from worker.web.admin.office import Office


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()

    @router.get("/items/{app_id}/{item_id}")
    async def show(
        request: Request, app_id: str, item_id: str, visitor: Annotated[Visitor, Depends(office.gate.viewer)]
    ) -> HTMLResponse:
        return office.frame.show(request, visitor, "item.html", title=item_id, nav="demand")

    return router
