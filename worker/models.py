"""The tables. The rows are the only source of truth; losing everything in Redis loses no mail.

There is one class per table, in the order in which they are filled. `Status` documents the states and their
transitions; the statements are in `store`. Times come from the database's clock, in UTC with microseconds. See
*waiting list* in `docs/glossary.md`.
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
    Column,
    DateTime,
    Dialect,
    Index,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy import Enum as SqlEnum
from sqlmodel import Field, SQLModel

SCHEMA = "0011"
"""The schema revision that this program works with (see `migrations`)."""

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

PASSING_REPORT = "contact_id IS NULL OR kind IN ('delayed', 'delivered', 'feedback', 'auto_reply', 'other')"
"""The SQL condition for reports that count only for a time: nobody was found for them, or nothing follows from them."""

UNRESOLVED = "status IN ('RECEIVED', 'PROCESSING')"
"""The SQL condition for unresolved requests. It has literals, because partial indexes are not used with parameters."""
ENDED = "status IN ('NOTIFICATION_SENT', 'FAILED')"
"""The SQL condition for all others."""


class Status(StrEnum):
    """The states of a request, named as in Wix's Back In Stock Notification Request."""

    RECEIVED = "RECEIVED"
    """Waiting. `claim` takes it when its item is in stock; `mark` may end it."""
    PROCESSING = "PROCESSING"
    """Claimed by a worker. `record`, `defer` and `release` end this state, or `rescue` if the worker is gone."""
    NOTIFICATION_SENT = "NOTIFICATION_SENT"
    """The relay accepted the mail, or an admin marked it as sent by other means. Final."""
    FAILED = "FAILED"
    """No mail will be sent; the reason is stored. Only an admin's `retry` or `mark` ends this state."""


class BreakerState(StrEnum):
    """The state of the circuit breaker. `closed` means that mail is sent, as in an electric circuit."""

    CLOSED = "closed"
    OPEN = "open"


class UtcDateTime(TypeDecorator[datetime]):
    """A UTC time with microseconds: `timestamptz` on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts a time to UTC. Raises ValueError for naive times, because their meaning depends on the machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Adds the UTC zone, which SQLite does not store."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def uuid7() -> UUID:
    """Returns a new id that sorts by its creation time (UUIDv7, RFC 9562, section 5.7)."""
    return _uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def uuid7_of(at: datetime, *ids: UUID) -> UUID:
    """Returns a UUIDv7 for the time `at` (from 1970 on). Equal arguments give equal ids: a hash is the random part."""
    microseconds = (at - _EPOCH) // _MICROSECOND
    named = b"".join([microseconds.to_bytes(8, "big", signed=True), *(id_.bytes for id_ in ids)])
    return _uuid7(max(0, microseconds // 1000), blake2b(named, digest_size=10).digest())


def ids_of(at: datetime) -> tuple[UUID, UUID]:
    """Returns the least and the greatest UUIDv7 of the millisecond of `at`."""
    milliseconds = max(0, (at - _EPOCH) // _MICROSECOND // 1000)
    return UUID(int=milliseconds << 80), UUID(int=((milliseconds + 1) << 80) - 1)


def _uuid7(milliseconds: int, random: bytes) -> UUID:
    value = (milliseconds << 80) | (0x7 << 76) | int.from_bytes(random, "big") >> 4
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


class Contact(SQLModel, table=True):
    """A customer: one row per normalised address, inserted with the first request.

    No RECEIVED request belongs to a suppressed contact: see `store.suppression`.
    """

    __table_args__ = (
        Index(
            "contact_suppressed",
            "suppressed_at",
            "suppressed_why",
            postgresql_where=text("suppressed_at IS NOT NULL"),
            sqlite_where=text("suppressed_at IS NOT NULL"),
        ),
        Index(
            "contact_erased",
            "address_key",
            postgresql_where=text("address_key IS NOT NULL"),
            sqlite_where=text("address_key IS NOT NULL"),
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    address: str = Field(unique=True)
    """The address in lower case, so that two spellings are one customer. `erased:` and the id once it was erased."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    suppressed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when this customer gets no mail."""
    suppressed_why: str | None = None
    """A `Cause`: unsubscribed, complained, bounced or manual."""
    suppressed_by: str | None = None
    """What told us: the report's source, or who did it by hand."""
    address_key: str | None = None
    """A keyed hash of an erased address that is suppressed, so that the next import of it mails nobody."""
    confirmed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When this customer last confirmed a sign-up (double opt-in)."""
    signed_up_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a publishable key last made a request for this customer: it may make one in a while."""
    refused_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When one last made none. It is written so that this takes a commit, too: else its speed would tell."""
    mailed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the relay last took a mail for this customer, or may have. Written while there is a contact interval."""


class Item(SQLModel, table=True):
    """A catalog item with its details from events, merged key by key."""

    __table_args__ = (
        UniqueConstraint("app_id", "catalog_item_id"),
        Index(
            "item_unheard",
            "unheard_at",
            postgresql_where=text("unheard_at IS NOT NULL"),
            sqlite_where=text("unheard_at IS NOT NULL"),
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    app_id: str
    catalog_item_id: str
    name: str | None = None
    price: str | None = None
    currency: str | None = None
    image_url: str | None = None
    url: str | None = None
    out_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the whole item last went out of stock. Variant events before (`out_at`, `out_entry`) are stale."""
    out_entry: str | None = None
    details_at: str | None = None
    """The event that last set each detail, as `store.stock` writes it, where no row of `stock` tells it."""
    unheard_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When an in-stock event was applied that woke nobody, though people waited under other options; to a minute."""
    unheard_options: str | None = None
    """The options that this event named."""
    min_quantity: int | None = Field(default=None, sa_type=BigInteger)
    """The item's own sending policies (`domain.policies.Own`). Null: the shop's hold."""
    per_unit: int | None = None
    """0: everybody is told."""
    wave_seconds: float | None = None
    settle_seconds: float | None = None


class Stock(SQLModel, table=True):
    """The stock level from the newest event for one (item, options). Options `{}` mean the whole item."""

    item_id: UUID = Field(primary_key=True, foreign_key="item.id")
    options: str = Field(primary_key=True)
    in_stock: bool
    quantity: int | None = Field(default=None, sa_type=BigInteger)
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    entry_id: str
    last_in_stock_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the last in-stock event for this row was applied."""
    details: str | None = None
    """The names of the item's details that the event gave, separated by blanks."""
    follows_item: bool | None = None
    """The event said "in stock", and a newer one put the whole item out: the variant is back when the item is."""
    said: bool | None = None
    """What the event itself said, if it was more than a quantity. Null: the quantity decides."""
    seats: int | None = Field(default=None, sa_type=BigInteger)
    """How many more customers may be told in this wave (see `domain.ledger`). Null: there is no limit."""
    seat_limit: int | None = Field(default=None, sa_type=BigInteger)
    """So many seats there may be, as far as the quantity goes: more are not given back."""
    granted: int | None = Field(default=None, sa_type=BigInteger)
    """How many seats this wave has had, for people."""
    wave: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Raised by every new wave, and when the row goes out of stock."""
    seat_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a seat of this wave was last taken."""
    settles_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Until then nobody is told who waits for this row alone: it has just come in."""


class WaitingList(SQLModel, table=True):
    """The waiting list of one (item, options). A bell is for a list, never for a request."""

    __tablename__: ClassVar[str] = "waiting_list"
    __table_args__ = (
        UniqueConstraint("item_id", "options"),
        Index("waiting_list_key", "item_id", "options_key", unique=True),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    item_id: UUID = Field(foreign_key="item.id")
    options: str
    """The options as the first request had them, for people."""
    options_key: str | None = None
    """The options as they are compared. Null for a list that a program from before 0003 has added since."""
    in_stock: bool = False
    last_in_stock_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the last in-stock event for this list was applied. It wakes the requests that are older."""
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when requests of this list may be due. Set by an in-stock event, cleared when a claim reaches the end."""
    begun_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the first claim was made after a wake-up. Null again if that claim told nobody."""
    bell_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a bell for this list was queued. Null again once a task has taken the bell."""
    opens_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The door: until then there is no seat for anybody on this list. Never later than that is true."""
    settles_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Until then the item has to stay in stock before anybody is told."""


class Request(SQLModel, table=True):
    """One customer's request for a notification, as in Wix eCommerce's Back In Stock Notification Request."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    waiting_list_id: UUID = Field(foreign_key="waiting_list.id")
    contact_id: UUID = Field(foreign_key="contact.id")
    email: str
    item_url: str | None = None
    locale: str | None = None
    given: str | None = None
    """The catalogReference as JSON, as it was given, where its waiting list does not tell it."""
    status: Status = Field(
        default=Status.RECEIVED,
        sa_type=SqlEnum(Status, native_enum=False, length=20),
    )
    auto_notified: bool | None = None
    created_date: datetime = Field(sa_type=UtcDateTime)
    notified_date: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ordered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When an admin ordered this request to be sent whatever the stock."""
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The end of the backoff. The sweep sets it to null when it has passed. In the far future while the customer has
    not confirmed, and if the request ended like that: see `store.unconfirmed`."""
    priority: int = Field(default=0, sa_type=SmallInteger, sa_column_kwargs={"server_default": "0"})
    """From 0 to 9. Of those who may be told, the higher ones go first."""
    in_line_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it last came in line again: after a backoff or a rest, by a retry, or when the customer confirmed."""
    claim_no: int = 0
    """Raised by every claim, never lowered. With `owner` it is the fencing token against late writes."""
    owner: UUID | None = None
    claimed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    handed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """With ON_UNKNOWN=fail, committed before the mail's bytes are written, so that no mail is sent twice."""
    attempts: int = 0
    """Attempts spent: the relay refused the mail, or its reply was lost."""
    unknowns: int = 0
    policy_refusals: int = 0
    """Refusals for good or by a policy, which may have been about us."""
    judged_from: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Two seconds after the relay last refused the mail with words that may mean us. If it takes a mail after this
    time, the words were about this request."""
    rescues: int = 0
    failure_code: str | None = None
    failure_reason: str | None = None
    failed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it ended as FAILED. Null in other states."""
    receipt: str | None = None
    """The relay's words when it last took the mail, with addresses masked. They often have its queue id.

    A retry keeps them until the next mail is taken: the relay's log can still be asked for the one before.
    """
    signup: str | None = None
    """How the customer signed up over HTTP, as JSON: key, page, language, consent text. Null for other requests."""
    extras: str | None = None
    """What the order to send it gave for its mail beside the item, as JSON: names and texts."""
    version: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """How often its state has changed since the sign-up, as others see it (see `store.outbox`)."""
    news: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """Its state as it is now is still to be told to others: the row is its own outbox."""
    seat: str | None = None
    """The options of the stock row whose seat it has, or had when it was told."""
    seat_wave: int | None = None
    """The wave that the seat is of."""
    mail_id: UUID | None = None
    """The request in whose mail it was told, if that was not its own (see *digest* in `docs/glossary.md`)."""

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
                # Of those with priority, who are few. The two above have them, too: by them a range of dates is found.
                # What most rows don't meet comes first, since each change of a row evaluates it.
                (
                    "first",
                    ("waiting_list_id", text("priority DESC"), "created_date", "ordered_at"),
                    "priority > 0 AND status = 'RECEIVED' AND not_before IS NULL",
                ),
                ("backoff", ("not_before",), "status = 'RECEIVED' AND not_before IS NOT NULL"),
                ("processing", ("owner",), "status = 'PROCESSING'"),
                ("failed", ("waiting_list_id",), "status = 'FAILED'"),
                ("failed_at", ("failed_at", "id", "failure_code"), "status = 'FAILED'"),
                # By them the pages find what has ended: of an item, and of a customer.
                ("told", ("waiting_list_id", "notified_date"), "status = 'NOTIFICATION_SENT'"),
                ("ended", ("contact_id",), ENDED),
                # By it a customer's own page finds what ended because they left.
                ("unwanted", ("contact_id",), "failure_code = 'SUPPRESSED'"),
                # By it a report about a mail finds all who were told by it.
                ("beside", ("mail_id",), "mail_id IS NOT NULL"),
                ("news", ("id",), "news"),
            )
        ),
    )


class Attempt(SQLModel, table=True):
    """One attempt that did not succeed. `retry` keeps these rows as the history of the request."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    request_id: UUID = Field(foreign_key="request.id", index=True, ondelete="CASCADE")
    at: datetime = Field(sa_type=UtcDateTime)
    owner: UUID | None = None
    event: str
    """How the attempt ended: deferred, rejected, unknown, rescued, put off (refused with words that may be about us, so
    that no attempt was spent), or not made (no mail could be composed)."""
    smtp_code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    """The relay's reply or our own reason, with addresses masked."""


class Report(SQLModel, table=True):
    """What came back for a mail: a bounce, a complaint, a wish to get no more. Each is there once (`key`).

    Neither column refers to a row that must exist: a report may outlive its request, and nobody may be found for it.
    """

    key: str = Field(primary_key=True)
    """A hash of what makes the report this one and no other."""
    at: datetime = Field(sa_type=UtcDateTime, index=True)
    kind: str
    """A `Kind` of `domain.returned`."""
    code: int | None = None
    status: str | None = None
    """The enhanced status code (RFC 3463)."""
    words: str | None = None
    """What the report says, with addresses masked."""
    source: str
    """Where it came in: imap, maildir, mbox, stdin, or a provider's name."""
    request_id: UUID | None = Field(default=None, index=True)
    contact_id: UUID | None = Field(default=None, index=True)
    claim_no: int | None = None
    """Which claim of the request the report is about, if its token tells."""
    open_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """It came before the mail's outcome was recorded: tried again until then. Null once it is dealt with."""

    __table_args__ = (
        Index(
            "report_open",
            "open_until",
            postgresql_where=text("open_until IS NOT NULL"),
            sqlite_where=text("open_until IS NOT NULL"),
        ),
        Index(
            "report_passing",
            "at",
            postgresql_where=text(PASSING_REPORT),
            sqlite_where=text(PASSING_REPORT),
        ),
    )


class Place(SQLModel, table=True):
    """How far something was read that can't be marked: an mbox, a folder that is read-only, the history of events."""

    name: str = Field(primary_key=True)
    """The mailbox, without a password; or the name of what was read."""
    position: str
    """What its reader needs to go on, as JSON."""


class Owner(SQLModel, table=True):
    """The heartbeat of one worker process. Requests claimed by an owner that was not seen for a lease are rescued."""

    id: UUID = Field(primary_key=True)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime = Field(sa_type=UtcDateTime)
    host: str


class Relay(SQLModel, table=True):
    """The circuit breaker, in one row. While it is open, nothing is claimed and no bell is sent."""

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
    """`Scope`: how the relay has to be probed. See `worker.domain.outcomes`."""
    probe_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    worked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the relay last accepted a mail, accurate to a few seconds."""
    refusals: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """How many mails it has refused with words that may mean us since it last accepted one."""
    refused_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    refusal: str | None = None
    """Its words at the last of them, with addresses masked."""


class Pause(SQLModel, table=True):
    """A stop of sending for everything (`all`), an item, or one of its waiting lists. Waiting requests are kept."""

    key: str = Field(primary_key=True)
    item_id: UUID | None = Field(default=None, foreign_key="item.id")
    options: str = "{}"
    since: datetime = Field(sa_type=UtcDateTime)


class Sweep(SQLModel, table=True):
    """When the last sweep ran, and from when on sweeps may rescue. One row."""

    __table_args__ = (CheckConstraint("id = 1"),)
    id: int = Field(default=1, primary_key=True)
    swept_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    rescue_from: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ApiKey(SQLModel, table=True):
    """A key for the HTTP API. Its secret is shown once, and only a hash of it is kept."""

    __tablename__: ClassVar[str] = "api_key"
    id: str = Field(primary_key=True)
    """The eight characters after the prefix."""
    name: str
    scope: str
    """`create` (publishable: a page holds it), `read` or `admin`."""
    digest: str
    """The SHA-256 of the whole key, in hexadecimal digits."""
    origins: str = "[]"
    """The origins of the pages that may use a publishable key, as JSON."""
    url_hosts: str = "[]"
    """Hosts that its requests may link to beside those of its origins, as JSON."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it was last used, to an hour."""
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Hook(SQLModel, table=True):
    """An address at which another system calls us: a shop's webhook about stock, or a provider's about mails."""

    id: str = Field(primary_key=True)
    """The last part of its URL: random, since some systems send no signature."""
    kind: str
    """A shop system (woocommerce, shopify, magento, wix) or a provider (ses, postmark, ...)."""
    name: str
    secret: str | None = None
    """What the caller signs with, as it has to be known to verify that: a secret, or a public key."""
    options: str = "{}"
    """What else this kind needs to know, as JSON."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it was last called with a good signature, to an hour."""
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Collection(SQLModel, table=True):
    """Whether new requests are taken for a catalog. There is a row only where that was ever said."""

    app_id: str = Field(primary_key=True)
    collecting: bool
    changed_at: datetime = Field(sa_type=UtcDateTime)


class Confirmation(SQLModel, table=True):
    """A mail that asks a customer to confirm (double opt-in), from the sign-up until it is confirmed or has expired."""

    contact_id: UUID = Field(primary_key=True, foreign_key="contact.id")
    asked_at: datetime = Field(sa_type=UtcDateTime)
    """When the customer last signed up without being confirmed."""
    locale: str | None = None
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    """When the mail is to be sent, or tried again. Null once it was sent or given up."""
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it was last sent, or given up (then `why` says why)."""
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    """Until then this row says that the customer was asked, so that nobody is asked too often."""
    tries: int = 0
    """Raised by every claim: it fences late writes."""
    why: str | None = None
    """What kept the last try from being sent, with addresses masked."""


class WebhookEndpoint(SQLModel, table=True):
    """Where changes of requests are told: a URL of https, or a Redis Stream."""

    __tablename__: ClassVar[str] = "webhook_endpoint"
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    url: str
    format: str
    """`standard` (Standard Webhooks, JSON) or `wix` (a JWT, RS256)."""
    is_full: bool = False
    """Whether address and link are told too."""
    allows_private: bool = False
    """Whether the URL may lead into a private network."""
    secrets: str = "[]"
    """What deliveries are signed with, newest first, as JSON."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    succeeded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    slow_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """It asked us to slow down until then."""
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_why: str | None = None


class WebhookDelivery(SQLModel, table=True):
    """One change of one request for one endpoint, until it was taken or given up."""

    __tablename__: ClassVar[str] = "webhook_delivery"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "request_id", "version"),
        Index(
            "webhook_delivery_due",
            "endpoint_id",
            "due_at",
            postgresql_where=text("due_at IS NOT NULL"),
            sqlite_where=text("due_at IS NOT NULL"),
        ),
        Index(
            "webhook_delivery_done",
            "done_at",
            postgresql_where=text("done_at IS NOT NULL"),
            sqlite_where=text("done_at IS NOT NULL"),
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    endpoint_id: UUID
    """No foreign key: to remove an endpoint must not make a sign-up fail that is being told to it."""
    request_id: UUID
    version: int
    """Grows with each change of the request: its version plus one, so that the sign-up is 1."""
    kind: str
    """`created`, `updated` or `deleted`."""
    body: str
    """The facts as they were then, as JSON, without address and link: those are read when it is sent."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it is tried next. Null once it was taken or given up."""
    tries: int = 0
    status: int | None = None
    """The last answer's status code."""
    why: str | None = None
    """What went wrong at the last try."""
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WebhookKey(SQLModel, table=True):
    """A private key that Wix's JWTs are signed with. The newest signs; the public keys of all are shown."""

    __tablename__: ClassVar[str] = "webhook_key"
    id: str = Field(primary_key=True)
    private_pem: str
    created_date: datetime = Field(sa_type=UtcDateTime)


class Tally(SQLModel, table=True):
    """How often something has happened, but for what `tally_entry` still has. See `store.tally`."""

    minute: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    """The minute in which it happened; of what is old the hour or the day."""
    kind: str = Field(primary_key=True)
    """`told`, `failed:CODE`, `le:SECONDS`, `signup:RESULT` and so on."""
    n: int = Field(sa_type=BigInteger)


TALLY_ENTRY = Table(
    "tally_entry",
    SQLModel.metadata,
    Column("minute", UtcDateTime(timezone=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
)
"""What was counted since the last sweep: written in the transaction that makes it happen, so that the two agree.

Without a key, as a row is only added, and only the sweep takes it away: no writer waits for another one.
"""


class StockEvent(SQLModel, table=True):
    """An event about an item that somebody waits for, as it was applied: the history that "why?" tells.

    Of each item the newest ones are kept. No foreign key: the listener writes many of them.
    """

    __tablename__: ClassVar[str] = "stock_event"
    __table_args__ = (Index("stock_event_item", "item_id", "at"),)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    item_id: UUID
    options: str
    """What the event was about; `{}` is the whole item."""
    at: datetime = Field(sa_type=UtcDateTime)
    """When it was applied."""
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    entry_id: str
    event_id: str | None = None
    in_stock: bool
    quantity: int | None = Field(default=None, sa_type=BigInteger)
    woke: int = 0
    """How many waiting lists it woke."""


class AdminUser(SQLModel, table=True):
    """Somebody who may log in to the pages for admins."""

    __tablename__: ClassVar[str] = "admin_user"
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    name: str = Field(unique=True)
    role: str
    """`viewer` or `admin`."""
    password: str
    """Its hash by argon2id, with its parameters."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    """When password or role were last set."""
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When they last logged in."""
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AdminSession(SQLModel, table=True):
    """A log-in. The cookie has a secret, and only a hash of it is kept."""

    __tablename__: ClassVar[str] = "admin_session"
    digest: str = Field(primary_key=True)
    """The SHA-256 of the cookie's value, in hexadecimal digits."""
    name: str
    role: str
    user_id: UUID | None = Field(default=None, index=True)
    """Null for those who came by the one-time link."""
    browser: str | None = None
    """What the browser says it is, for people who look through their sessions."""
    created_date: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime, index=True)


class AdminGuess(SQLModel, table=True):
    """A log-in that failed, for a while: there may be only so many for a name and from an address."""

    __tablename__: ClassVar[str] = "admin_guess"
    __table_args__ = (Index("admin_guess_subject", "subject", "at"),)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    subject: str
    """A hash of the name, or of the address."""
    at: datetime = Field(sa_type=UtcDateTime)


class Action(SQLModel, table=True):
    """Something that an admin did, or is about to do: the audit trail, and changes of many requests while they run.

    It holds no address.
    """

    __table_args__ = (
        Index(
            "action_open",
            "state",
            postgresql_where=text("state IN ('confirmed', 'running')"),
            sqlite_where=text("state IN ('confirmed', 'running')"),
        ),
    )
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    who: str
    """The user's name; `cli:` and the account for the command line."""
    verb: str
    """`retry`, `report`, `mark-sent`, `delete`, `pause`, `login`, `keys create` and so on."""
    state: str
    """`preview`, `confirmed`, `running`, `done`, `stopped`, `undone` or `failed`."""
    about: str = "{}"
    """What it is about, as JSON: a filter, ids, an item, a key's id."""
    options: str = "{}"
    """How it is done, as JSON: `force`, `ordered`."""
    command: str | None = None
    """The command line that does the same."""
    as_of: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Only what ended before is touched."""
    foreseen: str | None = None
    """The preview's numbers, as JSON."""
    result: str | None = None
    """The numbers and reasons of what was done so far, as JSON."""
    place: str | None = None
    """How far it has come, as JSON, for the process that goes on with it."""
    changed: int = 0
    refused: int = 0
    contact_id: UUID | None = Field(default=None, index=True)
    """Whom it is about, if that is one customer."""
    confirmed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    owner: UUID | None = None
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Until then the process that runs it is believed to be alive."""
    undo_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ActionRequest(SQLModel, table=True):
    """What an action did to one request."""

    __tablename__: ClassVar[str] = "action_request"
    action_id: UUID = Field(primary_key=True, foreign_key="action.id", ondelete="CASCADE")
    request_id: UUID = Field(primary_key=True, index=True)
    refusal: str | None = None
    """Why it was left as it was. Null: it was changed."""
    before: str | None = None
    """Its state before, as JSON, from which it can be undone. No address."""
    undone_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
