"""A shop system's call, how its hook was set up, and what was read of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from worker.domain.errors import BadWebhook
from worker.domain.hook_kinds import KINDS

MAX_ROWS: Final = 5000
"""Variants of one call. Shopify allows 2,048 for a product, and sends up to 100 of them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. The body must be the octets that were sent, for its signature."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Returns a header's value, whatever the case of its name; empty if there is none."""
        return next((value for each, value in self.headers.items() if each.lower() == name.lower()), "").strip()


@dataclass(frozen=True, slots=True)
class Setup:
    """What `stockbell hooks create` was told."""

    kind: str
    secret: str = field(repr=False)
    options: Mapping[str, str]

    @property
    def item_id(self) -> str:
        """What sign-ups name as an item's id: id, sku or handle."""
        return self.options.get("item-id") or KINDS[self.kind].item_ids[0]


@dataclass(frozen=True, slots=True)
class Said:
    """What a call says."""

    events: Sequence[Mapping[str, object]] = ()
    refused: Sequence[str] = ()
    """Why something that should have been an event is none"""
    ignored: str | None = None
    """Why the call says nothing of stock; None if it may"""


class System(Protocol):
    """One shop system."""

    def verify(self, call: Call, setup: Setup) -> None:
        """Raises Forged if the call is not signed with the hook's secret."""

    def read(self, call: Call, setup: Setup) -> Said:
        """Reads a call that was verified. Raises BadWebhook if it is not what the system sends."""


@dataclass(frozen=True, slots=True)
class Details:
    """What a mail shows of an item; None where the call does not tell it."""

    name: object = None
    price: object = None
    image: object = None
    url: object = None


NO_DETAILS: Final = Details()


def event(
    setup: Setup,
    item_id: str,
    stock: object,
    *,
    options: Mapping[str, object] | None = None,
    details: Details = NO_DETAILS,
    at: str | None = None,
    call_id: str = "",
) -> dict[str, object]:
    """Returns an event in our form. `stock` is whether it can be bought, or how many pieces there are."""
    price = None if details.price in (None, "") else details.price
    item = {
        "name": details.name,
        "price": price,
        "currency": setup.options.get("currency") if price is not None else None,
        "image": details.image,
    }
    fields = {
        "id": call_id[:64],
        "occurredAt": at,
        "catalogItemId": item_id,
        "appId": setup.options.get("app-id"),
        "options": options,
        "inStock" if isinstance(stock, bool) else "quantity": stock,
        "itemUrl": details.url,
        "item": {name: value for name, value in item.items() if value},
    }
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


def json_of(body: bytes | str) -> object:
    """Parses JSON. Raises BadWebhook."""
    try:
        found: object = json.loads(body)
    except RecursionError:
        raise BadWebhook("the body is nested too deeply") from None
    except ValueError:  # also UnicodeDecodeError, and a number of too many digits
        raise BadWebhook("the body is not JSON in UTF-8: not all of it arrived, or it is something else") from None
    return found


def object_of(body: bytes | str) -> Mapping[str, object]:
    """Parses a JSON object. Raises BadWebhook."""
    found = json_of(body)
    if not isinstance(found, dict):
        raise BadWebhook("the body is not a JSON object")
    return found


def text(value: object) -> str:
    """Returns a text, or a number as text. Anything else is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def rows(value: object) -> list[Mapping[str, object]]:
    """Returns the objects in a list. Anything else is left out."""
    return [row for row in value[:MAX_ROWS] if isinstance(row, dict)] if isinstance(value, list) else []


def inner(value: object, *names: str) -> object:
    """Returns what stands under these names, one inside the other, or None."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def number(value: object) -> float | None:
    """Returns a number, also from its text, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def flag(value: object) -> bool | None:
    """Returns yes or no as PHP and JSON write it; None for anything else."""
    if isinstance(value, bool):
        return value
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": None}.get(
        text(value).lower()
    )


def utc(value: object) -> str | None:
    """Returns a time as RFC 3339. One without an offset is UTC, as shop systems keep theirs."""
    found = text(value).replace(" ", "T")
    if len(found) < 16:
        return None
    has_offset = found[-1] in "Zz" or "+" in found[10:] or "-" in found[10:]
    return found if has_offset else f"{found}Z"
