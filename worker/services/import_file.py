"""Reads import files in constant memory: CSV or JSON lines, with one request per line.

A bad line becomes a `Rejected` and does not affect other lines. The reason never repeats a value, since the value may
be a customer's address.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import BinaryIO, Final

from worker.domain.catalog import (
    MAX_OPTIONS_BYTES,
    CatalogReference,
    catalog_reference,
    checked_url,
    given_reference,
    item_of,
)
from worker.domain.errors import BadAddress, BadEvent, BadFile, BadReference, BadUrl
from worker.domain.event_fields import object_of
from worker.services.addresses import checked_address
from worker.store.requests import NewRequest

COLUMNS: Final = (
    "email",
    "catalogItemId",
    "appId",
    "options",
    "itemUrl",
    "locale",
    "createdDate",
)
REQUIRED: Final = COLUMNS[:2]
JSONL_SUFFIXES: Final = (".jsonl", ".ndjson")
MAX_LINE_BYTES: Final = 64 * 1024

MAX_AHEAD: Final = timedelta(minutes=5)
"""How far a createdDate may be in the future, since clocks differ."""

_BOM: Final = b"\xef\xbb\xbf"
# A column name that is safe to show in an error. Any other text may be a customer's data.
_NAME: Final = re.compile("[A-Za-z][A-Za-z_ ]{0,29}")
# A simplified BCP 47 language tag, also with underscores as in Java.
_LOCALE: Final = re.compile("[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,3}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Line = tuple[int, bytes]
_Fields = Mapping[str, object]
_Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not imported, and the reason. Lines count from 1."""

    line: int
    reason: str


class _Bad(Exception):
    """The line is not valid. The text gives the reason."""


def _now() -> datetime:
    return datetime.now(UTC)


def read_requests(file: BinaryIO, name: str, clock: _Clock = _now) -> Iterator[NewRequest | Rejected]:
    """Yields the requests of a file, in order. JSON lines are recognised by the file's name or first byte.

    Raises BadFile if the header of a CSV file is missing or wrong.
    """
    lines = _lines(file)
    first = next(lines, (1, b""))[1].removeprefix(_BOM)
    if name.lower().endswith(JSONL_SUFFIXES) or first.startswith(b"{"):
        return _requests(chain([(1, first)], lines), _json_fields, clock)
    return _requests(lines, _csv_reader(first), clock)


def checked_locale(raw: object) -> str | None:
    """Returns a language tag like `de` or `de-AT`, or None if there is none. Raises BadReference."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, str) and _LOCALE.fullmatch(raw):
        return raw
    raise BadReference("locale must be a language tag like de or de-AT")


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """Yields every line with its number. A line that is too long is cut."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        yield number, line.rstrip(b"\r\n")
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 2)


def _requests(
    lines: Iterator[_Line], read: Callable[[bytes], _Fields], clock: _Clock
) -> Iterator[NewRequest | Rejected]:
    for number, line in lines:
        if not line:
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise _Bad(f"is over {MAX_LINE_BYTES} bytes")
            yield _request(read(line), clock)
        except (_Bad, BadAddress, BadEvent, BadReference) as bad:
            yield Rejected(number, str(bad))


# --- parse a line into fields ---


def _json_fields(line: bytes) -> _Fields:
    fields = object_of("request", line) or {}
    for name in fields:
        if name not in COLUMNS:
            raise _Bad(f"has an unknown field{_shown(name)}")
    return fields


def _csv_reader(header: bytes) -> Callable[[bytes], _Fields]:
    """Returns a function that reads the lines below this header."""
    # Spreadsheets write semicolons in locales where the comma is the decimal separator.
    delimiter = ";" if header.count(b";") > header.count(b",") else ","
    columns = _columns(header, delimiter)

    def fields(line: bytes) -> _Fields:
        cells = _cells(_decoded(line), delimiter)
        if len(cells) != len(columns):
            raise _Bad(f"has {len(cells)} columns, but the header has {len(columns)}")
        return dict(zip(columns, cells, strict=True))

    return fields


def _columns(header: bytes, delimiter: str) -> Sequence[str]:
    try:
        columns = _cells(_decoded(header), delimiter)
    except _Bad as bad:
        raise BadFile(f"line 1 {bad}") from None
    if not header.strip():
        raise BadFile(f"line 1 must be a header with columns of {', '.join(COLUMNS)}")
    for place, name in enumerate(columns):
        if name not in COLUMNS:
            raise BadFile(f"line 1: unknown column {place + 1}{_shown(name)}; the columns may be {', '.join(COLUMNS)}")
        if name in columns[:place]:
            raise BadFile(f"line 1: column {name} is there twice")
    for name in REQUIRED:
        if name not in columns:
            raise BadFile(f"line 1: column {name} is missing")
    return columns


def _shown(name: str) -> str:
    return f" ({name})" if _NAME.fullmatch(name) else ""


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise _Bad("is not UTF-8") from None


def _cells(line: str, delimiter: str) -> Sequence[str]:
    """Returns the cells of one line. Lines are parsed one by one, so that an open quote affects no other line."""
    if '"' not in line:
        return [cell.strip(" \t") for cell in line.split(delimiter)]
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        raise _Bad("has a quote that is not closed on the same line, or not doubled") from None
    return [cell.strip(" \t") for cell in cells]


# --- make a request from fields ---


def _request(fields: _Fields, clock: _Clock) -> NewRequest:
    email = fields.get("email")
    if not email:
        raise _Bad("email is missing")
    return NewRequest(
        checked_address(email),
        _reference(fields),
        _item_url(fields.get("itemUrl")),
        checked_locale(fields.get("locale")),
        _created_date(fields.get("createdDate"), clock),
    )


def _reference(fields: _Fields) -> CatalogReference:
    item_id, app_id = fields.get("catalogItemId"), fields.get("appId")
    if item_id is None or item_id == "":
        raise _Bad("catalogItemId is missing")
    options = fields.get("options")
    if isinstance(item_id, str) and isinstance(app_id, str | None) and isinstance(options, str | None):
        # Long options are not cached: ten thousand texts of 60 KB would fill the memory.
        read = _known_reference if len(options or "") <= MAX_OPTIONS_BYTES else _read_reference
        return read(item_id, app_id or None, options or None)
    return _reference_as_given(item_id, app_id or None, options)


def _read_reference(item_id: str, app_id: str | None, options: str | None) -> CatalogReference:
    raw = object_of("options", options.encode(errors="replace")) if options else None
    return _reference_as_given(item_id, app_id, raw)


def _reference_as_given(item_id: object, app_id: object, options: object) -> CatalogReference:
    reference = catalog_reference(item_of(item_id, app_id), options)
    given = given_reference(reference, item_id, app_id, options)
    return reference if given is None else replace(reference, given=given)


# Many customers wait for few items.
_known_reference: Final = lru_cache(maxsize=10_000)(_read_reference)


def _item_url(raw: object) -> str | None:
    if raw is None or raw == "":
        return None
    try:
        return checked_url(raw)
    except BadUrl as bad:
        raise _Bad(f"itemUrl {bad}") from None


def _created_date(raw: object, clock: _Clock) -> datetime | None:
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str):
        raise _Bad("createdDate must be text")
    try:
        created = datetime.fromisoformat(raw.upper())
        if created.tzinfo is None:
            raise _Bad("createdDate has no UTC offset")
        created = created.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Bad("createdDate is not an ISO 8601 time") from None
    if created < _EPOCH:
        raise _Bad("createdDate is before 1970")
    if created > clock() + MAX_AHEAD:  # no event would be later than this, so the mail would never be sent
        raise _Bad("createdDate is more than 5 minutes in the future")
    return created
