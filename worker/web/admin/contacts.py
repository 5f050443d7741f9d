"""The page "Contacts": one customer at a time, found by the exact address, which never stands in a URL."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.domain.catalog import options_from_text
from worker.domain.errors import BadAddress, BadSetting, Refused
from worker.domain.returned import Cause
from worker.services import contact_verbs
from worker.services.addresses import checked_address
from worker.services.contacts import known_of
from worker.services.wire import signup_json
from worker.store import actions, contacts, requests
from worker.store.contacts import ERASED
from worker.store.database import Connection
from worker.store.requests import Filter
from worker.web.admin import posted
from worker.web.admin.frame import HEADERS
from worker.web.admin.office import Office

MOST: Final = 50
"""requests, reports and actions on the page; an export has all"""
SURE: Final = "erase"
"""What is typed before a customer is erased."""
DONE: Final = {
    "suppressed": "The customer gets no more mail. What was waiting has ended.",
    "lifted": "The customer gets mail again. What had ended meanwhile stays so.",
    "erased": "The customer was erased.",
    "unchanged": "Nothing was changed: it was so already.",
}
"""What a page says after a form, by the word in its URL."""


@dataclass(frozen=True, slots=True)
class _Customer:
    """What the page shows of one customer."""

    contact: Any
    requests: Sequence[tuple[Any, dict[str, object] | None]]
    """with how she signed up"""
    has_more: bool
    reports: Sequence[Any]
    actions: Sequence[Any]
    asked: Any
    """the mail that asks her to confirm"""

    @property
    def is_erased(self) -> bool:
        return str(self.contact.address).startswith(ERASED)


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    viewer, admin = Depends(office.gate.viewer), Depends(office.gate.admin)
    context, frame = office.context, office.frame
    tokens = context.parts.tokens

    def search(request: Request, visitor: Visitor, status: int = 200, **values: Any) -> HTMLResponse:
        usual: dict[str, Any] = {"address": "", "error": "", "unknown": "", "remembered": None}
        return frame.show(
            request,
            visitor,
            "contacts.html",
            title="Contacts",
            nav="contacts",
            command=["stockbell contacts show ADDRESS", "stockbell contacts list"],
            status=status,
            **{**usual, **values},
        )

    async def customer(request: Request, visitor: Visitor, contact_id: str, status: int = 200, **v: Any) -> Response:
        found = await context.read(_read, id_) if (id_ := _id(contact_id)) else None
        if found is None:
            raise Refused("there is no such contact")
        address = shlex.quote(found.contact.address)
        verbs = ("show", "unsuppress" if found.contact.suppressed_at else "suppress", "export", "erase")
        usual = {"said": DONE.get(request.query_params.get("done", ""), ""), "error": "", "typed": "", "wrong": ""}
        return frame.show(
            request,
            visitor,
            "contact.html",
            title="Erased customer" if found.is_erased else found.contact.address,
            nav="contacts",
            command=() if found.is_erased else [f"stockbell contacts {verb} {address}" for verb in verbs],
            status=status,
            found=found,
            options_of=options_from_text,
            **{**usual, **v},
        )

    async def address_of(contact_id: str) -> tuple[UUID, str]:
        id_ = _id(contact_id)
        row = await context.read(contacts.by_id, id_) if id_ else None
        if row is None:
            raise Refused("there is no such contact")
        return row.id, row.address

    def back(contact_id: UUID, word: str) -> Response:
        return RedirectResponse(f"{frame.here}/contacts/{contact_id}?done={word}", 303)

    @router.get("/contacts")
    async def show(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        return search(request, visitor)

    @router.post("/contacts")
    async def find(request: Request, visitor: Annotated[Visitor, viewer]) -> Response:
        given = (await posted.read(request)).text("address")
        try:
            address = checked_address(given).lower()
        except BadAddress as bad:
            return search(request, visitor, 400, address=given, error=_sentence(bad))
        found = await context.read(contacts.one, address)
        if found is not None:
            return RedirectResponse(f"{frame.here}/contacts/{found.id}", 303)
        remembered = (await context.read(contacts.erased, [address], tokens)).get(address) if tokens else None
        return search(request, visitor, address=given, unknown=address, remembered=remembered)

    @router.post("/contacts/suppress")
    async def suppress_unknown(request: Request, visitor: Annotated[Visitor, admin]) -> Response:
        given = (await posted.read(request)).text("address")
        try:
            address = checked_address(given).lower()
        except BadAddress as bad:
            return search(request, visitor, 400, address=given, error=_sentence(bad))
        return back(await context.write(_suppress_address, visitor.name, address), "suppressed")

    @router.get("/contacts/{contact_id}")
    async def one(request: Request, visitor: Annotated[Visitor, viewer], contact_id: str) -> Response:
        return await customer(request, visitor, contact_id)

    @router.post("/contacts/{contact_id}/suppress")
    async def suppress(request: Request, visitor: Annotated[Visitor, admin], contact_id: str) -> Response:
        id_, _ = await address_of(contact_id)
        await context.write(contact_verbs.suppress, visitor.name, [id_], Cause.MANUAL, visitor.name)
        return back(id_, "suppressed")

    @router.post("/contacts/{contact_id}/lift")
    async def lift(request: Request, visitor: Annotated[Visitor, admin], contact_id: str) -> Response:
        id_, address = await address_of(contact_id)
        try:
            lifted = await context.write(contact_verbs.lift, visitor.name, [address], tokens)
        except BadSetting as bad:
            return await customer(request, visitor, contact_id, 400, error=_sentence(bad))
        return back(id_, "lifted" if lifted else "unchanged")

    @router.post("/contacts/{contact_id}/export")
    async def export(request: Request, visitor: Annotated[Visitor, admin], contact_id: str) -> Response:
        id_, _ = await address_of(contact_id)
        document = await context.write(_export, visitor.name, id_)
        text = json.dumps(document, ensure_ascii=False, indent=2)
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="contact-{id_}.json"'}
        return Response(text, media_type="application/json", headers=headers)

    @router.post("/contacts/{contact_id}/erase")
    async def erase(request: Request, visitor: Annotated[Visitor, admin], contact_id: str) -> Response:
        id_, _ = await address_of(contact_id)
        typed = (await posted.read(request)).text("sure")
        if typed.lower() != SURE:
            return await customer(request, visitor, contact_id, 400, typed=typed, wrong=f"Type “{SURE}” to confirm.")
        try:
            done = await context.write(contact_verbs.erase, visitor.name, id_, tokens)
        except BadSetting as bad:
            return await customer(request, visitor, contact_id, 400, error=_sentence(bad))
        return back(id_, "erased" if done else "unchanged")

    return router


def _read(c: Connection, contact_id: UUID) -> _Customer | None:
    contact = contacts.by_id(c, contact_id)
    if contact is None:
        return None
    ids = requests.of_contact(c, contact_id, MOST + 1)
    rows = list(requests.find(c, Filter(ids=ids[:MOST]), newest_first=True)) if ids else []
    reports = contacts.reports(c, contact_id, ids[:MOST])[-MOST:]
    done = actions.of_contact(c, contact_id, MOST)
    signed_up = [(row, signup_json(row)) for row in rows]
    return _Customer(contact, signed_up, len(ids) > MOST, reports, done, contacts.asked(c, contact_id))


def _suppress_address(c: Connection, who: str, address: str) -> UUID:
    """Suppresses an address that nobody may have waited with."""
    contact = contacts.add(c, [address]).contacts[address]
    contact_verbs.suppress(c, who, [contact.id], Cause.MANUAL, who)
    return contact.id


def _export(c: Connection, who: str, contact_id: UUID) -> dict[str, object]:
    contact = contacts.by_id(c, contact_id)
    if contact is None:
        raise Refused("there is no such contact")
    document = known_of(c, contact).as_json()
    contact_verbs.note_export(c, who, contact_id)
    return document


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _sentence(error: Exception) -> str:
    words = str(error)
    return f"{words[:1].upper()}{words[1:]}."
