"""The page "Requests": those that match a filter, newest first, and verbs for the ticked ones or for all of them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from worker.domain.admins import Visitor
from worker.domain.catalog import options_from_text
from worker.domain.errors import BadReference, Refused
from worker.models import Status
from worker.services import exporting
from worker.services.selection import CODES, WAITING, Selection
from worker.store import actions, request_list
from worker.store.database import Connection
from worker.store.request_list import MOST_COUNTED, MOST_LOOKED, Page, Place
from worker.web.admin.demand import csv_answer
from worker.web.admin.office import Office

PAGE: Final = 50
FIELDS: Final = (
    "status",
    "item",
    "app",
    "option",
    "email",
    "contact",
    "code",
    "waiting",
    "domain",
    "words",
    "since",
    "until",
    "locale",
)
STATUSES: Final = (
    ("", "Any"),
    ("RECEIVED", "waiting"),
    ("PROCESSING", "being sent"),
    ("NOTIFICATION_SENT", "told"),
    ("FAILED", "failed"),
)


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context, frame = office.context, office.frame

    @router.get("/requests")
    async def show(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        given = _given(request)
        selection, errors = Selection.read(given)
        place, wrong = _place(request.query_params)
        errors = {**errors, **wrong}
        page, matching = Page([]), None
        if not errors:
            try:
                page, matching = await context.read(_look, selection, place)
            except BadReference as bad:
                errors["item"] = str(bad)
        return frame.show(
            request,
            visitor,
            "requests.html",
            title="Requests",
            nav="requests",
            command=() if errors else [f"{selection.command('list')} --newest --limit {PAGE}"],
            status=400 if errors else 200,
            page=page,
            matching=matching,
            most=MOST_COUNTED,
            looked=MOST_LOOKED,
            errors=errors,
            given=dict.fromkeys(FIELDS, "") | dict(given),
            options_given=[text for name, text in given if name == "option"],
            is_filtered=bool(given),
            is_first=place is None,
            pairs=selection.as_pairs(),
            query=urlencode(selection.as_pairs()) if not errors else "",
            before=_link(selection, page.before),
            after=_link(selection, page.after),
            options_of=options_from_text,
            statuses=STATUSES,
            codes=[("", "Any"), *((code, code) for code in CODES)],
            reasons=[("", "Any"), *((reason, reason) for reason in WAITING)],
            verbs=_verbs(selection),
        )

    @router.get("/requests.csv")
    async def export(request: Request, visitor: Annotated[Visitor, Depends(office.gate.admin)]) -> Response:
        selection, errors = Selection.read(_given(request))
        if errors:
            raise Refused("; ".join(errors.values()))
        await context.write(_note, visitor.name, selection)
        lines = exporting.csv_lines(context.database, selection)
        return csv_answer(context, lines, f"requests-{datetime.now(UTC):%Y-%m-%dT%H%M}.csv")

    return router


def _look(c: Connection, selection: Selection, place: Place | None) -> tuple[Page, int | None]:
    which = selection.filter(c)
    return request_list.page(c, which, place, PAGE), request_list.count(c, which)


def _note(c: Connection, who: str, selection: Selection) -> None:
    kept = selection.without_address(c)
    actions.note(c, who, "export requests", kept.as_json(), command=f"{kept.command('list')} --newest --limit 0 --json")


def _given(request: Request) -> list[tuple[str, str]]:
    return [
        (name, text) for name, text in request.query_params.multi_items() if name in (*FIELDS, "id") and text.strip()
    ]


def _place(given: Mapping[str, str]) -> tuple[Place | None, dict[str, str]]:
    for name in ("after", "before"):
        if text := given.get(name, ""):
            try:
                return Place(UUID(text), is_backward=name == "before"), {}
            except ValueError:
                return None, {"place": "This page can't be found any more: begin at the first one."}
    return None, {}


def _link(selection: Selection, place: Place | None) -> str:
    """The query of the page at this place; "" if there is none."""
    if place is None:
        return ""
    return urlencode([*selection.as_pairs(), ("before" if place.is_backward else "after", str(place.id))])


def _verbs(selection: Selection) -> Sequence[tuple[str, str, str]]:
    """The verbs that may change some of these requests: name, words, and the button's look."""

    def each() -> Iterator[tuple[str, str, str]]:
        status = Status.RECEIVED if selection.waiting else selection.status
        if status in (None, Status.FAILED):
            yield "retry", "Retry", ""
        if status in (None, Status.RECEIVED):
            yield "report", "Tell now", ""
        if status in (None, Status.RECEIVED, Status.FAILED):
            yield "mark-sent", "Mark as sent", "second"
        yield "delete", "Delete", "danger"

    return list(each())
