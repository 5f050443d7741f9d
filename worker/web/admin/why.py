"""The page "Why?", which finds somebody by address and item, and the page of one request, which tells its story.

An address comes in the body of a form and not in a URL, which browsers and proxies keep; links go by the id.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.domain.catalog import WIX_STORES, CatalogReference, catalog_reference, item_of, options_from_text
from worker.domain.errors import BadAddress, BadReference, Refused
from worker.models import Status
from worker.services import why
from worker.services.story import Story
from worker.services.story_words import item_words
from worker.services.wire import waiting_until
from worker.store.admin import NEED_FORCE
from worker.web.admin.office import Office

_FIELDS: Final = ("q", "item", "option", "app")
_MOST_FIELDS: Final = 20
_LONG: Final = 240
"""Words of others that are longer are folded."""
_STATES: Final = {
    Status.RECEIVED: "waiting",
    Status.PROCESSING: "being sent",
    Status.NOTIFICATION_SENT: "told",
    Status.FAILED: "failed",
}
_TONES: Final = {Status.NOTIFICATION_SENT: "good", Status.FAILED: "bad", Status.PROCESSING: "warn"}
_ARROWS: Final = {
    "claim": "a worker took it",
    "back": "it went back in line",
    "tell": "the relay took the mail",
    "mark": "it was marked as told",
    "bounce": "the mail came back",
    "fail": "the mail could not be sent",
    "end": "it ended without a mail",
    "retry": "it was put back in line after it had failed",
}
"""What each arrow of the diagram means, in the order of the line."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A button of the page: a form that leads to the preview of an action."""

    verb: str
    label: str
    is_ordered: bool = False
    needs_force: bool = False
    is_danger: bool = False


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context, parts = office.context, office.context.parts
    lease, here = parts.settings.lease_seconds, office.frame.here

    async def answer(request: Request, visitor: Visitor, given: Mapping[str, str]) -> Response:
        if not given["q"]:
            missing = {"q": "Type an address, or the id of a request."} if any(given.values()) else {}
            return page(request, visitor, given, errors=missing)
        if request_id := _id(given["q"]):
            return RedirectResponse(f"{here}/requests/{request_id}", 303)
        reference, errors = _reference(given)
        if errors:
            return page(request, visitor, given, errors=errors)
        try:
            found = await context.sql(
                why.find,
                context.database,
                given["q"],
                reference,
                tokens=parts.tokens,
                lease=lease,
                rules=parts.reply_rules,
            )
        except BadAddress as bad:
            return page(request, visitor, given, errors={"q": f"{str(bad)[:1].upper()}{str(bad)[1:]}."})
        if found.story and len(found.requests) == 1 and not found.others:
            return RedirectResponse(f"{here}/requests/{found.story.request.id}", 303)
        return page(request, visitor, given, found=found)

    def page(
        request: Request,
        visitor: Visitor,
        given: Mapping[str, str],
        *,
        found: why.Answer | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        return office.frame.show(
            request,
            visitor,
            "why.html",
            title="Why?",
            nav="why",
            command=_command(given) if found else "stockbell why EMAIL [ITEM]",
            status=400 if errors else 200,
            given=given,
            errors=errors or {},
            found=found,
            options_of=options_from_text,
        )

    @router.get("/why")
    async def ask(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        return await answer(request, visitor, _given(request.query_params))

    @router.post("/why")
    async def ask_unseen(request: Request, visitor: Annotated[Visitor, Depends(office.gate.viewer)]) -> Response:
        form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
        return await answer(request, visitor, _given(form))

    @router.get("/requests/{request_id}")
    async def show(
        request: Request, request_id: str, visitor: Annotated[Visitor, Depends(office.gate.viewer)]
    ) -> HTMLResponse:
        id_ = _id(request_id)
        if id_ is None:
            raise Refused("this is not the id of a request")
        try:
            story = await context.sql(why.story, context.database, id_, lease=lease, rules=parts.reply_rules)
        except Refused:
            raise Refused(f"there is no request {id_}. It may have been deleted: that leaves no trace") from None
        return office.frame.show(
            request,
            visitor,
            "request.html",
            title=item_words(story.request),
            nav="requests",
            command=[f"stockbell requests show {id_}", f"stockbell why {id_} --json"],
            row=story.request,
            until=waiting_until(story.request) if story.request.waiting else None,
            story=story,
            state=_STATES[Status(story.request.status)],
            tone=_TONES.get(Status(story.request.status), "info"),
            steps=[words for name, words in _ARROWS.items() if name in story.path],
            been=_been(story),
            options=options_from_text(story.request.options),
            verbs=_verbs(story),
            mail=_mail(here, story.request),
            long=_LONG,
        )

    return router


def _given(values: Any) -> dict[str, str]:
    """Returns the fields of the form. What is a file, or not given, is empty."""
    given = {name: values.get(name) for name in _FIELDS}
    return {name: value.strip() if isinstance(value, str) else "" for name, value in given.items()}


def _id(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def _reference(given: Mapping[str, str]) -> tuple[CatalogReference | None, Mapping[str, str]]:
    """Returns the item that was asked for, if any, and what is wrong with the fields."""
    if not given["item"]:
        wrong = {"item": "Options and an app belong to an item."} if given["option"] or given["app"] else {}
        return None, wrong
    try:
        item = item_of(given["item"], given["app"] or None)
    except BadReference as bad:
        return None, {"app" if str(bad).startswith("appId") else "item": f"{bad}."}
    pairs = [part.partition("=") for part in given["option"].split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        return None, {"option": "Write options like Size=L, Color=Blue."}
    try:
        return catalog_reference(item, {name.strip(): value.strip() for name, _, value in pairs} or None), {}
    except BadReference as bad:
        return None, {"option": f"{bad}."}


def _command(given: Mapping[str, str]) -> str:
    """The same on the command line."""
    item = [given["item"]] if given["item"] else []
    app = ["--app-id", given["app"]] if given["app"] else []
    options = [part.strip() for part in given["option"].split(",") if part.strip()]
    return shlex.join(
        ["stockbell", "why", given["q"], *item, *app, *(each for part in options for each in ("--option", part))]
    )


def _been(story: Story) -> frozenset[str]:
    """The states that it was in, as far as is known."""
    row, path = story.request, story.path
    states = {_STATES[Status(row.status)]}
    if row.auto_notified is not None or row.failed_at is None or row.failed_at > row.created_date:
        states.add("waiting")
    if "claim" in path:
        states.add("being sent")
    if "tell" in path:
        states.add("told")
    if path & {"retry", "fail", "end", "bounce"}:
        states.add("failed")
    return frozenset(states)


def _verbs(story: Story) -> list[Verb]:
    """What an admin can do with it. Whether it can be done is said by the preview, as everywhere."""
    row = story.request
    delete = Verb("delete", "Delete…", is_danger=True)
    match Status(row.status):
        case Status.RECEIVED:
            return [Verb("report", "Tell now, whatever the stock…"), Verb("mark-sent", "Mark as told…"), delete]
        case Status.FAILED:
            force = row.failure_code in NEED_FORCE
            return [
                Verb("retry", "Send again when in stock…", needs_force=force),
                Verb("retry", "Send again now…", is_ordered=True, needs_force=force),
                Verb("mark-sent", "Mark as told…"),
                delete,
            ]
    return [delete]


def _mail(here: str, row: Any) -> str:
    app = {} if row.app_id == WIX_STORES else {"app": row.app_id}
    locale = {"locale": row.locale} if row.locale else {}
    return f"{here}/mail?{urlencode({'item': row.catalog_item_id, **app, **locale})}"
