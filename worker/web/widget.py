"""The sign-up form in shops' pages: its script, and where it posts to, with JavaScript or without."""

import time
from collections.abc import Mapping
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from worker.domain.api_keys import Key, Scope
from worker.domain.errors import DatabaseAway
from worker.services.signing_up import SignUp
from worker.store.requests import NewRequest
from worker.web import signup_form, widget_files
from worker.web.access import Access
from worker.web.collecting import Collecting
from worker.web.context import Context
from worker.web.errors import RETRY_SECONDS, ApiError, Invalid
from worker.web.gathering import sign_ups
from worker.web.guard import Guard
from worker.web.signup_form import OPTION, Given
from worker.web.signup_rules import allowed_url, is_human_pace, stamp

_KEPT: Final = ("key", "item", "appId", "options", "locale", "itemUrl", "consent")
"""What the page's form sends again, besides the options."""
_LATER: Final = {"Retry-After": str(RETRY_SECONDS)}

log = structlog.get_logger()


def routes(context: Context, access: Access) -> APIRouter:
    """Returns the routes below `/widget`."""
    router = APIRouter(prefix="/widget")
    form = _Form(context, access)

    @router.api_route("/v1.js", methods=["GET", "HEAD"], include_in_schema=False)
    async def script(request: Request) -> Response:
        return widget_files.answer("v1.js", request)

    @router.api_route("/v1.css", methods=["GET", "HEAD"], include_in_schema=False)
    async def style(request: Request) -> Response:
        return widget_files.answer("v1.css", request)

    @router.post("/subscribe", include_in_schema=False)
    async def subscribe(request: Request) -> Response:
        given = await signup_form.read(request)
        return await (form.shown if given.wants_page else form.taken)(request, given)

    return router


class _Form:
    """Takes what a form sends."""

    def __init__(self, context: Context, access: Access) -> None:
        self._context = context
        self._access = access
        self._tokens = context.parts.tokens
        self._guard = Guard(context)
        self._sign_ups = sign_ups(context)
        self._collecting = Collecting(context)
        self._must_confirm = context.parts.settings.double_opt_in != "off"

    async def taken(self, request: Request, given: Given) -> Response:
        """Answers a script. What it learns is the same for all addresses."""
        await self._sign_up(await self._key(request, given), request, given)
        return JSONResponse({"status": "accepted", "mustConfirm": self._must_confirm})

    async def shown(self, request: Request, given: Given) -> Response:
        """Answers a person: with a page that says that it is done, or with the form and what is wrong."""
        key = None
        try:
            key = await self._key(request, given)
            # A page of ours holds the stamp; a form in a shop's page has none. One more click stops most programs.
            is_checked = is_human_pace(given.text("stamp"), key, self._tokens, time.time())
            if not is_checked and not given.is_trapped:
                signup_form.checked(given)
                return self._page(request, given, key, "check")
            await self._sign_up(key, request, given)
        except Invalid as invalid:
            return self._invalid(request, given, key, invalid)
        except ApiError as refused:
            return self._refused(request, given, key, refused)
        except DatabaseAway as away:
            log.warning("web.database_away", reason=str(away))
            return self._page(request, given, key, "form", 503, error="failed", headers=_LATER)
        return self._page(request, given, key, "done")

    async def _key(self, request: Request, given: Given) -> Key:
        text = given.text("key") or request.headers.get("authorization", "")
        if not text:
            raise ApiError(401, "UNAUTHENTICATED", "the form has no field with the name key")
        key = await self._access.of(text, signup_form.origin_of(request), Scope.CREATE)
        if not key.is_publishable:  # it has the right, but not in a page
            raise ApiError(403, "PERMISSION_DENIED", "a form needs a publishable key; this one is secret: revoke it")
        return key

    async def _sign_up(self, key: Key, request: Request, given: Given) -> None:
        wanted = signup_form.checked(given)
        await self._collecting.check(wanted.reference.item.app_id)
        client = await self._guard.admit(request, key, given.text("captcha") or given.text("altcha") or None)
        if given.is_trapped:
            return
        url = allowed_url(key, given.text("itemUrl") or None)
        one = SignUp(
            NewRequest(wanted.email, wanted.reference, url, wanted.locale),
            key.id,
            is_public=True,
            client=client,
            page=url or request.headers.get("referer"),
            consent=given.text("consent") or None,
        )
        await self._sign_ups.do(one)

    def _invalid(self, request: Request, given: Given, key: Key | None, invalid: Invalid) -> Response:
        if all(violation.path == "email" for violation in invalid.violations):
            return self._page(request, given, key, "form", 400, error="invalid")
        return self._page(request, given, key, "broken", 400, reason=str(invalid))

    def _refused(self, request: Request, given: Given, key: Key | None, refused: ApiError) -> Response:
        if refused.status == 429:
            return self._page(request, given, key, "form", 429, error="busy", headers=refused.headers)
        return self._page(request, given, key, "broken", refused.status, reason=refused.description)

    def _page(
        self,
        request: Request,
        given: Given,
        key: Key | None,
        state: str,
        status: int = 200,
        *,
        error: str = "",
        reason: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        language = given.text("locale") or request.headers.get("accept-language")
        page = self._context.pages.show(
            "signup.html",
            "signup",
            language,
            status,
            state=state,
            error=error,
            reason=reason,
            email=given.text("email"),
            kept={name: text for name, text in given.values.items() if name in _KEPT or name.startswith(OPTION)},
            must_confirm=self._must_confirm,
            stamp=stamp(key, self._tokens, time.time()) if key else "",
            back=allowed_url(key, given.text("itemUrl") or None) if key else None,
        )
        page.headers.update(headers or {})
        return page
