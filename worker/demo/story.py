"""The demo's scenario: the items, the events about them, and the expected ending of each request.

This module has only data and rules. The customers are in `requests.csv`. The domain of an address decides how the inbox
treats it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from worker.domain.outcomes import FailureCode
from worker.models import Status

MUG: Final = "mug-blue"
SNEAKER: Final = "sneaker-trail"
TEA: Final = "tea-herbal"
LAMP: Final = "lamp-arc"
CONSOLE: Final = "console-ltd"
HEADSET: Final = "headset-x"
BAG: Final = "bag-canvas"

ITEMS: Final[Mapping[str, str]] = {
    MUG: "Blue mug",
    SNEAKER: "Trail sneaker",
    TEA: "Herbal tea",
    LAMP: "Arc lamp",
    CONSOLE: "Game console",
    HEADSET: "Headset",
    BAG: "Canvas bag",
}
"""The items that customers wait for: catalogItemId and name. Nobody waits for the bag until the shop's page is used."""

VISITOR: Final = "vera@mail.example"
"""The customer who signs up on the shop's page."""
OLIVE: Final = "Olive"

CLOSED: Final = "closed.example"
"""The inbox refuses mail to this domain permanently."""
MOVING: Final = "moving.example"
"""The inbox refuses this domain permanently too, until the admin fixes it."""
BUSY: Final = "busy.example"
"""The inbox refuses the first attempt to each address of this domain temporarily."""

SIZE_MISSING: Final = "41"
SIZE_LATE: Final = "44"
"""The size that comes in stock late, while the queue is empty."""
SELLS_OUT_AFTER: Final = 60
"""The console sells out after this many mails about it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry for the event stream, with a description."""

    item: str
    fields: Mapping[str, str]
    says: str
    wakes: bool = True
    """Whether customers get mail because of it."""


def opening() -> Sequence[Event]:
    """Returns the first events: all items are sold out."""
    return [_json(item, "sold out", quantity=0) for item in ITEMS]


def deliveries(now: datetime) -> Sequence[Event]:
    """Returns the main events, in the order of publication."""
    long_ago = (now - timedelta(days=1)).isoformat()
    return [
        _json(MUG, 'invalid event: its quantity is "plenty"', wakes=False, quantity="plenty"),
        _flat(MUG, "quantity 300, with the item's link (flat fields)", quantity="300", url=True),
        _json(SNEAKER, "size 42 is back (JSON)", options={"size": "42"}, url=True, price="89.90", inStock=True),
        _json(SNEAKER, "size 43 is back", options={"size": "43"}, quantity=140),
        _json(SNEAKER, "size 41 is not back", options={"size": SIZE_MISSING}, wakes=False, quantity=0),
        _json(TEA, "quantity 500; many of its customers read German", url=True, price="4.20", quantity=500),
        _json(LAMP, "quantity 100, but no link to the item", price="129.00", quantity=100),
        _json(CONSOLE, "quantity 90: it will sell out again", url=True, price="399.00", quantity=90),
        _json(HEADSET, "old event: it was in stock yesterday", wakes=False, occurredAt=long_ago, inStock=True),
        _json("umbrella", "no customer waits for it", quantity=40),
    ]


def console_sells_out() -> Event:
    """Returns the event that arrives while mails about the console are sent."""
    return _json(CONSOLE, f"sold out again, after {SELLS_OUT_AFTER} mails", quantity=0)


def late_delivery() -> Event:
    """Returns the event that arrives when the queue is empty."""
    return _json(SNEAKER, "size 44 is back late, when no other mail is due", options={"size": SIZE_LATE}, quantity=30)


def lamp_gets_its_link() -> Event:
    """Returns the event with the missing link, which the shop adds before the retry."""
    return _json(LAMP, "the shop adds the link", url=True, inStock=True)


def bag_is_back() -> Event:
    """Returns the event that a customer waits for who signed up on the shop's page."""
    return _json(BAG, "olive is back", options={"Colour": OLIVE}, price="39.00", quantity=20)


def bag_sells_out() -> Event:
    """Returns the event after which one can sign up for the bag again."""
    return _json(BAG, "olive is sold out again", options={"Colour": OLIVE}, wakes=False, quantity=0)


def _json(
    item: str,
    says: str,
    *,
    options: Mapping[str, str] | None = None,
    url: bool = False,
    price: str = "",
    wakes: bool = True,
    **facts: object,
) -> Event:
    reference = {"catalogItemId": item} | ({"options": options} if options else {})
    event: dict[str, object] = {"catalogReference": reference, **facts}
    if url:
        event["itemUrl"] = _url(item)
    if item in ITEMS:
        event["item"] = {"name": ITEMS[item]} | ({"price": price, "currency": "EUR"} if price else {})
    return Event(item, {"event": json.dumps(event)}, says, wakes)


def _flat(item: str, says: str, *, quantity: str, url: bool) -> Event:
    details = json.dumps({"name": ITEMS[item], "price": "12.50", "currency": "EUR"})
    fields = {"catalogItemId": item, "quantity": quantity, "item": details}
    return Event(item, fields | ({"itemUrl": _url(item)} if url else {}), says)


def _url(item: str) -> str:
    return f"https://shop.example/p/{item}"


# --- the expected endings ---


class Ending(NamedTuple):
    """A status with its reason: a failure code, or the reason why a request waits."""

    status: Status
    reason: str = ""


TOLD: Final = Ending(Status.NOTIFICATION_SENT)
REFUSED: Final = Ending(Status.FAILED, FailureCode.RECIPIENT_REJECTED)
NO_LINK: Final = Ending(Status.FAILED, FailureCode.MISSING_ITEM_URL)
NO_STOCK: Final = Ending(Status.RECEIVED, "noStock")
SOLD_OUT: Final = Ending(Status.RECEIVED, "soldOut")


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that the demo needs, and its current state."""

    id: UUID
    item: str
    size: str | None
    email: str
    has_link: bool
    ending: Ending
    detail: str
    """the relay's reply, or why no mail could be made"""


def endings(request: Request, *, at_the_end: bool) -> frozenset[Ending]:
    """Returns the allowed states of a request at the end, or (not `at_the_end`) before the late event."""
    domain = request.email.rpartition("@")[2]
    if domain == CLOSED or (domain == MOVING and not at_the_end):
        return frozenset({REFUSED})
    if request.item == LAMP and not request.has_link and not at_the_end:
        return frozenset({NO_LINK})
    if request.item == CONSOLE:
        return frozenset({TOLD, SOLD_OUT})
    if request.item == BAG and request.email != VISITOR:  # somebody uses the page while the demo runs
        return frozenset({TOLD, NO_STOCK, SOLD_OUT})
    if request.item == HEADSET or request.size == SIZE_MISSING or (request.size == SIZE_LATE and not at_the_end):
        return frozenset({NO_STOCK})
    return frozenset({TOLD})


def why(request: Request) -> str:
    """Returns why the customer was not told: the relay's reply, or what happened in the demo."""
    if request.detail:
        return request.detail
    return {
        CONSOLE: "the console sold out again while mails were sent",
        HEADSET: "the event about the headset was too old",
        SNEAKER: "size 41 of the sneakers is not back",
    }.get(request.item, "")
