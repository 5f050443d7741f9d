"""Queries of Wix's API: a filter, a sort order, and a page by cursor or by offset.

Pure. A cursor holds the filter, the order, and the last row of its page, so it needs no secret: who has one could have
asked for all of that. It is read as what it is, input by a stranger.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.wix_filter import SORTABLE, UNSTORABLE, Clause, Field, Value, guid, moment, read_filter

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100
MAX_OFFSET: Final = 1_000_000
MAX_CURSOR: Final = 16_000
MAX_FILTER_BYTES: Final = 11_000
"""A cursor holds the filter, and has its own limit."""
MAX_FIELD_NAME: Final = 512
MAX_SORT: Final = len(SORTABLE)

_BY_NAME: Final = {field.value: field for field in SORTABLE}
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field."""

    path: str
    text: str
    rule: str = "FORMAT"


class BadQuery(Exception):
    """A query has problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{each.path} {each.text}" for each in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Sort:
    """One field to sort by."""

    field: Field
    is_descending: bool = False


_NEWEST_FIRST: Final = (Sort(Field.CREATED_DATE, True),)


@dataclass(frozen=True, slots=True)
class Place:
    """A row in the order, by its value for each field of the order and its id last, and the way to go on from it."""

    key: tuple[Value, ...]
    is_backward: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A query, validated."""

    where: Clause
    order: tuple[Sort, ...]
    """ends with the id, so that equal values lose nobody"""
    limit: int = DEFAULT_LIMIT
    offset: int | None = None
    """None: pages are told by cursors"""
    place: Place | None = None
    """where the page begins; None: at the first row"""
    given: str = "{}"
    """filter and sort as they were given, as JSON, for the next cursors"""


def read_query(raw: object) -> Query:
    """Returns the query in `{"filter", "sort", "cursorPaging" or "paging"}`. Raises BadQuery with all its problems."""
    if not isinstance(raw, Mapping):
        raise BadQuery([Problem("query", "must be an object")])
    problems: list[Problem] = []
    by_cursor, by_offset = _page(raw, "cursorPaging", problems), _page(raw, "paging", problems)
    if by_cursor and by_offset:
        problems.append(Problem("query.paging", "can't be given with cursorPaging", "OTHER"))
    name = "paging" if by_offset else "cursorPaging"
    page = by_offset or by_cursor
    limit = _number(page.get("limit"), f"query.{name}.limit", 1, MAX_LIMIT, problems)
    offset = _number(page.get("offset"), "query.paging.offset", 0, MAX_OFFSET, problems) if by_offset else None
    given: Mapping[str, object] = {part: raw[part] for part in ("filter", "sort") if raw.get(part)}
    where, order = _where(given, problems), _order(given, problems)
    cursor = page.get("cursor") if by_cursor else None
    if cursor is not None and cursor != "" and (place := _continued(cursor, given, problems)):
        given, where, order = place.given, place.where, place.order
    else:
        place = None
    if problems:
        raise BadQuery(problems)
    return Query(
        where,
        order,
        DEFAULT_LIMIT if limit is None else limit,
        (offset or 0) if by_offset else None,
        place.place if place else None,
        _encode(given),
    )


def cursor_of(query: Query, key: Sequence[Value], *, is_backward: bool) -> str:
    """Returns the cursor of the page after the row with this key, or before it."""
    parts = {"q": json.loads(query.given), "k": [_stored(value) for value in key], "b": is_backward}
    return base64.urlsafe_b64encode(zlib.compress(_encode(parts).encode())).decode().rstrip("=")


def _page(raw: Mapping[str, Any], name: str, problems: list[Problem]) -> Mapping[str, Any]:
    page = raw.get(name)
    if page is None:
        return {}
    if not isinstance(page, Mapping):
        problems.append(Problem(f"query.{name}", "must be an object"))
        return {}
    return page


def _number(raw: object, path: str, least: int, most: int, problems: list[Problem]) -> int | None:
    if raw is None:
        return None
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not least <= raw <= most:
        problems.append(Problem(path, f"must be a number from {least} to {most}", "OTHER"))
        return None
    return raw


def _where(given: Mapping[str, object], problems: list[Problem]) -> Clause:
    raw = given.get("filter", {})
    clause, found = read_filter(raw)
    problems += [Problem("query.filter", text) for text in found]
    if not found and len(_encode(raw).encode()) > MAX_FILTER_BYTES:
        problems.append(Problem("query.filter", f"is over {MAX_FILTER_BYTES} bytes of JSON", "MAX_LENGTH"))
    return clause


def _order(given: Mapping[str, object], problems: list[Problem]) -> tuple[Sort, ...]:
    raw = given.get("sort", [])
    if not isinstance(raw, list) or len(raw) > MAX_SORT:
        problems.append(Problem("query.sort", f"must be a list of at most {MAX_SORT} fields"))
        return ()
    sorts = [_sort(each, f"query.sort[{place}]", problems) for place, each in enumerate(raw)]
    order = [*dict.fromkeys(each for each in sorts if each)] or [*_NEWEST_FIRST]
    if len({each.field for each in order}) < len(order):
        problems.append(Problem("query.sort", "names a field twice"))
    if Field.ID not in {each.field for each in order}:
        order.append(Sort(Field.ID, order[-1].is_descending))
    return tuple(order)


def _sort(raw: object, path: str, problems: list[Problem]) -> Sort | None:
    if not isinstance(raw, Mapping):
        problems.append(Problem(path, "must be an object"))
        return None
    name, order = raw.get("fieldName"), raw.get("order") or "ASC"
    if isinstance(name, str) and len(name) > MAX_FIELD_NAME:
        problems.append(Problem(f"{path}.fieldName", f"has over {MAX_FIELD_NAME} characters", "MAX_LENGTH"))
        return None
    if raw.get("origin") is not None:
        problems.append(Problem(f"{path}.origin", "is not supported", "OTHER"))
    if order not in ("ASC", "DESC"):
        problems.append(Problem(f"{path}.order", "must be ASC or DESC"))
    if not isinstance(name, str) or name not in _BY_NAME:
        problems.append(Problem(f"{path}.fieldName", f"must be one of {', '.join(_BY_NAME)}"))
        return None
    return Sort(_BY_NAME[name], order == "DESC")


# --- cursors ---

_CURSOR: Final = "query.cursorPaging.cursor"
_BROKEN: Final = "is not a cursor of this API"
_MOST_UNPACKED: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Continued:
    given: Mapping[str, object]
    where: Clause
    order: tuple[Sort, ...]
    place: Place


def _continued(cursor: object, given: Mapping[str, object], problems: list[Problem]) -> _Continued | None:
    """Returns what a cursor says. With a filter or an order beside it, they must be its own."""
    if not isinstance(cursor, str):
        problems.append(Problem(_CURSOR, "must be text"))
        return None
    if len(cursor) > MAX_CURSOR:
        problems.append(Problem(_CURSOR, f"has over {MAX_CURSOR} characters", "MAX_LENGTH"))
        return None
    try:
        found = _read_cursor(cursor)
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error):
        problems.append(Problem(_CURSOR, _BROKEN))
        return None
    others = [part for part in given if given[part] != found.given.get(part)]
    problems += [Problem(_CURSOR, f"belongs to another {part}", "OTHER") for part in others]
    return found


def _read_cursor(text: str) -> _Continued:
    """Raises ValueError, TypeError, KeyError, RecursionError or zlib.error for what `cursor_of` did not make."""
    parts = json.loads(_unpacked(text))
    given, key, is_backward = parts["q"], parts["k"], parts["b"]
    if not isinstance(given, dict) or not isinstance(key, list) or not isinstance(is_backward, bool):
        raise TypeError(_BROKEN)
    problems: list[Problem] = []
    where, order = _where(given, problems), _order(given, problems)
    if problems or len(key) != len(order) or given.keys() - {"filter", "sort"}:
        raise ValueError(_BROKEN)
    values = tuple(_loaded(sort.field, value) for sort, value in zip(order, key, strict=True))
    return _Continued(given, where, order, Place(values, is_backward))


def _unpacked(text: str) -> bytes:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(_BROKEN) from error
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(packed, _MOST_UNPACKED)
    if not unpacker.eof:
        raise ValueError(_BROKEN)
    return found


def _stored(value: Value) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


_NULLABLE: Final = frozenset({Field.AUTO_NOTIFIED, Field.ITEM_URL})


def _loaded(field: Field, value: object) -> Value:
    if value is None and field in _NULLABLE:
        return None
    found: Value = None
    match field:
        case Field.ID | Field.CONTACT_ID:
            found = guid(value)
        case Field.CREATED_DATE:
            found = moment(value)
        case Field.AUTO_NOTIFIED:
            found = value if isinstance(value, bool) else None
        case _:
            found = value if isinstance(value, str) and not UNSTORABLE.search(value) else None
    if found is None:
        raise ValueError(_BROKEN)
    return found
