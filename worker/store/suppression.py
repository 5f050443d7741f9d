"""Suppressed contacts: customers who get no mail."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.returned import Cause
from worker.store.sql import Sql

_SUPPRESS = Sql(
    """UPDATE contact SET suppressed_at = stockbell_now(0), suppressed_why = :why, suppressed_by = :by
    WHERE id IN ROWS(id uuid) AND (suppressed_at IS NULL
        OR (CAST(:is_strong AS bool) AND suppressed_why IN ('bounced', 'unsubscribed'))) RETURNING id""",
    id="uuid",
)
_END = Sql(
    """UPDATE request SET status = 'FAILED', failure_code = 'SUPPRESSED', failure_reason = :why, not_before = NULL
    WHERE contact_id IN ROWS(id uuid) AND status IN ('RECEIVED', 'PROCESSING') AND status = 'RECEIVED' RETURNING id""",
    id="uuid",
)


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The contacts that were not suppressed before, or for a weaker cause, and their requests that ended."""

    contacts: Sequence[UUID]
    requests: Sequence[UUID]


def suppress(c: Connection, contact_ids: Sequence[UUID], cause: Cause, by: str) -> Suppressed:
    """Suppresses these contacts, and ends their RECEIVED requests as FAILED, SUPPRESSED."""
    rows = [{"id": id_} for id_ in sorted(set(contact_ids))]
    is_strong = cause in (Cause.COMPLAINED, Cause.MANUAL)
    contacts = [row.id for row in _SUPPRESS(c, rows=rows, why=cause.value, by=by, is_strong=is_strong)]
    return Suppressed(contacts, [row.id for row in _END(c, rows=rows, why=cause.value)])
