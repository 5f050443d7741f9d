"""Reads the fields of a payload one by one, and collects everything that is wrong with them, with Wix's rules."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

from worker.domain.catalog import CatalogReference, catalog_reference, checked_url, given_reference, item_of
from worker.domain.errors import BadAddress, BadReference, BadUrl
from worker.domain.event_details import details_of
from worker.domain.wix_filter import guid
from worker.services.addresses import checked_address
from worker.web.errors import ApiError, Invalid, Violation

MAX_ID: Final = 36
_PRICE: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
_IMAGE: Final = "item.image"


@dataclass(slots=True)
class Fields:
    """One object of a payload. What is wrong is collected, and raised all at once."""

    given: Mapping[str, Any]
    path: str = ""
    found: list[Violation] = field(default_factory=list)
    refused: list[ApiError] = field(default_factory=list)
    """what has a code of its own; it comes after the violations"""

    @property
    def is_wrong(self) -> bool:
        """Whether anything was wrong."""
        return bool(self.found or self.refused)

    def error(self) -> Invalid | ApiError:
        """Returns the error for all that was wrong."""
        return Invalid(*self.found) if self.found else self.refused[0]

    def check(self) -> None:
        """Raises Invalid or ApiError if anything was wrong."""
        if self.is_wrong:
            raise self.error()

    def wrong(self, name: str, text: str, rule: str = "FORMAT", rule_name: str | None = None) -> None:
        """Adds a violation."""
        self.found.append(Violation(self._at(name), text, rule, rule_name))

    def has(self, name: str) -> bool:
        """Whether a field is given. Empty text and an empty list are as good as none."""
        return self.given.get(name) not in (None, "", [])

    def inner(self, name: str, *, required: bool = True) -> "Fields | None":
        """Returns the object in a field, or None if there is none."""
        value = self.given.get(name)
        if value is None:
            if required:
                self._missing(name)
            return None
        if not isinstance(value, Mapping):
            self.wrong(name, "must be an object")
            return None
        return Fields(value, self._at(name), self.found, self.refused)

    def text(self, name: str, *, required: bool = True, most: int | None = None) -> str | None:
        """Returns the text in a field, or None."""
        value = self.given.get(name)
        if value is None or value == "":
            if required:
                self._missing(name)
            return None
        if not isinstance(value, str):
            self.wrong(name, "must be text")
            return None
        if most is not None and len(value) > most:
            self.wrong(name, f"has over {most} characters", "MAX_LENGTH")
            return None
        return value

    def guid(self, name: str) -> UUID | None:
        """Returns the GUID in a field that must be there."""
        value = self.given.get(name)
        if value is None or value == "":
            self._missing(name)
            return None
        if (found := guid(value)) is None:
            self.wrong(name, "must be a GUID", rule_name="GUID")
        return found

    def _missing(self, name: str) -> None:
        self.wrong(name, "is missing", "REQUIRED_FIELD")

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def path_id(text: str) -> UUID:
    """Returns the id in a path. Raises Invalid."""
    if (found := guid(text)) is None:
        raise Invalid(Violation("id", "must be a GUID", rule_name="GUID"))
    return found


def email_of(fields: Fields) -> str | None:
    """Returns the address in `email`, in normal form."""
    text = fields.text("email")
    if text is None:
        return None
    try:
        return checked_address(text.strip())
    except BadAddress as error:
        fields.wrong("email", str(error).removeprefix("email "), rule_name="EMAIL")
        return None


def url_of(fields: Fields, name: str) -> str | None:
    """Returns the URL in a field that may be absent."""
    text = fields.text(name, required=False)
    if text is None:
        return None
    try:
        return checked_url(text.strip())
    except BadUrl as error:
        fields.wrong(name, str(error), rule_name="WEB_URL")
        return None


def reference_of(fields: Fields) -> CatalogReference | None:
    """Returns a catalogReference, which keeps how it was given."""
    item_id, app_id = _id(fields, "catalogItemId"), _id(fields, "appId")
    options = fields.given.get("options")
    if options is not None and not isinstance(options, Mapping):
        fields.wrong("options", "must be an object")
        return None
    if item_id is None or app_id is None:
        return None
    try:
        item = item_of(item_id, app_id)
    except BadReference as error:
        name, _, text = str(error).partition(" ")
        fields.wrong(name, text)
        return None
    try:
        reference = catalog_reference(item, options)
    except BadReference as error:
        fields.refused.append(ApiError(400, "INVALID_CATALOG_REFERENCE_OPTIONS", str(error)))
        return None
    given = given_reference(reference, item_id, app_id, options)
    return CatalogReference(reference.item, reference.options, reference.spelling, given) if given else reference


def _id(fields: Fields, name: str) -> object:
    value = fields.given.get(name)
    if isinstance(value, int) and not isinstance(value, bool):  # item_of takes whole numbers
        return value
    return fields.text(name, most=MAX_ID)


@dataclass(frozen=True, slots=True)
class ItemDetails:
    """What a storefront says of an item."""

    name: str | None = None
    price: str | None = None
    image_url: str | None = None

    def as_details(self) -> dict[str, str | None]:
        """Returns those that are given, with the names that events use."""
        said = {"name": self.name, "price": self.price, "image_url": self.image_url}
        return {name: value for name, value in said.items() if value}


def item_details_of(payload: Fields) -> ItemDetails | None:
    """Returns `itemDetails`, which must be there."""
    fields = payload.inner("itemDetails")
    if fields is None:
        return None
    name, price = fields.text("name"), fields.text("price")
    if price is not None and not _PRICE.fullmatch(price):
        fields.wrong("price", "must be a decimal number as text, 0 or more", "OTHER", "DECIMAL_GTE")
    flaws: list[str] = []
    read = details_of({"item": {"name": name, "image": fields.given.get("image")}}, flaws)
    for flaw in flaws:
        _add(fields, flaw)
    return ItemDetails(read.get("name"), price, read.get("image_url"))


def _add(fields: Fields, flaw: str) -> None:
    if flaw.startswith(_IMAGE):
        fields.refused.append(ApiError(400, "INVALID_ITEM_IMAGE_URL", f"itemDetails.{flaw.removeprefix('item.')}"))
    else:
        fields.wrong("name", flaw.removeprefix("item.name "), "MAX_LENGTH")


def texts_of(payload: Fields, name: str, most: int, most_characters: int) -> Mapping[str, str]:
    """Returns a map of names to texts that may be absent."""
    fields = payload.inner(name, required=False)
    if fields is None:
        return {}
    if len(fields.given) > most:
        payload.wrong(name, f"has over {most} entries", "MAX_SIZE")
    for key, value in fields.given.items():
        if not isinstance(value, str):
            fields.wrong(key[:100], "must be text")
        elif len(key) + len(value) > most_characters:
            fields.wrong(key[:100], f"has over {most_characters} characters with its name", "MAX_LENGTH")
    return cast("Mapping[str, str]", fields.given)


def references_of(payload: Fields, most: int) -> Sequence[CatalogReference]:
    """Returns `catalogReferences`, of which there must be one at least."""
    name = "catalogReferences"
    raw = payload.given.get(name)
    if raw is None or raw == []:
        payload.wrong(name, "is missing", "REQUIRED_FIELD")
    elif not isinstance(raw, list):
        payload.wrong(name, "must be a list")
    elif len(raw) > most:
        payload.wrong(name, f"has over {most} entries", "MAX_SIZE")
    else:
        return [each for place, value in enumerate(raw) if (each := _listed(payload, f"{name}[{place}]", value))]
    return ()


def _listed(payload: Fields, path: str, value: object) -> CatalogReference | None:
    if not isinstance(value, Mapping):
        payload.wrong(path, "must be an object")
        return None
    return reference_of(Fields(value, path, payload.found, payload.refused))


def ids_of(payload: Fields, name: str, most: int) -> Sequence[UUID]:
    """Returns a list of GUIDs, each once."""
    raw = payload.given[name]
    if not isinstance(raw, list):
        payload.wrong(name, "must be a list")
        return ()
    if len(raw) > most:
        payload.wrong(name, f"has over {most} entries", "MAX_SIZE")
        return ()
    found = [guid(value) for value in raw]
    for place, each in enumerate(found):
        if each is None:
            payload.wrong(f"{name}[{place}]", "must be a GUID", rule_name="GUID")
    return [*dict.fromkeys(each for each in found if each)]
