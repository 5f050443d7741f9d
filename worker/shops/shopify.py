"""Shopify: its webhooks of products, which have the stock of all variants over all locations.

By "Webhooks" of Shopify's documentation (delivery structure, verification) and the REST resources Product and Product
variant.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from worker.shops.calls import Call, Details, Said, Setup, event, inner, object_of, rows, text, utc
from worker.shops.signatures import check_base64

_CHANGED: Final = frozenset({"products/create", "products/update"})
_DELETED: Final = "products/delete"
_OFFERED: Final = frozenset({"active", "unlisted"})
"""Unlisted ones are not found by search, but sold to who has the link."""
_LEVELS: Final = "inventory levels do not say which product they are about: subscribe to products/update"
_NO_TITLE: Final = "Default Title"

Row = Mapping[str, object]


class Shopify:
    """See `System`."""

    def verify(self, call: Call, setup: Setup) -> None:
        """See `System`."""
        check_base64(call.body, call.header("X-Shopify-Hmac-Sha256"), setup.secret)

    def read(self, call: Call, setup: Setup) -> Said:
        """See `System`."""
        topic = call.header("X-Shopify-Topic").lower()
        if topic.startswith("inventory_"):
            return Said(ignored=_LEVELS)
        if topic not in _CHANGED and topic != _DELETED:
            return Said(ignored="the topic is not products/create, products/update or products/delete")
        product = object_of(call.body)
        at = utc(call.header("X-Shopify-Triggered-At")) or utc(product.get("updated_at"))
        reader = _Reader(product, setup, at, call.header("X-Shopify-Webhook-Id"))
        return reader.gone() if topic == _DELETED or not _is_offered(product) else reader.variants()


def _is_offered(product: Row) -> bool:
    """Whether customers can see it: it is active, and published in the online store."""
    is_unpublished = "published_at" in product and product["published_at"] is None
    return (text(product.get("status")) or "active").lower() in _OFFERED and not is_unpublished


class _Reader:
    def __init__(self, product: Row, setup: Setup, at: str | None, call_id: str) -> None:
        self._product = product
        self._setup = setup
        self._at = at
        self._call_id = call_id

    def gone(self) -> Said:
        """The whole item is out of stock: all items, where each variant is one."""
        found = dict.fromkeys(filter(None, map(self._item_id, self._rows() or [{}])))
        if not found:
            return Said(refused=[self._no_id()])
        return Said([event(self._setup, each, False, at=self._at, call_id=self._call_id) for each in found])

    def variants(self) -> Said:
        events: list[Row] = []
        refused: list[str] = []
        for place, row in enumerate(self._rows()):
            item_id, stock = self._item_id(row), _stock(row)
            if not item_id:
                refused.append(f"variants[{place}]: {self._no_id()}")
            elif stock is None:
                refused.append(f"variants[{place}] has no inventory_quantity: the app must be allowed to read it")
            else:
                events.append(self._event(row, item_id, stock))
        return Said(events, [*refused, *self._missing()] or ([] if events else ["the product has no variants"]))

    def _missing(self) -> Iterator[str]:
        """Shopify names all variants of a large product, and sends the first of them only."""
        missing = len(rows(self._product.get("variant_gids"))) - len(self._rows())
        if missing > 0:
            yield f"{missing} more variants of the product are not in the call"

    def _rows(self) -> Sequence[Row]:
        return rows(self._product.get("variants"))

    def _item_id(self, variant: Row) -> str:
        match self._setup.item_id:
            case "sku":
                return text(variant.get("sku"))
            case "handle":
                return text(self._product.get("handle"))
        return text(self._product.get("id"))

    def _no_id(self) -> str:
        return f"the call does not name the item's {self._setup.item_id}"

    def _event(self, variant: Row, item_id: str, stock: bool | int) -> Row:
        options = {**dict(self._chosen(variant)), "variantId": text(variant.get("id"))}
        details = Details(self._product.get("title"), variant.get("price"), self._image(variant), self._url(variant))
        setup, at, call_id = self._setup, self._at, self._call_id
        return event(setup, item_id, stock, options=options, details=details, at=at, call_id=call_id)

    def _chosen(self, variant: Row) -> Iterator[tuple[str, str]]:
        for place, row in enumerate(rows(self._product.get("options")), start=1):
            name, value = text(row.get("name")), text(variant.get(f"option{place}"))
            if name and value and value != _NO_TITLE:
                yield name, value

    def _image(self, variant: Row) -> object:
        images = rows(self._product.get("images"))
        own = next((each for each in images if each.get("id") and each["id"] == variant.get("image_id")), None)
        main = inner(self._product, "image") or next(iter(images), None)
        return inner(own or main, "src")

    def _url(self, variant: Row) -> str | None:
        """Calls name no address of the storefront that is signed: it has to be told with the hook."""
        shop, handle = self._setup.options.get("shop-url"), text(self._product.get("handle"))
        return f"{shop}/products/{handle}?variant={text(variant.get('id'))}" if shop and handle else None


def _stock(variant: Row) -> bool | int | None:
    """As the shop shows it: what is not tracked, or sold on when it is gone, can always be bought."""
    is_untracked = "inventory_management" in variant and not variant["inventory_management"]
    if is_untracked or text(variant.get("inventory_policy")).lower() == "continue":
        return True
    quantity = variant.get("inventory_quantity")
    return quantity if type(quantity) is int else None
