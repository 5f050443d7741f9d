"""The page "Demand": who waits for what, since when, and how much money that is."""

import shlex
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from worker.domain.admins import Visitor
from worker.domain.catalog import item_of
from worker.domain.errors import BadReference, Refused
from worker.services import demand
from worker.store import actions
from worker.store.demand import By, Place, Sort, Which
from worker.web.admin.frame import HEADERS
from worker.web.admin.kept import Costly
from worker.web.admin.office import Office
from worker.web.context import Context

Choice = TypeVar("Choice", bound=StrEnum)

KEPT_SECONDS: Final = 10.0
SLOW_SECONDS: Final = 0.1
"""A first page that took longer is kept for `KEPT_SECONDS`: all who wait have to be counted for it."""

SORTS: Final[Mapping[Sort, str]] = {
    Sort.WAITING: "Most waiting",
    Sort.MONEY: "Most money",
    Sort.OLDEST: "Longest wait",
    Sort.NAME: "Name",
}


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context, frame = office.context, office.frame
    first_pages = Costly[Which, demand.Page](KEPT_SECONDS, SLOW_SECONDS)

    async def look(which: Which, place: Place | None) -> tuple[demand.Page, float]:
        if place or which.search or which.app_id is not None:
            return await context.read(demand.page, which, place), 0.0
        return await first_pages.get(which, lambda: context.read(demand.page, which))

    @router.get("/items")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        given = request.query_params
        which, errors = read(given)
        page, age = demand.Page([], None, None, []), 0.0
        if not errors:
            try:
                place = demand.place_of(given["at"], which.sort) if given.get("at") else None
            except Refused as refused:
                errors["at"] = str(refused)
            else:
                page, age = await look(which, place)
        return frame.show(
            request,
            visitor,
            "demand.html",
            title="Demand",
            nav="demand",
            command=command(which),
            status=400 if errors else 200,
            page=page,
            age=age,
            which=which,
            query={name: given.get(name, "") for name in ("q", "app", "sort", "by")},
            errors=errors,
            sorts=SORTS,
            most=max((row.waiting for row in page.rows), default=0),
            totals=_totals(page),
            money=demand.totals_words(page.totals),
            stock_words=demand.stock_words,
        )

    @router.get("/items.csv")
    async def export(request: Request, visitor: Annotated[Visitor, Depends(office.gate.admin)]) -> Response:
        which, errors = read(request.query_params)
        if errors:
            raise Refused("; ".join(errors.values()))
        about = {"sort": which.sort, "by": which.by, "search": which.search, "app": which.app_id}
        await context.write(actions.note, visitor.name, "export demand", about, command=f"{command(which)} --csv -")
        lines = demand.csv_lines(demand.every(context.database, which))
        return csv_answer(context, lines, demand.file_name(datetime.now(UTC)))

    return router


def read(given: Mapping[str, str]) -> tuple[Which, dict[str, str]]:
    """Returns what a query asks for, and what is wrong with its fields."""
    errors: dict[str, str] = {}

    def one_of(name: str, kind: type[Choice], usual: Choice) -> Choice:
        text = given.get(name) or usual.value
        if text in list(kind):
            return kind(text)
        errors[name] = f"it must be one of {', '.join(kind)}"
        return usual

    which = Which(one_of("by", By, By.ITEM), one_of("sort", Sort, Sort.WAITING))
    try:
        which = demand.with_search(which, given.get("q", "").strip())
    except Refused as refused:
        errors["q"] = str(refused)
    if app := given.get("app", "").strip():
        try:
            which = Which(which.by, which.sort, which.search, item_of("x", app).app_id)
        except BadReference as bad:
            errors["app"] = str(bad)
    return which, errors


def command(which: Which) -> str:
    """Returns the command line that shows the same."""
    words = ["stockbell", "demand", *([which.search] if which.search else [])]
    if which.search.startswith("-"):
        words = ["stockbell", "demand", "--", which.search]
    options = ["--app-id", which.app_id] if which.app_id is not None else []
    options += ["--sort", which.sort] if which.sort is not Sort.WAITING else []
    options += ["--variants"] if which.by is By.VARIANT else []
    return shlex.join([*words[:2], *options, *words[2:]])


def csv_answer(context: Context, lines: Iterable[str], name: str) -> Response:
    """Returns a CSV file that is made while it is sent, so that it may have any number of lines."""
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_sent(context, iter(lines)), media_type="text/csv; charset=utf-8", headers=headers)


LINES_AT_ONCE: Final = 1000


async def _sent(context: Context, lines: Iterator[str]) -> AsyncIterator[str]:
    while part := await context.sql(partial(_some, lines)):
        yield part


def _some(lines: Iterator[str]) -> str:
    return "".join(islice(lines, LINES_AT_ONCE))


def _totals(page: demand.Page) -> dict[str, Any]:
    names = ("rows", "waiting", "sending", "unconfirmed")
    return {name: sum(getattr(total, name) for total in page.totals) for name in names}
