"""Whether new requests are taken for a catalog, and Wix's Back In Stock Settings API, which switches that."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from worker.domain.api_keys import Key, Scope
from worker.domain.catalog import WIX_STORES, WIX_STORES_IDS, item_of
from worker.services import keys
from worker.store import collections
from worker.web import wix_objects
from worker.web.access import Access
from worker.web.context import Context
from worker.web.errors import ApiError
from worker.web.openapi import body_errors, json_body, replies
from worker.web.wire_fields import Fields
from worker.web.wire_input import body_of
from worker.web.wix_requests import R

KNOWN_SECONDS: Final = 1.0
"""For so long the state is not asked for again. Another process obeys as late."""


class Collecting:
    """For which catalogs new requests are taken, as the database says it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stopped: frozenset[str] = frozenset()
        self._known_until = 0.0

    async def check(self, app_id: str) -> None:
        """Raises ApiError if no new requests are taken for this catalog."""
        if self._known_until < time.monotonic():
            await self.refresh()
        if app_id in self._stopped:
            raise ApiError(428, "REQUEST_COLLECTION_DISABLED", "new requests are not taken for this catalog now")

    async def refresh(self) -> frozenset[str]:
        """Asks the database."""
        self._stopped = await self._context.read(collections.stopped)
        self._known_until = time.monotonic() + KNOWN_SECONDS
        return self._stopped


def routes(context: Context, access: Access, collecting: Collecting) -> APIRouter:
    """Returns the routes of the settings."""
    router = APIRouter(tags=["settings"])
    catalogs = keys.catalogs(context.parts.settings.catalogs)
    switched = replies(wix_objects.SettingsReply, body_errors(says={428: "NOT_SUPPORTED_APP_DEF_ID."}))

    async def settings() -> JSONResponse:
        stopped = await collecting.refresh()
        states = [
            {"appId": name, "collectingRequests": catalog not in stopped}
            for catalog in catalogs
            for name in (WIX_STORES_IDS if catalog == WIX_STORES else (catalog,))
        ]
        return JSONResponse({"settings": {"collectionStates": states}})

    async def switch(request: Request, *, on: bool) -> JSONResponse:
        fields = Fields(await body_of(request))
        named = fields.guid("appId")
        fields.check()
        catalog = item_of("-", str(named)).app_id
        if catalog not in {each.lower() for each in catalogs}:
            raise ApiError(428, "NOT_SUPPORTED_APP_DEF_ID", "this catalog is not in STOCKBELL_CATALOGS")
        own = next(each for each in catalogs if each.lower() == catalog)
        await context.write(collections.set_collecting, own, on)
        return await settings()

    @router.put(
        f"{R}/settings",
        responses=replies(wix_objects.SettingsReply, body_errors()),
        openapi_extra=json_body(wix_objects.Empty, required=False),
    )
    async def get_settings(request: Request, key: Annotated[Key, Depends(access.may(Scope.READ))]) -> JSONResponse:
        """Get for which catalogs new requests are taken. Both ids of Wix Stores mean one catalog."""
        await body_of(request)  # empty, or an empty object
        return await settings()

    administrator = Annotated[Key, Depends(access.may(Scope.ADMIN))]

    @router.post(f"{R}/settings/start-collecting", responses=switched, openapi_extra=json_body(wix_objects.AppBody))
    async def start_collecting(request: Request, key: administrator) -> JSONResponse:
        """Take new requests for a catalog."""
        return await switch(request, on=True)

    @router.post(f"{R}/settings/stop-collecting", responses=switched, openapi_extra=json_body(wix_objects.AppBody))
    async def stop_collecting(request: Request, key: administrator) -> JSONResponse:
        """Take no more new requests for a catalog. Mails to those who wait already go on."""
        return await switch(request, on=False)

    return router
