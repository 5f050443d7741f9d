"""`/confirm/{token}`: where a customer confirms a sign-up. GET shows, since scanners follow links; POST confirms."""

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse
from starlette.background import BackgroundTask

from worker.domain.catalog import options_from_text
from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.services.ringing import try_to_ring
from worker.store import confirmations
from worker.store.confirmations import Asked
from worker.web.context import Context
from worker.web.errors import RETRY_SECONDS

Language = Annotated[str | None, Header(alias="accept-language")]

log = structlog.get_logger()


def routes(context: Context) -> APIRouter:
    """Returns the routes. They are for people, and in no description of the API."""
    router = APIRouter(include_in_schema=False)
    tokens = context.parts.tokens

    @router.api_route("/confirm/{token}", methods=["GET", "HEAD"])
    async def show(token: str, accept_language: Language = None) -> HTMLResponse:
        contact_id = tokens.contact_confirming(token) if tokens else None
        found = context.read(confirmations.asked, contact_id) if contact_id else _nobody()
        return await _page(context, found, accept_language)

    @router.post("/confirm/{token}")
    async def confirm(token: str, accept_language: Language = None) -> HTMLResponse:
        contact_id = tokens.contact_confirming(token) if tokens else None
        found = context.write(confirmations.confirm, contact_id, tokens) if contact_id else _nobody()
        return await _page(context, found, accept_language)

    return router


async def _nobody() -> Asked | None:
    """A token that we did not sign, and one that is too old, get the same page."""
    return None


async def _page(context: Context, finding: Awaitable[Asked | None], accepted: str | None) -> HTMLResponse:
    try:
        found = await finding
    except (DatabaseAway, SchemaOutdated) as away:
        log.warning("web.database_away", reason=str(away))
        page = _show(context, "away", accepted, 503)
        page.headers["Retry-After"] = str(RETRY_SECONDS)
        return page
    if found is None:
        return _show(context, "gone", accepted, 404)
    page = _show(context, "done" if found.is_done else "ask", found.locale or accepted, 200, found.items)
    if found.lists:
        page.background = BackgroundTask(_ring, context, found)
    return page


def _show(context: Context, step: str, wanted: str | None, status: int, items: Sequence[Any] = ()) -> HTMLResponse:
    named = [{"name": row.name, "options": dict(options_from_text(row.options))} for row in items if row.name]
    return context.pages.show("confirm.html", "confirm", wanted, status, step=step, items=named)


async def _ring(context: Context, found: Asked) -> None:
    """What is in stock meanwhile goes out at once, and if Redis is away with the next sweep."""
    try:
        await context.run(lambda: try_to_ring(context.database, context.parts.bell, found.lists))
    except (DatabaseAway, SchemaOutdated) as away:
        log.warning("web.database_away", reason=str(away))
