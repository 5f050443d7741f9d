"""What admins do with webhook endpoints: list them as JSON, tell them again what they missed, and see how they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.outgoing_urls import without_password
from worker.services.wire import timestamp
from worker.store import clock, deliveries, endpoints, hooks, outbox
from worker.store.database import Connection, Database

CHUNK: Final = 1000
"""requests per transaction"""
MOST_WAITING: Final = 100_000
"""A resync goes on only while fewer deliveries wait: an endpoint that is too far behind is disabled."""


@dataclass(frozen=True, slots=True)
class WebhookFigures:
    """How the endpoints are getting on."""

    endpoints: int
    backlog: int
    oldest_seconds: float | None
    disabled: dict[str, str]
    """why, by id"""

    def as_json(self) -> dict[str, Any]:
        """Returns the figures with the names that scripts rely on."""
        return {
            "endpoints": self.endpoints,
            "backlog": self.backlog,
            "oldestSeconds": self.oldest_seconds,
            "disabled": self.disabled,
        }

    @property
    def words(self) -> str:
        """The figures for people."""
        late = f", the oldest for {self.oldest_seconds:,.0f} s" if self.oldest_seconds is not None else ""
        disabled = f", {len(self.disabled)} disabled" if self.disabled else ""
        return f"{self.endpoints} endpoint{'s' * (self.endpoints != 1)}{disabled}; {self.backlog:,} events wait{late}"


def figures(c: Connection) -> WebhookFigures | None:
    """Returns the figures, or None if there are no endpoints."""
    rows = endpoints.each(c)
    if not rows:
        return None
    enabled = [row for row in rows if row.disabled_at is None]
    oldest = min((row.oldest for row in enabled if row.oldest), default=None)
    return WebhookFigures(
        len(rows),
        sum(row.backlog for row in enabled),
        max(0.0, (clock.now(c) - oldest).total_seconds()) if oldest else None,
        {str(row.id): row.disabled_why for row in rows if row.disabled_at},
    )


@dataclass(frozen=True, slots=True)
class Overview:
    """The endpoints with their last deliveries, newest first, and the hooks at which others call us. No secrets."""

    endpoints: Sequence[tuple[dict[str, Any], Sequence[dict[str, Any]]]]
    hooks: Sequence[Any]
    has_key: bool
    """whether Wix's format can be signed"""


def overview(c: Connection, most: int) -> Overview:
    """Reads the endpoints with so many deliveries each."""
    found = [
        (endpoint_json(row), [delivery_json(each) for each in deliveries.last(c, row.id, most)])
        for row in endpoints.each(c)
    ]
    return Overview(found, hooks.each(c), bool(endpoints.keys(c)))


def resync(
    database: Database, endpoint_id: UUID, since: datetime, wait: Callable[[int], None], most: int = MOST_WAITING
) -> int:
    """Tells an endpoint again what may have changed since a time, as it is now. Returns of how many requests.

    `wait` is called with the number of deliveries that wait, again and again, while these are too many. Raises
    DatabaseAway.
    """
    told, after = 0, UUID(int=0)
    while True:
        while (behind := database.read(endpoints.backlog, endpoint_id)) >= most:
            wait(behind)
        found = database.write(tell_again, endpoint_id, since, after)
        if not found:
            return told
        told, after = told + len(found), found[-1]


def tell_again(c: Connection, endpoint_id: UUID, since: datetime, after: UUID) -> Sequence[UUID]:
    """Tells an endpoint again of the next requests after an id that may have changed since. Returns their ids."""
    found = outbox.changed_since(c, since, after, CHUNK)
    if found:
        outbox.tell_again(c, endpoint_id, found)
    return found


def endpoint_json(row: Any) -> dict[str, Any]:
    """Returns an endpoint (a row of `endpoints.each`) as JSON, without secrets."""
    return {
        "id": str(row.id),
        "url": without_password(row.url),
        "format": row.format,
        "full": bool(row.is_full),
        "allowPrivate": bool(row.allows_private),
        "created": timestamp(row.created_date),
        "lastSuccess": row.succeeded_at and timestamp(row.succeeded_at),
        "failingSince": row.failing_since and timestamp(row.failing_since),
        "slowUntil": row.slow_until and timestamp(row.slow_until),
        "disabled": row.disabled_at and timestamp(row.disabled_at),
        "disabledWhy": row.disabled_why,
        "backlog": row.backlog,
        "oldest": row.oldest and timestamp(row.oldest),
    }


def delivery_json(row: Any) -> dict[str, Any]:
    """Returns a delivery (a row of `deliveries.last`) as JSON."""
    return {
        "webhookId": f"{row.request_id}.{row.version}",
        "kind": row.kind,
        "created": timestamp(row.created_date),
        "tries": row.tries,
        "status": row.status,
        "why": row.why,
        "nextTry": row.due_at and timestamp(row.due_at),
        "done": row.done_at and timestamp(row.done_at),
    }
