"""Log in and out."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from worker.web.admin.office import Office


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()

    @router.get("/login")
    async def show(request: Request) -> HTMLResponse:
        return office.frame.show(request, None, "login.html", title="Log in")

    return router


async def ask_again(office: Office, request: Request) -> Response:
    """Answers a form whose session has ended: log in, and nothing of it is lost."""
    return office.frame.show(request, None, "login.html", title="Log in", status=401)
