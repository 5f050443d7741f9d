"""Reads both forms of an event: JSON in one field `event`, or flat fields.

Values of flat fields stay bytes until they are read, so a bad value matters only if it is needed.
Every reader raises BadEvent. Its text says which field, what kind of value it has and what is allowed, never the value.
"""

import json
from collections.abc import Mapping

from worker.domain.errors import BadEvent

MAX_EVENT_BYTES = 64 * 1024
MAX_DEPTH = 16

Raw = Mapping[str, object]
"""The parts of an event by name. Bytes are an undecoded flat field; other values come from JSON."""

_REFERENCE_FIELDS = ("catalogReference", "catalogItemId", "appId", "options")
_OTHER_FIELDS = ("id", "occurredAt", "quantity", "inStock", "itemUrl", "item")
_FLAT = {name.encode(): name for name in _REFERENCE_FIELDS + _OTHER_FIELDS}

NOTHING = frozenset(
    {"", "null", "NULL", "(null)", "None", "nil", "<nil>", "undefined", "NaN", "nan", "NaT", "[object Object]"}
)
"""How programs write a missing value as text."""


def is_too_large(fields: Mapping[bytes, bytes]) -> bool:
    """Whether the names, or the values, have more than 64 KiB together."""
    return max(sum(map(len, fields)), sum(map(len, fields.values()))) > MAX_EVENT_BYTES


def raw_event(fields: Mapping[bytes, bytes]) -> Raw:
    """Returns the parts of the event in a stream entry. The field `event`, if present, wins over flat fields."""
    if is_too_large(fields):
        raise BadEvent(f"event is over {MAX_EVENT_BYTES} bytes")
    event = fields.get(b"event")
    if event is not None:
        return _parsed_event(event)
    return {_FLAT[key]: value for key, value in fields.items() if key in _FLAT}


def text_of(name: str, value: object) -> str | None:
    """Returns a text without blanks around it. Null, blank text and words such as `null` and `None` are None."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = _utf8(name, value)
    if isinstance(value, str):
        text = value.strip()
        return None if text in NOTHING else text
    raise unreadable(name, "text", value)


def id_of(name: str, value: object) -> str | None:
    """Returns an id, which is a text or a whole number, as text. It is None where `text_of` gives None."""
    if type(value) is str:
        return None if (text := value.strip()) in NOTHING else text
    if value is None:
        return None
    if isinstance(value, bytes):
        if value.endswith(b".0") and value[:-2].isdigit():  # a float: flat fields have no types
            value = value[:-2]
        return text_of(name, value)
    if isinstance(value, float) and value.is_integer():  # as table programs write whole numbers
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise unreadable(name, "text or a whole number", value)


def object_of(name: str, value: object) -> Mapping[str, object] | None:
    """Returns a JSON object, or the object in a JSON text.

    Null, blank text and the empty array, which is how PHP writes an empty object, are None.
    """
    if isinstance(value, dict):
        return value
    value = _value_of(name, value)
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return value
    raise unreadable(name, "a JSON object", value)


def options_of(name: str, value: object) -> object:
    """Returns what `object_of` does, or an array of objects: those name one option each."""
    if isinstance(value, dict):
        return value
    value = _value_of(name, value)
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return value
    return object_of(name, value)


def _value_of(name: str, value: object) -> object:
    """Returns the value in a JSON text, and any other value unchanged."""
    if isinstance(value, bytes):
        value = _utf8(name, value)
    if isinstance(value, str):
        return _json(name, value) if value.strip() not in NOTHING else None
    return value


def scalar_of(name: str, value: object) -> object:
    """Returns a flat field or a text as `text_of` does, and any other JSON value unchanged."""
    return text_of(name, value) if isinstance(value, (str, bytes)) else value


def unreadable(name: str, allowed: str, value: object) -> BadEvent:
    """Returns the error for a field with a value of the wrong kind."""
    return BadEvent(f"{name} must be {allowed}, not {_kind(value)}")


class _Twice:
    """Stands for the values of a key that one JSON object has twice, with different values. No reader takes it."""


_KINDS: Mapping[type, str] = {
    bool: "a boolean",
    int: "this number",
    float: "this number",
    str: "other text",
    list: "an array",
    dict: "an object",
    _Twice: "two different values",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def _utf8(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadEvent(f"{name} is not UTF-8") from None


def _parsed_event(event: bytes) -> Raw:
    """Returns the object in the field `event`. It may begin with a byte order mark, and may have been encoded twice.

    Bytes that are not UTF-8 become lone surrogates, so that they spoil only the text that they are in.
    """
    value = _json("event", event.decode("utf-8", "surrogateescape"))
    return object_of("event", value) or {}


def _json(name: str, text: str) -> object:
    try:
        value: object = _JSON.decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise BadEvent(f"{name} is nested over {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise BadEvent(f"{name} is not JSON: {error.msg} at character {error.pos}") from None
    # Most events have fewer brackets than MAX_DEPTH, so they need no deeper check.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise BadEvent(f"{name} is nested over {MAX_DEPTH} levels")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(child, levels - 1) for child in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(child, levels - 1) for child in value)
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        found.clear()
        for key, value in pairs:
            found[key] = value if found.get(key, value) == value else _Twice()
    return found


def _whole(digits: str) -> int | float:
    """Returns an integer, or infinity for one of more digits than any field may have."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


MAX_DIGITS = 1000

_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole, strict=False)
