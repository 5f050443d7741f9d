"""WooCommerce: its webhooks of products, in the form of its REST API v3.

By "Webhooks" and "Products" of the WooCommerce REST API documentation. A variation comes as a product of the type
`variation` with its `parent_id`. The ping that is sent when a webhook is saved is not signed.
"""

import re
from collections.abc import Mapping
from typing import Final

from worker.shops.calls import Call, Details, Said, Setup, event, flag, inner, number, object_of, rows, text, utc
from worker.shops.signatures import check_base64

_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")
_RESTORED: Final = "product.restored"
_CHANGED: Final = frozenset({"product.created", "product.updated", _RESTORED})
_DELETED: Final = "product.deleted"
_BOUGHT_ELSEWHERE: Final = frozenset({"external", "grouped"})
"""Never `purchasable` themselves: one is bought at another shop, of the other its parts are."""
_NO_ID: Final = "the call does not name the item's {}"
_NO_STOCK: Final = "the product has no stock_status: choose the API version 3 for the webhook"


class WooCommerce:
    """See `System`."""

    def verify(self, call: Call, setup: Setup) -> None:
        """See `System`. The ping can't be verified, and says nothing."""
        if not _PING.fullmatch(call.body):
            check_base64(call.body, call.header("X-WC-Webhook-Signature"), setup.secret)

    def read(self, call: Call, setup: Setup) -> Said:
        """See `System`."""
        if _PING.fullmatch(call.body):
            return Said()  # it is answered with 200, or WooCommerce does not save the webhook
        topic = call.header("X-WC-Webhook-Topic").lower()
        if topic != _DELETED and topic not in _CHANGED:
            return Said(ignored="the topic is not product created, updated, deleted or restored")
        product = object_of(call.body)
        item_id = _item_id(product, setup)
        if not item_id:
            return Said(refused=[_NO_ID.format(setup.item_id)])
        call_id = call.header("X-WC-Webhook-Delivery-ID")
        if topic == _DELETED:
            return Said([event(setup, item_id, False, call_id=call_id)])
        # A deletion tells no time. What undoes it must not either: it would be older than the deletion's arrival.
        at = None if topic == _RESTORED else utc(product.get("date_modified_gmt"))
        return _changed(product, item_id, setup, at, call_id)


def _changed(product: Mapping[str, object], item_id: str, setup: Setup, at: str | None, call_id: str) -> Said:
    stock = _stock(product)
    if stock is None:
        return Said(refused=[_NO_STOCK])
    if _stands_for_variations(product) and stock:
        return Said()  # only some variation is in stock, and it says so itself
    options = _options(product) if _is_variation(product) else None
    return Said([event(setup, item_id, stock, options=options, details=_details(product), at=at, call_id=call_id)])


def _is_variation(product: Mapping[str, object]) -> bool:
    kind = text(product.get("type")) or "variation"
    return kind.endswith("variation") and bool(number(product.get("parent_id")))


def _stands_for_variations(product: Mapping[str, object]) -> bool:
    return text(product.get("type")).startswith("variable") and not flag(product.get("manage_stock"))


def _item_id(product: Mapping[str, object], setup: Setup) -> str:
    if setup.item_id == "sku":
        return text(product.get("sku"))
    return text(product.get("parent_id" if _is_variation(product) else "id"))


def _stock(product: Mapping[str, object]) -> bool | int | None:
    """As the shop shows it: what can be bought is in stock, also on backorder. Otherwise the number of pieces."""
    status = text(product.get("stock_status"))
    if not status:
        return None
    if status == "outofstock" or _lacks_parts(product) or not _is_offered(product):
        return False
    quantity = product.get("stock_quantity")
    counts = product.get("manage_stock") in (True, "parent") and text(product.get("backorders")) in ("", "no")
    return quantity if counts and type(quantity) is int and quantity > 0 and status == "instock" else True


def _lacks_parts(product: Mapping[str, object]) -> bool:
    """Whether a bundle (of the extension Product Bundles) can't be bought, whatever it says of itself."""
    parts = text(product.get("bundle_stock_status"))
    return text(product.get("type")) == "bundle" and parts in ("outofstock", "insufficientstock")


def _is_offered(product: Mapping[str, object]) -> bool:
    is_published = text(product.get("status")) in ("", "publish")
    return is_published and (product.get("purchasable") is not False or text(product.get("type")) in _BOUGHT_ELSEWHERE)


def _attributes(product: Mapping[str, object]) -> dict[str, object]:
    found = {text(row.get("name")): text(row.get("option")) for row in rows(product.get("attributes"))}
    return {name: value for name, value in found.items() if name and value}


def _options(product: Mapping[str, object]) -> dict[str, object]:
    return {**_attributes(product), "variantId": text(product.get("id"))}


def _details(product: Mapping[str, object]) -> Details:
    images = rows(product.get("images"))
    image = inner(images[0], "src") if images else inner(product.get("image"), "src")
    return Details(_name(product), product.get("price"), image, product.get("permalink"))


def _name(product: Mapping[str, object]) -> str:
    """Returns the product's name: WooCommerce appends a variation's options, and mails show them anyway."""
    name = text(product.get("name"))
    if _is_variation(product):
        name = name.removesuffix(" - " + ", ".join(map(str, _attributes(product).values())))
    return name
