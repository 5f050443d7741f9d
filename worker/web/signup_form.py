"""What a sign-up form sends: read from a form of HTML or from JSON, and checked field by field."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from fastapi import Request

from worker.domain.catalog import CatalogReference, catalog_reference, given_reference, item_of
from worker.domain.errors import BadAddress, BadReference
from worker.services.addresses import checked_address
from worker.services.import_file import checked_locale
from worker.web.errors import ApiError, Invalid, Violation

T = TypeVar("T")

FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
JSON: Final = "application/json"
OPTION: Final = "option."
"""The beginning of the names of fields with an option: `option.Color`."""
TRAP: Final = "website"
"""A field that people do not see. Who fills it in is a program."""
MAX_FIELDS: Final = 100


@dataclass(frozen=True, slots=True)
class Given:
    """The fields of a form, as they were sent."""

    values: Mapping[str, Any] = field(repr=False)
    wants_page: bool
    """The form was sent by a browser without our script: a person reads the answer."""

    def text(self, name: str) -> str:
        """Returns a field's text, "" for a field that is missing or is no text."""
        value = self.values.get(name)
        return value.strip() if isinstance(value, str) else ""

    @property
    def is_trapped(self) -> bool:
        """Whether a program filled in what nobody sees."""
        return bool(self.text(TRAP))

    @property
    def options(self) -> object:
        """The options: one for each field `option.NAME`; else an object, or its JSON, in `options`."""
        named = {name.removeprefix(OPTION): value for name, value in self.values.items() if name.startswith(OPTION)}
        if named:
            return named
        options = self.values.get("options")
        return _from_json(options) if isinstance(options, str) else options


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a customer asks for, checked."""

    email: str = field(repr=False)
    reference: CatalogReference
    locale: str | None


async def read(request: Request) -> Given:
    """Reads a form. Raises ApiError for a body that is no form, or can't be read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        return Given(_object(await request.body()), wants_page=False)
    if kind not in FORMS:
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"send a form or JSON: one of {', '.join((*FORMS, JSON))}")
    form = await request.form(max_files=0, max_fields=MAX_FIELDS)
    values = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return Given(values, wants_page=JSON not in request.headers.get("accept", ""))


def checked(given: Given) -> Wanted:
    """Returns what a customer asks for. Raises Invalid, with all that is wrong."""
    wrong: list[Violation] = []
    email = _field("email", lambda: checked_address(_trimmed(given.values.get("email"))), wrong)
    reference = _field("item", lambda: _reference(given), wrong)
    locale = _field("locale", lambda: checked_locale(given.values.get("locale")), wrong)
    if wrong or email is None or reference is None:
        raise Invalid(*wrong)
    return Wanted(email, reference, locale)


def origin_of(request: Request) -> str | None:
    """Returns from which origin a form comes: `Origin`, or as older browsers say it, the one in `Referer`.

    None: nobody says so, or it comes from a page of ours, which only answers a form of the shop.
    """
    origin = _said_origin(request)
    is_ours = request.headers.get("sec-fetch-site") == "same-origin"
    return None if is_ours or (origin or "").partition("://")[2] == request.headers.get("host") else origin


def _said_origin(request: Request) -> str | None:
    if (origin := request.headers.get("origin")) is not None:
        return origin
    try:
        parts = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else None


def _field(name: str, check: Callable[[], T], wrong: list[Violation]) -> T | None:
    try:
        return check()
    except (BadAddress, BadReference) as bad:
        wrong.append(Violation(name, str(bad), rule_name="EMAIL" if name == "email" else None))
    return None


def _trimmed(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _reference(given: Given) -> CatalogReference:
    # A form sends "" for a field that is empty.
    item, app, options = given.values.get("item"), given.values.get("appId") or None, given.options
    reference = catalog_reference(item_of(item, app), options)
    return replace(reference, given=given_reference(reference, item, app, options))


def _from_json(text: str) -> object:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadReference("options must be an object, or its JSON") from None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "INVALID_ARGUMENT", "the body is not JSON") from None
    if not isinstance(found, dict):
        raise ApiError(400, "INVALID_ARGUMENT", "the body must be a JSON object")
    return found
