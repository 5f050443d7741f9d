"""What the demo plays: the items, the events about them, and how each request must end.

Pure data and rules. The customers are in `requests.csv`; the domain of an address decides how the inbox treats it.
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

ITEMS: Final[Mapping[str, str]] = {
    MUG: "Blue mug",
    SNEAKER: "Trail sneaker",
    TEA: "Herbal tea",
    LAMP: "Arc lamp",
    CONSOLE: "Game console",
    HEADSET: "Headset",
}
"""What customers wait for: catalogItemId and name."""

CLOSED: Final = "closed.example"
"""The inbox refuses mail to this domain for good."""
MOVING: Final = "moving.example"
"""Refused for good as well, until somebody puts it right."""
BUSY: Final = "busy.example"
"""Refused for a while: the first try only."""

SIZE_MISSING: Final = "41"
SIZE_LATE: Final = "44"
"""Delivered when all is quiet: its event meets no queue."""
SELLS_OUT_AFTER: Final = 60
"""mails about the console"""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry for the event stream, and how to describe it."""

    item: str
    fields: Mapping[str, str]
    says: str
    wakes: bool = True
    """Whether customers are told because of it."""


def opening() -> Sequence[Event]:
    """How it all begins: nothing is there."""
    return [_json(item, "sold out", quantity=0) for item in ITEMS]


def deliveries(now: datetime) -> Sequence[Event]:
    """The day's events, in the order in which they are published."""
    long_ago = (now - timedelta(days=1)).isoformat()
    return [
        _json(MUG, 'poisonous: its quantity is "plenty"', wakes=False, quantity="plenty"),
        _flat(MUG, "quantity 300, with the item's link (flat fields)", quantity="300", url=True),
        _json(SNEAKER, "size 42 is back (JSON)", options={"size": "42"}, url=True, price="89.90", inStock=True),
        _json(SNEAKER, "size 43 is back", options={"size": "43"}, quantity=140),
        _json(SNEAKER, "size 41 is not", options={"size": SIZE_MISSING}, wakes=False, quantity=0),
        _json(TEA, "quantity 500, many of its customers read German", url=True, price="4.20", quantity=500),
        _json(LAMP, "quantity 100, but no link to the item", price="129.00", quantity=100),
        _json(CONSOLE, "quantity 90: it will sell out again", url=True, price="399.00", quantity=90),
        _json(HEADSET, "stale: it was in stock yesterday", wakes=False, occurredAt=long_ago, inStock=True),
        _json("umbrella", "nobody waits for it", quantity=40),
    ]


def console_sells_out() -> Event:
    """What comes while the console's customers are being told."""
    return _json(CONSOLE, f"sold out again, after {SELLS_OUT_AFTER} mails", quantity=0)


def late_delivery() -> Event:
    """What comes when all is quiet."""
    return _json(SNEAKER, "size 44 comes late, when all is quiet", options={"size": SIZE_LATE}, quantity=30)


def lamp_gets_its_link() -> Event:
    """What the shop mends before the failed are tried again."""
    return _json(LAMP, "the shop adds the link", url=True, inStock=True)


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


# --- how it must end ---


class Ending(NamedTuple):
    """A status, and the reason that goes with it: a failure code, or what a request waits for."""

    status: Status
    reason: str = ""


TOLD: Final = Ending(Status.NOTIFICATION_SENT)
REFUSED: Final = Ending(Status.FAILED, FailureCode.RECIPIENT_REJECTED)
NO_LINK: Final = Ending(Status.FAILED, FailureCode.MISSING_ITEM_URL)
NO_STOCK: Final = Ending(Status.RECEIVED, "noStock")
SOLD_OUT: Final = Ending(Status.RECEIVED, "soldOut")


@dataclass(frozen=True, slots=True)
class Request:
    """What the story needs to know of a request, and how it stands."""

    id: UUID
    item: str
    size: str | None
    email: str
    has_link: bool
    ending: Ending
    detail: str
    """what the relay said, or why no mail could be made"""


def endings(request: Request, *, at_the_end: bool) -> frozenset[Ending]:
    """How a request may stand at the end, or when all is quiet for the first time."""
    domain = request.email.rpartition("@")[2]
    if domain == CLOSED or (domain == MOVING and not at_the_end):
        return frozenset({REFUSED})
    if request.item == LAMP and not request.has_link and not at_the_end:
        return frozenset({NO_LINK})
    if request.item == CONSOLE:
        return frozenset({TOLD, SOLD_OUT})
    if request.item == HEADSET or request.size == SIZE_MISSING or (request.size == SIZE_LATE and not at_the_end):
        return frozenset({NO_STOCK})
    return frozenset({TOLD})


def why(request: Request) -> str:
    """Why it was not told, in words: what the relay said, or what the story did."""
    if request.detail:
        return request.detail
    return {
        CONSOLE: "the console sold out in the middle",
        HEADSET: "the headset's event was stale",
        SNEAKER: "sneakers in size 41 did not come",
    }.get(request.item, "")
