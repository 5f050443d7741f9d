"""The public keys with which Wix's JWTs are verified (RFC 7517)."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from worker.store import endpoints
from worker.web.context import Context
from worker.web.signing import JwtKey


def routes(context: Context) -> APIRouter:
    """Returns the route, which needs no key."""
    router = APIRouter(tags=["webhooks"])

    @router.get("/.well-known/jwks.json", responses={503: {"description": "The database is away."}})
    async def jwks() -> JSONResponse:
        """Shows the public keys that our JWTs are signed with, newest first."""
        keys: list[dict[str, Any]] = [JwtKey.of(id_, pem).jwk for id_, pem in await context.read(endpoints.keys)]
        return JSONResponse({"keys": keys}, headers={"Cache-Control": "public, max-age=300"})

    return router
