"""What all statements that claim requests have in common."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.store import lists
from worker.store.sql import Sql

SUSPECT_AT: Final = 2
"""After this many rescues a request is claimed alone, because it may be the cause of the worker crashes."""
COLUMNS: Final = """id, waiting_list_id, claim_no, contact_id, email, item_url, locale, attempts, unknowns,
    policy_refusals, created_date, judged_from < (SELECT worked_at FROM relay WHERE id = 1) AS took_others, extras,
    ordered_at, seat, seat_wave, priority"""
COLUMN_TYPES: Final = {
    "id": "uuid",
    "waiting_list_id": "uuid",
    "contact_id": "uuid",
    "created_date": "time",
    "ordered_at": "time",
}
SET_CLAIMED: Final = """status = 'PROCESSING', owner = :owner, claim_no = r.claim_no + 1, claimed_at = stockbell_now(0),
    handed_at = NULL"""
FACTS: Final = """r.id, r.waiting_list_id, r.priority, r.created_date,
    CASE WHEN r.ordered_at IS NULL THEN 0 ELSE 1 END AS is_ordered"""
"""What has to be known of a request before it is claimed."""
FACT_TYPES: Final = {"id": "uuid", "waiting_list_id": "uuid", "created_date": "time"}
NOT_SUSPECT: Final = f"r.rescues < {SUSPECT_AT}"
SUSPECT: Final = f"r.rescues >= {SUSPECT_AT}"


# Who has priority is found by small indexes of their own, so that nobody else pays for them: mostly they are empty.
_FIRST: Final = ("r.priority > 0", "r.priority DESC, r.created_date")
_OTHERS: Final = ("r.priority <= 0", "r.created_date")


def in_line(condition: str, columns: str = FACTS, *, is_lateral: bool = False) -> str:
    """Returns SQL for those of the list `:list_id` for whom a condition holds: the first `:each`, by their turn.

    `columns` must have priority and created_date. With `is_lateral` the list is `w` of the statement around it.
    """
    of_list = "w.id" if is_lateral else ":list_id"
    joined = "" if is_lateral else "JOIN waiting_list AS w ON w.id = r.waiting_list_id"

    def part(which: str, order: str, room: str) -> str:
        return f"""SELECT {columns} FROM request AS r {joined}
            WHERE r.waiting_list_id = {of_list} AND {condition} AND {which} ORDER BY {order} LIMIT {room}"""

    return f"""WITH first AS MATERIALIZED ({part(*_FIRST, ":each")})
        SELECT * FROM first UNION ALL SELECT * FROM ({part(*_OTHERS, ":each - (SELECT count(*) FROM first)")}) AS others
        ORDER BY priority DESC, created_date"""


class InTurn:
    """Claims from each of some lists whose turn it is, of those for whom one of the conditions `arms` holds.

    With `alone` it claims one in all. `more` is SQL for what else is set. `find` and `take` do it in two steps, for
    `contact_intervals`.
    """

    def __init__(self, *arms: str, rescued: str = NOT_SUSPECT, alone: bool = False, more: str = "") -> None:
        self._alone = alone
        change = f"{SET_CLAIMED}{more}"
        conditions = [f"{arm} AND {rescued}" for arm in arms]
        self._postgresql = _postgresql_claim("LIMIT 1" if alone else "", change, conditions)
        self._sqlite = [_sqlite_claim(condition, change) for condition in conditions]
        self._find = _postgresql_find(conditions)
        self._find_on_sqlite = [_sqlite_find(condition) for condition in conditions]
        self._take = _take(conditions)

    def __call__(self, c: Connection, list_ids: Sequence[UUID], *, each: int, **params: object) -> list[Any]:
        """Claims at most `each` of a list for each condition. Returns rows of COLUMNS."""
        if not list_ids:
            return []
        if c.dialect.name == "postgresql":
            return list(self._postgresql(c, rows=lists.rows_of(list_ids), each=each, **params))
        rows: list[Any] = []
        for list_id in list_ids:
            for statement in self._sqlite:
                rows += statement(c, list_id=list_id, each=each, **params)
                if rows and self._alone:
                    return rows
        return rows

    def find(self, c: Connection, list_ids: Sequence[UUID], each: int) -> list[Any]:
        """Returns at most `each` of a list for each condition, in their turn, and locks nothing. Rows of FACTS."""
        if c.dialect.name == "postgresql":
            rows = list(self._find(c, rows=lists.rows_of(list_ids), each=each))
        else:
            statements = self._find_on_sqlite
            rows = [row for id_ in list_ids for statement in statements for row in statement(c, list_id=id_, each=each)]
        return sorted(rows, key=turn)

    def take(self, c: Connection, request_ids: Sequence[UUID], owner: UUID) -> Sequence[Any]:
        """Claims those of these requests that can still be claimed, and that nobody else holds. Returns them."""
        return self._take(c, rows=[{"request_id": id_} for id_ in request_ids], owner=owner) if request_ids else ()


_READY: Final = f"""WITH ready AS MATERIALIZED (
    SELECT w.id, w.in_stock, w.last_in_stock_at, w.opens_at, w.settles_at FROM waiting_list AS w
    WHERE w.id IN ROWS(list_id uuid) AND {lists.SENDING})"""


def turn(row: Any) -> tuple[int, datetime, int]:
    """Orders requests by whose turn it is: by priority, then by age, also those of one date, as imports have them."""
    return -row.priority, row.created_date, row.id.int  # compared faster than a UUID


def _postgresql_claim(limit: str, change: str, arms: Sequence[str]) -> Sql:
    # Each part of an arm uses one index. The locking select must be materialized: in a nested loop it would run and
    # lock again for every row of the outer table. The picked ids are an array: for a join the planner expects so many
    # rows that it reads the whole table. Who has priority leaves less room for the others of the same list.
    def part(name: str, condition: str, which: str, order: str, room: str) -> str:
        return f"""{name} AS MATERIALIZED (SELECT w.id AS list_id, r.id AS picked_id
            FROM ready AS w CROSS JOIN LATERAL (
                SELECT r.id FROM request AS r WHERE r.waiting_list_id = w.id AND {condition} AND {which}
                ORDER BY {order} LIMIT {room} FOR UPDATE SKIP LOCKED) AS r)"""

    parts = []
    for number, condition in enumerate(arms):
        room = f":each - (SELECT count(*) FROM first_{number} AS f WHERE f.list_id = w.id)"
        parts += [
            part(f"first_{number}", condition, *_FIRST, ":each"),
            part(f"others_{number}", condition, *_OTHERS, room),
        ]
    found = " UNION ALL ".join(
        f"SELECT picked_id FROM {part}_{number}" for number in range(len(arms)) for part in ("first", "others")
    )
    return Sql(
        f"""{_READY},
        {", ".join(parts)},
        picked AS MATERIALIZED ({found} {limit})
        UPDATE request AS r SET {change} WHERE r.id = ANY(ARRAY(SELECT picked_id FROM picked)) RETURNING {COLUMNS}""",
        **COLUMN_TYPES,
    )


def _sqlite_claim(condition: str, change: str) -> Sql:
    # SQLite has no LATERAL. One statement per list costs little there, since it needs no round trip.
    those = in_line(f"{lists.SENDING} AND {condition}", "r.id, r.priority, r.created_date")
    return Sql(
        f"UPDATE request AS r SET {change} WHERE r.id IN (SELECT id FROM ({those}) AS picked) RETURNING {COLUMNS}",
        **COLUMN_TYPES,
    )


def _postgresql_find(arms: Sequence[str]) -> Sql:
    found = " UNION ALL ".join(
        f"SELECT r.* FROM ready AS w CROSS JOIN LATERAL ({in_line(arm, is_lateral=True)}) AS r" for arm in arms
    )
    return Sql(
        f"""{_READY}
        {found}""",
        **FACT_TYPES,
    )


def _sqlite_find(condition: str) -> Sql:
    return Sql(
        in_line(f"{lists.SENDING} AND {condition}"),
        **FACT_TYPES,
    )


def _take(arms: Sequence[str]) -> Sql:
    # `|| ''`: see `claims.BY_KEY`. The conditions are asked again, as nothing was locked when they held.
    may_go = " OR ".join(f"({arm})" for arm in arms).replace("r.status =", "r.status || '' =")
    return Sql(
        f"""WITH free AS MATERIALIZED (
            SELECT r.id AS free_id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
            WHERE r.id IN ROWS(request_id uuid) AND ({may_go}) AND {lists.SENDING} FOR UPDATE OF r SKIP LOCKED)
        UPDATE request AS r SET {SET_CLAIMED} FROM ROWS(request_id uuid)
        WHERE r.id = rows.request_id AND r.id IN (SELECT free_id FROM free) RETURNING {COLUMNS}""",
        **COLUMN_TYPES,
    )


DUE: Final = InTurn(lists.ORDERED, lists.WOKEN)
"""Everybody who may be told now, if no seat is needed."""
