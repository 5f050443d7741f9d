"""Reads what came back: for one request, and counts of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select
from sqlmodel import col

from worker.models import Report
from worker.store.reports import EARLY_SECONDS
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


def of_request(c: Connection, request: Row[Any]) -> Sequence[Row[Any]]:
    """Returns what came back for a request (a row of it), oldest first. Also if it was told in another one's mail."""
    condition = col(Report.request_id) == request.id
    if request.mail_id and request.notified_date:
        earliest = request.notified_date - timedelta(seconds=EARLY_SECONDS)
        condition = or_(condition, and_(col(Report.request_id) == request.mail_id, col(Report.at) > earliest))
    return c.execute(select(Report).where(condition).order_by(col(Report.at), col(Report.key))).all()


def count(c: Connection) -> CameBack:
    """Counts what came back."""
    return CameBack(
        {row.kind: row.n for row in _BY_KIND(c, recent=COUNTED_SECONDS)},
        _UNMATCHED(c, recent=COUNTED_SECONDS)[0].n,
        {row.cause: row.n for row in _SUPPRESSED(c)},
    )
