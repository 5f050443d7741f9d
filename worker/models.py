"""The tables. The row is the truth; everything in Redis can be lost without losing a mail.

One class a table, in the order in which the line fills them. What each state means and who moves it on is said
at `Status`; the statements that do so are in `store`. Times are the database's clock, UTC, in microseconds.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Index,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy import Enum as SqlEnum
from sqlmodel import Field, SQLModel

SCHEMA = "0001"
"""The newest schema revision; the program works with exactly this one (see `migrations`)."""

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

UNRESOLVED = "status IN ('RECEIVED', 'PROCESSING')"
"""The requests that still wait for an answer, as SQL (literals, or partial indexes would not be used)."""


class Status(StrEnum):
    """The life of a request, in the words of Wix's Back In Stock Notification Request."""

    RECEIVED = "RECEIVED"
    """Waits. `claim` moves it on when its item is in stock; `mark` may end it."""
    PROCESSING = "PROCESSING"
    """A worker holds it. `record`, `defer` and `release` move it on; `rescue` if the worker is gone."""
    NOTIFICATION_SENT = "NOTIFICATION_SENT"
    """The relay took the mail, or an admin said it went out by other means. Final."""
    FAILED = "FAILED"
    """Nobody will be told, for the reason kept with it. Only an admin's `retry` or `mark` moves it on."""


class BreakerState(StrEnum):
    """Whether the relay takes mail: `closed` is the good state, as in an electric circuit."""

    CLOSED = "closed"
    OPEN = "open"


class UtcDateTime(TypeDecorator[datetime]):
    """A UTC time with microseconds: `timestamptz` on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses naive times: they mean something else on every machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite forgets the zone; we know that it is UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def uuid7() -> UUID:
    """A new id that sorts by its time of birth (RFC 9562, section 5.7)."""
    return _uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def uuid7_of(at: datetime, *ids: UUID) -> UUID:
    """The same id for the same time and ids, always: a `uuid7` of then (from 1970 on), with a hash for its chance."""
    microseconds = (at - _EPOCH) // _MICROSECOND
    named = b"".join([microseconds.to_bytes(8, "big", signed=True), *(id_.bytes for id_ in ids)])
    return _uuid7(max(0, microseconds // 1000), blake2b(named, digest_size=10).digest())


def _uuid7(milliseconds: int, chance: bytes) -> UUID:
    value = (milliseconds << 80) | (0x7 << 76) | int.from_bytes(chance, "big") >> 4
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


class Contact(SQLModel, table=True):
    """Somebody who wants to be told: one row per normalised address, made with the first request."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    address: str = Field(unique=True)
    """The address in lower case: two spellings of it are one person."""
    created_date: datetime = Field(sa_type=UtcDateTime)


class Item(SQLModel, table=True):
    """A catalog item and what events said of it, merged key by key."""

    __table_args__ = (UniqueConstraint("app_id", "catalog_item_id"),)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    app_id: str
    catalog_item_id: str
    name: str | None = None
    price: str | None = None
    currency: str | None = None
    image_url: str | None = None
    url: str | None = None
    out_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the whole item last went out of stock; variant events older than this (with `out_entry`) are stale."""
    out_entry: str | None = None


class Stock(SQLModel, table=True):
    """What the newest event said of one (item, options); options `{}` is the item as a whole."""

    item_id: UUID = Field(primary_key=True, foreign_key="item.id")
    options: str = Field(primary_key=True)
    in_stock: bool
    quantity: int | None = Field(default=None, sa_type=BigInteger)
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    entry_id: str
    last_in_stock_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the last in-stock event for this row was applied."""


class WaitingList(SQLModel, table=True):
    """Those who wait for one (item, options). A bell rings for a list, never for a request."""

    __tablename__: ClassVar[str] = "waiting_list"
    __table_args__ = (UniqueConstraint("item_id", "options"),)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    item_id: UUID = Field(foreign_key="item.id")
    options: str
    in_stock: bool = False
    last_in_stock_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the last in-stock event for this list was applied: it wakes the requests that are older."""
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when somebody here may be due: set by an in-stock event, cleared when a claim finds the end of the list."""
    bell_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a bell was put into the queue for this list; null again once a task has taken it."""


class Request(SQLModel, table=True):
    """One customer's wish to be told, as in Wix eCommerce's Back In Stock Notification Request."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    waiting_list_id: UUID = Field(foreign_key="waiting_list.id")
    contact_id: UUID = Field(foreign_key="contact.id")
    email: str
    item_url: str | None = None
    locale: str | None = None
    status: Status = Field(
        default=Status.RECEIVED,
        sa_type=SqlEnum(Status, native_enum=False, length=20),
    )
    auto_notified: bool | None = None
    created_date: datetime = Field(sa_type=UtcDateTime)
    notified_date: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ordered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When an admin said: send this one whatever the stock."""
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Backing off until then; the sweep sets it to null when it is due."""
    claim_no: int = 0
    """Raised by every claim, never lowered: with `owner` it is the fence around late writes."""
    owner: UUID | None = None
    claimed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    handed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """With ON_UNKNOWN=fail: committed before the mail's bytes are written, so that nobody is told twice."""
    attempts: int = 0
    """Tries that were spent: the relay answered and did not take the mail, or its answer was lost."""
    unknowns: int = 0
    policy_refusals: int = 0
    rescues: int = 0
    failure_code: str | None = None
    failure_reason: str | None = None

    __table_args__ = (
        Index(
            "request_unresolved",
            "contact_id",
            "waiting_list_id",
            unique=True,
            postgresql_where=text(UNRESOLVED),
            sqlite_where=text(UNRESOLVED),
        ),
        *(
            Index(f"request_{name}", *columns, postgresql_where=text(where), sqlite_where=text(where))
            for name, columns, where in (
                (
                    "woken",
                    ("waiting_list_id", "created_date"),
                    "status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NULL",
                ),
                (
                    "ordered",
                    ("waiting_list_id", "created_date"),
                    "status = 'RECEIVED' AND not_before IS NULL AND ordered_at IS NOT NULL",
                ),
                ("backoff", ("not_before",), "status = 'RECEIVED' AND not_before IS NOT NULL"),
                ("processing", ("owner",), "status = 'PROCESSING'"),
                ("failed", ("waiting_list_id",), "status = 'FAILED'"),
            )
        ),
    )


class Attempt(SQLModel, table=True):
    """One try that did not succeed. The log of a request; `retry` doesn't erase it."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    request_id: UUID = Field(foreign_key="request.id", index=True, ondelete="CASCADE")
    at: datetime = Field(sa_type=UtcDateTime)
    owner: UUID | None = None
    event: str
    """What became of the try: deferred, rejected, unknown, rescued, or not made (there could be no mail at all)."""
    smtp_code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    """The relay's words, or ours, with addresses masked."""


class Owner(SQLModel, table=True):
    """The heartbeat of one worker process. Rows claimed by an owner not seen for a lease are rescued."""

    id: UUID = Field(primary_key=True)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime = Field(sa_type=UtcDateTime)
    host: str


class Relay(SQLModel, table=True):
    """The breaker: one row. While it is open nobody is claimed and nothing rings."""

    __table_args__ = (CheckConstraint("id = 1"),)
    id: int = Field(default=1, primary_key=True)
    state: BreakerState = Field(
        default=BreakerState.CLOSED,
        sa_type=SqlEnum(
            BreakerState,
            native_enum=False,
            length=20,
            values_callable=lambda states: [s.value for s in states],
        ),
    )
    since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str | None = None
    scope: str | None = Field(default=None, sa_type=String)
    """`configuration` if the relay refused us as such: the probe then tries MAIL FROM too."""
    probe_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    worked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the relay last took a mail, to a few seconds."""


class Pause(SQLModel, table=True):
    """Sending stops for everything (`all`), an item, or one waiting list of it; the list is kept."""

    key: str = Field(primary_key=True)
    item_id: UUID | None = Field(default=None, foreign_key="item.id")
    options: str = "{}"
    since: datetime = Field(sa_type=UtcDateTime)


class Sweep(SQLModel, table=True):
    """When the last sweep ran, and from when on it may rescue: one row."""

    __table_args__ = (CheckConstraint("id = 1"),)
    id: int = Field(default=1, primary_key=True)
    swept_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    rescue_from: datetime | None = Field(default=None, sa_type=UtcDateTime)
