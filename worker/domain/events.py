"""Inventory events: decodes the bytes of a stream entry into a checked value, or gives the reason why it can't.

Pure. `event.schema.json` describes the JSON form for publishers.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from worker.domain.catalog import (
    MAX_STRING_BYTES,
    CatalogReference,
    canonical_options,
    catalog_reference,
    has_control,
    is_plain,
    is_too_long,
    item_of,
)
from worker.domain.errors import BadEvent, BadReference
from worker.domain.event_details import details_of
from worker.domain.event_facts import stock_fact
from worker.domain.event_fields import Raw, id_of, object_of, options_of, raw_event, text_of

ORIGINAL_ID = b"originalId"
"""The field of dead letters and of replayed entries that holds the id of the event's first entry."""
_ENTRY_ID = re.compile(rb"([0-9]{1,20})-([0-9]{1,20})")
_FAR = datetime.max.replace(tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One inventory event about an item or about one of its variants."""

    entry_id: str
    event_id: str | None
    """The publisher's id, for tracing only."""
    reference: CatalogReference
    occurred_at: datetime
    clamped: bool
    """Whether the event was dated later than its entry. `occurred_at` is then the entry's time."""
    in_stock: bool | None
    quantity: int | None
    details: Mapping[str, str | None]
    """Those of name, price, currency, image_url and url that were given. None clears the stored value."""
    flaws: tuple[str, ...]
    """What could not be read and was left out: for each a text with its name, its kind and what is allowed."""
    original_id: str | None = None
    """For a replayed event: the id of its first entry, which still decides its order."""
    said_at: datetime | None = None
    """The event's own `occurredAt`."""
    is_as_entered: bool = False
    """Whether `occurred_at` is the time of the entry: no `occurredAt` is given, or a later one."""

    def is_in_stock(self, minimum: int) -> bool:
        """Whether the event reports stock: the value of `inStock` if given, else at least `minimum` pieces."""
        return self.in_stock if self.in_stock is not None else self.quantity is not None and self.quantity >= minimum

    @property
    def order(self) -> tuple[datetime, tuple[int, int]]:
        """The sort key of events of one item, independent of their order of arrival."""
        return self.occurred_at, entry_order(self.original_id or self.entry_id)


def decode(entry_id: str, fields: Mapping[bytes, bytes]) -> Event:
    """Decodes the event of a stream entry. What can't be read beside the item and its stock is left out.

    Raises BadEvent with a reason of at most 200 printable characters, which never contains a value.
    """
    original_id, own = original(entry_id, fields)
    try:
        return _decoded(entry_id, original_id, raw_event(own))
    except BadReference as error:
        raise BadEvent(str(error)) from None


def original(entry_id: str, fields: Mapping[bytes, bytes]) -> tuple[str | None, Mapping[bytes, bytes]]:
    """Returns the id of a replayed event's first entry (None if it was not replayed), and the event's own fields.

    The first entry must be older than this one. Any other value of the field is ignored, like an unknown field.
    """
    named = fields.get(ORIGINAL_ID)
    if named is None or not is_entry_id(named) or entry_order(named.decode()) >= entry_order(entry_id):
        return None, fields
    return named.decode(), {name: value for name, value in fields.items() if name != ORIGINAL_ID}


def is_entry_id(text: bytes) -> bool:
    """Whether a text is a full id of a stream entry, `milliseconds-sequence`, each of at most 64 bits."""
    found = _ENTRY_ID.fullmatch(text)
    return found is not None and all(int(part) < 2**64 for part in found.groups())


def _decoded(entry_id: str, original_id: str | None, raw: Raw) -> Event:
    flaws: list[str] = []
    reference = _reference(raw)
    in_stock, quantity = stock_fact(raw, flaws)
    said_at, entered_at = _said_at(raw, flaws), entry_time(original_id or entry_id)
    is_dated = said_at is not None and said_at < entered_at
    event_id = _event_id(raw, flaws)
    details = details_of(raw, flaws)
    return Event(
        entry_id,
        event_id,
        reference,
        said_at if said_at is not None and is_dated else entered_at,
        said_at is not None and said_at > entered_at,
        in_stock,
        quantity,
        details,
        tuple(flaws),
        original_id,
        said_at,
        not is_dated,
    )


# --- the item, the time and the id ---

_Value = TypeVar("_Value")


def _reference(raw: Raw) -> CatalogReference:
    inner = object_of("catalogReference", raw.get("catalogReference")) or {}
    item_id = _either("catalogItemId", raw, inner, id_of, item_of)
    if item_id is None:
        raise BadEvent("catalogItemId is missing")
    item = item_of(item_id, _either("appId", raw, inner, id_of, lambda app: item_of("-", app)))
    return catalog_reference(item, _either("options", raw, inner, options_of, canonical_options))


def _either(
    name: str,
    outer: Raw,
    inner: Raw,
    read: Callable[[str, object], _Value | None],
    meaning: Callable[[_Value], object],
) -> _Value | None:
    """Returns a field from the top level or the catalogReference. Both may have it if they mean the same."""
    above = read(name, outer[name]) if name in outer else None
    below = read(name, inner[name]) if name in inner else None
    if not above or not below:
        return above or below
    if above != below and meaning(above) != meaning(below):
        raise BadEvent(f"{name} is given twice with different values")
    return above


def _event_id(raw: Raw, flaws: list[str]) -> str | None:
    try:
        text = id_of("id", raw.get("id"))
        if text is not None and not is_plain(text):
            _check_id(text)
    except BadEvent as error:
        flaws.append(str(error))
        return None
    return text


def _check_id(text: str) -> None:
    if has_control(text):
        raise BadEvent("id has a control character")
    if is_too_long(text):
        raise BadEvent(f"id is over {MAX_STRING_BYTES} bytes")


def _said_at(raw: Raw, flaws: list[str]) -> datetime | None:
    try:
        text = text_of("occurredAt", raw.get("occurredAt"))
        return None if text is None else _instant(text)
    except BadEvent as error:  # counts as not given
        flaws.append(str(error))
        return None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text.upper())  # RFC 3339 allows t and z
        if instant.tzinfo is None:
            raise BadEvent("occurredAt has no UTC offset")
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadEvent("occurredAt is not an RFC 3339 time") from None
    if instant <= _EPOCH:  # some languages write a missing time as their zero time
        raise BadEvent("occurredAt is not after the beginning of 1970")
    return instant


def entry_time(entry_id: str) -> datetime:
    """Returns the time when the entry was added, by the clock of Redis.

    Ids that were set by hand may be in microseconds, and Redis numbers all later entries alike. `stock.apply` reads
    whatever lies in the future as arriving now.
    """
    return _moment(entry_id.partition("-")[0])


@lru_cache(maxsize=64)  # under load many entries share a millisecond
def _moment(milliseconds: str) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=int(milliseconds))
    except OverflowError:
        return _FAR


def entry_order(entry_id: str) -> tuple[int, int]:
    """Returns a stream entry's id (`milliseconds-sequence`) as a sort key."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
