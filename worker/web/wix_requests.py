"""Wix's Back In Stock Notification Requests API: its seven methods, as an unmodified SDK calls them.

What Wix leaves open is decided in `docs/decisions/0023-wix-api.md`. All replies are 200 with a JSON object, since the
SDK takes anything else for an error.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Route

from worker.domain.api_keys import Key, Scope
from worker.domain.catalog import CatalogReference
from worker.domain.errors import Refused
from worker.domain.wix_query import BadQuery, Query, cursor_of, read_query
from worker.services import requests as requests_service
from worker.services import restocking
from worker.services.restocking import Reported
from worker.store import actions, admin, request_query
from worker.store.admin import BEING_SENT, Changed
from worker.store.database import Connection
from worker.web import wix_objects
from worker.web.access import Access
from worker.web.context import Context
from worker.web.errors import ApiError, Invalid, Violation
from worker.web.gathering import Gathering, look_ups
from worker.web.openapi import body_errors, errors, json_body, replies
from worker.web.wire_fields import Fields, ids_of, item_details_of, path_id, reference_of, references_of, texts_of
from worker.web.wire_input import body_of, parameters_of
from worker.web.wix_objects import request_object

R: Final = "/v1/back-in-stock-notification-requests"
MOST_REFERENCES: Final = 100
MOST_IDS: Final = 1000
MOST_EXTRAS: Final = 64
MOST_EXTRA_CHARACTERS: Final = 2048
_REPORT_ERRORS: Final = {
    400: "Fields are wrong; REQUEST_CONTAINS_BOTH_CATALOG_REFERENCE_AND_REQUEST_IDS; "
    "INVALID_CATALOG_REFERENCE_OPTIONS; INVALID_ITEM_IMAGE_URL."
}
_MARK_ERRORS: Final = {
    428: "BACK_IN_STOCK_NOTIFICATION_REQUEST_NOT_FOUND; BACK_IN_STOCK_NOTIFICATION_REQUEST_BEING_SENT."
}


def routes(context: Context, access: Access) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(tags=["requests"])
    found_by_id = look_ups(context)
    reader = Annotated[Key, Depends(access.may(Scope.READ))]
    admin_key = Annotated[Key, Depends(access.may(Scope.ADMIN))]

    async def query(payload: Mapping[str, Any]) -> JSONResponse:
        return JSONResponse(_page_json(*await context.read(_page, _query_of(payload))))

    async def count(payload: Mapping[str, Any]) -> JSONResponse:
        fields = Fields(payload)
        references = references_of(fields, MOST_REFERENCES)
        fields.check()
        found = await context.read(restocking.counts, references)
        entries = [_count_json(*each) for each in zip(payload["catalogReferences"], found, strict=True)]
        return JSONResponse({"countsPerCatalogReference": entries})

    @router.get(
        R, responses=replies(wix_objects.QueryReply, errors()), openapi_extra=_packed("query", wix_objects.QueryBody)
    )
    async def query_requests(request: Request, key: reader) -> JSONResponse:
        """Query requests. The newest come first, unless `sort` says otherwise."""
        return await query(parameters_of(request))

    @router.post(
        f"{R}/query",
        responses=replies(wix_objects.QueryReply, body_errors()),
        openapi_extra=json_body(wix_objects.QueryBody, required=False),
    )
    async def query_requests_by_post(request: Request, key: reader) -> JSONResponse:
        """Query requests, for queries that are too long for a URL."""
        return await query(await body_of(request))

    @router.get(
        f"{R}/count-by-catalog-reference",
        responses=replies(wix_objects.CountReply, errors()),
        openapi_extra=_packed("catalogReferences", wix_objects.CountBody, required=True),
    )
    async def count_requests(request: Request, key: reader) -> JSONResponse:
        """Count who waits or is being told, per reference. Whom an in-stock event would reach is counted."""
        return await count(parameters_of(request))

    @router.post(
        f"{R}/count-by-catalog-reference",
        responses=replies(wix_objects.CountReply, body_errors()),
        openapi_extra=json_body(wix_objects.CountBody),
    )
    async def count_requests_by_post(request: Request, key: reader) -> JSONResponse:
        """Count who waits, for more references than fit in a URL."""
        return await count(await body_of(request))

    @router.post(
        f"{R}/report-items-back-in-stock",
        responses=replies(wix_objects.Empty, body_errors(says=_REPORT_ERRORS)),
        openapi_extra=json_body(wix_objects.ReportBody),
    )
    async def report_items_back_in_stock(request: Request, key: admin_key) -> JSONResponse:
        """Tell those who wait for an item now, whatever its stock is. A pause still wins."""
        reported = _report_of(await body_of(request))
        # Not in a database thread: it waits for Redis, too. The first bell takes a moment to be made.
        await context.run(lambda: restocking.report(context.database, context.parts.bell, reported, f"key:{key.id}"))
        return JSONResponse({})

    @router.get(f"{R}/{{id}}", responses=replies(wix_objects.RequestReply, errors(404)))
    async def get_request(id: str, key: reader) -> JSONResponse:
        """Get a request."""
        return JSONResponse({"request": await _object(found_by_id, path_id(id))})

    @router.delete(f"{R}/{{id}}", responses=replies(wix_objects.Empty, errors(404)))
    async def delete_request(id: str, key: admin_key) -> JSONResponse:
        """Delete a request, in any state."""
        try:
            await context.sql(requests_service.delete, context.database, path_id(id), f"key:{key.id}")
        except Refused:
            raise _no_such_request() from None
        return JSONResponse({})

    @router.put(
        f"{R}/{{id}}/mark-as-notification-sent",
        responses=replies(wix_objects.RequestReply, body_errors(says=_MARK_ERRORS)),
        openapi_extra=json_body(wix_objects.IdBody, required=False),
    )
    async def mark_as_notification_sent(id: str, request: Request, key: admin_key) -> JSONResponse:
        """Mark a request as told by other means. One that was told already stays as it is."""
        request_id = path_id(id)
        await body_of(request)  # it repeats the id, and may be absent
        changed = await context.write(_mark, request_id, f"key:{key.id}")
        _check_marked(changed.refused.get(request_id))
        try:
            return JSONResponse({"request": await _object(found_by_id, request_id)})
        except ApiError:  # deleted in the meantime
            raise _not_found_to_mark() from None

    return router


def _mark(c: Connection, request_id: UUID, who: str) -> Changed:
    changed = admin.mark_sent(c, [request_id])
    if changed.ids:
        actions.note(c, who, "mark-sent", {"id": [str(request_id)]}, changed=1)
    return changed


class _RequestId(StringConvertor):
    """The part of a path that is meant as an id, also if it is none."""

    regex = "(?!count-by-catalog-reference(?:/|$))[^/]+"


register_url_convertor("request_id", _RequestId())


def busiest(context: Context, access: Access) -> Route:
    """Returns the route that is called most, to stand before all others.

    It answers as `get_request` does, which describes it. What FastAPI does before a handler takes twice as long.
    """
    found_by_id = look_ups(context)
    may_read = access.may(Scope.READ)

    async def get_request(request: Request) -> JSONResponse:
        await may_read(request)
        return JSONResponse({"request": await _object(found_by_id, path_id(request.path_params["id"]))})

    route = Route(f"{R}/{{id:request_id}}", get_request)
    route.methods = {"GET"}  # Starlette would add HEAD
    return route


async def _object(found_by_id: Gathering[UUID, Any], request_id: UUID) -> dict[str, object]:
    row = await found_by_id.do(request_id)
    if row is None:
        raise _no_such_request()
    return request_object(row)


def _no_such_request() -> ApiError:
    return ApiError(404, "NOT_FOUND", "there is no such request")


def _not_found_to_mark() -> ApiError:
    return ApiError(428, "BACK_IN_STOCK_NOTIFICATION_REQUEST_NOT_FOUND", "there is no such request")


def _check_marked(refusal: str | None) -> None:
    """Raises ApiError if the request could not be marked. One that was told before needs no mark."""
    if refusal is None or refusal == "is NOTIFICATION_SENT":
        return
    if refusal == BEING_SENT:
        raise ApiError(428, "BACK_IN_STOCK_NOTIFICATION_REQUEST_BEING_SENT", "its mail is being sent at this moment")
    raise _not_found_to_mark()


def _packed(name: str, model: Any, *, required: bool = False) -> dict[str, Any]:
    """Describes the parameter `.r`."""
    text = f"base64url of a JSON object with `{name}`, as the SDK sends it; the body of the POST has the same."
    parameter = {"name": ".r", "in": "query", "required": required, "description": text, "schema": {"type": "string"}}
    return {"parameters": [parameter]}


# --- query ---


def _query_of(payload: Mapping[str, Any]) -> Query:
    try:
        return read_query(payload.get("query") or {})
    except BadQuery as bad:
        raise Invalid(*(Violation(each.path, each.text, each.rule) for each in bad.problems)) from None


def _page(c: Connection, query: Query) -> tuple[Query, request_query.Page]:
    return query, request_query.page(c, query)


def _page_json(query: Query, page: request_query.Page) -> dict[str, object]:
    metadata: dict[str, object] = {"count": len(page.rows)}
    if query.offset is not None:
        metadata |= {"offset": query.offset, "total": page.total}
    else:
        edges = {"next": (page.after, False), "prev": (page.before, True)}
        metadata["cursors"] = {
            name: cursor_of(query, key, is_backward=is_backward) for name, (key, is_backward) in edges.items() if key
        }
    return {"requests": [request_object(row) for row in page.rows], "metadata": metadata}


def _count_json(given: Mapping[str, Any], found: Mapping[str, int]) -> dict[str, object]:
    by_status = {status: found.get(status, 0) for status in ("RECEIVED", "PROCESSING", "FAILED")}
    count = by_status["RECEIVED"] + by_status["PROCESSING"]
    reference = {name: given[name] for name in ("catalogItemId", "appId", "options") if name in given}
    return {"catalogReference": reference, "count": count, "stockbell": {"byStatus": by_status}}


# --- report ---


def _report_of(payload: Mapping[str, Any]) -> Reported:
    fields = Fields(payload)
    details = item_details_of(fields)
    extras = texts_of(fields, "extraAutomationTemplateParameters", MOST_EXTRAS, MOST_EXTRA_CHARACTERS)
    about: CatalogReference | list[UUID] | None = None
    if fields.has("catalogReference"):
        inner = fields.inner("catalogReference")
        about = reference_of(inner) if inner else None
    if fields.has("requestIds"):
        ids = ids_of(fields, "requestIds", MOST_IDS)
        if fields.has("catalogReference"):
            code = "REQUEST_CONTAINS_BOTH_CATALOG_REFERENCE_AND_REQUEST_IDS"
            fields.refused.append(ApiError(400, code, "give either catalogReference or requestIds"))
        about = [*ids]
    elif not fields.has("catalogReference"):
        fields.wrong("catalogReference", "is missing, and requestIds too", "REQUIRED_FIELD")
    if fields.is_wrong or about is None or details is None:
        raise fields.error()
    return Reported(about, details.as_details(), extras)
