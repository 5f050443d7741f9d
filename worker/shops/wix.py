"""Wix Stores: a call is a JWT, whose `data` holds the event as text, and in it the inventory as text again.

By "Webhook structure" of Wix's documentation, "Inventory Variants Changed" (Catalog V1) and "Inventory Items V3".
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from worker.domain.errors import BadWebhook
from worker.shops.calls import Call, Said, Setup, event, inner, object_of, rows, text, utc
from worker.shops.signatures import jwt_claims

Row = Mapping[str, object]
_NO_STOCK: Final = "the event says nothing of stock"
_ENTITIES: Final = (
    ("createdEvent", "entity"),
    ("updatedEvent", "currentEntity"),
    ("deletedEvent", "deletedEntity"),
    ("actionEvent", "body"),
)


class Wix:
    """See `System`."""

    def verify(self, call: Call, setup: Setup) -> None:
        """See `System`."""
        jwt_claims(call.body, setup.secret)

    def read(self, call: Call, setup: Setup) -> Said:
        """See `System`."""
        claims = jwt_claims(call.body, setup.secret)
        outer = _unpacked(claims.get("data"))
        kind = text(outer.get("eventType")).lower().replace("_", "")
        payload = _unpacked(outer.get("data"))
        at = utc(payload.get("updatedDate")) or utc(payload.get("eventTime")) or _issued(claims)
        call_id = text(payload.get("id"))
        if "inventory" in kind:
            return _inventory(payload, setup, at, call_id)
        if _is_gone(kind, payload):
            item_id = text(payload.get("productId")) or text(payload.get("entityId"))
            return Said([event(setup, item_id, False, at=at, call_id=call_id)] if item_id else ())
        return Said(ignored="the event is not about inventory")


def _unpacked(value: object) -> Row:
    """Returns an object that may have been written as text. Raises BadWebhook."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return object_of(value)
    raise BadWebhook("the token has no event in `data`")


def _issued(claims: Row) -> str | None:
    issued = claims.get("iat")
    if not isinstance(issued, int | float) or not 0 < issued < 2**33:
        return None
    return datetime.fromtimestamp(issued, UTC).isoformat()


def _is_gone(kind: str, payload: Row) -> bool:
    is_hidden = kind.endswith("productupdated") and inner(_entity(payload), "visible") is False
    return kind.endswith("productdeleted") or is_hidden


def _inventory(payload: Row, setup: Setup, at: str | None, call_id: str) -> Said:
    if "variants" in payload:
        return _first_catalog(payload, setup, at, call_id)
    entity = _entity(payload)
    item_id, variant = text(entity.get("productId")), text(entity.get("variantId"))
    stock = False if "deletedEvent" in payload else _stock_of_item(entity)
    if not item_id or stock is None:
        return Said(ignored=_NO_STOCK)
    name = inner(entity, "product", "name")
    options = {"variantId": variant} if variant else None
    found = event(setup, item_id, stock, options=options, at=at, call_id=call_id)
    return Said([{**found, "item": {"name": name}} if isinstance(name, str) else found])


def _first_catalog(payload: Row, setup: Setup, at: str | None, call_id: str) -> Said:
    """Catalog V1: all variants that changed, with the old and the new values."""
    item_id = text(payload.get("productId")) or text(payload.get("externalId"))
    found = [(text(row.get("id")) or text(row.get("variantId")), _stock_of_variant(row)) for row in _new_rows(payload)]
    told = [(variant, stock) for variant, stock in found if variant and stock is not None]
    if not item_id or not told:
        return Said(ignored=_NO_STOCK)
    return Said(
        [
            event(setup, item_id, stock, options={"variantId": variant}, at=at, call_id=call_id)
            for variant, stock in told
        ]
    )


def _new_rows(payload: Row) -> list[Row]:
    changed = rows(payload.get("variants"))
    return [{**row, **new} if isinstance(new := row.get("newValue"), dict) else row for row in changed]


def _stock_of_variant(row: Row) -> bool | int | None:
    quantity, in_stock = _whole(row.get("quantity")), row.get("inStock")
    if in_stock is False:
        return False
    return True if in_stock is True and (quantity is None or quantity <= 0) else quantity


def _stock_of_item(entity: Row) -> bool | int | None:
    """Catalog V3: an item has a quantity if it is tracked, else whether it is in stock."""
    quantity, in_stock = _whole(entity.get("quantity")), entity.get("inStock")
    if quantity is not None and entity.get("trackQuantity") is not False:
        return quantity
    if isinstance(in_stock, bool):
        return in_stock
    status = text(entity.get("availabilityStatus"))
    return status == "IN_STOCK" if status else None


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _entity(payload: Row) -> Row:
    """Returns the inventory item or the product that an event of the newer form carries."""
    for kind, name in _ENTITIES:
        found = inner(payload, kind, name) or inner(payload, kind, f"{name}AsJson")
        if isinstance(found, str):
            found = object_of(found)
        if isinstance(found, dict):
            within = found.get("inventoryItem") or found.get("currentInventoryItem")
            return within if isinstance(within, dict) else found
    return {}
