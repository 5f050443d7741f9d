"""Health: whether the process is alive, and whether it can serve."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.services.schema_check import check_schema
from worker.web.context import Context


def routes(context: Context) -> APIRouter:
    """Returns the routes, which need no key."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answers while the process is alive. It asks nobody."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"description": "The database is away or its schema is older."}})
    async def readyz() -> JSONResponse:
        """Answers 200 if the database is there and has the right tables."""
        try:
            await context.sql(check_schema, context.database)
        except (DatabaseAway, SchemaOutdated) as error:
            return JSONResponse({"status": "unavailable", "reason": str(error)}, 503)
        return JSONResponse({"status": "ok"})

    return router
