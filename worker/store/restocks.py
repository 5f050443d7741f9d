"""Restocks: which claim is the first after a list was woken, so that the time until the first mail can be told.

The first claim that takes woken requests of a list after its wake-up changes `waiting_list.begun_at`. Of several at
once one does, since the row is locked. The first of its mails that the relay takes is the first mail of the restock.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from worker.store.sql import Sql

WOKEN_AT = "coalesce(w.woken_at, w.last_in_stock_at)"
"""The SQL for the wake-up of a list `w`. More in-stock events before a claim reaches its end are the same one."""

_BEGIN = Sql(
    f"""WITH locked AS MATERIALIZED (
        SELECT w.id AS which, rows.begins FROM waiting_list AS w JOIN ROWS(list_id uuid, begins bool)
            ON w.id = rows.list_id AND (NOT rows.begins OR coalesce(w.begun_at < {WOKEN_AT}, true))
        ORDER BY w.id FOR NO KEY UPDATE OF w)
    UPDATE waiting_list SET begun_at = stockbell_now(0) FROM locked WHERE id = locked.which AND locked.begins
    RETURNING id, begun_at""",
    id="uuid",
    begun_at="time",
)
_GIVE_BACK = Sql(
    """WITH given AS MATERIALIZED (
        SELECT w.id AS which FROM waiting_list AS w
        JOIN ROWS(list_id uuid, begun timestamptz) ON w.id = rows.list_id AND w.begun_at = rows.begun
        ORDER BY w.id FOR NO KEY UPDATE OF w)
    UPDATE waiting_list SET begun_at = NULL FROM given WHERE id = given.which"""
)


@dataclass(slots=True, eq=False)
class Restock:
    """A list's first claim after a wake-up. If none of its mails is taken, the next claim is the first (`give_back`).

    But if the process dies with it, no mail of that restock counts as its first.
    """

    list_id: UUID
    begun_at: datetime
    left: int
    """how many of its requests have not ended"""
    is_told: bool = False


def begin(c: Connection, claimed: Mapping[UUID, int], others: Collection[UUID] = ()) -> dict[UUID, Restock]:
    """Returns the restocks of which this is the first claim, by list. `claimed` are how many it took of each.

    It also locks the `others`, which the claim is about to change: all lists in the order of their ids.
    """
    rows = [{"list_id": list_id, "begins": list_id in claimed} for list_id in dict.fromkeys([*claimed, *others])]
    begun = _BEGIN(c, rows=rows)
    return {row.id: Restock(row.id, row.begun_at, claimed[row.id]) for row in begun}


def give_back(c: Connection, untold: Sequence[Restock]) -> None:
    """The first claims of these have told nobody."""
    _GIVE_BACK(c, rows=[{"list_id": restock.list_id, "begun": restock.begun_at} for restock in untold])
