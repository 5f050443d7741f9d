"""What a change of many requests would do: how many it would change, whom it would refuse and why. It only reads.

The refusals are those of `store.admin`, said in one statement for all: row by row they would take seconds. `admin` has
the last word, when the change is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, literal, literal_column, select, tuple_
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import col

from worker.domain.outcomes import UNCONFIRMED
from worker.models import Contact, Status
from worker.store import admin
from worker.store.contacts import ERASED
from worker.store.requests import Filter, R, conditions
from worker.store.sql import Sql
from worker.store.suppression import LEFT_ITEM, NEVER

MOST_JUDGED: Final = 20_000
"""Of so many the refusals are counted. Of more they are 'at least'."""
HAS_COUNT: Final = (Status.FAILED, Status.RECEIVED)
"""These have indexes of their own, so that all of them can be counted."""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SUPERSEDED: Final = _quoted(f"{admin.SUPERSEDED} another request")
_IS_IT: Final = "'is ' || r.status"
_UNCONFIRMED: Final = (f"r.failure_code = '{UNCONFIRMED}'", _quoted(admin.NOT_CONFIRMED))
_BEING_SENT: Final = ("r.status = 'PROCESSING'", _quoted(admin.BEING_SENT))
_FORCE: Final = tuple(
    (f"r.failure_code = '{code}' AND NOT {{force}}", _quoted(admin.needs_force(code))) for code in admin.NEED_FORCE
)
_NO_MAIL: Final = admin.gets_no_mail("{}").split("{}")
_RULES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "retry": (
        (f"r.status <> 'FAILED' AND {_UNCONFIRMED[0]}", _UNCONFIRMED[1]),
        _BEING_SENT,
        ("r.status <> 'FAILED'", f"{_IS_IT} || ', not FAILED'"),
        (f"s.suppressed_why IS NOT NULL AND s.address LIKE '{ERASED}%'", _quoted(admin.ERASED_CUSTOMER)),
        ("s.suppressed_why IS NOT NULL", f"{_quoted(_NO_MAIL[0])} || s.suppressed_why || {_quoted(_NO_MAIL[1])}"),
        (f"r.not_before > {NEVER}", _quoted(admin.NOT_CONFIRMED)),
        (f"r.failure_reason = {_quoted(LEFT_ITEM)}", _quoted(admin.LEFT)),
        *_FORCE,
        (
            """EXISTS (SELECT 1 FROM request AS u WHERE u.contact_id = r.contact_id
                AND u.waiting_list_id = r.waiting_list_id AND u.status IN ('RECEIVED', 'PROCESSING'))""",
            _SUPERSEDED,
        ),
    ),
    "report": (_UNCONFIRMED, _BEING_SENT, ("r.status <> 'RECEIVED'", _IS_IT)),
    "mark-sent": (
        (f"r.status NOT IN ('RECEIVED', 'FAILED') AND {_UNCONFIRMED[0]}", _UNCONFIRMED[1]),
        _BEING_SENT,
        ("r.status NOT IN ('RECEIVED', 'FAILED')", _IS_IT),
    ),
    "delete": (_BEING_SENT,),
}
_SETTLE = Sql("UPDATE request SET failed_at = created_date WHERE status = 'FAILED' AND failed_at IS NULL")


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The numbers of a preview."""

    matching: int
    """all that match"""
    is_exact: bool
    """whether all were looked at; else all numbers are 'at least', or `matching` alone is exact"""
    is_counted: bool
    """whether `matching` is exact"""
    codes: Mapping[str, int]
    """of those that match, by failure code, or by status if they have none"""
    refused: Mapping[str, int]
    """by reason"""

    @property
    def would(self) -> int:
        """How many would be changed; at most so many if it is not exact."""
        return self.matching - sum(self.refused.values()) if self.is_exact else self.matching


def foresee(c: Connection, which: Filter, verb: str, *, force: bool) -> Foreseen:
    """Returns what a verb would do with these requests."""
    codes: dict[str, int] = {}
    refused: dict[str, int] = {}
    for row in c.execute(_judged(which, verb, c.dialect.name, force=force)):
        codes[row.code] = codes.get(row.code, 0) + row.n
        if row.refusal is not None:
            refused[row.refusal] = refused.get(row.refusal, 0) + row.n
    found = sum(codes.values())
    if found <= MOST_JUDGED:
        return Foreseen(found, True, True, codes, refused)
    if which.status not in HAS_COUNT:
        return Foreseen(MOST_JUDGED, False, False, codes, refused)
    codes = count(c, which)
    return Foreseen(sum(codes.values()), False, True, codes, refused)


def count(c: Connection, which: Filter) -> dict[str, int]:
    """Returns how many match, by failure code, or by status if they have none."""
    query = select(_CODE, func.count().label("n")).where(*conditions(which, c.dialect.name)).group_by(_CODE)
    return {row.code: row.n for row in c.execute(query)}


def settle(c: Connection) -> None:
    """Dates failures that a program from before 0008 has not dated, so that `walk` finds them."""
    _SETTLE(c)


def walk(c: Connection, which: Filter, after: tuple[datetime | None, UUID] | None, most: int) -> Sequence[Row[Any]]:
    """Returns the next requests that match, with their `failed_at`: in the order of failure if that is their status.

    `after` is the last one so far.
    """
    key: list[Any] = [col(R.failed_at), col(R.id)] if which.status is Status.FAILED else [col(R.id)]
    query: Select[*tuple[Any, ...]] = (
        select(col(R.id), col(R.failed_at)).where(*conditions(which, c.dialect.name)).order_by(*key).limit(most)
    )
    if after is not None:
        last = [literal(value, part.type) for value, part in zip(after[-len(key) :], key, strict=True)]
        query = query.where(tuple_(*key) > tuple_(*last))
    return c.execute(query).all()


_CODE: Final[ColumnElement[str]] = literal_column("coalesce(r.failure_code, r.status)").label("code")


def _judged(which: Filter, verb: str, dialect: str, *, force: bool) -> Select[Any]:
    """One row for each code and refusal, with how many there are."""
    picked = select(R).where(*conditions(which, dialect)).limit(MOST_JUDGED + 1).cte("r")
    cases = " ".join(f"WHEN {when} THEN {then}" for when, then in _RULES[verb])
    refusal: ColumnElement[Any] = literal_column(
        "CASE " + cases.replace("{force}", "true" if force else "false") + " END"
    )
    s = select(Contact).subquery("s")
    judged = (
        select(
            literal_column("r.id"), literal_column("r.contact_id"), literal_column("r.waiting_list_id"),
            literal_column("r.created_date"), _CODE, refusal.label("refusal"),
        )
        .select_from(picked.join(s, s.c.id == picked.c.contact_id))
        .subquery("j")
    )  # fmt: skip
    # Of several requests of one customer for one list only the oldest is retried.
    place: ColumnElement[Any] = literal_column(
        """CASE WHEN j.refusal IS NULL THEN row_number() OVER (
            PARTITION BY j.contact_id, j.waiting_list_id, j.refusal ORDER BY j.created_date, j.id) END"""
    )
    ranked = select(literal_column("j.code"), literal_column("j.refusal"), place.label("place")).select_from(judged)
    numbered = ranked.subquery("n")
    is_later = f"n.refusal IS NULL AND n.place > 1 AND {'true' if verb == 'retry' else 'false'}"
    why: ColumnElement[Any] = literal_column(f"CASE WHEN {is_later} THEN {_SUPERSEDED} ELSE n.refusal END").label(
        "refusal"
    )
    code: ColumnElement[Any] = literal_column("n.code").label("code")
    return select(code, why, func.count().label("n")).select_from(numbered).group_by(code, why)
