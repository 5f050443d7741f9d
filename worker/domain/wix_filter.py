"""The filters of Wix's query language, read into conditions on the fields of a request.

Pure. All that is wrong is found at once. Two-valued: a field that is absent is not equal to any value, and `$not` of a
condition holds wherever the condition does not. Times count to the millisecond, as replies show them.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import item_of
from worker.domain.errors import BadReference

MAX_DEPTH: Final = 8
MAX_CONDITIONS: Final = 100
MAX_VALUES: Final = 1000
"""in all lists together"""
_TIME_WEIGHT: Final = 10
"""As many values is one time: each becomes two comparisons, and SQLite nests at most 1000."""
MAX_TEXT: Final = 2048
MAX_PROBLEMS: Final = 100
"""No more are named: each is compared with those that were found before."""

Value = UUID | str | bool | datetime | None

UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""NUL, which PostgreSQL can't store, and halves of characters, which can't be encoded."""
_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


class Op(Enum):
    """What a condition compares by."""

    EQUAL = "$eq"
    NOT_EQUAL = "$ne"
    IN = "$in"
    NOT_IN = "$nin"
    EXISTS = "$exists"
    MORE = "$gt"
    MORE_OR_EQUAL = "$gte"
    LESS = "$lt"
    LESS_OR_EQUAL = "$lte"
    STARTS_WITH = "$startsWith"


_ALSO_SPELT: Final = {"$hasSome": Op.IN, "$ge": Op.MORE_OR_EQUAL, "$le": Op.LESS_OR_EQUAL}
_OPS: Final[Mapping[str, Op]] = {op.value: op for op in Op} | _ALSO_SPELT
_LISTS: Final = frozenset({Op.IN, Op.NOT_IN})
_SAME: Final = frozenset({Op.EQUAL, Op.NOT_EQUAL, Op.IN, Op.NOT_IN, Op.EXISTS})
_ORDER: Final = frozenset({Op.MORE, Op.MORE_OR_EQUAL, Op.LESS, Op.LESS_OR_EQUAL})
_TEXT: Final = _SAME | _ORDER | {Op.STARTS_WITH}


class Field(Enum):
    """The fields that can be asked for, by their path in a request."""

    ID = "id"
    CONTACT_ID = "contactId"
    STATUS = "status"
    AUTO_NOTIFIED = "autoNotified"
    CREATED_DATE = "createdDate"
    ITEM_URL = "itemUrl"
    EMAIL = "email"
    CATALOG_ITEM_ID = "catalogReference.catalogItemId"
    APP_ID = "catalogReference.appId"
    FAILURE_CODE = "stockbell.failureCode"
    WAITING = "stockbell.waiting"


SORTABLE: Final = (
    Field.ID,
    Field.CONTACT_ID,
    Field.STATUS,
    Field.AUTO_NOTIFIED,
    Field.CREATED_DATE,
    Field.ITEM_URL,
)
_FIELDS: Final = {field.value: field for field in Field}


@dataclass(frozen=True, slots=True)
class Condition:
    """One field, compared with values: one value, or those of a list; for EXISTS whether it shall be there."""

    field: Field
    op: Op
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class All:
    """All parts hold. Without parts it holds always."""

    parts: tuple["Clause", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple["Clause", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Clause"


Clause = Condition | All | AnyOf | Not


class _Unreadable(Exception):
    """What is wrong with a value."""


def guid(raw: object) -> UUID | None:
    """Returns the GUID in a text, written with its four hyphens, or None."""
    return UUID(raw) if isinstance(raw, str) and _GUID.fullmatch(raw) else None


def moment(raw: object) -> datetime | None:
    """Returns the time in an ISO 8601 text, in UTC if it names no zone, or None."""
    if not isinstance(raw, str):
        return None
    try:
        at = datetime.fromisoformat(raw.upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_filter(raw: object) -> tuple[Clause, list[str]]:
    """Returns the filter, and all that is wrong with it."""
    reader = _Reader()
    clause = reader.clause(raw, "filter", 0)
    return clause, reader.problems


class _Reader:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._conditions = 0
        self._values = 0

    def clause(self, raw: object, place: str, depth: int) -> Clause:
        if depth > MAX_DEPTH:
            return self._bad(f"is nested over {MAX_DEPTH} levels")
        if not isinstance(raw, Mapping):
            return self._bad(f"{place} must be an object")
        parts = [self._entry(name, value, depth) for name, value in raw.items()]
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _entry(self, name: str, value: object, depth: int) -> Clause:
        match name:
            case "$and" | "$or":
                return self._joined(name, value, depth)
            case "$not":
                return Not(self.clause(value, name, depth + 1))
        field = _FIELDS.get(name)
        if field is None:
            known = "an operator" if name.startswith("$") else "a field that can be filtered by"
            return self._bad(f"{_shown(name)} is not {known}")
        if isinstance(value, Mapping) and not _is_date(value):
            return self._compared(field, value)
        return self._condition(field, Op.EQUAL, value)

    def _joined(self, name: str, value: object, depth: int) -> Clause:
        if not isinstance(value, list) or not value:
            return self._bad(f"{name} must be a list of filters")
        parts = tuple(self.clause(each, f"each entry of {name}", depth + 1) for each in value)
        return All(parts) if name == "$and" else AnyOf(parts)

    def _compared(self, field: Field, operators: Mapping[str, object]) -> Clause:
        if not operators:
            return self._bad(f"{field.value} has no operator")
        parts = []
        for name, value in operators.items():
            op = _OPS.get(name)
            if op is None or op not in _READERS[field][1]:
                parts.append(self._bad(f"{field.value} can't be compared by {_shown(name)}"))
            else:
                parts.append(self._condition(field, op, value))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _condition(self, field: Field, op: Op, value: object) -> Clause:
        self._conditions += 1
        if self._conditions == MAX_CONDITIONS + 1:
            self.problems.append(f"has over {MAX_CONDITIONS} conditions")
        try:
            return Condition(field, op, self._read(field, op, value))
        except _Unreadable as why:
            return self._bad(f"{field.value} {why}")

    def _read(self, field: Field, op: Op, value: object) -> tuple[Value, ...]:
        read, _ = _READERS[field]
        if op is Op.EXISTS:
            return (_flag(value),)
        if op is Op.STARTS_WITH:
            return (_text(value),)
        if op not in _LISTS:
            return (None,) if value is None and op in _SAME else (read(value),)
        if not isinstance(value, list):
            raise _Unreadable("must be compared with a list")
        weight = _TIME_WEIGHT if field is Field.CREATED_DATE else 1
        self._values += len(value) * weight
        if self._values > MAX_VALUES:
            raise _Unreadable(f"is compared with over {MAX_VALUES // weight} values")
        return tuple(read(each) for each in value)

    def _bad(self, problem: str) -> Clause:
        if len(self.problems) < MAX_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)
        return All(())


def _shown(name: str) -> str:
    """A name that the caller made up, for a message."""
    return name[:40] if name.isprintable() else "this"


def _is_date(value: Mapping[str, object]) -> bool:
    return value.keys() == {"$date"}


def _guid(raw: object) -> Value:
    if (found := guid(raw)) is None:
        raise _Unreadable("must be a GUID")
    return found


def _status(raw: object) -> Value:
    if raw not in ("UNSPECIFIED", "RECEIVED", "PROCESSING", "NOTIFICATION_SENT", "FAILED"):
        raise _Unreadable("must be a status: RECEIVED, PROCESSING, NOTIFICATION_SENT, FAILED or UNSPECIFIED")
    return str(raw)


def _flag(raw: object) -> Value:
    if not isinstance(raw, bool):
        raise _Unreadable("must be true or false")
    return raw


def _time(raw: object) -> Value:
    found = moment(raw["$date"] if isinstance(raw, Mapping) and _is_date(raw) else raw)
    if found is None:
        raise _Unreadable("must be an ISO 8601 time")
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def _text(raw: object) -> Value:
    if not isinstance(raw, str) or len(raw) > MAX_TEXT:
        raise _Unreadable(f"must be text of at most {MAX_TEXT} characters")
    if UNSTORABLE.search(raw):  # the filter of a cursor comes from a stranger, too
        raise _Unreadable("has a NUL or half a character")
    return raw


def _item_id(raw: object) -> Value:
    try:
        return item_of(raw).catalog_item_id
    except BadReference as error:
        raise _Unreadable(str(error).partition(" ")[2]) from None


def _app_id(raw: object) -> Value:
    try:
        return item_of("-", _text(raw)).app_id
    except BadReference as error:
        raise _Unreadable(str(error).partition(" ")[2]) from None


_READERS: Final[Mapping[Field, tuple[Callable[[Any], Value], Collection[Op]]]] = {
    Field.ID: (_guid, _TEXT),
    Field.CONTACT_ID: (_guid, _TEXT),
    Field.STATUS: (_status, _SAME),
    Field.AUTO_NOTIFIED: (_flag, _SAME),
    Field.CREATED_DATE: (_time, _SAME | _ORDER),
    Field.ITEM_URL: (_text, _TEXT),
    Field.EMAIL: (_text, {Op.EQUAL}),
    Field.CATALOG_ITEM_ID: (_item_id, {Op.EQUAL, Op.IN}),
    Field.APP_ID: (_app_id, {Op.EQUAL, Op.IN}),
    Field.FAILURE_CODE: (_text, _SAME),
    Field.WAITING: (_text, _SAME),
}
"""How the values of each field are read, and by what it may be compared."""
