"""Magento 2 and Adobe Commerce: stock items, source items (MSI) and products, as REST and extensions write them.

By "Webhooks" of Adobe Commerce's extensibility documentation (payload, signature, responses) and the REST schemas of
catalog inventory and of inventory source items. Open-source Magento has no webhooks: extensions post the same objects,
under names of their own, so the objects are looked for.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from worker.domain.hook_kinds import is_public_key
from worker.shops.calls import Call, Details, Said, Setup, event, flag, inner, json_of, number, rows, text, utc
from worker.shops.signatures import check_any, check_rsa

Row = Mapping[str, object]

_ADOBE: Final = "X-Adobe-Commerce-Webhook-Signature"
_ENVELOPES: Final = (
    *("event", "data", "value", "payload", "product", "products"),
    *("stock_item", "stockItem", "stock_items", "stockItems", "source_items", "sourceItems"),
)
"""Where they are looked for. Not in `items`: those of carts and orders look alike."""
_STOCK: Final = (
    ("stock_item",),
    ("stock_data",),
    ("quantity_and_stock_status",),
    ("extension_attributes", "stock_item"),
)
_COMPOSITE: Final = frozenset({"configurable", "bundle", "grouped"})
_DISABLED: Final = 2
_DEPTH: Final = 6
_NOTHING: Final = "the body has no stock item, no source item and no product with stock"


class Magento:
    """See `System`."""

    def verify(self, call: Call, setup: Setup) -> None:
        """See `System`. With a public key, Adobe's signature; else an HMAC or the secret itself, in a header."""
        if is_public_key(setup.secret):
            return check_rsa(call.body, call.header(setup.options.get("header", _ADOBE)), setup.secret)
        given = call.header(setup.options.get("header", "Authorization"))
        scheme, _, token = given.partition(" ")
        return check_any(call.body, token.strip() if scheme.lower() == "bearer" else given, setup.secret)

    def read(self, call: Call, setup: Setup) -> Said:
        """See `System`."""
        body = json_of(call.body)
        is_deleted = "_delete" in text(inner(body, "event_code") or inner(body, "type") or inner(body, "eventName"))
        found = list(_records(body, _names_item if is_deleted else _tells_stock))
        if not found:  # Adobe Commerce takes any answer but 200 for a failure
            return Said() if is_public_key(setup.secret) else Said(ignored=_NOTHING)
        events: list[Row] = []
        refused: list[str] = []
        for row in _joined(found):
            stock = False if is_deleted else _stock(row)
            item_id = _item_id(row, setup)
            if not item_id:
                refused.append(f"the call does not name the item's {setup.item_id}")
            elif stock is None:
                refused.append("the call does not say whether the item is in stock")
            elif not (stock and text(row.get("type_id")) in _COMPOSITE):  # its parts say so themselves
                events.append(_event(row, item_id, stock, setup))
        return Said(events, refused)


def _records(value: object, is_wanted: Callable[[Row], bool], depth: int = _DEPTH) -> Iterator[Row]:
    """Yields all objects that are wanted, wherever they are. A product has what its stock item says."""
    if isinstance(value, list):
        for row in rows(value):
            yield from _records(row, is_wanted, depth)
    elif isinstance(value, dict) and depth:
        row = {**value, **_stock_within(value)}
        if is_wanted(row):
            yield row
            return
        for name in _ENVELOPES:
            yield from _records(value.get(name), is_wanted, depth - 1)


def _names_item(row: Row) -> bool:
    return any(name in row for name in ("sku", "entity_id", "product_id"))


def _tells_stock(row: Row) -> bool:
    says_so = any(name in row for name in ("source_code", "qty", "is_in_stock"))
    return says_so or (_names_item(row) and ("quantity" in row or _is_disabled(row)))


def _is_disabled(row: Row) -> bool:
    return number(row.get("status")) == _DISABLED


def _stock_within(product: Row) -> Row:
    """Returns the stock that a product holds inside."""
    found = (inner(product, *path) for path in _STOCK) if _names_item(product) or "id" in product else ()
    return next((each for each in found if isinstance(each, dict)), {})


def _joined(found: list[Row]) -> Iterator[Row]:
    """Yields one record an item: the sources of one SKU count together, where they are open."""
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        if "source_code" in row:
            sources[text(row.get("sku"))].append(row)
        else:
            yield row
    for sku, each in sources.items():
        open_ones = [number(row.get("quantity")) or 0 for row in each if flag(row.get("status")) is not False]
        yield {"sku": sku, "qty": sum(max(0, count) for count in open_ones)}


def _item_id(row: Row, setup: Setup) -> str:
    parent = row.get(f"parent_{setup.item_id}")
    return text(parent) or (text(row.get("sku")) if setup.item_id == "sku" else _own_id(row))


def _own_id(row: Row) -> str:
    return text(row.get("product_id")) or text(row.get("entity_id")) or text(row.get("id"))


def _stock(row: Row) -> object:
    """As the shop shows it: what is not managed, or may be backordered, can be bought. Else the number of pieces."""
    in_stock, quantity = flag(row.get("is_in_stock")), row.get("qty", row.get("quantity"))
    if in_stock is False or _is_disabled(row):
        return False
    if _is_set(row, "manage_stock") is False or (number(row.get("backorders")) and not _by_config(row, "backorders")):
        return True
    return quantity if number(quantity) is not None and text(row.get("type_id")) not in _COMPOSITE else in_stock


def _is_set(row: Row, name: str) -> bool | None:
    return None if _by_config(row, name) else flag(row.get(name))


def _by_config(row: Row, name: str) -> bool:
    return flag(row.get(f"use_config_{name}")) is True


def _event(row: Row, item_id: str, stock: object, setup: Setup) -> Row:
    details = Details(row.get("name"), row.get("price"), _absolute(row.get("image")), _url(row, setup))
    at = utc(row.get("occurred_at") or row.get("occurredAt"))  # `updated_at` is the product's, and no news of stock
    return event(setup, item_id, stock, options=_options(row), details=details, at=at)


def _options(row: Row) -> dict[str, object] | None:
    """A part of a configurable product, where the call names its parent."""
    if not (text(row.get("parent_id")) or text(row.get("parent_sku"))):
        return None
    chosen = row.get("options")
    named = {name: value for name, value in chosen.items() if text(value)} if isinstance(chosen, dict) else {}
    return {**named, "variantId": _own_id(row) or text(row.get("sku"))}


def _absolute(value: object) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def _url(row: Row, setup: Setup) -> str | None:
    shop, key = setup.options.get("shop-url"), text(row.get("url_key"))
    given = next(filter(None, (_absolute(row.get(name)) for name in ("product_url", "url"))), None)
    return given or (f"{shop}/{key}.html" if shop and key else None)
