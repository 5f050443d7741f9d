"""The limits that protect an address from those who sign it up by publishable keys, which everybody knows.

They are part of the transaction that inserts: they hold for any number of processes, and without Redis. A contact's row
is the lock. Who is refused costs as many statements as who is not, and also writes, so that both commits take the time
of one.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from worker.store.sql import Sql

EVERY_SECONDS: Final = 30.0
"""An address gets at most one new public request in this time."""
MOST_WAITING: Final = 20
"""So many public requests of an address may wait."""
PUBLIC: Final = '{"public":true'
"""What `request.signup` begins with if a publishable key made the request."""

_AHEAD_SECONDS: Final = 60.0
"""A time further in the future is ignored: the database's clock was set back."""

# A second transaction waits for the first one's lock, sees its `signed_up_at`, and is refused. So no count is stale:
# what is counted grew half a minute ago at the latest.
_TAKE_TURNS = Sql(
    """WITH free AS MATERIALIZED (
        SELECT c.id AS who FROM ROWS(contact_id uuid, list_id uuid) JOIN contact AS c ON c.id = rows.contact_id
        WHERE (c.signed_up_at IS NULL OR c.signed_up_at NOT BETWEEN stockbell_now(-:every) AND stockbell_now(:ahead))
          AND NOT EXISTS (SELECT 1 FROM request AS same WHERE same.contact_id = c.id
            AND same.waiting_list_id = rows.list_id AND same.status IN ('RECEIVED', 'PROCESSING'))
          AND :most > (SELECT count(*) FROM request AS r WHERE r.contact_id = c.id
            AND r.status IN ('RECEIVED', 'PROCESSING') AND r.signup LIKE :public)
        ORDER BY c.id FOR NO KEY UPDATE OF c)
    UPDATE contact SET signed_up_at = stockbell_now(0) FROM free WHERE id = free.who RETURNING id""",
    id="uuid",
)
# SQLite commits nothing where a value stays as it was.
_REFUSE = Sql(
    """WITH refused AS MATERIALIZED (
        SELECT c.id AS who FROM contact AS c WHERE c.id IN ROWS(contact_id uuid) ORDER BY c.id FOR NO KEY UPDATE)
    UPDATE contact SET refused_at = stockbell_now(0) FROM refused WHERE id = refused.who"""
)


def within_limits(c: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows that `requests.create` may add: all that are not public, and the public ones within the limits.

    A public row of which there is an equal one does not count.
    """
    first = {row["contact_id"]: row for row in reversed(rows) if row["is_public"]}
    if not first:
        return list(rows)
    limits = {"every": EVERY_SECONDS, "ahead": _AHEAD_SECONDS, "most": MOST_WAITING, "public": f"{PUBLIC}%"}
    taken = {row.id for row in _TAKE_TURNS(c, rows=list(first.values()), **limits)}
    _REFUSE(c, rows=[{"contact_id": id_} for id_ in first if id_ not in taken])
    allowed = [row["id"] for id_, row in first.items() if id_ in taken]
    return [row for row in rows if not row["is_public"] or row["id"] in allowed]
