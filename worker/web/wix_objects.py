"""The objects of Wix's API: requests as they are answered, and models that describe them for OpenAPI."""

from typing import Any, Final

from pydantic import Field

from worker.services.selection import WAITING
from worker.services.wire import request_json
from worker.web.openapi import Described

_WIX: Final = (
    "id",
    "catalogReference",
    "email",
    "contactId",
    "status",
    "autoNotified",
    "createdDate",
    "itemUrl",
)
_OWN: Final = (
    "locale",
    "priority",
    "notifiedDate",
    "attempts",
    "failureCode",
    "failureReason",
    "waiting",
    "waitingUntil",
    "notBefore",
)


def request_object(row: Any) -> dict[str, object]:
    """Returns a request as Wix's object. What Wix does not have is in `stockbell`."""
    found = request_json(row)
    wix = {name: found[name] for name in _WIX if name in found}
    return wix | {"stockbell": {name: found[name] for name in _OWN if found.get(name) is not None}}


_GUID: Final = "0192f7a0-7e1c-7c4e-9a51-2f6d1c0b8e11"
_STORES: Final = "215238eb-22a5-4c36-9e7b-e7c08025e04e"


class CatalogReference(Described):
    """An item of a catalog, or the variants of it that have these options."""

    catalog_item_id: str = Field(examples=["mug-1"], min_length=1, max_length=36)
    app_id: str = Field(examples=[_STORES], min_length=1, max_length=36)
    options: dict[str, Any] | None = Field(None, examples=[{"variantId": _GUID}])


class Image(Described):
    """A picture of the item. Only `url` counts."""

    url: str = Field(examples=["https://shop.example/mug-1.jpg"])


class ItemDetails(Described):
    """What the mail says of the item."""

    name: str = Field(examples=["Blue mug"], min_length=1)
    price: str = Field(examples=["12.50"], pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?$")
    image: Image | None = None


class NewRequest(Described):
    """Who waits for what. Other fields of a request are ignored here."""

    email: str = Field(examples=["jane@example.com"], json_schema_extra={"format": "email"})
    catalog_reference: CatalogReference
    item_url: str | None = Field(None, examples=["https://shop.example/p/mug-1"])


class SignUpFacts(Described):
    """What Wix's API has no place for."""

    locale: str | None = Field(None, examples=["de"])
    consent: str | None = Field(None, examples=["2026-11"], description="the version of the text that was agreed to")
    page: str | None = Field(None, examples=["https://shop.example/p/mug-1"])
    captcha: str | None = Field(None, description="publishable keys: a proof of work, see GET /widget/challenge")
    confirmed: bool = Field(False, description="server keys: the customer has confirmed already")
    priority: int | None = Field(
        None, ge=0, le=9, description="server keys: higher ones are told first; absent: who waits already keeps hers"
    )


class CreateBody(Described):
    """A sign-up."""

    request: NewRequest
    item_details: ItemDetails
    stockbell: SignUpFacts | None = None


class StockbellFacts(Described):
    """What Wix's API does not tell."""

    locale: str = Field("", examples=["de"])
    priority: int = Field(0, ge=0, le=9, description="higher ones are told first")
    notified_date: str = ""
    attempts: int = 0
    failure_code: str = Field("", examples=["RECIPIENT_REJECTED"])
    failure_reason: str = ""
    waiting: str = Field("", examples=["noStock"], description=f"why it waits: {', '.join(WAITING)}")
    waiting_until: str = Field("", description="how long it waits for that reason, where it is known")
    not_before: str = ""


class Request(Described):
    """A Back In Stock Notification Request. A publishable key sees neither `id` nor what depends on others."""

    id: str = Field("", examples=[_GUID])
    catalog_reference: CatalogReference
    email: str = Field(examples=["jane@example.com"])
    contact_id: str = Field("", examples=[_GUID])
    status: str = Field(examples=["RECEIVED"])
    auto_notified: bool = False
    created_date: str = Field("", examples=["2026-11-23T09:00:00.000Z"])
    item_url: str = Field("", examples=["https://shop.example/p/mug-1"])
    stockbell: StockbellFacts | None = None


class RequestReply(Described):
    """One request."""

    request: Request


class IdBody(Described):
    """The id again, as the SDK sends it. It is not looked at."""

    id: str = Field("", examples=[_GUID])


class SortBody(Described):
    """A field to sort by."""

    field_name: str = Field(examples=["createdDate"])
    order: str = Field("ASC", examples=["DESC"])


class CursorPaging(Described):
    """A page by cursor. With a cursor, filter and sort are those of the first page."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str = ""


class Paging(Described):
    """A page by offset."""

    limit: int = Field(50, ge=1, le=100)
    offset: int = Field(0, ge=0)


class QueryPart(Described):
    """A query; all parts may be absent."""

    filter: dict[str, Any] | None = Field(None, examples=[{"status": "FAILED"}])
    sort: list[SortBody] | None = None
    cursor_paging: CursorPaging | None = None
    paging: Paging | None = None


class QueryBody(Described):
    """A query."""

    query: QueryPart | None = None


class Cursors(Described):
    """Where the pages after and before this one begin."""

    next: str = ""
    prev: str = ""


class PageMetadata(Described):
    """How many are on this page; with `paging` also the total, which is counted up to 10,001."""

    count: int
    cursors: Cursors | None = None
    offset: int = 0
    total: int = 0


class QueryReply(Described):
    """A page of requests."""

    requests: list[Request]
    metadata: PageMetadata


class CountBody(Described):
    """References to count by."""

    catalog_references: list[CatalogReference] = Field(min_length=1, max_length=100)


class CountFacts(Described):
    """The count by status."""

    by_status: dict[str, int] = Field(examples=[{"RECEIVED": 2, "PROCESSING": 1, "FAILED": 0}])


class CountEntry(Described):
    """How many wait, or are being told, for one reference."""

    catalog_reference: CatalogReference
    count: int
    stockbell: CountFacts


class CountReply(Described):
    """The counts, in the order of the references."""

    counts_per_catalog_reference: list[CountEntry]


class ReportBody(Described):
    """What is back: a reference, or requests by their ids."""

    item_details: ItemDetails
    catalog_reference: CatalogReference | None = None
    request_ids: list[str] | None = Field(None, max_length=1000)
    extra_automation_template_parameters: dict[str, str] | None = None


class Empty(Described):
    """Nothing."""


class CollectionState(Described):
    """Whether new requests are taken for one catalog."""

    app_id: str = Field(examples=[_STORES])
    collecting_requests: bool


class Settings(Described):
    """All catalogs that can be switched."""

    collection_states: list[CollectionState]


class SettingsReply(Described):
    """The settings."""

    settings: Settings


class AppBody(Described):
    """A catalog."""

    app_id: str = Field(examples=[_STORES])
