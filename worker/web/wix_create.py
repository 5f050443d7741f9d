"""Wix's Create Back In Stock Notification Request: how storefronts sign customers up.

A publishable key gets the same answer whoever waits already, and sets nothing that others see: everybody knows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from worker.domain.api_keys import Key, Scope
from worker.domain.catalog import CatalogReference
from worker.domain.errors import BadReference, DatabaseAway
from worker.services.import_file import checked_locale, checked_priority
from worker.services.restocking import Gaps
from worker.services.signing_up import SignUp
from worker.store import reach
from worker.store.requests import NewRequest
from worker.web import wix_objects
from worker.web.access import Access
from worker.web.collecting import Collecting
from worker.web.context import Context
from worker.web.errors import ApiError
from worker.web.gathering import sign_ups
from worker.web.guard import Guard
from worker.web.openapi import body_errors, json_body, replies
from worker.web.signup_rules import allowed_url, public_answer
from worker.web.wire_fields import Fields, ItemDetails, email_of, item_details_of, reference_of, url_of
from worker.web.wire_input import body_of
from worker.web.wix_objects import request_object
from worker.web.wix_requests import R

_MAX_CONSENT: Final = 200
_MAX_PAGE: Final = 2048
_MAX_CAPTCHA: Final = 1000


_ERRORS: Final = {
    400: "Fields are wrong; INVALID_CATALOG_REFERENCE_OPTIONS; INVALID_ITEM_IMAGE_URL.",
    409: "BACK_IN_STOCK_NOTIFICATION_REQUEST_ALREADY_EXISTS; `data.requestId` has its id. A publishable key never "
    "gets it.",
    428: "REQUEST_COLLECTION_DISABLED.",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sign-up as it was sent, checked."""

    email: str
    reference: CatalogReference
    item_url: str | None
    details: ItemDetails
    locale: str | None = None
    consent: str | None = None
    page: str | None = None
    captcha: str | None = None
    is_confirmed: bool = False
    priority: int | None = None


def routes(context: Context, access: Access, collecting: Collecting) -> APIRouter:
    """Returns the route."""
    router = APIRouter(tags=["requests"])
    gathering, guard = sign_ups(context), Guard(context)
    gaps = Gaps()

    @router.post(
        R,
        responses=replies(wix_objects.RequestReply, body_errors(says=_ERRORS)),
        openapi_extra=json_body(wix_objects.CreateBody),
    )
    async def create_request(request: Request, key: Annotated[Key, Depends(access.may(Scope.CREATE))]) -> JSONResponse:
        """Sign a customer up for one mail when an item is back in stock."""
        wanted = _wanted(await body_of(request), key)
        await collecting.check(wanted.reference.item.app_id)
        client = await guard.admit(request, key, wanted.captcha)
        one = _sign_up(wanted, key, client, request.headers.get("referer"))
        done, row = await gathering.do(one)
        if key.is_publishable:
            return JSONResponse(public_answer(one.new))
        if not done.is_new or done.request_id is None:
            code = "BACK_IN_STOCK_NOTIFICATION_REQUEST_ALREADY_EXISTS"
            text = "this address already waits for this item"
            raise ApiError(409, code, text, {"requestId": str(done.request_id)})
        item = wanted.reference.item
        if gaps.is_new(item):
            try:
                await context.write(
                    reach.fill, item, wanted.details.name, wanted.details.price, wanted.details.image_url
                )
            except DatabaseAway:  # she is signed up: nobody must be told otherwise
                gaps.forget(item)
        return JSONResponse({"request": request_object(row)} if row else public_answer(one.new))

    return router


def _wanted(payload: Mapping[str, Any], key: Key) -> Wanted:
    fields = Fields(payload)
    request = fields.inner("request")
    email, url, reference = None, None, None
    if request:
        email, url = email_of(request), url_of(request, "itemUrl")
        if inner := request.inner("catalogReference"):
            reference = reference_of(inner)
    details = item_details_of(fields)
    facts = _facts(fields)
    if fields.is_wrong or email is None or reference is None or details is None:
        raise fields.error()
    return Wanted(email, reference, allowed_url(key, url), details, **facts)


def _facts(payload: Fields) -> dict[str, Any]:
    """Reads what Wix's API has no place for."""
    fields = payload.inner("stockbell", required=False)
    if fields is None:
        return {}
    found = {}
    for name, checked in (("locale", checked_locale), ("priority", checked_priority)):
        try:
            found[name] = checked(fields.given.get(name))
        except BadReference as error:
            fields.wrong(name, str(error).removeprefix(f"{name} "))
    confirmed = fields.given.get("confirmed", False)
    if not isinstance(confirmed, bool):
        fields.wrong("confirmed", "must be true or false")
    return found | {
        "consent": fields.text("consent", required=False, most=_MAX_CONSENT),
        "page": fields.text("page", required=False, most=_MAX_PAGE),
        "captcha": fields.text("captcha", required=False, most=_MAX_CAPTCHA),
        "is_confirmed": confirmed,
    }


def _sign_up(wanted: Wanted, key: Key, client: str | None, referer: str | None) -> SignUp:
    is_public = key.is_publishable
    priority = None if is_public else wanted.priority
    return SignUp(
        NewRequest(wanted.email, wanted.reference, wanted.item_url, wanted.locale, priority=priority),
        key.id,
        is_public,
        is_confirmed=wanted.is_confirmed and not is_public,
        client=client if is_public else None,
        page=wanted.page or (referer if is_public else None),
        consent=wanted.consent,
    )
