"""Publishes inventory events, like a stock system."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.domain.catalog import CatalogReference
from worker.domain.errors import BadEvent
from worker.domain.events import decode
from worker.stream.event_stream import Stream


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about an item. None leaves a value out. An empty text clears the value that earlier events set."""

    reference: CatalogReference
    quantity: int | None = None
    in_stock: bool | None = None
    name: str | None = None
    price: str | None = None
    currency: str | None = None
    image_url: str | None = None
    item_url: str | None = None

    def fields(self) -> dict[str, str]:
        """Returns the fields of the stream entry: flat, or JSON if a link is cleared, which takes a null."""
        item = self.reference.item
        fields = {
            "catalogItemId": item.catalog_item_id,
            "appId": item.app_id,
            "options": _json(self.reference.spelled),
            "quantity": None if self.quantity is None else str(self.quantity),
            "inStock": None if self.in_stock is None else str(self.in_stock).lower(),
            "itemUrl": self.item_url,
            "item": _json(self._details()),
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return {"event": json.dumps(given | {"itemUrl": None}, ensure_ascii=False)} if self.item_url == "" else given

    def _details(self) -> dict[str, object]:
        details = {"name": self.name, "price": self.price, "currency": self.currency, "image": self.image_url}
        given = {name: value or None for name, value in details.items() if value is not None}
        return given | ({"image": {"url": self.image_url}} if self.image_url else {})


def publish(stream: Stream, event: NewEvent) -> str:
    """Publishes the event and returns the id of its entry.

    Raises:
        BadEvent: the event is not valid, and was not published.
        RedisAway: the event may have been published.
    """
    fields = event.fields()
    checked(fields)
    return stream.publish(fields)


def checked(fields: Mapping[str, str]) -> Mapping[bytes, bytes]:
    """Returns the fields as a listener gets them. Raises BadEvent if it would leave something out."""
    entry = {name.encode(): value.encode() for name, value in fields.items()}
    read = decode(_entry_id_now(), entry)
    if read.flaws:  # a listener would leave this out, but whoever is at the command line can mend it
        raise BadEvent("; ".join(read.flaws))
    return entry


@dataclass(frozen=True, slots=True)
class Published:
    """What became of several events. Places count from 0, in the order in which the events were given."""

    ids: Sequence[str]
    """The entry ids of those that were published, in that order"""
    refused: Sequence[tuple[int, str]]
    """Place and reason of those that a listener would have made dead letters"""
    warnings: Sequence[tuple[int, str]]
    """Place and reason of what a listener will leave out of the others"""


def publish_many(stream: Stream, events: Sequence[bytes]) -> Published:
    """Publishes those events, each of them JSON, that a listener can read: all of these or none.

    Raises RedisAway: the events may have been published. To publish them again changes nothing.
    """
    good: list[dict[str, bytes]] = []
    refused: list[tuple[int, str]] = []
    warnings: list[tuple[int, str]] = []
    for place, event in enumerate(events):
        try:
            read = decode(_entry_id_now(), {b"event": event})
        except BadEvent as error:
            refused.append((place, str(error)))
            continue
        good.append({"event": event})
        warnings += [(place, flaw) for flaw in read.flaws]
    return Published(stream.publish_many(good) if good else (), refused, warnings)


def _entry_id_now() -> str:
    return f"{time.time_ns() // 1_000_000}-0"


def _json(pairs: Mapping[str, object] | tuple[tuple[str, str], ...]) -> str | None:
    return json.dumps(dict(pairs), ensure_ascii=False) if pairs else None
