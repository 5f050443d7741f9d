"""Reads what an event says of the stock, as the programs of the world write it."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal

from worker.domain.errors import BadEvent
from worker.domain.event_fields import Raw, scalar_of, unreadable

MAX_QUANTITY = 2**63 - 1
"""The most that BIGINT holds. More pieces count as this many."""

MAX_DIGITS = 18
"""Numbers of so many digits are always below `MAX_QUANTITY`."""


def stock_fact(raw: Raw, flaws: list[str]) -> tuple[bool | None, int | None]:
    """Returns `inStock` and `quantity`. If one of them can't be read the other decides, and that is a flaw.

    Raises BadEvent if neither can be read.
    """
    in_stock, quantity = raw.get("inStock"), raw.get("quantity")
    if in_stock is None or in_stock is True or in_stock is False:  # the usual forms, at a tenth of the cost
        if type(quantity) is int and 0 <= quantity <= MAX_QUANTITY:
            return in_stock, quantity
        if type(quantity) is bytes and len(quantity) <= MAX_DIGITS and quantity.isdigit():
            return in_stock, int(quantity)
    return _stock_fact(in_stock, quantity, flaws)


def _stock_fact(said: object, counted: object, flaws: list[str]) -> tuple[bool | None, int | None]:
    unread: list[str] = []
    in_stock = quantity = None
    try:
        in_stock = _in_stock(said)
    except BadEvent as error:
        unread.append(str(error))
    try:
        quantity = _quantity(counted)
    except BadEvent as error:
        unread.append(str(error))
    if in_stock is None and quantity is None:
        if said == b"" and counted is None:  # as PHP's clients write false
            return False, None
        raise BadEvent("; ".join(unread) or "neither quantity nor inStock is given")
    flaws += unread
    return in_stock, quantity


_YES_NO: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "y", "t", "on", "instock"), True),
    **dict.fromkeys(("false", "0", "no", "n", "f", "off", "outofstock", "soldout"), False),
}
_BETWEEN_WORDS = re.compile(r"(?<=[a-z])[\s_-]+(?=[a-z])")


def _in_stock(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    value = scalar_of("inStock", value)
    if value is None:
        return None
    answer: bool | None = None
    if isinstance(value, str):
        answer = _YES_NO.get(_BETWEEN_WORDS.sub("", value.lower()))
    number = _number(value)
    if answer is None and number is not None and number in (0, 1):
        answer = bool(number)
    if answer is None:
        raise unreadable("inStock", "true, false, 1, 0, yes, no, on or off", value)
    return answer


def _quantity(value: object) -> int | None:
    value = scalar_of("quantity", value)
    if value is None:
        return None
    number = _number(value)
    if number is None:
        raise unreadable("quantity", "a number, or a number as text", value)
    return math.floor(max(0, min(number, MAX_QUANTITY)))


# A comma is read as a decimal point: of the ways to read `5,000` this gives the fewest pieces.
_NUMBER = re.compile(r"[+-]?(?:\d{1,64}(?:[.,]\d{0,64})?|[.,]\d{1,64})(?:[eE][+-]?\d{1,3})?")
# Tried after `_NUMBER`, so a single comma or point stays a decimal one.
_GROUPED = re.compile(r"[+-]?\d{1,3}([ .,'\u2019\xa0\u202f])\d{3}(?:\1\d{3}){0,5}(?:(?!\1)[.,]\d{0,64})?")


def _number(value: object) -> int | float | Decimal | None:
    """Returns a finite number, also from its text. Anything else, booleans included, is None."""
    if isinstance(value, str):
        text = value.replace("\N{MINUS SIGN}", "-")
        if _NUMBER.fullmatch(text):
            return Decimal(text.replace(",", "."))
        grouped = _GROUPED.fullmatch(text)
        return Decimal(text.replace(grouped[1], "").replace(",", ".")) if grouped else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None
