"""Catalog references: an item, its options, and the URL of its product page.

This module converts input to one canonical form. The rest of the program only compares plain values.
"""

import ipaddress
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

import idna

from worker.domain.errors import BadReference, BadUrl

WIX_STORES = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
"""The default appId."""

WIX_STORES_IDS = (WIX_STORES, "1380b703-ce81-ff05-f115-39571d94dfcd")
"""Both name one catalog."""
_NO_VARIANT = "00000000-0000-0000-0000-000000000000"

MAX_ID_CHARACTERS = 36
MAX_OPTIONS = 64
MAX_STRING_BYTES = 2048
MAX_OPTIONS_BYTES = 2000
"""Options are part of a key, and a PostgreSQL index entry has at most 2,704 bytes."""

# C0, DEL and C1, line and paragraph separators, and lone surrogates (which no database can store).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Options = tuple[tuple[str, str], ...]
"""Sorted (name, value) pairs, mostly in the form in which they are compared. `()` means no options."""

VARIANT = "variantid"
"""The compared name of the option that decides alone where both sides have it."""


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
    spelling: Options = field(default=(), compare=False)
    """The options as they were written, for people."""
    given: str | None = field(default=None, compare=False)
    """The reference as JSON, as the API got it, where its spelling does not tell it."""

    @property
    def spelled(self) -> Options:
        """The options for people."""
        return self.spelling or self.options


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

    An id is text or a whole number, of 1 to 36 characters without control characters, in Unicode's form NFC. Otherwise
    raises BadReference.
    """
    item_id = _checked_id("catalogItemId", catalog_item_id)
    if app_id is None or app_id == WIX_STORES:
        return Item(WIX_STORES, item_id)
    app = _checked_id("appId", app_id)
    return Item(WIX_STORES if app.lower() in WIX_STORES_IDS else app, item_id)


def _checked_id(name: str, value: object) -> str:
    text = value if isinstance(value, str) else _id_text(name, value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not 1 <= len(text) <= MAX_ID_CHARACTERS:
        raise BadReference(f"{name} must have 1 to {MAX_ID_CHARACTERS} characters")
    if not text.isprintable() and has_control(text):
        raise BadReference(f"{name} has a control character")
    return text


def _id_text(name: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and abs(value) < 2**128:
        return str(int(value))
    raise BadReference(f"{name} must be text or a whole number")


def catalog_reference(item: Item, raw_options: object) -> CatalogReference:
    """Returns the reference of an item with these options, see `read_options`. Raises BadReference."""
    if raw_options is None:
        return CatalogReference(item)
    return CatalogReference(item, *read_options(raw_options))


def canonical_options(raw: object) -> Options:
    """Returns options in the form in which they are compared, see `read_options`."""
    return read_options(raw)[0]


def read_options(raw: object) -> tuple[Options, Options]:
    """Returns options in the form in which they are compared, and as they were written, both sorted.

    Wix's nested `options` are flattened, also where they are JSON text. Values are text; outer, doubled and invisible
    blanks are dropped. What is compared is in Unicode's form NFC and without case, and `38.0` is `38`. Drops empty
    values, the all-zero variantId, customTextFields and subscriptionOptionId, because they say nothing about stock;
    beside a variantId, which decides alone, also what is a mapping or a list.
    Raises BadReference for anything but None, an empty list (as PHP writes it), a mapping of names to text, numbers
    or booleans, or a list of mappings which have a name and a value each.
    """
    if raw is None or raw in ({}, []):
        return (), ()
    if isinstance(raw, dict) and _is_short(raw):
        return _known_options(tuple(raw.items()))
    return _read_options(raw)


def _is_short(raw: Mapping[object, object]) -> bool:
    """Whether options are few short texts, as nearly all are: publishers repeat the same few again and again."""
    if len(raw) > 4:
        return False
    for name, value in raw.items():
        if not isinstance(name, str) or not isinstance(value, str) or len(name) + len(value) > 100:
            return False
    return True


@lru_cache(maxsize=2048)
def _known_options(entries: tuple[tuple[object, object], ...]) -> tuple[Options, Options]:
    return _read_options(dict(entries))


def _read_options(raw: object) -> tuple[Options, Options]:
    options: dict[str, str] = {}
    spelling: dict[str, str] = {}
    is_unread = False
    for raw_name, raw_value in _entries(raw):
        shown_name, name = _read_text(_checked_name(raw_name))
        if name in _DESCRIBING:
            continue
        if isinstance(raw_value, str):
            shown, value = _read_text(raw_value)
        elif isinstance(raw_value, (dict, list)):
            is_unread = True
            continue
        else:
            shown, value = _read_text(_as_text(raw_value))
        if not value or (value == _NO_VARIANT and name == VARIANT):
            continue
        if not name:
            raise BadReference("options has an entry without a name")
        value = _plain_number(value)
        if name not in options:
            options[name], spelling[shown_name] = value, shown
        elif options[name] != value:
            raise BadReference("options name one option twice with different values")
    if is_unread and VARIANT not in options:
        raise BadReference(_NO_VALUE)
    if len(options) > MAX_OPTIONS:
        raise BadReference(f"options has over {MAX_OPTIONS} entries")
    return _sorted(options), _sorted(spelling)


def _sorted(options: Mapping[str, str]) -> Options:
    pairs = tuple(sorted(options.items())) if len(options) > 1 else tuple(options.items())
    # JSON needs at most four bytes for a character, and six more for each pair. Nearly all options are far shorter.
    if 4 * sum([len(name) + len(value) for name, value in pairs]) + 6 * len(pairs) + 2 > MAX_OPTIONS_BYTES:
        _check_bytes(pairs)
    return pairs


def _check_bytes(pairs: Options) -> None:
    if len(options_text(pairs).encode()) > MAX_OPTIONS_BYTES:
        raise BadReference(f"options has over {MAX_OPTIONS_BYTES} bytes in all")


def _entries(raw: object) -> list[tuple[object, object]]:
    if not isinstance(raw, (dict, Mapping)):  # dict first: it is the usual case and much faster to check
        return _listed(raw)
    inner = raw.get("options")
    if inner is None:
        return list(raw.items())
    if isinstance(inner, str):
        inner = _nested(inner)
    if not isinstance(inner, (Mapping, list)):
        return list(raw.items())
    nested = inner.items() if isinstance(inner, Mapping) else _listed(inner)
    return [*((name, value) for name, value in raw.items() if name != "options"), *nested]


def _nested(text: str) -> object:
    """Returns the object or list in a JSON text; None if it is another text, as that of an option of this name."""
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        return None


_NAMES = ("name", "label", "key", "attribute", "option")
_VALUES = ("value", "choice", "selection", "option")


def _listed(raw: object) -> list[tuple[object, object]]:
    """Returns the options of a list of objects, as shop systems export them: `[{"name": "Size", "value": "L"}]`."""
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        raise BadReference("options must be an object")
    return [_named(entry) for entry in raw]


def _named(entry: Mapping[str, object]) -> tuple[object, object]:
    name = next((key for key in _NAMES if key in entry), None)
    value = next((key for key in _VALUES if key in entry and key != name), None)
    if name is None or value is None:
        raise BadReference("options has an entry without a name or a value")
    return entry[name], entry[value]


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise BadReference("options has an entry without a name")
    return name


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() <= 64:
            return str(value)
        case float() if value - value == 0:  # neither NaN nor an infinity
            return str(int(value)) if value.is_integer() and abs(value) < 2**64 else repr(value)
    raise BadReference(_NO_VALUE)


_NO_VALUE = "options has a value that is not text, a number or a boolean"


# Texts that are compared as they are written: most ids, and names in lower case.
_PLAIN_TEXT = re.compile("[a-z0-9_][a-z0-9_-]*")
_DESCRIBING = frozenset({"customtextfields", "subscriptionoptionid"})
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
# Soft hyphen, zero-width space, marks of direction, word joiner, byte order mark.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF]
)


def _read_text(text: str) -> tuple[str, str]:
    """Returns a text for people, and the form in which it is compared. Raises BadReference."""
    if len(text) <= MAX_ID_CHARACTERS:
        return (text, text) if _PLAIN_TEXT.fullmatch(text) else _both_forms(text)
    return _new_forms(text)


def _new_forms(text: str) -> tuple[str, str]:
    text = text.strip()
    if not is_plain(text):
        _check_text(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    text = " ".join(text.split())
    if text.isascii():
        return text, text.lower()
    # Canonical caseless matching (Unicode, definition D145); NFC is shorter than NFD.
    return text, unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


_both_forms = lru_cache(maxsize=4096)(_new_forms)  # names and values of options repeat


def _plain_number(text: str) -> str:
    """Returns `38` for `38.0`. What only looks like a number, such as 007 or 1e3, stays text."""
    if ("." in text or text == "-0") and _NUMBER.fullmatch(text):
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text
    return text


def _check_text(text: str) -> None:
    if has_control(text):
        raise BadReference("options has a control character")
    if is_too_long(text):
        raise BadReference(f"options has a text of over {MAX_STRING_BYTES} bytes")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def options_text(options: Options) -> str:
    """Returns options as stored in the database: compact JSON. Equal options give equal text."""
    return _encode(dict(options)) if options else "{}"


def reference_arguments(item: Item, options: Options) -> list[str]:
    """An item and options as arguments of a command, each as it is."""
    app = [] if item.app_id == WIX_STORES else ["--app-id", item.app_id]
    return [item.catalog_item_id, *app, *(part for name, value in options for part in ("--option", f"{name}={value}"))]


@lru_cache(maxsize=1024)  # the same items are read again and again
def options_from_text(text: str) -> Options:
    """The inverse of `options_text`."""
    return () if text == "{}" else tuple(sorted(json.loads(text).items()))


@lru_cache(maxsize=1024)
def compared_options(text: str) -> Options:
    """Returns the options of a stored text in the form in which they are compared."""
    options = options_from_text(text)
    try:
        return canonical_options(dict(options))
    except BadReference:  # stored by a version that told `Size` and `size` apart
        return options


def given_reference(
    reference: CatalogReference, catalog_item_id: object, app_id: object, options: object
) -> str | None:
    """Returns these parts of a reference as JSON, as they were given, or None if `reference` already tells them.

    A missing appId is that of Wix Stores, and missing options are left out.
    """
    app = WIX_STORES if app_id is None else app_id
    item = reference.item
    if (item.catalog_item_id, item.app_id) == (catalog_item_id, app) and _is_told(options, reference.spelled):
        return None
    return reference_json(catalog_item_id, app, options)


def _is_told(options: object, spelled: Options) -> bool:
    if not isinstance(options, Mapping):
        return options is None and not spelled
    return bool(spelled) and all(isinstance(value, str) for value in options.values()) and options == dict(spelled)


def reference_json(catalog_item_id: object, app_id: object, options: object) -> str:
    """Returns a catalogReference as JSON, in ASCII. Missing options (None) are left out."""
    reference = {"catalogItemId": catalog_item_id, "appId": app_id}
    return json.dumps(reference | ({} if options is None else {"options": options}), separators=(",", ":"))


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
