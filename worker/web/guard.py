"""Stands before all sign-ups by publishable keys: limits for each client, and a proof of work if the shop wants one."""

import time
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Request

from worker.domain import altcha
from worker.domain.altcha import Answered
from worker.domain.api_keys import Key, Scope
from worker.web import middleware
from worker.web.access import Access
from worker.web.context import Context
from worker.web.errors import ApiError
from worker.web.limits import network_of
from worker.web.openapi import errors

log = structlog.get_logger()


class Guard:
    """Lets sign-ups pass, or ends them with ApiError."""

    def __init__(self, context: Context) -> None:
        self._limits = context.limits
        self._tokens = context.parts.tokens if context.parts.settings.captcha else None
        self._trusts_proxies = bool(context.parts.settings.trusted_proxies)
        self._has_warned = False

    async def admit(self, request: Request, key: Key, captcha: str | None = None) -> str | None:
        """Returns the client's network address. Raises ApiError: 403 without a right proof of work, 429 over a limit.

        The limit is that of a client: it says nothing of an address. Only publishable keys are limited.
        """
        client = network_of(request.client.host) if request.client else None
        if not key.is_publishable:
            return client
        self._warn_of_proxy(request)
        answer = self._checked(captcha or request.headers.get(middleware.CAPTCHA))
        if wait := await self._limits.take(key, client or ""):
            raise _limited(wait)
        if answer and not await self._limits.use_up(answer.name, answer.seconds):
            raise _refused("was used before")
        return client

    def _checked(self, captcha: str | None) -> Answered | None:
        if self._tokens is None:
            return None
        if not captcha:
            raise _refused("is missing")
        answer = altcha.answered(captcha, self._tokens, time.time())
        if answer is None:
            raise _refused("is wrong or too late")
        return answer

    def _warn_of_proxy(self, request: Request) -> None:
        if not self._trusts_proxies and not self._has_warned and "x-forwarded-for" in request.headers:
            self._has_warned = True
            log.warning("web.proxy_not_trusted")


def routes(context: Context, access: Access) -> APIRouter:
    """Returns the route that gives challenges."""
    router = APIRouter(tags=["sign-up"])
    settings, tokens = context.parts.settings, context.parts.tokens

    @router.get("/widget/challenge", summary="Get a proof of work to do", responses=errors())
    async def get_challenge(
        key: Annotated[str, Query(max_length=200, description="A publishable key.")],
        origin: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> dict[str, object]:
        """Returns a challenge of ALTCHA (version 1). Its answer is the field `stockbell.captcha` of a sign-up."""
        await access.of(key, origin, Scope.CREATE)
        if not settings.captcha or tokens is None:
            raise ApiError(404, "NOT_FOUND", "this server asks for no proof of work")
        return altcha.challenge(tokens, time.time())

    return router


def _limited(wait: int) -> ApiError:
    return ApiError(429, "RATE_LIMITED", "too many sign-ups from this network", headers={"Retry-After": str(wait)})


def _refused(why: str) -> ApiError:
    return ApiError(403, "CAPTCHA_FAILED", f"the proof of work {why}: see GET /widget/challenge")
