"""Demand: for which items and variants people wait, since when, and how much money that is. As rows, JSON and CSV."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import Options, options_from_text
from worker.domain.errors import Refused
from worker.mail.prices import shown_price
from worker.services.csv_lines import csv_line
from worker.services.wire import timestamp
from worker.store import demand
from worker.store.database import Connection, Database
from worker.store.demand import By, Ended, Known, Place, Sort, Total, Which

PAGE: Final = 50
CHUNK: Final = 1000
"""rows of an export for which the rest is read at once"""
MOST_SEARCHED: Final = 200
MOST_WAITING: Final = 2**62
MOST_DIGITS: Final = 100
"""A place in a URL may have no larger numbers: the databases could not compare with them."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?([+-](0\d|1[0-4])(:?\d\d)?|Z)?", re.ASCII)
_PLAIN: Final = re.compile(r"[0-9][0-9.]{0,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """An item, or one of its variants, and who waits for it."""

    id: UUID
    item_id: UUID
    app_id: str
    catalog_item_id: str
    name: str | None
    price: str | None
    currency: str | None
    options: Options | None
    """of a variant; None: the row is about the whole item"""
    waiting: int
    sending: int
    unconfirmed: int
    oldest: datetime | None
    ended: Ended
    stock: Known | None
    """None: no event was about it yet"""
    place: Place

    @property
    def amount(self) -> Decimal | None:
        """How much money waits; None if the price is no plain number."""
        price = plain_price(self.price)
        return None if price is None else price * self.waiting

    @property
    def money(self) -> str | None:
        """The same for people."""
        return money(self.amount, self.currency)

    def as_json(self) -> dict[str, Any]:
        """Returns it with the names of the API."""
        options = {} if self.options is None else {"options": dict(self.options)}
        return {
            "catalogReference": {"catalogItemId": self.catalog_item_id, "appId": self.app_id, **options},
            "name": self.name,
            "price": self.price,
            "currency": self.currency,
            "waiting": self.waiting,
            "unconfirmed": self.unconfirmed,
            "processing": self.sending,
            "told": self.ended.told,
            "toldIsMore": self.ended.is_more,
            "failed": self.ended.failed,
            "oldestDate": self.oldest and timestamp(self.oldest),
            "amount": None if self.amount is None else f"{self.amount:f}",
            "stock": None if self.stock is None else stock_json(self.stock),
        }


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, where the pages before and after it go on (None: nowhere), and what all rows amount to."""

    rows: Sequence[Row]
    before: str | None
    after: str | None
    totals: Sequence[Total]


def plain_price(price: str | None) -> Decimal | None:
    """Returns a price that is a plain decimal number (as `store.demand` reads it), else None: `1,234` may be either."""
    if price is None or not _PLAIN.fullmatch(price) or price.count(".") > 1:
        return None
    return Decimal(price)


def money(amount: Decimal | None, currency: str | None) -> str | None:
    """Returns an amount as mails show prices. None: it is not known."""
    if amount is None:
        return None
    return shown_price(f"{amount:f}", currency, "en", None) or "0"


def stock_json(known: Known) -> dict[str, Any]:
    """Returns what is known of the stock."""
    return {
        "inStock": known.in_stock,
        "quantity": known.quantity,
        "occurredAt": known.at and timestamp(known.at),
        "lastInStockAt": known.since and timestamp(known.since),
    }


def stock_words(known: Known | None) -> str:
    """Returns what is known of the stock in a few words: `in, 12`, `out`, `2 of 5 in`, `unknown`."""
    if known is None:
        return "unknown"
    if known.variants > 1:
        return f"{known.variants_in} of {known.variants} in" if known.variants_in else "in" if known.in_stock else "out"
    return "in" + (f", {known.quantity:,}" if known.quantity is not None else "") if known.in_stock else "out"


def page(c: Connection, which: Which, place: Place | None = None, limit: int = PAGE) -> Page:
    """Returns a page of rows."""
    found, totals = demand.page(c, which, place, limit + 1)
    is_backward = place is not None and place.is_backward
    has_more = len(found) > limit
    found = (found[-limit:] if is_backward else found[:limit]) if has_more else found
    if not found:
        return Page([], None, None, totals)
    is_before, is_after = (has_more, True) if is_backward else (place is not None, has_more)
    before = place_text(demand.place_of(found[0], is_backward=True)) if is_before else None
    after = place_text(demand.place_of(found[-1])) if is_after else None
    return Page(_rows(c, which.by, found), before, after, totals)


def every(database: Database, which: Which, limit: int = 0) -> Iterator[Row]:
    """Yields all rows in their order. `limit` 0 means all. Each thousand is a transaction, so readers may be slow."""
    found = database.read(demand.every, which)
    found = found[:limit] if limit else found
    for first in range(0, len(found), CHUNK):
        yield from database.read(_rows, which.by, found[first : first + CHUNK])


def _rows(c: Connection, by: By, found: Sequence[Any]) -> list[Row]:
    ids = [row.id for row in found]
    named, ended, stock = demand.named(c, by, ids), demand.ended(c, by, ids), demand.stock(c, by, ids)
    present = (row for row in found if row.id in named)
    return [_row(row, named[row.id], ended.get(row.id, Ended()), stock.get(row.id)) for row in present]


def _row(row: Any, named: Any, ended: Ended, stock: Known | None) -> Row:
    return Row(
        row.id,
        named.item_id,
        named.app_id,
        named.catalog_item_id,
        named.name,
        named.price,
        named.currency,
        None if named.options is None else options_from_text(named.options),
        row.waiting,
        row.sending,
        row.unconfirmed,
        row.oldest,
        ended,
        stock,
        demand.place_of(row),
    )


# --- the place of a page in a URL ---


def place_text(place: Place) -> str:
    """Returns a place as text for a URL."""
    values = [place.value, place.currency, place.id.hex, place.is_backward]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def place_of(text: str, sort: Sort) -> Place:
    """Returns the place that `place_text` gave for this order. Raises Refused for any other text."""
    try:
        value, currency, id_, is_backward = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = Place(_checked(value, sort), _plain(str(currency)), UUID(id_), bool(is_backward))
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise Refused("this page can't be found any more: begin at the first one") from None
    return place


def _checked(value: object, sort: Sort) -> str:
    text = _plain(str(value))
    match sort:
        case Sort.WAITING:
            return str(min(int(text), MOST_WAITING))
        case Sort.MONEY:
            if not Decimal(text).is_finite() or abs(Decimal(text).adjusted()) > MOST_DIGITS:
                raise ValueError(text)
        case Sort.OLDEST:
            if not _TIME.fullmatch(text):
                raise ValueError(text)
            datetime.fromisoformat(text)
    return text


def _plain(text: str) -> str:
    """Raises ValueError for what no database takes as text: NUL, and half of a pair of surrogates."""
    if "\0" in text:
        raise ValueError(text)
    text.encode()
    return text


# --- what is exported ---

COLUMNS: Final[Mapping[str, Callable[[Row], object]]] = {
    "catalogItemId": lambda row: row.catalog_item_id,
    "appId": lambda row: row.app_id,
    "name": lambda row: row.name,
    "options": lambda row: None if row.options is None else ", ".join(f"{name}={value}" for name, value in row.options),
    "waiting": lambda row: row.waiting,
    "unconfirmed": lambda row: row.unconfirmed,
    "beingSent": lambda row: row.sending,
    "told": lambda row: f"{row.ended.told}{'+' if row.ended.is_more else ''}",
    "failed": lambda row: row.ended.failed,
    "oldestWaitingSince": lambda row: row.oldest and timestamp(row.oldest),
    "price": lambda row: row.price,
    "currency": lambda row: row.currency,
    "amountWaiting": lambda row: None if row.amount is None else f"{row.amount:f}",
    "inStock": lambda row: row.stock and ("yes" if row.stock.in_stock else "no"),
    "quantity": lambda row: row.stock and row.stock.quantity,
    "stockAsOf": lambda row: row.stock and row.stock.at and timestamp(row.stock.at),
}


def csv_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yields a CSV file (RFC 4180) line by line, with a header."""
    yield csv_line(COLUMNS)
    for row in rows:
        yield csv_line(value(row) for value in COLUMNS.values())


def file_name(now: datetime) -> str:
    """Returns the name of an export."""
    return f"demand-{now.astimezone(UTC):%Y-%m-%dT%H%M}.csv"


def totals_words(totals: Sequence[Total]) -> str:
    """Returns how much money waits, one amount for each currency: `EUR 15,300` and so on. "" if none is known."""
    shown = [money(total.amount, total.currency) for total in totals if total.amount]
    return " and ".join(filter(None, shown))


def with_search(which: Which, search: str) -> Which:
    """Returns the same with another search. Raises Refused for what no id or name begins with."""
    if len(search) > MOST_SEARCHED or "\0" in search:
        raise Refused(f"a search has at most {MOST_SEARCHED} characters")
    return replace(which, search=search)
