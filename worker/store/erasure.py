"""Erases what is personal about a contact (GDPR article 17). Counts, states and dates stay.

An erased contact is suppressed, so that no request of it is ever sent. If it was suppressed before, a keyed hash of its
address stays, so that the next import of that address mails nobody.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.errors import BadSetting
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.store import contacts, outbox, suppression
from worker.store.sql import Sql

_LOCK = Sql(
    f"""SELECT id, address, suppressed_why FROM contact
    WHERE id IN ROWS(contact_id uuid) AND NOT address LIKE '{contacts.ERASED}%' ORDER BY id FOR NO KEY UPDATE""",
    id="uuid",
)
_CONTACT = Sql(
    """UPDATE contact SET address = rows.new_address, address_key = rows.new_key
    FROM ROWS(contact_id uuid, new_address text, new_key text) WHERE id = rows.contact_id"""
)
# The link may be a customer's own, and the reference as given may have a text for an engraving. How she signed up is
# proof of a consent that has ended.
_REQUESTS = Sql(
    """WITH locked AS MATERIALIZED (
        SELECT id AS request_id FROM request WHERE contact_id IN ROWS(contact_id uuid) ORDER BY id FOR NO KEY UPDATE)
    UPDATE request SET email = :address, item_url = NULL, locale = NULL, given = NULL, failure_reason = NULL,
        receipt = NULL, signup = NULL, extras = NULL
    FROM locked WHERE id = locked.request_id RETURNING id""",
    id="uuid",
)
# That she was asked stays, so that nobody can have her asked again at once. See `contacts.recognised`.
_CONFIRMATION = Sql(
    """UPDATE confirmation SET locale = NULL, why = NULL, due_at = NULL, expires_at = stockbell_now(:keep),
        sent_at = CASE WHEN due_at IS NOT NULL AND tries > 0 THEN stockbell_now(0) ELSE sent_at END
    WHERE contact_id IN ROWS(contact_id uuid)"""
)
# What relays said of them before an admin changed them: then that can't be undone any more.
_BEFORE = Sql(
    "UPDATE action_request SET before = NULL WHERE request_id IN ROWS(request_id uuid) AND before IS NOT NULL"
)
_ATTEMPTS = Sql("UPDATE attempt SET reply = NULL WHERE request_id IN ROWS(request_id uuid)")
_REPORTS = (
    Sql("UPDATE report SET words = NULL WHERE contact_id IN ROWS(contact_id uuid)"),
    Sql("UPDATE report SET words = NULL WHERE request_id IN ROWS(request_id uuid)"),
)
BY = "erase"
"""Who suppressed a contact that was not suppressed when it was erased."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many requests an erased contact had, and how many of them have ended because of it."""

    requests: int
    ended: int


def erase(c: Connection, contact_id: UUID, tokens: Tokens | None) -> Erased | None:
    """Erases a contact, its requests' texts, and what relays and reports said of them. None if there is no such one.

    What is PROCESSING may still be sent once, and runs out. Raises BadSetting if a suppressed address would be
    forgotten, because there is no key.
    """
    this = [{"contact_id": contact_id}]
    found = _LOCK(c, rows=this)
    if not found:
        return None
    contact = found[0]
    address = f"{contacts.ERASED}{contact_id}"
    requests = [{"request_id": row.id} for row in _REQUESTS(c, rows=this, address=address)]
    _BEFORE(c, rows=requests)
    _ATTEMPTS(c, rows=requests)
    _CONFIRMATION(c, rows=this, keep=contacts.SUPPRESSED_QUIET_SECONDS)
    for statement, rows in zip(_REPORTS, (this, requests), strict=True):
        statement(c, rows=rows)
    key = _key(contact.address, tokens) if contact.suppressed_why else None
    _CONTACT(c, rows=[{"contact_id": contact_id, "new_address": address, "new_key": key}])
    cause = Cause(contact.suppressed_why or Cause.MANUAL)
    ended = suppression.suppress(c, [contact_id], cause, BY).requests
    # Whoever was told of them shall forget them too. So that they have ended is no news.
    outbox.tell_deleted(c, [row["request_id"] for row in requests], by_erasure=True)
    return Erased(len(requests), len(ended))


def _key(address: str, tokens: Tokens | None) -> str:
    if tokens is None:
        raise BadSetting(
            "STOCKBELL_SECRET_KEY is not set: without it an erased address that wants no mail would be mailed again"
        )
    return tokens.address_keys(address)[0]
