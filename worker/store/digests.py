"""Digests: what else a customer can be told of now goes in the same mail. See `docs/policies.md`.

After a claim has found whom to tell, it takes other requests of the same customers, whichever waiting lists they are
on. Nothing here waits for others: what they hold is left to them, and goes in a mail of its own.
"""

from collections import Counter
from collections.abc import Collection, MutableMapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Item
from worker.domain.policies import MOST_ITEMS, Policies
from worker.store import lists, seat_claims, seats
from worker.store.claim_sql import DUE, FACT_TYPES, FACTS, NOT_SUSPECT
from worker.store.seats import Ledger
from worker.store.sql import Sql

LOOKED_AT: Final = 1_000
"""So many requests of a customer are looked at. The others go in a later mail, when their own lists are served."""

# The index on unresolved requests has the customer first. Its condition is there in the same words.
_UNRESOLVED: Final = "r.status IN ('RECEIVED', 'PROCESSING')"
_IS_DUE: Final = f"{lists.SENDING} AND ({lists.WOKEN} OR {lists.ORDERED}) AND {NOT_SUSPECT}"
_POSTGRESQL = Sql(
    f"""SELECT found.* FROM ROWS(contact_id uuid, room int) CROSS JOIN LATERAL (
        SELECT {FACTS} FROM (
            SELECT r.* FROM request AS r WHERE r.contact_id = rows.contact_id AND {_UNRESOLVED} LIMIT :looked_at) AS r
        JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE {_IS_DUE} ORDER BY r.priority DESC, r.created_date, r.id LIMIT rows.room) AS found""",
    **FACT_TYPES,
)
_SQLITE = Sql(
    f"""SELECT id, waiting_list_id, priority, created_date, is_ordered FROM (
        SELECT {FACTS}, room, row_number() OVER (PARTITION BY r.contact_id
            ORDER BY r.priority DESC, r.created_date, r.id) AS place
        FROM ROWS(contact_id uuid, room int) CROSS JOIN request AS r CROSS JOIN waiting_list AS w
        WHERE r.contact_id = rows.contact_id AND {_UNRESOLVED} AND w.id = r.waiting_list_id AND {_IS_DUE}) AS found
    WHERE place <= room""",
    **FACT_TYPES,
)


def claim_beside(
    c: Connection,
    owner: UUID,
    rows: Sequence[Any],
    ledgers: MutableMapping[Item, Ledger],
    policies: Policies,
    own: Sequence[UUID] = (),
) -> list[Any]:
    """Claims what else the contacts of these claimed rows can be told of, as far as there is room in their mails.

    Of items that tell only so many it takes those whose turn it is, if the item can be locked without waiting. Such
    items are added to `ledgers`, which are those that the claim has locked. Their lists are locked after `own`, which
    the claim changes at its end: else whoever holds one of these may wait for one of those. Returns rows of COLUMNS.
    """
    found = _due(c, rows)
    if not found:
        return []
    limited = seats.limited(c, {each.waiting_list_id for each in found}, policies)
    seated = {each.id: limited[each.waiting_list_id] for each in found if _needs_seat(each, limited)}
    claimed = list(DUE.take(c, [each.id for each in found if each.id not in seated], owner))
    if more := {item: its for item, its in seated.values() if item not in ledgers}:
        seats.lock_lists(c, own)
        ledgers.update(seats.lock_free(c, more))
    for item, ledger in ledgers.items():
        wanted = {request_id for request_id, (whose, _) in seated.items() if whose == item}
        if wanted:
            claimed += seat_claims.claim_in_turn(c, owner, ledger, wanted)
    return claimed


def _needs_seat(due: Any, limited: Collection[UUID]) -> bool:
    return due.waiting_list_id in limited and not due.is_ordered


def _due(c: Connection, rows: Sequence[Any]) -> Sequence[Any]:
    # The hash of a number is computed faster than that of a UUID.
    ids = {row.contact_id.int: row.contact_id for row in rows}
    counts = Counter([row.contact_id.int for row in rows])
    room = [{"contact_id": ids[key], "room": -n % MOST_ITEMS} for key, n in counts.items() if n % MOST_ITEMS]
    if c.dialect.name == "sqlite":
        return _SQLITE(c, rows=room)
    return _POSTGRESQL(c, rows=room, looked_at=LOOKED_AT)
