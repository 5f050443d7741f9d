"""`POST /connect/{kind}/{key}`: the webhooks of shop systems that can't be changed become inventory events."""

import asyncio
import json
import time
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response

from worker.domain.errors import BadWebhook, DatabaseAway, Forged, RedisAway
from worker.domain.hook_kinds import SHOPS
from worker.services.publishing import Published, publish_many
from worker.shops import systems
from worker.shops.calls import Call, Said, Setup
from worker.store import hooks
from worker.store.hooks import Hook
from worker.stream.event_stream import Stream
from worker.web.context import Context
from worker.web.errors import ApiError
from worker.web.openapi import Responses, errors

MAX_BODY: Final = 1024 * 1024
"""Octets: a product of Shopify with all its variants and pictures has a few hundred KiB."""
_NOTED_SECONDS: Final = 3600.0
PATIENCE_SECONDS: Final = 4.0
"""How long events may take to be published. Shopify waits 5 s for the answer, and sends a call again."""
LONG_PATIENCE_SECONDS: Final = 30.0
"""The same for WooCommerce, which waits for a minute, and sends no call again."""
NOTE_SECONDS: Final = 4.0
"""How long the answer waits for the note of the hook, once an hour."""

log = structlog.get_logger()

_ANSWERS: Final[Responses] = {
    200: {"description": "The events are in the stream; `refused` says what could not be read."},
    204: {"description": "The call is signed well, and says nothing of stock."},
    **errors(
        500,
        with_key=False,
        says={
            400: "The body is not what this shop system sends.",
            401: "The signature is missing or wrong.",
            404: "There is no such hook, or it was revoked.",
            413: "The body is over 1 MiB.",
            503: "Redis or the database is away. To send the same again is harmless.",
        },
    ),
}


class _Noted:
    """Remembers what was done within the hour, so that a busy shop does not write a row with each call."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def is_new(self, what: str) -> bool:
        now = time.monotonic()
        if self._until.get(what, 0.0) > now:
            return False
        self._until[what] = now + _NOTED_SECONDS
        return True

    def forget(self, what: str) -> None:
        self._until.pop(what, None)


def routes(context: Context) -> APIRouter:
    """Returns the route. The signature says who calls, so it needs no key of ours."""
    router = APIRouter(tags=["connectors"])
    stream, noted = context.parts.stream, _Noted()

    @router.post("/connect/{kind}/{key}/", include_in_schema=False, max_body_size=MAX_BODY)  # as some people paste it
    @router.post("/connect/{kind}/{key}", summary="Take a shop's webhook", responses=_ANSWERS, max_body_size=MAX_BODY)
    async def connect(
        kind: Annotated[str, Path(description=", ".join(sorted(SHOPS)))],
        key: Annotated[str, Path(description="the id of the hook")],
        request: Request,
    ) -> Response:
        """Verifies the call as its vendor signs, and publishes what it says. Repeated calls change nothing."""
        hook = await context.read(hooks.find, key) if kind in SHOPS else None
        if hook is None or hook.kind != kind:
            raise ApiError(404, "NOT_FOUND", "there is no such hook, or it was revoked")
        said = await context.run(_said, hook, Call(dict(request.headers), await request.body()))
        done = None if said.ignored else await published(kind, said)
        await note(hook)
        if done is None:
            if noted.is_new(f"{kind}: {said.ignored}"):  # once, since a shop may send it all day
                log.info("connect.ignored", hook_kind=kind, reason=said.ignored)
            return Response(status_code=204)
        return _answer(kind, said, done)

    async def published(kind: str, said: Said) -> Published:
        patience = LONG_PATIENCE_SECONDS if kind == "woocommerce" else PATIENCE_SECONDS
        try:
            return await asyncio.wait_for(context.publish(_published, stream, said), patience)  # or it never begins
        except TimeoutError:
            raise RedisAway("Redis (events): no answer in time") from None

    async def note(hook: Hook) -> None:
        """Notes the use of a hook. The events are safe by now, and some shops never send a call again."""
        if noted.is_new(hook.id):
            try:
                await asyncio.wait_for(context.write(hooks.note_use, hook.id), NOTE_SECONDS)
            except (DatabaseAway, TimeoutError):
                noted.forget(hook.id)

    return router


def _published(stream: Stream, said: Said) -> Published:
    return publish_many(stream, [json.dumps(event).encode() for event in said.events])


def _answer(kind: str, said: Said, done: Published) -> Response:
    refused = [*said.refused, *(reason for _, reason in done.refused)]
    log.info("connect.taken", hook_kind=kind, events=len(done.ids), refused=len(refused))
    if refused:
        log.warning("connect.refused", hook_kind=kind, count=len(refused), reason=refused[0])
    # `op` is what Adobe Commerce waits for before it goes on. Nobody else looks at the body.
    return JSONResponse({"op": "success", "accepted": len(done.ids), "refused": refused})


def _said(hook: Hook, call: Call) -> Said:
    try:
        return systems.read(call, Setup(hook.kind, hook.secret or "", hook.options))
    except Forged as error:
        raise ApiError(401, "UNAUTHENTICATED", str(error)) from None
    except BadWebhook as error:
        raise ApiError(400, "INVALID_ARGUMENT", str(error)) from None
