"""Reads both forms of an event: JSON in one field `event`, or flat fields.

Values of flat fields stay bytes until they are read, so a bad value matters only if it is needed.
Every reader raises BadEvent. Its text has the field's name and the problem, never the value.
"""

import json
from collections.abc import Mapping
from typing import Never

from worker.domain.errors import BadEvent

MAX_EVENT_BYTES = 64 * 1024
MAX_DEPTH = 16

Raw = Mapping[str, object]
"""The parts of an event by name. Bytes are an undecoded flat field; other values come from JSON."""

_REFERENCE_FIELDS = ("catalogReference", "catalogItemId", "appId", "options")
_OTHER_FIELDS = ("id", "occurredAt", "quantity", "inStock", "itemUrl", "item")
_FLAT = {name.encode(): name for name in _REFERENCE_FIELDS + _OTHER_FIELDS}


def is_too_large(fields: Mapping[bytes, bytes]) -> bool:
    """Whether the names, or the values, have more than 64 KiB together."""
    return max(sum(map(len, fields)), sum(map(len, fields.values()))) > MAX_EVENT_BYTES


def raw_event(fields: Mapping[bytes, bytes]) -> Raw:
    """Returns the parts of the event in a stream entry. The field `event`, if present, wins over flat fields."""
    if is_too_large(fields):
        raise BadEvent(f"event is over {MAX_EVENT_BYTES} bytes")
    event = fields.get(b"event")
    if event is not None:
        return object_of("event", event) or {}
    # A flat field can't hold null; publishers write an empty value instead.
    return {_FLAT[key]: value or None for key, value in fields.items() if key in _FLAT}


def text_of(name: str, value: object) -> str | None:
    """Returns a text, or None for null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _utf8(name, value)
    raise BadEvent(f"{name} must be text")


def object_of(name: str, value: object) -> Mapping[str, object] | None:
    """Returns a JSON object, or None for null."""
    if isinstance(value, bytes):
        value = _json(name, _utf8(name, value))
    if isinstance(value, dict) or value is None:
        return value
    raise BadEvent(f"{name} must be a JSON object")


def scalar_of(name: str, value: object) -> object:
    """Returns a flat field as text, and a JSON value unchanged. The caller checks its type."""
    return _utf8(name, value) if isinstance(value, bytes) else value


def _utf8(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadEvent(f"{name} is not UTF-8") from None


def _json(name: str, text: str) -> object:
    try:
        value: object = _JSON.decode(text)
    except RecursionError:
        raise BadEvent(f"{name} is nested over {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise BadEvent(f"{name} is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # Python limits the digits of an integer
        raise BadEvent(f"{name} has a number of too many digits") from None
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
        raise BadEvent("JSON has the same key twice in one object")
    return found


def _refuse_constant(_: str) -> Never:
    raise BadEvent("JSON has NaN or Infinity")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
