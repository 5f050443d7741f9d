"""Catalog references: an item, its options, and the URL of its product page.

This module converts input to one canonical form. The rest of the program only compares plain values.
"""

import ipaddress
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import idna

from worker.domain.errors import BadReference, BadUrl

WIX_STORES = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
"""The default appId."""

_WIX_STORES_IDS = frozenset({WIX_STORES, "1380b703-ce81-ff05-f115-39571d94dfcd"})
_NO_VARIANT = "00000000-0000-0000-0000-000000000000"

MAX_ID_CHARACTERS = 36
MAX_OPTIONS = 64
MAX_STRING_BYTES = 2048
MAX_OPTIONS_BYTES = 2000
"""Options are part of a key, and a PostgreSQL index entry has at most 2,704 bytes."""

# C0, DEL and C1, line and paragraph separators, and lone surrogates (which no database can store).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Options = tuple[tuple[str, str], ...]
"""Canonical options: sorted (name, value) pairs. `()` means no options."""


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One item of one catalog. Create it with `item_of`."""

    app_id: str
    catalog_item_id: str


@dataclass(frozen=True, slots=True, order=True)
class CatalogReference:
    """A whole item (no options), or those of its variants that have these options."""

    item: Item
    options: Options = ()


def is_plain(text: str) -> bool:
    """A cheap first check: if true, neither `has_control` nor `is_too_long` holds. It is true for most texts."""
    return text.isprintable() and len(text) * 4 <= MAX_STRING_BYTES


def has_control(text: str) -> bool:
    """Whether a text contains characters that are forbidden in ids and in the lines of a mail."""
    return UNPRINTABLE.search(text) is not None


def is_too_long(text: str) -> bool:
    """Whether a text is longer than 2,048 bytes in UTF-8. Check `has_control` first: surrogates can't be encoded."""
    return len(text.encode()) > MAX_STRING_BYTES


def item_of(catalog_item_id: object, app_id: object = None) -> Item:
    """Returns the item with these ids. The default app is Wix Stores, whose two app ids are one catalog.

    Raises BadReference unless both ids are texts of 1 to 36 characters without control characters.
    """
    item_id = _checked_id("catalogItemId", catalog_item_id)
    if app_id is None or app_id == WIX_STORES:
        return Item(WIX_STORES, item_id)
    app = _checked_id("appId", app_id)
    return Item(WIX_STORES if app.lower() in _WIX_STORES_IDS else app, item_id)


def _checked_id(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadReference(f"{name} must be text")
    if not 1 <= len(value) <= MAX_ID_CHARACTERS:
        raise BadReference(f"{name} must have 1 to {MAX_ID_CHARACTERS} characters")
    if not value.isprintable() and has_control(value):
        raise BadReference(f"{name} has a control character")
    return value


def canonical_options(raw: object) -> Options:
    """Returns options in the form in which they are compared: sorted, as text, Wix's nested `options` flattened.

    Drops empty values, the all-zero variantId and customTextFields, because they say nothing about stock.
    Raises BadReference for anything but None or a mapping of names to text, numbers or booleans.
    """
    if raw is None:
        return ()
    options: dict[str, str] = {}
    for name, value in _entries(raw):
        text = _option_text(name, value)
        if text and options.setdefault(name, text) != text:
            raise BadReference("options name one option twice with different values")
    if len(options) > MAX_OPTIONS:
        raise BadReference(f"options has over {MAX_OPTIONS} entries")
    canonical = tuple(sorted(options.items()))
    if options and len(options_text(canonical).encode()) > MAX_OPTIONS_BYTES:
        raise BadReference(f"options has over {MAX_OPTIONS_BYTES} bytes in all")
    return canonical


def _entries(raw: object) -> list[tuple[str, object]]:
    outer = _mapping(raw)
    inner = outer.get("options")
    if inner is None or not isinstance(inner, Mapping):
        return list(outer.items())
    return [*((name, value) for name, value in outer.items() if name != "options"), *inner.items()]


def _mapping(raw: object) -> Mapping[str, object]:
    if not isinstance(raw, (dict, Mapping)):  # dict first: it is the usual case and much faster to check
        raise BadReference("options must be an object")
    return raw


def _option_text(name: object, value: object) -> str:
    """Returns the value as text, or "" if it says nothing about stock."""
    if not isinstance(name, str) or not name:
        raise BadReference("options has an entry without a name")
    if name == "customTextFields":
        return ""
    text = value if isinstance(value, str) else _as_text(value)
    if not (is_plain(name) and is_plain(text)):
        _check_text(name)
        _check_text(text)
    return "" if text == _NO_VARIANT and name == "variantId" else text


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() <= 64:
            return str(value)
        case float() if value - value == 0:  # neither NaN nor an infinity
            return repr(value)
    raise BadReference("options has a value that is not text, a number or a boolean")


def _check_text(text: str) -> None:
    if has_control(text):
        raise BadReference("options has a control character")
    if is_too_long(text):
        raise BadReference(f"options has a text of over {MAX_STRING_BYTES} bytes")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def options_text(options: Options) -> str:
    """Returns options as stored in the database: compact JSON. Equal options give equal text."""
    return _encode(dict(options)) if options else "{}"


def options_from_text(text: str) -> Options:
    """The inverse of `options_text`."""
    return () if text == "{}" else tuple(sorted(json.loads(text).items()))


# RFC 3986, appendix B, restricted to http and https. Unlike `urllib.parse.urlsplit`, it does not silently delete line
# breaks.
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ASCII_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# Browsers read a backslash as a slash: `https://shop.example\@evil.example`.
_FORBIDDEN = re.compile(r"[\s\\]")
_KEPT = "/?#[]@!$&'()*+,;=:%~"
# URLs that `_rebuilt` would return unchanged. Nearly all URLs match, at a tenth of the cost.
_PLAIN_HOST = "(?=[^/?#]{1,63}(?:[/?#]|$))[a-z0-9]+(?:[.-][a-z0-9]+)*"
_PLAIN_REST = rf"(?:[/?#][\w.\-{re.escape(_KEPT)}]*)?"
_PLAIN_URL = re.compile(f"https?://{_PLAIN_HOST}{_PLAIN_REST}", re.ASCII)
MAX_HOST_CHARACTERS = 253


def checked_url(raw: object) -> str:
    """Returns an http or https URL that is safe in a mail: ASCII only, host as A-labels, at most 2,048 bytes.

    Raises BadUrl for other schemes, control characters, spaces, backslashes, a user name, or a host that mixes
    alphabets (it may imitate another host). The error text never contains the URL.
    """
    if not isinstance(raw, str):
        raise BadUrl("must be text")
    if len(raw) > MAX_STRING_BYTES:
        raise BadUrl(f"is over {MAX_STRING_BYTES} bytes")
    if _PLAIN_URL.fullmatch(raw):
        return raw
    if has_control(raw) or _FORBIDDEN.search(raw):
        raise BadUrl("has a control character, a space or a backslash")
    return _rebuilt(raw)


def _rebuilt(raw: str) -> str:
    parts = _URL.fullmatch(raw)
    if parts is None:
        raise BadUrl("must begin with https:// or http://")
    scheme, authority, rest = parts.groups()
    url = f"{scheme.lower()}://{_checked_authority(authority)}{quote(rest, safe=_KEPT)}"
    if len(url) > MAX_STRING_BYTES:
        raise BadUrl(f"is over {MAX_STRING_BYTES} bytes")
    return url


def _checked_authority(authority: str) -> str:
    if "@" in authority:
        raise BadUrl("has a user name or password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise BadUrl("has no valid host")
    host, port = parts.groups()
    if port is not None and not 0 < int(port) < 65536:
        raise BadUrl("has no valid port")
    return _checked_host(host.lower()) + (f":{int(port)}" if port else "")


def _checked_host(host: str) -> str:
    if len(host) > MAX_HOST_CHARACTERS:
        raise BadUrl("has no valid host")
    if host.startswith("["):
        return _checked_ipv6(host)
    if host.isascii() and "xn--" not in host:
        if not _ASCII_HOST.fullmatch(host):
            raise BadUrl("has no valid host")
        return host
    return _a_labels(host)


def _checked_ipv6(host: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(host[1:-1])}]"
    except ValueError:
        raise BadUrl("has no valid host") from None


def _a_labels(host: str) -> str:
    """Returns an internationalised host name as A-labels (RFC 5891, with the mapping of UTS 46)."""
    try:
        ascii_host = idna.encode(host, uts46=True).decode("ascii")
        labels = idna.decode(ascii_host).split(".")
    except UnicodeError:
        raise BadUrl("has no valid host") from None
    if any(_mixes_scripts(label) for label in labels):
        raise BadUrl("has a host that mixes alphabets")
    return ascii_host


_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})


def _mixes_scripts(label: str) -> bool:
    """Whether a label breaks the "highly restrictive" level of UTS 39: one alphabet, or Latin with East Asian ones."""
    letters = (letter for letter in label if unicodedata.category(letter) in {"Ll", "Lo"})
    scripts = {unicodedata.name(letter, "?").split()[0].partition("-")[0] for letter in letters}
    alphabets = scripts - _EAST_ASIAN
    return len(alphabets) > 1 or (alphabets != scripts and bool(alphabets - {"LATIN"}))
