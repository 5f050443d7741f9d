"""Reads what callers of the API send: a body of JSON, or the parameters of a GET as Wix's SDK writes them.

Anything may come. Whatever can't be read ends with one clear answer: `Invalid` or `ApiError`.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from worker.domain.wix_filter import UNSTORABLE
from worker.web.errors import ApiError, Invalid, Violation

MAX_DEPTH: Final = 40
"""Levels of JSON: a filter may have eight, of two levels each."""
_PACKED: Final = ".r"
"""Wix's SDK puts all of a nested payload into this parameter of a GET, as base64url of its JSON."""
_FLAT: Final = {
    "query.filter": json.loads,
    "query.sort": json.loads,
    "query.cursorPaging.limit": int,
    "query.cursorPaging.cursor": str,
    "query.paging.limit": int,
    "query.paging.offset": int,
}
"""Parameters that people write by hand, and how their values are read."""


async def body_of(request: Request) -> Mapping[str, Any]:
    """Returns the object in the body; an empty body is an empty object. Raises ApiError and Invalid."""
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ApiError(400, "INVALID_ARGUMENT", "the body did not come to its end") from None
    if not raw:
        return {}
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "send JSON, with the header Content-Type: application/json")
    return _object(raw, "body")


def parameters_of(request: Request) -> Mapping[str, Any]:
    """Returns the payload of a GET: what is in `.r`, or else in parameters named by their path. Raises Invalid."""
    packed = request.query_params.get(_PACKED)
    if packed is not None:
        return _object(_unpacked(packed), _PACKED)
    payload: dict[str, Any] = {}
    for name, read in _FLAT.items():
        if (text := request.query_params.get(name)) is not None:
            *parents, last = name.split(".")
            place = payload
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = _read(name, text, read)
    _check(payload, "query", 0)
    return payload


def _read(name: str, text: str, read: Any) -> Any:
    if read is json.loads:
        return _value(text, name)
    try:
        return read(text)
    except ValueError:
        raise Invalid(Violation(name, "must be a number")) from None


def _unpacked(text: str) -> bytes:
    # In a query `+` is a blank. The standard alphabet and padding come from callers other than the SDK.
    text = text.replace(" ", "+").replace("+", "-").replace("/", "_").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(Violation(_PACKED, "is not base64url", rule_name="BASE64")) from None


def _object(raw: bytes, name: str) -> Mapping[str, Any]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(Violation(name, "is not UTF-8")) from None
    value = _value(text, name)
    if not isinstance(value, dict):
        raise Invalid(Violation(name, "must be a JSON object"))
    return value


def _value(text: str, name: str) -> Any:
    try:
        value = _JSON.decode(text)
    except json.JSONDecodeError as error:
        raise Invalid(Violation(name, f"is not JSON: {error.msg} at character {error.pos}")) from None
    except RecursionError:
        raise Invalid(Violation(name, f"is nested over {MAX_DEPTH} levels")) from None
    except ValueError as error:
        raise Invalid(Violation(name, str(error))) from None
    _check(value, name, 0)
    return value


def _check(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Invalid(Violation(path, f"is nested over {MAX_DEPTH} levels"))
    if isinstance(value, str):
        if UNSTORABLE.search(value):
            raise Invalid(Violation(path, "has a NUL or half a character"))
    elif isinstance(value, dict):
        for name, each in value.items():
            if UNSTORABLE.search(name):
                raise Invalid(Violation(path, "has a name with a NUL or half a character"))
            _check(each, f"{path}.{name}" if depth else name, depth + 1)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            _check(each, f"{path}[{place}]", depth + 1)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("names a key twice in one object")
    return found


def _refused(_name: str) -> Any:
    raise ValueError("has a number that JSON does not know")


def _whole(digits: str) -> int:
    if len(digits) > 400:
        raise ValueError("has a number that is too large")
    return int(digits)


def _fraction(digits: str) -> float:
    found = float(digits)
    if not math.isfinite(found):
        raise ValueError("has a number that is too large")
    return found


_JSON: Final = json.JSONDecoder(
    object_pairs_hook=_once, parse_constant=_refused, parse_int=_whole, parse_float=_fraction
)
