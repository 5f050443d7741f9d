"""What has failed, for people: by code and age, by the relay's words, by the recipients' domains, and one by one.

All of it reads only failed requests, by their own indexes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, literal, literal_column, select, tuple_
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import col

from worker.store.requests import Filter, I, R, W, conditions
from worker.store.sql import Sql

MOST_GROUPED: Final = 5_000
"""So many of the newest are grouped by words and domain."""

_AGES = Sql(
    """SELECT coalesce(failure_code, '') AS code, count(*) AS total,
        count(CASE WHEN failed_at >= stockbell_now(-3600) THEN 1 END) AS hour,
        count(CASE WHEN failed_at >= stockbell_now(-86400) THEN 1 END) AS day,
        count(CASE WHEN failed_at >= stockbell_now(-604800) THEN 1 END) AS week, min(failed_at) AS first,
        max(failed_at) AS last
    FROM request WHERE status = 'FAILED' GROUP BY failure_code ORDER BY total DESC, code""",
    first="time",
    last="time",
)


def ages(c: Connection) -> Sequence[Any]:
    """Returns for each code how many failed with it: in the last `hour`, `day`, `week`, and in `total`."""
    return _AGES(c)


def newest_words(c: Connection, which: Filter) -> Sequence[Row[Any]]:
    """Returns reason, domain and time of the newest that match, newest first."""
    domain: ColumnElement[Any] = (
        func.split_part(col(R.email), "@", 2)
        if c.dialect.name == "postgresql"
        else func.substr(col(R.email), func.instr(col(R.email), "@") + 1)
    )
    query: Select[Any] = (
        select(col(R.failure_reason), domain.label("domain"), col(R.failed_at))
        .where(*conditions(which, c.dialect.name))
        .order_by(*_newest_first())
        .limit(MOST_GROUPED)
    )
    return c.execute(query).all()


def count(c: Connection, which: Filter, most: int) -> int:
    """Returns how many match, and counts no further than to `most`."""
    some = select(literal_column("1")).select_from(R).where(*conditions(which, c.dialect.name)).limit(most).subquery()
    return int(c.execute(select(func.count()).select_from(some)).scalar_one())


def newest(c: Connection, which: Filter, most: int, before: tuple[datetime, UUID] | None = None) -> Sequence[Row[Any]]:
    """Returns the newest that match, with their items: those that failed before one, which is named by time and id."""
    picked: Select[Any] = select(R).where(*conditions(which, c.dialect.name))
    if before is not None:
        key: list[Any] = [col(R.failed_at), col(R.id)]
        last = [literal(value, part.type) for value, part in zip(before, key, strict=True)]
        picked = picked.where(tuple_(*key) < tuple_(*last))
    return c.execute(_with_items(picked.order_by(*_newest_first()).limit(most))).all()


def of_ids(c: Connection, ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Returns requests with their items, in whatever state; some may be gone."""
    picked = select(R).where(*conditions(Filter(ids=list(ids)), c.dialect.name))
    return {row.id: row for row in c.execute(_with_items(picked))}


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
