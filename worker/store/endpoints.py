"""Webhook endpoints: where changes are told, and how each of them is getting on. Also the keys of Wix's JWTs."""

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outgoing_urls import is_redis
from worker.domain.webhooks import Format
from worker.models import uuid7
from worker.store.sql import Sql

FAILING_SECONDS: Final = 3 * 86_400.0
"""An endpoint without a success for so long is disabled."""
GONE: Final = "it answered 410: it is gone"
FAILING: Final = "it took nothing for three days"
BEHIND: Final = "it is too far behind"

_ADD = Sql(
    """INSERT INTO webhook_endpoint (id, url, format, is_full, allows_private, secrets, created_date)
    VALUES (:id, :url, :format, :is_full, :allows_private, :secrets, stockbell_now(0))"""
)
_COLUMNS = """id, url, format, is_full, allows_private, secrets, created_date, succeeded_at, failing_since, slow_until,
    disabled_at, disabled_why"""
_TYPES = {
    "id": "uuid",
    "is_full": "bool",
    "allows_private": "bool",
    **dict.fromkeys(("created_date", "succeeded_at", "failing_since", "slow_until", "disabled_at", "oldest"), "time"),
}
_ALL = Sql(
    f"""SELECT {_COLUMNS},
        (SELECT count(*) FROM webhook_delivery AS d WHERE d.endpoint_id = e.id AND d.due_at IS NOT NULL) AS backlog,
        (SELECT min(d.created_date) FROM webhook_delivery AS d WHERE d.endpoint_id = e.id AND d.due_at IS NOT NULL)
            AS oldest
    FROM webhook_endpoint AS e ORDER BY created_date, id""",
    **_TYPES,
)
_ONE = Sql(f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE id = :id", **_TYPES)
# In the order of the index, or all is read for an endpoint for which nothing is due while others are far behind.
_ENABLED = Sql(
    f"""SELECT {_COLUMNS}, CASE WHEN (slow_until IS NULL OR slow_until <= stockbell_now(0))
        AND (SELECT d.due_at FROM webhook_delivery AS d WHERE d.endpoint_id = e.id AND d.due_at IS NOT NULL
            ORDER BY d.due_at LIMIT 1) <= stockbell_now(0) THEN 1 ELSE 0 END AS is_due
    FROM webhook_endpoint AS e WHERE disabled_at IS NULL ORDER BY id""",
    **_TYPES,
)
# In the order of the index, so that a table that was never analyzed is not read.
_NEWS = Sql("SELECT id FROM request WHERE news ORDER BY id LIMIT 1")
_BACKLOG = Sql("SELECT count(*) AS n FROM webhook_delivery WHERE endpoint_id = :id AND due_at IS NOT NULL")
_REMOVE = Sql("DELETE FROM webhook_endpoint WHERE id = :id")
_REMOVE_DELIVERIES = Sql("DELETE FROM webhook_delivery WHERE endpoint_id = :id")
_ENABLE = Sql(
    """UPDATE webhook_endpoint SET disabled_at = NULL, disabled_why = NULL, failing_since = NULL, slow_until = NULL
    WHERE id = :id AND disabled_at IS NOT NULL"""
)
_DISABLE = Sql(
    """UPDATE webhook_endpoint SET disabled_at = stockbell_now(0), disabled_why = :why
    WHERE id = :id AND disabled_at IS NULL"""
)
# What waits is deleted then, and what is still flagged may be told to others only. So this is since when it misses
# something.
_MISSED = Sql(
    """UPDATE webhook_endpoint SET failing_since = waiting.since FROM (
        SELECT min(since) AS since FROM (
            SELECT min(d.created_date) AS since FROM webhook_delivery AS d
            WHERE d.endpoint_id = :id AND d.due_at IS NOT NULL
            UNION ALL SELECT min(coalesce(r.notified_date, r.created_date)) FROM request AS r WHERE r.news) AS each
        ) AS waiting
    WHERE id = :id AND (failing_since IS NULL OR waiting.since < failing_since)"""
)
_SECRETS = Sql("UPDATE webhook_endpoint SET secrets = :secrets WHERE id = :id")
# Written about once a minute while all is well.
_SUCCEEDED = Sql(
    """UPDATE webhook_endpoint SET succeeded_at = stockbell_now(0), failing_since = NULL
    WHERE id = :id AND (failing_since IS NOT NULL OR succeeded_at IS NULL OR succeeded_at < stockbell_now(-60))"""
)
_FAILED = Sql("UPDATE webhook_endpoint SET failing_since = stockbell_now(0) WHERE id = :id AND failing_since IS NULL")
_END_FAILING = Sql(
    """UPDATE webhook_endpoint SET disabled_at = stockbell_now(0), disabled_why = :why
    WHERE id = :id AND disabled_at IS NULL AND failing_since < stockbell_now(-:failing)"""
)
_SLOW = Sql("UPDATE webhook_endpoint SET slow_until = stockbell_now(:seconds) WHERE id = :id")

_ADD_KEY = Sql("INSERT INTO webhook_key (id, private_pem, created_date) VALUES (:id, :pem, stockbell_now(0))")
_KEYS = Sql("SELECT id, private_pem FROM webhook_key ORDER BY created_date DESC, id DESC")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where changes are told."""

    id: UUID
    url: str = field(repr=False)
    format: Format
    is_full: bool
    allows_private: bool
    secrets: tuple[str, ...] = field(repr=False)
    """newest first; two while one replaces the other"""

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream in Redis, and not a URL of HTTP."""
        return is_redis(self.url)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the dispatcher has to do."""

    endpoints: Mapping[Endpoint, bool]
    """those that are enabled, and whether they may be told something now"""
    has_news: bool = False


def add(c: Connection, url: str, format_: Format, *, is_full: bool, allows_private: bool) -> Endpoint:
    """Adds an endpoint with a new secret."""
    made = Endpoint(uuid7(), url, format_, is_full, allows_private, (_new_secret(),))
    _ADD(
        c,
        id=made.id,
        url=url,
        format=format_.value,
        is_full=is_full,
        allows_private=allows_private,
        secrets=json.dumps(made.secrets),
    )
    return made


def each(c: Connection) -> Sequence[Any]:
    """Returns the rows of all endpoints, oldest first, with their `backlog` and the time of its `oldest` change."""
    return _ALL(c)


def find(c: Connection, endpoint_id: UUID) -> Endpoint | None:
    """Returns an endpoint, enabled or not."""
    rows = _ONE(c, id=endpoint_id)
    return _endpoint(rows[0]) if rows else None


def waiting(c: Connection) -> Waiting:
    """Returns what there is to do now."""
    found = {_endpoint(row): bool(row.is_due) for row in _ENABLED(c)}
    return Waiting(found, bool(found and _NEWS(c)))


def backlog(c: Connection, endpoint_id: UUID) -> int:
    """Returns how many deliveries wait for an endpoint."""
    found: int = _BACKLOG(c, id=endpoint_id)[0].n
    return found


def remove(c: Connection, endpoint_id: UUID) -> bool:
    """Removes an endpoint with its deliveries. Returns False if there is none.

    What is being told to it at the same time is deleted a little later.
    """
    is_there = _REMOVE.count(c, id=endpoint_id) > 0
    _REMOVE_DELIVERIES(c, id=endpoint_id)
    return is_there


def enable(c: Connection, endpoint_id: UUID) -> datetime | None:
    """Enables an endpoint. Returns since when it has missed something; None: it was not disabled, or there is none."""
    rows = _ONE(c, id=endpoint_id)
    if not rows or not _ENABLE.count(c, id=endpoint_id):
        return None
    since: datetime = rows[0].failing_since or rows[0].disabled_at
    return since


def is_enabled(c: Connection, endpoint_id: UUID) -> bool:
    """Whether there is such an endpoint, and it is told."""
    rows = _ONE(c, id=endpoint_id)
    return bool(rows) and rows[0].disabled_at is None


def disable(c: Connection, endpoint_id: UUID, why: str) -> bool:
    """Disables an endpoint. Returns False if it was disabled before."""
    if not _DISABLE.count(c, id=endpoint_id, why=why):
        return False
    _MISSED(c, id=endpoint_id)
    return True


def rotate(c: Connection, endpoint_id: UUID) -> str | None:
    """Gives an endpoint a new secret, which is returned. The one before goes on to sign too, until the next time."""
    found = find(c, endpoint_id)
    if found is None:
        return None
    new = _new_secret()
    _SECRETS(c, id=endpoint_id, secrets=json.dumps([new, *found.secrets[:1]]))
    return new


def note(c: Connection, endpoint_id: UUID, *, is_success: bool, slow: float | None, is_gone: bool) -> str | None:
    """Records how an endpoint answered. Returns why it is disabled because of that, or None."""
    if is_gone and disable(c, endpoint_id, GONE):
        return GONE
    if slow is not None:
        _SLOW(c, id=endpoint_id, seconds=slow)
    if is_success:
        _SUCCEEDED(c, id=endpoint_id)
        return None
    if _FAILED.count(c, id=endpoint_id):
        return None
    if not _END_FAILING.count(c, id=endpoint_id, why=FAILING, failing=FAILING_SECONDS):
        return None
    _MISSED(c, id=endpoint_id)
    return FAILING


def add_key(c: Connection, pem: str) -> str:
    """Adds a private key, which signs from now on, and returns its id."""
    id_ = secrets.token_hex(8)
    _ADD_KEY(c, id=id_, pem=pem)
    return id_


def keys(c: Connection) -> list[tuple[str, str]]:
    """Returns id and PEM of the private keys, newest first."""
    return [(row.id, row.private_pem) for row in _KEYS(c)]


def _new_secret() -> str:
    return f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"


def _endpoint(row: Any) -> Endpoint:
    return Endpoint(
        row.id, row.url, Format(row.format), bool(row.is_full), bool(row.allows_private), tuple(json.loads(row.secrets))
    )
