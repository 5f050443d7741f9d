"""Reads import files in constant memory: who wants to be told, one request on each line of CSV or in each JSON object.

A bad line becomes a `Rejected` and does not affect other lines. The reason never repeats a value, since the value may
be a customer's address. A line about somebody who does not wait any more becomes a `Skipped`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import BinaryIO, Final

from worker.domain.catalog import checked_url
from worker.domain.errors import BadAddress, BadEvent, BadReference, BadUrl
from worker.services.addresses import checked_address
from worker.services.import_columns import LEFT_OUT, STATUS, TOLD, check_said, naming
from worker.services.import_json import is_json, read_objects
from worker.services.import_reference import NULLS, reference_of
from worker.services.import_rows import Row, read_table
from worker.services.import_status import ZERO_DATE, Over, check_waits
from worker.services.import_text import BadLine, Text, read_text
from worker.store.requests import NewRequest

_TAB: Final = "\t"
MAX_AHEAD: Final = timedelta(minutes=5)
"""How far a createdDate may be in the future, since clocks differ."""

# A simplified BCP 47 language tag, also with underscores as in Java, and with a charset and variant as in POSIX.
_LOCALE: Final = re.compile(
    r"(?!POSIX)([A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,3})(?:\.[A-Za-z0-9-]{1,16})?(?:@[A-Za-z0-9]{1,16})?"
)
_NO_LOCALE: Final = re.compile(r"(?:C|POSIX)(?:\.[A-Za-z0-9-]{1,16})?")
_PRIORITY: Final = re.compile(r"([0-9])(?:[.,]0+)?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds or milliseconds since 1970, of the years 2001 to 2286.
_UNIX_TIME: Final = re.compile(r"(\d{10})(?:\.\d+)?|(\d{10})\d{3}")
# As Rails and Shopify write it: `2026-11-20 09:00:00 UTC`, `2026-11-20 09:00:00 -0500`.
_ZONE: Final = re.compile(r" (UTC|GMT|Z|[+-]\d\d:?\d\d)$")

_Fields = Mapping[str, object]
_Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not imported, and the reason. Lines count from 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line about somebody who was told already, or does not want to be told any more."""

    line: int


Entry = NewRequest | Rejected | Skipped


@dataclass(frozen=True, slots=True)
class Limit:
    """What is too old to wait: made more than so many days ago, which is before `oldest`."""

    days: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class _Dates:
    """How createdDates are read."""

    zone: tzinfo | None
    clock: _Clock
    limit: Limit | None


@dataclass(frozen=True, slots=True)
class ImportFile:
    """An import file as understood, and what is in it. The entries can be read once."""

    form: str
    """`CSV` with its separator, or `JSON`"""
    columns: Sequence[tuple[str, str]]
    """of CSV: the columns' own names, and ours, which are empty for columns that are left out"""
    entries: Iterator[Entry]
    _text: Text
    _left_out: dict[str, None] = field(default_factory=dict)
    _unmet: set[str] = field(default_factory=set)
    """of JSON: names that the user said, and no object has had yet"""

    @property
    def charset(self) -> str:
        """What the file is written in, as far as it was read."""
        decoder = self._text.decoder
        return "Windows-1252" if decoder.foreign and not decoder.is_utf8 else self._text.charset

    def remarks(self) -> Iterator[str]:
        """Yields what the user should know of how the file was read, once it was read."""
        decoder = self._text.decoder
        if decoder.foreign:
            yield (
                f"not UTF-8, so read as Windows-1252: {decoder.foreign} line{'s' if decoder.foreign > 1 else ''}, the "
                f"first is {decoder.first_foreign}; --charset says what the file is if that is wrong"
            )
        if self._unmet:
            yield f"--map names what no object has: {', '.join(sorted(self._unmet))}"
        names = [*self._left_out, *(theirs for theirs, ours in self.columns if theirs and ours == LEFT_OUT)]
        if names:
            yield f"left out: {', '.join(map(_printable, names))}"


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _now() -> datetime:
    return datetime.now(UTC)


def read_requests(file: BinaryIO, name: str, clock: _Clock = _now) -> Iterator[Entry]:
    """Yields the requests of a file, in order. Raises BadFile, as `open_import` does."""
    return open_import(file, name, clock=clock).entries


def open_import(
    file: BinaryIO,
    name: str,
    names: Mapping[str, str] | None = None,
    charset: str | None = None,
    zone: tzinfo | None = None,
    clock: _Clock = _now,
    limit: Limit | None = None,
) -> ImportFile:
    """Finds out how a file is written. JSON is recognised by the file's name or first byte.

    `names` maps column names of the file to ours (see `import_columns`), or column numbers, for a CSV file without a
    header. `charset` is what the file is said to be written in, and `zone` is that of dates without an offset.
    A line from before `limit` is rejected: its request would expire at once.
    Raises BadFile if the file is not text, or the header of a CSV file is missing or wrong.
    """
    said = names or {}
    unmet = set(said)
    ours_of = naming(said, unmet)
    text = read_text(file, charset)
    dates = _Dates(zone, clock, limit)
    if is_json(text, name):
        left_out: dict[str, None] = {}
        return ImportFile("JSON", (), _entries(read_objects(text, ours_of, left_out), dates), text, left_out, unmet)
    table = read_table(text, ours_of, is_headless=bool(said) and all(theirs.isdecimal() for theirs in said))
    check_said(said, table.header)
    form = f"CSV, separated by {'tabs' if table.delimiter == _TAB else table.delimiter}"
    return ImportFile(form, tuple(zip(table.header, table.columns, strict=True)), _entries(table.rows, dates), text)


def checked_locale(raw: object) -> str | None:
    """Returns a language tag like `de` or `de-AT`, or None if there is none. Raises BadReference.

    Of a POSIX locale like `de_DE.UTF-8` it is `de_DE`.
    """
    if raw is None or raw == "":
        return None
    if isinstance(raw, str):
        if found := _LOCALE.fullmatch(raw):
            return found[1]
        if _NO_LOCALE.fullmatch(raw):
            return None
    raise BadReference("locale must be a language tag like de or de-AT")


def checked_priority(raw: object) -> int | None:
    """Returns a priority from 0 to 9, or None if none is given. Raises BadReference.

    Spreadsheets write `5.0`, too.
    """
    if raw is None or raw == "":
        return None
    text = str(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else raw
    if isinstance(text, str) and (found := _PRIORITY.fullmatch(text)):
        return int(found[1])
    raise BadReference("priority must be a whole number from 0 to 9")


def _entries(rows: Iterator[Row], dates: _Dates) -> Iterator[Entry]:
    for number, fields in rows:
        try:
            if isinstance(fields, BadLine):
                raise fields
            yield _request(fields, dates)
        except (BadLine, BadAddress, BadEvent, BadReference) as bad:
            yield Rejected(number, str(bad))
        except Over:
            yield Skipped(number)


def _request(fields: _Fields, dates: _Dates) -> NewRequest:
    if STATUS in fields or TOLD in fields:
        check_waits(fields)
    email, url, locale = fields.get("email"), fields.get("itemUrl"), fields.get("locale")
    date = fields.get("createdDate")
    if _is_null(email):
        raise BadLine("email is missing")
    return NewRequest(
        checked_address(email),
        reference_of(fields),
        _item_url(url) if url and not _is_null(url) else None,
        checked_locale(locale) if locale and not _is_null(locale) else None,
        _created_date(date, dates) if date and not _is_null(date) else None,
        _priority(fields.get("priority")),
    )


def _priority(raw: object) -> int | None:
    return None if _is_null(raw) else checked_priority(raw)


def _is_null(value: object) -> bool:
    """Whether a program wrote that there is no value."""
    return value is None or (isinstance(value, str) and value in NULLS)


def _item_url(raw: object) -> str:
    try:
        return checked_url(raw)
    except BadUrl as bad:
        raise BadLine(f"itemUrl {bad}") from None


def _created_date(raw: object, dates: _Dates) -> datetime:
    created = _time(raw, dates.zone)
    if created < _EPOCH:
        raise BadLine("createdDate is before 1970")
    if dates.limit and created < dates.limit.oldest:
        raise BadLine(f"createdDate is over {dates.limit.days} days ago, which is STOCKBELL_REQUEST_TTL_DAYS")
    if created > dates.clock() + MAX_AHEAD:  # no event would be later than this, so the mail would never be sent
        raise BadLine("createdDate is more than 5 minutes in the future")
    return created


def _time(raw: object, zone: tzinfo | None) -> datetime:
    """Reads a time in ISO 8601, or in seconds or milliseconds since 1970. Raises BadLine."""
    text = str(raw) if isinstance(raw, int | float) else raw
    if not isinstance(text, str):
        raise BadLine("createdDate must be text")
    if found := _UNIX_TIME.fullmatch(text):
        return datetime.fromtimestamp(int(found[1] or found[2]), UTC)
    if text is not raw:
        raise BadLine("createdDate must be text, or a Unix time in seconds or milliseconds")
    if text.startswith(ZERO_DATE):
        raise BadLine("createdDate is the zero date of MySQL; leave it empty")
    try:
        created = datetime.fromisoformat(_ZONE.sub(lambda zone: "Z" if zone[1].isalpha() else zone[1], text.upper()))
        if created.tzinfo is None:
            if zone is None:
                raise BadLine("createdDate has no UTC offset")
            created = created.replace(tzinfo=zone)
        return created.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadLine("createdDate is not an ISO 8601 time") from None
