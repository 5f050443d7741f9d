"""The page "Webhooks": where changes of requests are told, how that goes on, and who calls us."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.domain.errors import BadUrl, DatabaseAway, Refused
from worker.domain.webhooks import Format
from worker.services import endpoint_verbs, webhooks
from worker.services.wire import timestamp
from worker.store import actions, endpoints
from worker.store.endpoints import Endpoint
from worker.web import endpoint_urls
from worker.web.admin import posted
from worker.web.admin.office import Office
from worker.web.admin.posted import Posted
from worker.web.context import Context
from worker.web.courier import send_test
from worker.web.signing import JwtKey

MOST_DELIVERIES: Final = 20
LIST: Final = "stockbell webhooks list"
DONE: Final = {
    "enabled": "The endpoint is told again. What changed meanwhile is told by “Tell again”.",
    "disabled": "The endpoint is told nothing more until it is enabled again.",
    "removed": "The endpoint was removed, with what waited for it.",
    "resync": "The endpoint is told again what may have changed since then. Its backlog shows how far that is.",
    "unchanged": "Nothing was changed: somebody else was faster.",
}
"""What a page says after a form, by the word in its URL."""

log = structlog.get_logger()


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    viewer, admin = Depends(office.gate.viewer), Depends(office.gate.admin)
    context, frame = office.context, office.frame
    resyncs = set[asyncio.Task[None]]()

    async def shown(request: Request, visitor: Visitor, status: int = 200, **values: Any) -> HTMLResponse:
        usual: dict[str, Any] = {"said": "", "secret": None, "answer": None, "form": Posted()}
        return frame.show(
            request,
            visitor,
            "webhooks.html",
            title="Webhooks",
            nav="webhooks",
            command=[LIST, "stockbell webhooks add https://shop.example/stockbell", "stockbell hooks list"],
            status=status,
            found=await context.read(webhooks.overview, MOST_DELIVERIES),
            at_of=datetime.fromisoformat,
            **{**usual, **values, "errors": defaultdict(str, values.get("errors", {}))},
        )

    async def existing(endpoint_id: str) -> Endpoint:
        found = await context.read(endpoints.find, id_) if (id_ := _id(endpoint_id)) else None
        if found is None:
            raise Refused("there is no such endpoint: it was removed")
        return found

    def back(word: str) -> Response:
        return RedirectResponse(f"{frame.here}/webhooks?done={word}", 303)

    @router.get("/webhooks")
    async def show(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        return await shown(request, visitor, said=DONE.get(request.query_params.get("done", ""), ""))

    @router.post("/webhooks/add")
    async def add(request: Request, visitor: Annotated[Visitor, admin]) -> HTMLResponse:
        form = await posted.read(request)
        allows_private, is_full = bool(form.text("private")), bool(form.text("full"))
        try:
            format_ = Format(form.text("format"))
            url = await context.run(endpoint_urls.checked, form.text("url"), format_, allows_private=allows_private)
        except BadUrl as bad:
            words = str(bad).replace("(--allow-private)", "(tick “private network” to allow it)")
            errors = {"url": f"{words[:1].upper()}{words[1:]}."}
            return await shown(request, visitor, 400, errors=errors, form=form)
        except ValueError:
            errors = {"format": "Choose one of the two."}
            return await shown(request, visitor, 400, errors=errors, form=form)
        how = {"is_full": is_full, "allows_private": allows_private}
        made = await context.write(endpoint_verbs.add, visitor.name, url, format_, **how)
        secret = None if made.is_stream else made.secrets[0]
        return await shown(request, visitor, said="The endpoint was added. It is told from now on.", secret=secret)

    @router.post("/webhooks/{endpoint_id}/test")
    async def test(request: Request, visitor: Annotated[Visitor, admin], endpoint_id: str) -> HTMLResponse:
        endpoint = await existing(endpoint_id)
        keys = await context.read(endpoints.keys)
        answer = await send_test(endpoint, JwtKey.of(*keys[0]) if keys else None)
        await context.write(endpoint_verbs.note_test, visitor.name, endpoint.id, answer.status, answer.why)
        return await shown(request, visitor, answer=(str(endpoint.id), answer))

    @router.post("/webhooks/{endpoint_id}/rotate")
    async def rotate(request: Request, visitor: Annotated[Visitor, admin], endpoint_id: str) -> HTMLResponse:
        endpoint = await existing(endpoint_id)
        secret = await context.write(endpoint_verbs.rotate, visitor.name, endpoint.id)
        words = "The secret is new. Deliveries are signed with both, the one before and this one, until the next time."
        return await shown(request, visitor, said=words, secret=secret)

    @router.post("/webhooks/{endpoint_id}/{verb}")
    async def act(request: Request, visitor: Annotated[Visitor, admin], endpoint_id: str, verb: str) -> Response:
        endpoint = await existing(endpoint_id)
        if verb == "resync":
            return await again(request, visitor, endpoint)
        if verb not in _VERBS:
            raise Refused("there is no such page")
        work, word = _VERBS[verb]
        return back(word if await context.write(work, visitor.name, endpoint.id) else "unchanged")

    async def again(request: Request, visitor: Visitor, endpoint: Endpoint) -> Response:
        form = await posted.read(request)
        try:
            since = posted.time_of(form.text("since"))
        except ValueError as wrong:
            errors = {f"since-{endpoint.id}": str(wrong)}
            return await shown(request, visitor, 400, errors=errors, form=form)
        if not await context.read(endpoints.is_enabled, endpoint.id):
            errors = {f"since-{endpoint.id}": "It is disabled: enable it first."}
            return await shown(request, visitor, 400, errors=errors, form=form)
        row = await context.write(endpoint_verbs.begin_resync, visitor.name, endpoint.id, since)
        task = asyncio.create_task(_resync(context, endpoint.id, since, row))
        resyncs.add(task)
        task.add_done_callback(resyncs.discard)
        return back("resync")

    return router


_VERBS: Final[dict[str, tuple[Callable[..., Any], str]]] = {
    "enable": (endpoint_verbs.enable, "enabled"),
    "disable": (endpoint_verbs.disable, "disabled"),
    "remove": (endpoint_verbs.remove, "removed"),
}


async def _resync(context: Context, endpoint_id: UUID, since: datetime, row: UUID) -> None:
    """Tells an endpoint again, in chunks. If the process ends, the row of the trail says up to where it came."""
    told, after, why = 0, UUID(int=0), ""
    try:
        while not context.stopping.is_set():
            if await context.read(endpoints.backlog, endpoint_id) >= webhooks.MOST_WAITING:
                await context.rest(5)
                continue
            found = await context.write(webhooks.tell_again, endpoint_id, since, after)
            if not found:
                break
            told, after = told + len(found), found[-1]
        else:
            why = "the web process was stopped: begin again"
    except DatabaseAway as away:
        why = str(away)
        log.warning("webhooks.resync_stopped", endpoint_id=str(endpoint_id), since=timestamp(since), reason=why)
    result = {"requests": told, **({"stopped": why} if why else {})}
    try:
        await context.write(actions.conclude, row, result, changed=told)
    except (DatabaseAway, RuntimeError):  # the database is away, or the threads have ended: the row says nothing more
        return


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
