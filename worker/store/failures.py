"""What has failed, for people: by code and age, by the relay's words, by the recipients' domains, and one by one.

All of it reads only failed requests, by their own indexes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from operator import gt, lt
from typing import Any, Final, NamedTuple, Self, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, literal, select, tuple_
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import col

from worker.store.requests import Filter, I, R, W, conditions
from worker.store.sql import Sql

MOST_GROUPED: Final = 5_000
"""So many of the newest are grouped by words and domain, and counted."""
MOST_LOOKED_AT: Final = 10_000
"""So many of the newest are looked at for words, a domain or a language, which no index has."""

Key: TypeAlias = tuple[datetime, UUID]
"""Names a failed request, in the order of `request_failed_at`."""


class Part(NamedTuple):
    """Failures that have both their reason and their recipients' domain in common."""

    failure_reason: str | None
    domain: str
    n: int
    first: datetime | None
    last: datetime | None

    @classmethod
    def of(cls, row: Any) -> Self:
        """Makes a part of one row of `newest`."""
        return cls(row.failure_reason, row.email.partition("@")[2], 1, row.failed_at, row.failed_at)


# All of it is in the index `request_failed_at`. In subselects the times are computed once, and not for every row.
_AGES = Sql(
    """SELECT coalesce(failure_code, '') AS code, count(*) AS total, count(failed_at) AS dated,
        count(CASE WHEN failed_at >= (SELECT stockbell_now(-3600)) THEN 1 END) AS hour,
        count(CASE WHEN failed_at >= (SELECT stockbell_now(-86400)) THEN 1 END) AS day,
        count(CASE WHEN failed_at >= (SELECT stockbell_now(-604800)) THEN 1 END) AS week, min(failed_at) AS first,
        max(failed_at) AS last
    FROM request WHERE status = 'FAILED' GROUP BY failure_code ORDER BY total DESC, code""",
    first="time",
    last="time",
)


def ages(c: Connection) -> Sequence[Any]:
    """Returns for each code how many failed with it: in the last `hour`, `day`, `week`, and in `total`.

    So many of them are `dated`: others were ended by a program from before 0008.
    """
    return _AGES(c)


def in_order(c: Connection) -> None:
    """Lets the rest of the transaction walk the index of times, for filters that have no index of their own.

    PostgreSQL does not know how many rows match such a filter. It would read and sort all that failed.
    """
    if c.dialect.name == "postgresql":
        c.exec_driver_sql("SET LOCAL enable_sort = off")
        c.exec_driver_sql("SET LOCAL jit = off")


def horizon(c: Connection, which: Filter) -> Key | None:
    """Returns the newest that `newest` and `newest_words` should not look at any more, if there are so many."""
    by_index = replace(which, words=None, domain=None, locale=None)
    query = select(col(R.failed_at), col(R.id)).where(*conditions(by_index, c.dialect.name))
    row = c.execute(query.order_by(*_newest_first()).offset(MOST_LOOKED_AT).limit(1)).one_or_none()
    return (row[0], row[1]) if row and row[0] else None


def newest_words(c: Connection, which: Filter, after: Key | None = None) -> Sequence[Part]:
    """Returns the newest that match, as far as they are grouped. With `after` only what failed after that one."""
    domain: ColumnElement[Any] = (
        func.split_part(col(R.email), "@", 2)
        if c.dialect.name == "postgresql"
        else func.substr(col(R.email), func.instr(col(R.email), "@") + 1)
    )
    some = (
        select(col(R.failure_reason), domain.label("domain"), col(R.failed_at))
        .where(*conditions(which, c.dialect.name), *_between(after, None))
        .order_by(*_newest_first())
        .limit(MOST_GROUPED)
        .subquery("some")
    )
    same, at = (some.c.failure_reason, some.c.domain), some.c.failed_at
    query: Select[Any] = select(
        *same, func.count().label("n"), func.min(at).label("first"), func.max(at).label("last")
    ).group_by(*same)
    return [Part(*row) for row in c.execute(query)]


def newest(
    c: Connection, which: Filter, most: int, before: Key | None = None, after: Key | None = None
) -> Sequence[Row[Any]]:
    """Returns the newest that match, with their items: those that failed before one, and after another."""
    picked: Select[Any] = select(R).where(*conditions(which, c.dialect.name), *_between(after, before))
    return c.execute(_with_items(picked.order_by(*_newest_first()).limit(most))).all()


def of_ids(c: Connection, ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Returns requests with their items, in whatever state; some may be gone."""
    picked = select(R).where(*conditions(Filter(ids=list(ids)), c.dialect.name))
    return {row.id: row for row in c.execute(_with_items(picked))}


def _between(after: Key | None, before: Key | None) -> Iterator[ColumnElement[bool]]:
    key: list[Any] = [col(R.failed_at), col(R.id)]
    for given, compare in ((after, gt), (before, lt)):
        if given is not None:
            end = [literal(value, part.type) for value, part in zip(given, key, strict=True)]
            yield compare(tuple_(*key), tuple_(*end))


def _newest_first() -> Sequence[ColumnElement[Any]]:
    # As the index has it, backwards. What an older program did not date comes first on PostgreSQL, else last.
    return col(R.failed_at).desc(), col(R.id).desc()


def _with_items(picked: Select[Any]) -> Select[Any]:
    r = picked.subquery("r")
    return (
        select(
            r.c.id, r.c.status, r.c.email, r.c.failure_code, r.c.failure_reason, r.c.failed_at, r.c.created_date,
            r.c.attempts, col(W.options), col(I.app_id), col(I.catalog_item_id), col(I.name),
        )
        .join(W, col(W.id) == r.c.waiting_list_id)
        .join(I, col(I.id) == col(W.item_id))
        .order_by(r.c.failed_at.desc(), r.c.id.desc())
    )  # fmt: skip
