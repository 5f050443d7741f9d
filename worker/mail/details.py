"""What people read of the facts about an item: its name, its options, and any text that the shop gave.

Shops send texts for web pages and keys for machines. Here they become text for people, on one line, which can't disturb
the text around it. The stored facts stay as they came. Pure.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from html.entities import html5
from typing import Final, Literal
from unicodedata import bidirectional, category, east_asian_width
from urllib.parse import unquote

import regex
from markupsafe import Markup

from worker.domain.brand import Brand

Direction = Literal["ltr", "rtl"]

SOFT_HYPHEN: Final = "\N{SOFT HYPHEN}"
_FSI: Final = "\N{FIRST STRONG ISOLATE}"
_PDI: Final = "\N{POP DIRECTIONAL ISOLATE}"

# Character references with their `;`. Browsers also read `&copy` without it, but that occurs in good names.
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Characters that break a line or can't be encoded in UTF-8.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
# Bidirectional embeddings, overrides and isolates; deprecated format characters; byte order and annotation marks. They
# change how the text around them looks. Joiners stay: emoji and several scripts need them.
_FORMAT: Final = re.compile("[\u202a-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb]+")
# These count as letters or signs, and show nothing.
_FILLERS: Final = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0\ufe0e\ufe0f ")

_STRONG: Final[Mapping[str, Direction]] = {"L": "ltr", "R": "rtl", "AL": "rtl"}
_RTL_LANGUAGES: Final = frozenset({"ar", "ckb", "dv", "fa", "he", "iw", "ks", "ps", "sd", "syr", "ug", "ur", "yi"})
_GRAPHEME: Final = regex.compile(r"\X")

# Shopify's name and value for the one variant of an item that has no options.
_NO_OPTION: Final = ("title", "default title")
# `variantId`, `price_variant_id`, `Product ID`: the last of several words. `id_product_attribute` is PrestaShop's,
# `93` and `super_attribute[93]` are Magento's, and names with a leading `_` are hidden in Shopify. `ID` may
# be a diameter.
_MACHINE_NAME: Final = re.compile(
    r".+(?:[a-z0-9](?:I[dD]|G[Uu][Ii][Dd]|U[Uu][Ii][Dd])|[_\s-](?i:id|guid|uuid))s?"
    r"|(?i:variant|variation|product|item|option|sku|combination|catalogitem|subscriptionoption|pricevariant)(?i:ids?)"
    r"|id|(?i:u|gu|uu)(?i:id)|(?i:sku)|(?i:id)_.+|_.*|(?:.*\[)?[0-9]+\]?"
)
# GUIDs, hexadecimal ids of 16 digits or more, numbers of 10 digits or more (Shopify, bar codes), Shopify's global ids
# (also in base64), and what programs make of an object or of no value.
_MACHINE_VALUE: Final = re.compile(
    r"\{?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?|(?=.*[0-9])[0-9a-f]{16,}|[0-9]{10,}"
    r"|gid://.*|Z2lkOi8v.*|\[object .*|\(?null\)?|undefined|\\N",
    re.IGNORECASE,
)
_WOOCOMMERCE_NAME: Final = re.compile(r"(?:attribute_(?:pa_)?|pa_)(.+)", re.IGNORECASE)
_PERCENT_CODED: Final = re.compile(r"(?:[\w.-]|%[0-9a-fA-F]{2})+", re.ASCII)


def line(text: str | None) -> str | None:
    """Returns `text` as people read it, on one line, or None if nothing can be seen.

    HTML character references are undone once, also invalid ones; tags stay text. Characters that would turn round the
    text after them are removed.
    """
    if not text:
        return None
    if "&" in text:
        text = _ENTITY.sub(_undone, text)
    if not text.isprintable():
        text = _UNPRINTABLE.sub(" ", _FORMAT.sub("", text))
    text = " ".join(text.split())
    return text if any(character not in _FILLERS and character.isprintable() for character in text) else None


def _undone(reference: re.Match[str]) -> str:
    written = reference[0]
    return html.unescape(written) if written[1] == "#" else html5.get(written[1:], written)


def shown_name(name: str | None, mail: Direction) -> str | None:
    """Returns the name of an item for a mail that is read in the direction `mail`. It may have soft hyphens."""
    text = line(name)
    return isolated(text, mail) if text else None


def shown_options(options: Mapping[str, str], mail: Direction) -> dict[str, str]:
    """Returns the options that mean something to people, with readable names: `attribute_pa_color` is "color"."""
    shown: dict[str, str] = {}
    for name, value in options.items():
        label, text = _label(name), _value(value)
        if label and text and (label.casefold(), text.casefold()) != _NO_OPTION:
            shown.setdefault(isolated(label, mail), isolated(text, mail))
    return shown


def _label(name: str) -> str | None:
    slug = _WOOCOMMERCE_NAME.fullmatch(name)
    own = _decoded(slug[1]).replace("-", " ").replace("_", " ") if slug else name
    return None if _MACHINE_NAME.fullmatch(own) else _readable(own)


def _value(value: str) -> str | None:
    return None if _MACHINE_VALUE.fullmatch(value.strip()) else _readable(_decoded(value))


def _readable(text: str) -> str | None:
    found = line(text)
    return without_soft_hyphens(found) if found else None


def _decoded(text: str) -> str:
    """Undoes percent coding, in which WooCommerce stores names and values that are not Latin."""
    if "%" not in text or not _PERCENT_CODED.fullmatch(text):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def without_soft_hyphens(text: str) -> str:
    """For text and subjects: some programs show soft hyphens, and a search for the word does not find it."""
    return text.replace(SOFT_HYPHEN, "")


def language_direction(locale: str) -> Direction:
    """Returns the direction in which a language is written."""
    return "rtl" if locale.lower().replace("_", "-").partition("-")[0] in _RTL_LANGUAGES else "ltr"


def isolated(text: str, mail: Direction) -> str:
    """Puts a text into isolates (UAX 9) if parts of it are read in the other direction than the mail.

    Without them a text of the other direction moves the sentence's end, or a number after it, to its other side.
    """
    if text.isascii() and mail == "ltr":
        return text
    is_mixed = any(_STRONG.get(bidirectional(character), mail) != mail for character in text)
    return f"{_FSI}{text}{_PDI}" if is_mixed else text


def shop_variables(store_name: str, brand: Brand, mail: Direction) -> dict[str, object]:
    """Returns what all templates may say of the shop."""
    address = [isolated(each, mail) for each in brand.address]
    return {"store_name": isolated(store_name, mail), "brand": replace(brand, address=address)}


def spanned(text: str) -> str:
    """A filter for HTML: an element with `dir` takes the place of the isolates. Mail programs drop `bdi`."""
    inner = _inside(text)
    if inner is None:
        return text
    directions = (_STRONG.get(bidirectional(character)) for character in inner)
    first = next(filter(None, directions), "ltr")
    return Markup('<span dir="{}">{}</span>').format(first, inner)


def cut(text: str, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5) -> str:
    """Jinja's filter `truncate`, with the same arguments, which cuts between graphemes and keeps isolates whole.

    `length` counts code points, with `end`. A text that is longer by at most `leeway` stays whole.
    """
    inner = _inside(text)
    if inner is not None:
        return f"{_FSI}{cut(inner, length, killwords, end, leeway)}{_PDI}"
    if len(text) <= length + leeway:
        return text
    start = text[: _whole(text, max(0, length - len(end)))]
    return (start if killwords else start.rsplit(" ", 1)[0]) + end


def columns(text: str) -> int:
    """A filter: about how many Latin letters are as wide as a text (UAX 11). Marks and isolates have no width."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(character) in ("W", "F") else 1


def _whole(text: str, limit: int) -> int:
    """Returns the length of the most whole graphemes in the first `limit` code points, or `limit` if none fits."""
    if text.isascii():
        return limit
    whole = 0
    for grapheme in _GRAPHEME.finditer(text):
        if grapheme.end() > limit:
            break
        whole = grapheme.end()
    return whole or limit


def _inside(text: str) -> str | None:
    """Returns what the isolates around a text hold, or None if there are none."""
    return text[1:-1] if text.startswith(_FSI) and text.endswith(_PDI) else None
