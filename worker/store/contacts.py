"""Contacts: adds them, finds them by address, and recognises addresses that were erased."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlmodel import col

from worker.domain.errors import BadSetting
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.models import Contact, Report, uuid7
from worker.store.sql import Sql, is_one_of

ERASED: Final = "erased:"
"""The address of an erased contact begins so, which no address that can be mailed does."""
SUPPRESSED_QUIET_SECONDS: Final = 30 * 86_400.0
"""So long a suppressed customer gets no second mail that asks her to confirm."""
STRONG: Final = frozenset({Cause.COMPLAINED, Cause.MANUAL})
"""They replace the other causes, and a customer's own wish to get mail again does not lift them."""

_NOW = Sql(
    "SELECT stockbell_now(0) AS now, EXISTS (SELECT 1 FROM contact WHERE address_key IS NOT NULL) AS has_erased",
    now="time",
)
_ADD = Sql(
    """INSERT INTO contact (id, address, created_date) SELECT id, address, :now
    FROM ROWS(id uuid, address text) WHERE true ON CONFLICT DO NOTHING"""
)
# Contacts are looked up in their own query: for a join with a thousand rows the planner would read the whole table.
_FIND = Sql(
    "SELECT id, address, suppressed_at, suppressed_why FROM contact WHERE address IN ROWS(address text)",
    id="uuid",
    suppressed_at="time",
)
_STRONG = ", ".join(f"'{cause.value}'" for cause in sorted(STRONG))
# An address may have been erased twice. The last row counts.
_ERASED = Sql(
    f"""SELECT address_key, suppressed_why, suppressed_by FROM contact WHERE address_key IN ROWS(address_key text)
    ORDER BY CASE WHEN suppressed_why IN ({_STRONG}) THEN 1 ELSE 0 END, suppressed_at"""
)
_SUPPRESS_AGAIN = Sql(
    """UPDATE contact SET suppressed_at = :now, suppressed_why = rows.why, suppressed_by = rows.by_whom
    FROM ROWS(contact_id uuid, why text, by_whom text) WHERE id = rows.contact_id AND suppressed_at IS NULL"""
)
_ASKED_BEFORE = Sql(
    """INSERT INTO confirmation (contact_id, asked_at, sent_at, expires_at, tries)
    SELECT rows.contact_id, k.asked_at, k.sent_at, k.expires_at, 0
    FROM ROWS(contact_id uuid, address_key text) JOIN contact AS s ON s.address_key = rows.address_key
    JOIN confirmation AS k ON k.contact_id = s.id
    WHERE k.sent_at IS NOT NULL ORDER BY k.sent_at DESC ON CONFLICT DO NOTHING"""
)

_ASKED = Sql(
    "SELECT asked_at, due_at, sent_at, expires_at, why FROM confirmation WHERE contact_id = :contact",
    **dict.fromkeys(("asked_at", "due_at", "sent_at", "expires_at"), "time"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """A contact, since when it is suppressed, and why; both None if it is not."""

    id: UUID
    suppressed_at: datetime | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Contacts by their normalised address, at a time of the database's clock."""

    now: datetime
    contacts: Mapping[str, Known]
    has_erased: bool
    """whether there are erased addresses that want no mail"""


def find(c: Connection, addresses: Collection[str]) -> dict[str, Known]:
    """Returns the contacts that there are, by their normalised address."""
    rows = _FIND(c, rows=[{"address": address} for address in addresses])
    return {row.address: Known(row.id, row.suppressed_at, row.suppressed_why) for row in rows}


def add(c: Connection, addresses: Collection[str], *, is_even: bool = False) -> Found:
    """Returns the contact of each normalised address. Adds missing contacts.

    With `is_even` a new address takes as many statements as a known one.
    """
    now, has_erased = _NOW(c)[0]
    contacts = {address: Known(uuid7()) for address in sorted(addresses)}
    rows = [{"id": contact.id, "address": address} for address, contact in contacts.items()]
    if _ADD.count(c, rows=rows, now=now) < len(rows) or is_even:
        contacts |= find(c, addresses)
    return Found(now, contacts, bool(has_erased))


def recognised(c: Connection, addresses: Collection[str], tokens: Tokens | None, *, is_even: bool = False) -> Found:
    """Like `add`, but a contact is suppressed if its address was erased while it was, and was asked when that one was.

    Raises BadSetting if that can't be seen, because there is no key.
    """
    found = add(c, addresses, is_even=is_even)
    if not found.has_erased:
        return found
    again = {
        address: row for address, row in _erased(c, addresses, tokens).items() if found.contacts[address].why is None
    }
    if again or is_even:
        _suppress_again(c, found, again)
    suppressed = {
        address: Known(found.contacts[address].id, found.now, row.suppressed_why) for address, row in again.items()
    }
    return Found(found.now, {**found.contacts, **suppressed}, has_erased=True)


def erased(c: Connection, addresses: Collection[str], tokens: Tokens | None) -> dict[str, str]:
    """Returns those of the addresses that were erased while they were suppressed, and why they were."""
    if not _NOW(c)[0].has_erased:
        return {}
    return {address: row.suppressed_why for address, row in _erased(c, addresses, tokens).items()}


def keys_of(c: Connection, addresses: Collection[str], tokens: Tokens | None) -> dict[str, str]:
    """Returns the addresses by what they are known by once they are erased, if any address was."""
    return _keys(addresses, tokens) if _NOW(c)[0].has_erased else {}


def _keys(addresses: Collection[str], tokens: Tokens | None) -> dict[str, str]:
    if tokens is None:
        raise BadSetting("STOCKBELL_SECRET_KEY is not set: without it erased addresses that want no mail are not known")
    return {key: address for address in addresses for key in tokens.address_keys(address)}


def _erased(c: Connection, addresses: Collection[str], tokens: Tokens | None) -> dict[str, Any]:
    keys = _keys(addresses, tokens)
    return {keys[row.address_key]: row for row in _ERASED(c, rows=[{"address_key": key} for key in keys])}


def _suppress_again(c: Connection, found: Found, again: Mapping[str, Any]) -> None:
    rows = [
        {
            "contact_id": found.contacts[address].id,
            "why": row.suppressed_why,
            "by_whom": row.suppressed_by,
            "address_key": row.address_key,
        }
        for address, row in again.items()
    ]
    _SUPPRESS_AGAIN(c, rows=rows, now=found.now)
    _ASKED_BEFORE(c, rows=rows)


# for people who ask


def one(c: Connection, address: str) -> Row[Any] | None:
    """Returns the contact of a normalised address, or None."""
    return c.execute(select(Contact).where(col(Contact.address) == address)).one_or_none()


def by_id(c: Connection, contact_id: UUID) -> Row[Any] | None:
    """Returns a contact by its id, also an erased one; None if there is none."""
    return c.execute(select(Contact).where(col(Contact.id) == contact_id)).one_or_none()


def asked(c: Connection, contact_id: UUID) -> Row[Any] | None:
    """Returns the mail that asks a contact to confirm, as long as it is remembered."""
    return next(iter(_ASKED(c, contact=contact_id)), None)


def suppressed(c: Connection, cause: Cause | None, since: datetime | None, limit: int) -> Iterator[Row[Any]]:
    """Yields the contacts that are suppressed, newest first. `limit` 0 means all.

    Erased ones are among them if their address is still recognised.
    """
    query = select(Contact).where(
        col(Contact.suppressed_at).is_not(None),
        col(Contact.address_key).is_not(None) | ~col(Contact.address).startswith(ERASED),
    )
    if cause:
        query = query.where(col(Contact.suppressed_why) == cause.value)
    if since:
        query = query.where(col(Contact.suppressed_at) >= since)
    query = query.order_by(col(Contact.suppressed_at).desc(), col(Contact.id).desc())
    yield from c.execute(query.limit(limit) if limit else query, execution_options={"yield_per": 1000})


def reports(c: Connection, contact_id: UUID, request_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Returns what came back for a contact or for these requests, oldest first."""
    about = (col(Report.contact_id) == contact_id) | is_one_of("request_id", request_ids, c.dialect.name)
    return c.execute(select(Report).where(about).order_by(col(Report.at), col(Report.key))).all()
