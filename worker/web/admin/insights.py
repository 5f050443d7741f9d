"""The page "Insights": the funnel, why requests failed, how fast mails left, and sign-ups."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from worker.domain.admins import Visitor
from worker.services import insights
from worker.services.insights import Period
from worker.store import actions
from worker.web.admin.frame import HEADERS
from worker.web.admin.office import Office

PERIODS: Final = {"24h": ("24 hours", Period(1)), "7d": ("7 days", Period(7)), "30d": ("30 days", Period(30))}
USUAL: Final = "24h"


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context = office.context

    def page(
        request: Request, visitor: Visitor, name: str, found: insights.Insights, errors: Mapping[str, str]
    ) -> Response:
        return office.frame.show(
            request,
            visitor,
            "insights.html",
            title="Insights",
            nav="insights",
            command=_commands(found.period),
            status=400 if errors else 200,
            name=name,
            periods={each: label for each, (label, _) in PERIODS.items()},
            found=found,
            tables=found.tables,
            lasting=insights.lasting,
            errors=errors,
        )

    @router.get("/insights")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        name, errors = _read(request.query_params)
        found = await context.read(insights.read, PERIODS[name][1], datetime.now(UTC))
        return page(request, visitor, name, found, errors)

    @router.get("/insights.csv")
    async def export(request: Request, visitor: Annotated[Visitor, Depends(office.gate.admin)]) -> Response:
        name, errors = _read(request.query_params)
        table = request.query_params.get("table", "")
        if table not in insights.TABLES:
            errors["table"] = f"There is no such table. There are {', '.join(insights.TABLES)}."
        period, now = PERIODS[name][1], datetime.now(UTC)
        found = await context.read(insights.read, period, now)
        if errors:
            return page(request, visitor, name, found, errors)
        about = {"table": table, "days": period.days}
        await context.write(actions.note, visitor.name, "export insights", about, command=_export(period, table))
        file = f"insights-{table}-{name}-{now:%Y-%m-%d}.csv"
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{file}"'}
        text = "".join(found.tables[table].as_csv())
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return router


def _read(given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Returns the name of the period, and what is wrong with the query by field."""
    name = given.get("period") or USUAL
    if name in PERIODS:
        return name, {}
    return USUAL, {"period": f"There is no such period. There are {', '.join(PERIODS)}; these are the last 24 hours."}


def _commands(period: Period) -> list[str]:
    return [f"stockbell insights --days {period.days}", _export(period, "failures"), "stockbell metrics"]


def _export(period: Period, table: str) -> str:
    return f"stockbell insights --days {period.days} --csv {table}"
