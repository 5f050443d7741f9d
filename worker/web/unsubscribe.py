"""The page behind the link in every mail: what a customer waits for, and how they leave.

`GET` changes nothing, since scanners, previews and browsers fetch links. `POST` does. A mail program's one click posts
without having seen the page (RFC 8058): it has no cookie and no origin, and follows no redirect. So the token in the
path is all that is asked for, the answer is a page, and there is no limit per client: they come from few addresses.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from worker.domain.catalog import VARIANT
from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.services.leaving import Leaving
from worker.store.leaving import Standing, Wish
from worker.web.context import Context
from worker.web.errors import RETRY_SECONDS

MAX_BODY: Final = 2048
"""Octets. A mail program sends 26, or about 200 as multipart."""
_MOST_FIELDS: Final = 20
_ONE_CLICK: Final = "List-Unsubscribe"
_AROUND_LINKS: Final = "/.,;>)"
"""What programs take for a part of a link that stands in a text. No token ends so."""

log = structlog.get_logger()


def routes(context: Context) -> APIRouter:
    """Returns the routes, which need no key."""
    router = APIRouter(include_in_schema=False)
    tokens = context.parts.tokens

    # Whatever follows /u/ has the same answer if it is no token of ours: it is not told what is wrong with it.
    @router.api_route("/u/{token:path}", methods=["GET", "HEAD"])
    async def look(request: Request, token: str) -> Response:
        return await answer(request, token, _look)

    @router.post("/u/{token:path}", max_body_size=MAX_BODY)
    async def act(request: Request, token: str) -> Response:
        fields = await _fields(request)
        return await answer(request, token, lambda visit: _act(visit, fields))

    async def answer(request: Request, token: str, work: Callable[["_Visit"], Awaitable[Response]]) -> Response:
        accepts = request.headers.get("accept-language")
        contact = tokens.contact_of_link(token.rstrip(_AROUND_LINKS)) if tokens else None
        if tokens is None or contact is None:
            return _note(context, accepts, "unknown", 404)
        try:
            return await work(_Visit(context, Leaving(context.database, tokens), contact, accepts))
        except (DatabaseAway, SchemaOutdated) as error:
            log.warning("web.database_away", reason=str(error))
            reply = _note(context, accepts, "away", 503)
            reply.headers["Retry-After"] = str(RETRY_SECONDS)
            return reply

    return router


@dataclass(frozen=True, slots=True)
class _Visit:
    """One call by the holder of a token."""

    context: Context
    people: Leaving
    contact: UUID
    accepts: str | None
    """the header Accept-Language"""

    def page(self, standing: Standing | None, note: str | None = None, status: int = 200) -> Response:
        """Returns the page in the language that the customer signed up in, else in one that the browser asks for."""
        if standing is None:
            return _note(self.context, self.accepts, "gone", status)
        it = replace(standing, waits=_shown(standing.waits), left=_shown(standing.left))
        return _show(self.context, "leave.html", self._wanted(standing), status, it=it, note=note)

    def sure(self, standing: Standing | None) -> Response:
        """Returns the page that asks once more before everything is erased."""
        if standing is None:
            return self.page(None)
        return _show(self.context, "leave_sure.html", self._wanted(standing), 200)

    def _wanted(self, standing: Standing) -> str:
        return ",".join(filter(None, (standing.locale, self.accepts)))


async def _look(visit: _Visit) -> Response:
    return visit.page(await visit.context.sql(visit.people.look, visit.contact))


async def _act(visit: _Visit, fields: Mapping[str, str]) -> Response:
    """Does what a form of the page asks for. Without one it was a mail program, and everything ends."""
    sql, people, contact = visit.context.sql, visit.people, visit.contact
    scope = "all" if _ONE_CLICK in fields else fields.get("scope", "all")
    item = _id(fields["item"]) if "item" in fields else None
    match scope, item:
        case "all", _:
            return visit.page(await sql(people.leave, contact), "done_all")
        case "item", UUID():
            it = await sql(people.leave_item, contact, item)
            return visit.page(it, None if _waits(it, item) else "done_item")
        case "undo", None if "item" not in fields:
            it = await sql(people.take_back, contact)
            return visit.page(it, None if it and it.why else "done_undo")
        case "undo", UUID():
            it = await sql(people.take_back_item, contact, item)
            return visit.page(it, "done_undo" if _waits(it, item) else None)
        case "erase", _ if fields.get("sure") == "yes":
            await sql(people.erase, contact)
            return visit.page(None)
        case "erase", _:
            return visit.sure(await sql(people.look, contact))
    return visit.page(await sql(people.look, contact), "unclear", 400)


async def _fields(request: Request) -> Mapping[str, str]:
    """Returns the fields of a form, whatever its type is said to be. What can't be read is no form, but still a click.

    Raises HTTPException (413) if the body is too long.
    """
    body = await request.body()
    try:
        form = await request.form(max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS)
        found = {name: value for name, value in form.items() if isinstance(value, str)}
        return found or dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS))
    except (HTTPException, ValueError):
        return {}


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _waits(standing: Standing | None, list_id: UUID) -> bool:
    return standing is not None and any(wish.list_id == list_id for wish in standing.waits)


def _shown(wishes: Sequence[Wish]) -> list[Wish]:
    """Leaves out what says nothing to people: a variant's id."""
    return [
        replace(wish, options=tuple((name, value) for name, value in wish.options if name.lower() != VARIANT))
        for wish in wishes
    ]


def _note(context: Context, wanted: str | None, note: str, status: int) -> Response:
    return _show(context, "leave_note.html", wanted, status, note=note)


def _show(context: Context, template: str, wanted: str | None, status: int, **values: object) -> Response:
    reply = context.pages.show(template, "leave", wanted, status, **values)
    # The path is a secret, and no form here looks at the Origin, which is `null` then.
    reply.headers["Referrer-Policy"] = "no-referrer"
    return reply
