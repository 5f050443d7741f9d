"""The page "Mail": the mail about an item as it would be now, in a frame of its own, and what is wrong with it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from worker.domain.admins import Visitor
from worker.domain.catalog import (
    WIX_STORES,
    CatalogReference,
    catalog_reference,
    checked_url,
    given_reference,
    item_of,
)
from worker.domain.errors import BadAddress, BadReference, BadSetting, BadUrl, Refused, StockbellError, TemplateBroken
from worker.domain.relays import Mailbox
from worker.domain.replies import mask_addresses
from worker.mail import clients
from worker.processes.bootstrap import Parts
from worker.services import mail_checks, trying
from worker.services.addresses import checked_address
from worker.services.import_file import checked_locale
from worker.smtp.mailer import Mail
from worker.store import actions, figures
from worker.store.database import Database
from worker.web.admin import posted
from worker.web.admin.frame import HEADERS
from worker.web.admin.office import Office
from worker.web.admin.posted import Posted

VERB: Final = "send-test"
PER_MINUTE: Final = 5
"""So many test mails are sent in a minute, whoever asks: the page is no way to send mail to strangers."""
VIEWS: Final = {"html": "HTML", "text": "Plain text", "source": "Source"}
SCHEMES: Final = {"light": "Light", "dark": "Dark"}
WIDTHS: Final = (640, 320)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the page is asked for: an item, and how its mail is shown."""

    item: str = ""
    app: str = ""
    options: Sequence[str] = ()
    url: str = ""
    locale: str = ""
    view: str = "html"
    scheme: str = "light"
    images: str = "on"
    errors: Mapping[str, str] = field(default_factory=dict)
    reference: CatalogReference | None = None
    """None: a sample"""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The fields that name the mail, as a URL and a form have them."""
        own = [("item", self.item), ("app", self.app), ("url", self.url), ("locale", self.locale)]
        return [(name, value) for name, value in own if value] + [("option", each) for each in self.options]

    def query(self, **changed: str) -> str:
        """Returns the query of a URL with some of it changed."""
        looks = {"view": self.view, "scheme": self.scheme, "images": self.images} | changed
        usual = {"view": "html", "scheme": "light", "images": "on"}
        return urlencode(self.pairs + [(name, value) for name, value in looks.items() if usual.get(name) != value])

    @property
    def arguments(self) -> str:
        """The options of a command line that names the same mail, without the item."""
        named = [("--app-id", self.app), *(("--option", each) for each in self.options)]
        named += [("--item-url", self.url), ("--locale", self.locale)]
        return "".join(f" {name} {shlex.quote(value)}" for name, value in named if value)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A mail, or why there is none."""

    languages: Sequence[str] = ()
    mail: Mail | None = None
    message: bytes = b""
    checks: Sequence[Any] = ()
    trouble: str = ""
    excerpt: tuple[str, Sequence[Any]] | None = None
    others: str = ""
    """what is wrong with the templates, if this mail can be made all the same"""
    held: Mapping[str, int] = field(default_factory=dict)

    @property
    def opened(self) -> mail_checks.Opened:
        return mail_checks.opened(self.message)


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    viewer, admin = Depends(office.gate.viewer), Depends(office.gate.admin)
    context, frame = office.context, office.frame

    async def shown(request: Request, visitor: Visitor, wish: _Wish, status: int = 200, **values: Any) -> HTMLResponse:
        seen = _Seen() if wish.errors else await context.sql(_seen, context.database, context.parts.anew(), wish)
        usual: dict[str, Any] = {"address": "", "address_error": "", "sent": None}
        item = shlex.quote(wish.item) if wish.item else ""
        preview = [f"stockbell preview {item}{wish.arguments}"] if item else []
        about = f" --item {item}" if item else ""
        return frame.show(
            request,
            visitor,
            "mail.html",
            title="Mail",
            nav="mail",
            command=[*preview, f"stockbell send-test ADDRESS{about}{wish.arguments}"],
            status=400 if wish.errors else status,
            wish=wish,
            seen=seen,
            views=VIEWS,
            schemes=SCHEMES,
            widths=WIDTHS,
            per_minute=PER_MINUTE,
            **{**usual, **values},
        )

    async def message_of(request: Request) -> bytes:
        wish = _wish(request.query_params.multi_items())
        if wish.errors:
            raise Refused("there is no such mail: the address has a value that can't be read")
        try:
            mail, _ = await context.sql(_written, context.parts.anew(), context.database, wish, trying.NOBODY)
        except (BadSetting, TemplateBroken) as error:
            raise Refused(f"the mail can't be made: {error}") from None
        return trying.message(mail)

    @router.get("/mail")
    async def show(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        return await shown(request, visitor, _wish(request.query_params.multi_items()))

    @router.get("/mail/frame")
    async def framed(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        """The HTML alone. It may be framed by us only, runs no script, and loads pictures only if they are wanted."""
        html = mail_checks.opened(await message_of(request)).html
        images = "'none'" if request.query_params.get("images") == "off" else "https: data:"
        policy = f"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {images}; frame-ancestors 'self'"
        headers = {**HEADERS, "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        scheme = _one_of(SCHEMES, request.query_params.get("scheme", ""))
        return HTMLResponse(clients.in_scheme(html, scheme), headers=headers)

    @router.get("/mail/source")
    async def source(request: Request, visitor: Annotated[Visitor, viewer]) -> Response:
        message = await message_of(request)
        headers = {**HEADERS, "Content-Disposition": 'attachment; filename="preview.eml"'}
        return Response(message, media_type="message/rfc822", headers=headers)

    @router.post("/mail/send")
    async def send(request: Request, visitor: Annotated[Visitor, admin]) -> HTMLResponse:
        form = await posted.read(request)
        wish, given = _wish(form.pairs), form.text("address")
        try:
            address = checked_address(given)
        except BadAddress as bad:
            words = f"{str(bad)[:1].upper()}{str(bad)[1:]}."
            return await shown(request, visitor, wish, 400, address=given, address_error=words)
        if wish.errors:
            return await shown(request, visitor, wish, 400, address=given)
        row = await context.write(_begin, visitor.name, wish)
        if row is None:
            words = f"{PER_MINUTE} test mails were sent in the last minute. Try again in a minute."
            return await shown(request, visitor, wish, 429, address=given, address_error=words)
        said = await context.run(_sent, context.database, context.parts.anew(), wish, address)
        masked = {**said, "reply": mask_addresses(str(said["reply"]))}
        is_sent = said["sent"] is True
        await context.write(actions.conclude, row, masked, changed=int(is_sent), refused=int(not is_sent))
        return await shown(request, visitor, wish, address=given, sent=said)

    return router


def _wish(pairs: Sequence[tuple[str, str]]) -> _Wish:
    """Reads what is asked for. What is wrong with it is said by field."""
    asked = Posted(pairs)
    options = [each for text in asked.texts("option") for each in text.splitlines() if each.strip()]
    wish = _Wish(
        asked.text("item"),
        asked.text("app"),
        options,
        asked.text("url"),
        asked.text("locale"),
        view=_one_of(VIEWS, asked.text("view")),
        scheme=_one_of(SCHEMES, asked.text("scheme")),
        images="off" if asked.text("images") == "off" else "on",
    )
    errors: dict[str, str] = {}
    reference = None
    try:
        reference = _reference(wish)
    except ValueError as wrong:
        errors["option"] = str(wrong)
    except BadReference as bad:
        errors["item"] = _sentence(bad)
    try:
        if wish.url:
            checked_url(wish.url)
    except BadUrl as bad:
        errors["url"] = _sentence(f"The link {bad}")
    try:
        checked_locale(wish.locale or None)
    except StockbellError as bad:
        errors["locale"] = _sentence(bad)
    return replace(wish, errors=errors, reference=reference)


def _one_of(known: Mapping[str, str], word: str) -> str:
    return word if word in known else next(iter(known))


def _reference(wish: _Wish) -> CatalogReference | None:
    """Raises BadReference, or ValueError for options that are no pairs."""
    named = [text.partition("=") for text in wish.options]
    if any(not (name and equals) for name, equals, _ in named):
        raise ValueError("An option must be name=value, like size=L.")
    if not wish.item:
        if wish.options or wish.app:
            raise BadReference("options and an app belong to an item: say which")
        return None
    given = {name.strip(): value.strip() for name, _, value in named} or None
    reference = catalog_reference(item_of(wish.item, wish.app or None), given)
    return replace(reference, given=given_reference(reference, wish.item, wish.app or None, given))


def _seen(database: Database, parts: Parts, wish: _Wish) -> _Seen:
    """Makes the mail from the templates as their files are now, which a process that runs has read earlier."""
    settings = parts.settings
    held = database.read(figures.held)
    try:
        languages, others = parts.renderer.languages, _template_trouble(parts)
        mail, url = _written(parts, database, wish, trying.NOBODY)
    except (Refused, BadSetting, TemplateBroken) as error:
        words = str(error).replace(": give --item-url", ": give a link")
        return _Seen(
            parts.renderer.languages,
            trouble=words,
            excerpt=mail_checks.excerpt(parts.templates, words),
            held=held,
        )
    message = trying.message(mail)
    path = trying.return_path(settings.bounce_address, settings.mail_from or Mailbox("", trying.SHOP), mail)
    return _Seen(languages, mail, message, mail_checks.checks_of(message, path, url), others=others, held=held)


def _written(parts: Parts, database: Database, wish: _Wish, address: str) -> tuple[Mail, str | None]:
    """Returns the mail, and where it leads. Raises Refused and BadSetting."""
    facts = trying.facts_of(database, wish.reference) if wish.reference else trying.SAMPLE
    url, locale = wish.url or None, checked_locale(wish.locale or None)
    writer = parts.letter_writer(parts.settings.mail_from or Mailbox("", trying.SHOP))
    mail = trying.write(writer, facts, address, item_url=url, locale=locale)
    return mail, url or facts.url or writer.url_of(facts)


def _template_trouble(parts: Parts) -> str:
    """Returns what is wrong with a template of any language, or ""."""
    try:
        parts.renderer.check()
    except TemplateBroken as broken:
        return str(broken)
    return ""


def _begin(c: Any, who: str, wish: _Wish) -> UUID | None:
    """Notes that a test mail is sent, or returns None if there were enough. No address is noted."""
    if actions.count_since(c, VERB, 60) >= PER_MINUTE:
        return None
    about = {"catalogItemId": wish.item, "appId": wish.app or WIX_STORES} if wish.item else {"sample": True}
    return actions.note(c, who, VERB, {**about, "locale": wish.locale or None})


def _sent(database: Database, parts: Parts, wish: _Wish, address: str) -> dict[str, object]:
    """Sends the mail by the first relay that works, over a connection of its own. Returns what came of it."""
    try:
        mail, _ = _written(parts, database, wish, address)
        mailer = parts.mailer_with(1)
        _ = parts.sender  # the mail of a preview is from anybody
        outcome = trying.send(mailer, mail)
    except (Refused, BadSetting) as error:
        return {"sent": False, "reply": str(error)}
    return trying.said(outcome, relay=str(mailer.relay_in_use) if len(mailer.relays) > 1 else None)


def _sentence(error: object) -> str:
    words = str(error)
    return f"{words[:1].upper()}{words[1:]}."
