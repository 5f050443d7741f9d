"""Reads what an event gives for the mail: name, price, currency, image and link. What can't be read is left out."""

import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote

from worker.domain.catalog import MAX_STRING_BYTES, UNPRINTABLE, checked_url, is_plain, is_too_long
from worker.domain.errors import BadEvent, BadUrl
from worker.domain.event_fields import NOTHING, Raw, object_of, text_of, unreadable

Details = dict[str, str | None]

MAX_PRICE = 10**15
PRICE_PLACES = 4
"""Decimals of a number that is shown as text. More of them come from computing with floats."""


def details_of(raw: Raw, flaws: list[str]) -> Details:
    """Returns the details that the event gives. None clears a stored value; what is absent or blank is not in it.

    Details that can't be read are left out, and added to the flaws.
    """
    details: Details = {}
    if "itemUrl" in raw:
        _take(details, flaws, raw, _LINK)
    if "item" in raw:
        try:
            item = object_of("item", raw["item"]) or {}
        except BadEvent as error:
            flaws.append(str(error))
        else:
            _take(details, flaws, item, _PARTS)
    return details


_Parts = tuple[tuple[str, str, str, Callable[[str, object], str | None]], ...]
"""The details in an object: key, name of the detail, name in reasons, reader."""


def _take(details: Details, flaws: list[str], given: Raw, parts: _Parts) -> None:
    for key, detail, name, read in parts:
        if key in given:
            try:
                text = read(name, given[key])
            except BadEvent as error:
                flaws.append(str(error))
            else:
                if text is not None or _is_null(given[key]):
                    details[detail] = text


def _is_null(value: object) -> bool:
    """Whether a detail is null, or an image whose URL is null. Null clears; anything else without text keeps."""
    return value is None or (isinstance(value, dict) and value.get("url", value.get("src", "")) is None)


def _label(name: str, value: object) -> str | None:
    """Returns a text as one line, with spaces for control characters."""
    text = value.strip() if type(value) is str else text_of(name, value)
    if text is None or text in NOTHING:
        return None
    if is_plain(text):
        return text
    if _NO_UTF8.search(text):
        raise BadEvent(f"{name} is not UTF-8")
    text = UNPRINTABLE.sub(" ", text).strip()
    if is_too_long(text):
        raise BadEvent(f"{name} is over {MAX_STRING_BYTES} bytes")
    return text or None


_NO_UTF8 = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as `surrogateescape` writes it."""


def _number_or_label(name: str, value: object) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) < MAX_PRICE:  # as NaN is
            raise unreadable(name, "text or a usual number", value)
        return _number_text(value)
    return _label(name, value)


def _number_text(value: float) -> str:
    """Returns `12.5` for 12.50 and `0.3` for 0.1 + 0.2, never with an exponent."""
    if isinstance(value, int):
        return str(value)
    text = format(Decimal(repr(round(value, PRICE_PLACES))), "f")
    return text.rstrip("0").rstrip(".")


def _image(name: str, value: object) -> str | None:
    """Returns the URL of an image: a text, or an object with `url` or `src`."""
    if value is None or isinstance(value, str):
        return _image_url(name, value)
    image = object_of(name, value) or {}
    key = "url" if "url" in image else "src"
    return _image_url(f"{name}.{key}", image.get(key))


_WIX_IMAGE = re.compile(r"(?:wix:)?image://v1/([^/#?\s]+).*")


def _image_url(name: str, value: object) -> str | None:
    wix = _WIX_IMAGE.fullmatch(value.strip()) if isinstance(value, str) and "image://" in value else None
    return _url(name, f"https://static.wixstatic.com/media/{quote(wix[1], safe='~%')}" if wix else value)


def _url(name: str, value: object) -> str | None:
    text = text_of(name, value)
    if text is None:
        return None
    try:
        return checked_url(f"https:{text}" if text.startswith("//") else text.replace(" ", "%20"))
    except BadUrl as error:
        raise BadEvent(f"{name} {error}") from None


_LINK: _Parts = (("itemUrl", "url", "itemUrl", _url),)
_PARTS: _Parts = (
    ("name", "name", "item.name", _number_or_label),
    ("price", "price", "item.price", _number_or_label),
    ("currency", "currency", "item.currency", _label),
    ("image", "image_url", "item.image", _image),
)
