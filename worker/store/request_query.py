"""Queries of Wix's API as SQL, and requests by their ids for programs that ask often."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Connection,
    Row,
    Select,
    String,
    and_,
    case,
    cast,
    false,
    func,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import col

from worker.domain.wix_filter import All, AnyOf, Clause, Condition, Field, Not, Op, Value
from worker.domain.wix_query import Place, Query, Sort
from worker.models import Contact
from worker.store import quiet_hours
from worker.store.requests import I, R, W, waiting, waiting_columns, waiting_words
from worker.store.sql import Sql

MOST_COUNTED: Final = 10_001
"""`total` stops there: counting millions takes seconds, and nobody pages through them."""


@lru_cache(maxsize=4)
def _by_id(waiting: str) -> Sql:
    return Sql(
        f"""SELECT r.id, r.contact_id, r.email, r.item_url, r.locale, r.given, r.status, r.auto_notified,
            r.priority, r.created_date, r.notified_date, r.not_before, r.attempts, r.failure_code, r.failure_reason,
            w.options, i.app_id, i.catalog_item_id, {waiting}
        FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id
        WHERE r.id IN ROWS(id uuid)""",
        id="uuid",
        contact_id="uuid",
        auto_notified="bool",
        created_date="time",
        notified_date="time",
        not_before="time",
        quiet_until="time",
        settles_at="time",
        opens_at="time",
    )


def by_ids(c: Connection, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Returns those requests that there are."""
    return {row.id: row for row in _by_id(waiting_words(c))(c, rows=[{"id": id_} for id_ in ids])}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of requests, and the rows from which the pages after and before it go on."""

    rows: Sequence[Row[Any]]
    after: tuple[Value, ...] | None = None
    before: tuple[Value, ...] | None = None
    total: int | None = None
    """how many match, at most `MOST_COUNTED`; only for pages by offset"""


def page(c: Connection, query: Query) -> Page:
    """Returns the page that a query asks for."""
    if query.offset is not None:
        rows = _rows(c, query, query.limit)
        return Page(rows, total=_total(c, query))
    rows = _rows(c, query, query.limit + 1)
    has_more, rows = len(rows) > query.limit, rows[: query.limit]
    is_backward = query.place is not None and query.place.is_backward
    if is_backward:
        rows.reverse()
    if not rows:
        return Page(rows)
    is_after, is_before = (True, has_more) if is_backward else (has_more, query.place is not None)
    after = _key(rows[-1], query.order) if is_after else None
    return Page(rows, after, _key(rows[0], query.order) if is_before else None)


def _rows(c: Connection, query: Query, limit: int) -> list[Row[Any]]:
    # The rows are picked first: see `requests._matching`.
    is_backward = query.place is not None and query.place.is_backward
    inner = _picked(c, query).order_by(*_order_by(R, query.order, is_backward)).limit(limit).offset(query.offset or 0)
    r = inner.subquery("r")
    outer = (
        select(r, col(W.options), col(I.app_id), col(I.catalog_item_id), *waiting_columns(c))
        .join(W, col(W.id) == r.c.waiting_list_id)
        .join(I, col(I.id) == col(W.item_id))
        .order_by(*_order_by(r.c, query.order, is_backward))
    )
    return list(c.execute(outer).all())


def _picked(c: Connection, query: Query) -> Select[Any]:
    conditions = [_condition(query.where, is_quiet=quiet_hours.quiet_until(c) is not None)]
    if query.place:
        conditions.append(_beyond(query.place, query.order))
    picked: Select[Any] = select(R)
    if _needs_item(query.where):
        picked = picked.join(W, col(W.id) == col(R.waiting_list_id)).join(I, col(I.id) == col(W.item_id))
    return picked.where(*conditions)


def _total(c: Connection, query: Query) -> int:
    matching = _picked(c, query).with_only_columns(col(R.id)).limit(MOST_COUNTED).subquery()
    return c.execute(select(func.count()).select_from(matching)).scalar_one()


# --- the order ---


def _order_by(r: Any, order: Sequence[Sort], is_backward: bool) -> Iterator[ColumnElement[Any]]:
    for sort in order:
        for key in _SORTED[sort.field](r):
            yield key.desc() if sort.is_descending != is_backward else key.asc()


def _beyond(place: Place, order: Sequence[Sort]) -> ColumnElement[bool]:
    """Rows after a place: greater in one part of the key, and equal in all parts before it."""
    alternatives, equal = [], list[ColumnElement[bool]]()
    for sort, value in zip(order, place.key, strict=True):
        for key, bound in zip(_SORTED[sort.field](R), _bounds(sort.field, value), strict=True):
            is_less = sort.is_descending != place.is_backward
            alternatives.append(and_(*equal, key < bound if is_less else key > bound))
            equal.append(key == bound)
    return or_(*alternatives)


def _key(row: Row[Any], order: Sequence[Sort]) -> tuple[Value, ...]:
    return tuple(_VALUE_OF[sort.field](row) for sort in order)


# A field that may be absent sorts by two values: whether it is, and what it is. The databases put NULL at different
# ends.
_SORTED: Final[Mapping[Field, Callable[[Any], Sequence[ColumnElement[Any]]]]] = {
    Field.ID: lambda r: (r.id,),
    Field.CONTACT_ID: lambda r: (r.contact_id,),
    Field.STATUS: lambda r: (type_coerce(r.status, String()),),
    Field.CREATED_DATE: lambda r: (r.created_date,),
    Field.AUTO_NOTIFIED: lambda r: (_is_absent(r.auto_notified), case((r.auto_notified.is_(True), 1), else_=0)),
    Field.ITEM_URL: lambda r: (_is_absent(r.item_url), func.coalesce(r.item_url, "")),
}
_VALUE_OF: Final[Mapping[Field, Callable[[Any], Any]]] = {
    Field.ID: lambda row: row.id,
    Field.CONTACT_ID: lambda row: row.contact_id,
    Field.STATUS: lambda row: str(row.status),
    Field.CREATED_DATE: lambda row: row.created_date,
    Field.AUTO_NOTIFIED: lambda row: row.auto_notified,
    Field.ITEM_URL: lambda row: row.item_url,
}


def _is_absent(column: Any) -> ColumnElement[int]:
    return case((column.is_(None), 1), else_=0)


def _bounds(field: Field, value: Value) -> Sequence[Any]:
    match field:
        case Field.AUTO_NOTIFIED:
            return int(value is None), int(value is True)
        case Field.ITEM_URL:
            return int(value is None), value or ""
    return (value,)


# --- the filter ---

_ITEM_FIELDS: Final = frozenset({Field.CATALOG_ITEM_ID, Field.APP_ID, Field.WAITING})


def _needs_item(clause: Clause) -> bool:
    match clause:
        case Condition(field):
            return field in _ITEM_FIELDS
        case Not(part):
            return _needs_item(part)
        case All(parts) | AnyOf(parts):
            return any(map(_needs_item, parts))


def _condition(clause: Clause, *, is_quiet: bool) -> ColumnElement[bool]:
    part_of = partial(_condition, is_quiet=is_quiet)
    match clause:
        case Condition():
            return _compared(clause, is_quiet=is_quiet)
        case Not(part):
            return not_(part_of(part))
        case All(parts):
            return and_(true(), *map(part_of, parts))
        case AnyOf(parts):
            return or_(false(), *map(part_of, parts))


_COLUMNS: Final[Mapping[Field, Any]] = {
    Field.ID: col(R.id),
    Field.CONTACT_ID: col(R.contact_id),
    Field.STATUS: type_coerce(col(R.status), String()),
    Field.AUTO_NOTIFIED: col(R.auto_notified),
    Field.CREATED_DATE: col(R.created_date),
    Field.ITEM_URL: col(R.item_url),
    Field.CATALOG_ITEM_ID: col(I.catalog_item_id),
    Field.APP_ID: col(I.app_id),
    Field.FAILURE_CODE: col(R.failure_code),
}
_MILLISECOND: Final = timedelta(milliseconds=1)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_PATTERN: Final = re.compile("[/%_]")
_NULLABLE: Final = frozenset({Field.AUTO_NOTIFIED, Field.ITEM_URL, Field.FAILURE_CODE, Field.WAITING})


def _column(field: Field, *, is_quiet: bool) -> ColumnElement[Any]:
    if field is Field.WAITING:
        return cast(waiting(is_quiet=is_quiet), String())  # bare SQL would name the parameters of a list after itself
    found: ColumnElement[Any] = _COLUMNS[field]
    return found


def _compared(condition: Condition, *, is_quiet: bool) -> ColumnElement[bool]:
    """A condition that is true or false, never NULL, so that `$not` turns it round."""
    if condition.field is Field.EMAIL:
        return _of_address(condition.values[0])
    column = _column(condition.field, is_quiet=is_quiet)
    positive = partial(_known, column) if condition.field in _NULLABLE else _unchanged
    values = condition.values
    if condition.field is Field.CREATED_DATE and condition.op is not Op.EXISTS and None not in values:
        return _at_time(column, condition.op, [value for value in values if isinstance(value, datetime)])
    match condition.op:
        case Op.EQUAL:
            return column.is_(None) if values[0] is None else positive(column == values[0])
        case Op.NOT_EQUAL:
            return column.is_not(None) if values[0] is None else not_(positive(column == values[0]))
        case Op.IN:
            return positive(column.in_(values))
        case Op.NOT_IN:
            return not_(positive(column.in_(values)))
        case Op.EXISTS:
            return column.is_not(None) if values[0] else column.is_(None)
        case Op.STARTS_WITH:
            return positive(_starts_with(condition.field, column, str(values[0])))
        case Op.MORE:
            return positive(column > values[0])
        case Op.MORE_OR_EQUAL:
            return positive(column >= values[0])
        case Op.LESS:
            return positive(column < values[0])
        case Op.LESS_OR_EQUAL:
            return positive(column <= values[0])


def _at_time(column: ColumnElement[Any], op: Op, times: Sequence[datetime]) -> ColumnElement[bool]:
    """Compares to the millisecond: callers know no more of a time that they were shown."""
    within = or_(false(), *(and_(column >= time, column < _next(time)) for time in times))
    match op:
        case Op.MORE:
            return column >= _next(times[0])
        case Op.MORE_OR_EQUAL:
            return column >= times[0]
        case Op.LESS:
            return column < times[0]
        case Op.LESS_OR_EQUAL:
            return column < _next(times[0])
    return not_(within) if op in (Op.NOT_EQUAL, Op.NOT_IN) else within


def _next(time: datetime) -> datetime:
    return min(time, _LAST - _MILLISECOND) + _MILLISECOND


def _known(column: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(column.is_not(None), condition)


def _unchanged(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return condition


def _of_address(address: Value) -> ColumnElement[bool]:
    if address is None:
        return false()
    return col(R.contact_id).in_(select(col(Contact.id)).where(col(Contact.address) == str(address).lower()))


def _starts_with(field: Field, column: ColumnElement[Any], prefix: str) -> ColumnElement[bool]:
    if field is Field.ITEM_URL:
        # Both in the database: which letters beside those of ASCII it can make small depends on its locale.
        return func.lower(column).like(func.lower(_PATTERN.sub(r"/\g<0>", prefix) + "%"), escape="/")
    # SQLite stores ids without hyphens.
    digits = func.replace(cast(column, String()), "-", "")
    return func.lower(digits).startswith(prefix.replace("-", "").lower(), autoescape=True)
