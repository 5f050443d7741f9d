"""What all statements that claim requests have in common."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.store import lists
from worker.store.sql import Sql

SUSPECT_AT: Final = 2
"""After this many rescues a request is claimed alone, because it may be the cause of the worker crashes."""
COLUMNS: Final = """id, waiting_list_id, claim_no, contact_id, email, item_url, locale, attempts, unknowns,
    policy_refusals, created_date, judged_from < (SELECT worked_at FROM relay WHERE id = 1) AS took_others, extras,
    ordered_at, seat, seat_wave"""
COLUMN_TYPES: Final = {
    "id": "uuid",
    "waiting_list_id": "uuid",
    "contact_id": "uuid",
    "created_date": "time",
    "ordered_at": "time",
}
SET_CLAIMED: Final = """status = 'PROCESSING', owner = :owner, claim_no = r.claim_no + 1, claimed_at = stockbell_now(0),
    handed_at = NULL"""
NOT_SUSPECT: Final = f"r.rescues < {SUSPECT_AT}"
SUSPECT: Final = f"r.rescues >= {SUSPECT_AT}"


class Oldest:
    """Claims the oldest requests of each of some lists, of those for whom one of the conditions `arms` holds.

    With `alone` it claims one in all. `more` is SQL for what else is set.
    """

    def __init__(self, *arms: str, rescued: str = NOT_SUSPECT, alone: bool = False, more: str = "") -> None:
        self._alone = alone
        change = f"{SET_CLAIMED}{more}"
        conditions = [f"{arm} AND {rescued}" for arm in arms]
        self._postgresql = _postgresql_claim("LIMIT 1" if alone else "", change, conditions)
        self._sqlite = [_sqlite_claim(condition, change) for condition in conditions]

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


def _postgresql_claim(limit: str, change: str, arms: Sequence[str]) -> Sql:
    # Each arm uses one index. The locking select must be materialized: in a nested loop it would run and lock again for
    # every row of the outer table. The picked ids are an array: for a join the planner expects so many rows
    # that it reads the whole table.
    def arm(condition: str) -> str:
        return f"""SELECT r.id AS picked_id FROM ready AS w CROSS JOIN LATERAL (
            SELECT r.id FROM request AS r WHERE r.waiting_list_id = w.id AND {condition}
            ORDER BY r.created_date LIMIT :each FOR UPDATE SKIP LOCKED) AS r"""

    found = " UNION ALL ".join(f"SELECT picked_id FROM arm_{number}" for number in range(len(arms)))
    return Sql(
        f"""WITH ready AS MATERIALIZED (
            SELECT w.id, w.in_stock, w.last_in_stock_at, w.opens_at, w.settles_at FROM waiting_list AS w
            WHERE w.id IN ROWS(list_id uuid) AND {lists.SENDING}),
        {", ".join(f"arm_{number} AS MATERIALIZED ({arm(each)})" for number, each in enumerate(arms))},
        picked AS MATERIALIZED ({found} {limit})
        UPDATE request AS r SET {change} WHERE r.id = ANY(ARRAY(SELECT picked_id FROM picked)) RETURNING {COLUMNS}""",
        **COLUMN_TYPES,
    )


def _sqlite_claim(condition: str, change: str) -> Sql:
    # SQLite has no LATERAL. One statement per list costs little there, since it needs no round trip.
    return Sql(
        f"""UPDATE request AS r SET {change} WHERE r.id IN (
            SELECT r.id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
            WHERE w.id = :list_id AND {lists.SENDING} AND {condition}
            ORDER BY r.created_date LIMIT :each) RETURNING {COLUMNS}""",
        **COLUMN_TYPES,
    )
