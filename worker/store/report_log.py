"""Reads what came back: for one request, and counts of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlmodel import col

from worker.models import Report
from worker.store.sql import Sql

COUNTED_SECONDS = 86_400.0
"""What came back is counted for this many seconds."""

_BY_KIND = Sql(
    """SELECT kind, count(*) AS n FROM report
    WHERE at > stockbell_now(-:recent) AND (request_id IS NOT NULL OR contact_id IS NOT NULL) GROUP BY kind"""
)
_UNMATCHED = Sql(
    """SELECT count(*) AS n FROM report
    WHERE at > stockbell_now(-:recent) AND request_id IS NULL AND contact_id IS NULL"""
)
# Index entries are enough.
_SUPPRESSED = Sql(
    """SELECT suppressed_why AS cause, count(*) AS n FROM contact
    WHERE suppressed_at IS NOT NULL GROUP BY suppressed_why"""
)


@dataclass(frozen=True, slots=True)
class CameBack:
    """Counts of reports of the last 24 hours, and of suppressed customers."""

    by_kind: Mapping[str, int] = field(default_factory=dict)
    """for each `Kind` that came in for mails of ours"""
    unmatched: int = 0
    suppressed: Mapping[str, int] = field(default_factory=dict)
    """for each `Cause`, without a limit of time"""


def of_request(c: Connection, request_id: UUID) -> Sequence[Row[Any]]:
    """Returns what came back for a request, oldest first."""
    query = select(Report).where(col(Report.request_id) == request_id).order_by(col(Report.at), col(Report.key))
    return c.execute(query).all()


def count(c: Connection) -> CameBack:
    """Counts what came back."""
    return CameBack(
        {row.kind: row.n for row in _BY_KIND(c, recent=COUNTED_SECONDS)},
        _UNMATCHED(c, recent=COUNTED_SECONDS)[0].n,
        {row.cause: row.n for row in _SUPPRESSED(c)},
    )
