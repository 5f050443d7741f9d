"""`POST /v1/events`: inventory events over HTTP, for stock systems that can't reach Redis."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from worker.domain.api_keys import Scope
from worker.domain.errors import BadEvent
from worker.services.publishing import Published, publish_many
from worker.stream.event_stream import Stream
from worker.web.access import Access
from worker.web.context import Context
from worker.web.errors import ApiError, Invalid, Violation
from worker.web.event_bodies import LINES, events_of, is_known
from worker.web.openapi import Responses, body_errors

MAX_BODY: Final = 4 * 1024 * 1024
"""Octets: 1,000 events of 4 KiB."""

log = structlog.get_logger()

_EVENT: Final = {
    "type": "object",
    "description": "An inventory event, in the form of event.schema.json.",
    "properties": {
        "catalogItemId": {"type": ["string", "integer"]},
        "options": {"type": "object"},
        "quantity": {"type": ["number", "string"]},
        "inStock": {"type": ["boolean", "string", "integer"]},
        "occurredAt": {"type": "string", "format": "date-time"},
        "itemUrl": {"type": "string"},
        "item": {"type": "object"},
    },
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        _EVENT,
                        {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": 1000},
                        {"type": "object", "properties": {"events": {"type": "array", "items": _EVENT}}},
                    ]
                }
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}
_ANSWERS: Final[Responses] = {
    202: {"description": "Those events that are not refused are in the stream."},
    **body_errors(
        says={
            400: "No event can be read. Nothing was published.",
            413: "The body is over 4 MiB.",
            415: "The body is neither JSON nor NDJSON, or it is compressed.",
            503: "Redis or the database is away. To send the same again is harmless.",
        }
    ),
}


def routes(context: Context, access: Access) -> APIRouter:
    """Returns the route. It needs an admin key: events decide who is sent a mail."""
    router = APIRouter(tags=["events"])
    stream = context.parts.stream

    @router.post(
        "/v1/events",
        status_code=202,
        summary="Publish inventory events",
        responses=_ANSWERS,
        openapi_extra=_BODY,
        max_body_size=MAX_BODY,
        dependencies=[Depends(access.may(Scope.ADMIN))],
    )
    async def publish_events(request: Request) -> JSONResponse:
        """Takes one event or up to 1,000. Events are levels, so to send them again changes nothing."""
        media_type = _media_type(request)
        done = await context.publish(_published, stream, await request.body(), media_type)
        log.info("events.published", accepted=len(done.ids), refused=len(done.refused))
        return JSONResponse(_as_json(done), 202)

    return router


def _media_type(request: Request) -> str:
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not is_known(found):
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"send application/json or {min(LINES, key=len)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "send the body as it is, without Content-Encoding")
    return found


def _published(stream: Stream, body: bytes, media_type: str) -> Published:
    try:
        events = events_of(body, media_type)
    except BadEvent as error:
        raise Invalid(Violation("events", str(error))) from None
    done = publish_many(stream, events)
    if not done.ids:
        raise Invalid(*(Violation(f"events[{place}]", reason) for place, reason in done.refused))
    return done


def _as_json(done: Published) -> Mapping[str, object]:
    return {
        "accepted": len(done.ids),
        "refused": _listed(done.refused),
        "warnings": _listed(done.warnings),
        "ids": list(done.ids),
    }


def _listed(reasons: Sequence[tuple[int, str]]) -> list[dict[str, object]]:
    return [{"index": place, "reason": reason} for place, reason in reasons]
