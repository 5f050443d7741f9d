"""Double opt-in: who is asked to confirm, and who has. The requests themselves are those of `unconfirmed`.

A customer is asked by one row of `confirmation`: once a day at most, however often she is signed up. Whoever is
suppressed by her own wish or by a bounce is asked too, once in 30 days at most: to confirm ends the suppression, and
the requests that she made meanwhile wait again. Whoever complained, or was suppressed by hand, is not asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import UNCONFIRMED, FailureCode
from worker.domain.tokens import Tokens
from worker.store import lists, suppression, unconfirmed
from worker.store.contacts import ERASED, SUPPRESSED_QUIET_SECONDS
from worker.store.sql import Sql
from worker.store.unconfirmed import DAY, KEEP_SECONDS, MOST_ROWS

QUIET_SECONDS: Final = DAY
"""So long a customer gets no second mail that asks her."""
LEASE_SECONDS: Final = 900.0
"""So long nobody else sends a mail that a process has taken. Sending takes a minute at most."""
FORGET_EVERY: Final = 3600.0
"""After this time, customers who have not confirmed are forgotten together."""
_WEAK = suppression.WEAK
_MAY_BE_ASKED = f"(s.suppressed_why IS NULL OR s.suppressed_why IN ({_WEAK})) AND NOT s.address LIKE '{ERASED}%'"

_HAS_TO_CONFIRM = Sql(
    f"""SELECT s.id FROM contact AS s WHERE s.address = :address AND (s.suppressed_at IS NOT NULL OR EXISTS (
        SELECT 1 FROM request AS r WHERE r.contact_id = s.id AND r.status IN ('RECEIVED', 'PROCESSING')
          AND r.failure_code = '{UNCONFIRMED}'))""",
    id="uuid",
)
_NOBODY: Final = UUID(int=0)
_WHOSE = Sql("SELECT contact_id, failure_code FROM request WHERE id = :id", contact_id="uuid")
_ENDED = Sql(
    f"""SELECT id, contact_id FROM request WHERE id IN ROWS(request_id uuid) AND status || '' = 'FAILED'
      AND failure_code = '{FailureCode.SUPPRESSED.value}'""",
    id="uuid",
    contact_id="uuid",
)
# A customer who was not asked for long enough is asked anew. A clock that was set back counts as long enough.
_IS_QUIET = """k.sent_at BETWEEN stockbell_now(-(SELECT CASE WHEN s.suppressed_at IS NULL THEN :quiet ELSE :longer END
        FROM contact AS s WHERE s.id = k.contact_id)) AND stockbell_now(1)"""
_ASK = Sql(
    f"""INSERT INTO confirmation AS k (contact_id, asked_at, locale, due_at, expires_at, tries)
    SELECT s.id, stockbell_now(0), CAST(:locale AS text), stockbell_now(0), stockbell_now(:keep), 0
    FROM contact AS s WHERE s.id = :contact_id AND {_MAY_BE_ASKED}
    ON CONFLICT (contact_id) DO UPDATE SET asked_at = excluded.asked_at,
        locale = coalesce(excluded.locale, k.locale),
        expires_at = CASE WHEN k.expires_at > excluded.expires_at THEN k.expires_at ELSE excluded.expires_at END,
        tries = CASE WHEN k.due_at IS NULL AND NOT {_IS_QUIET} THEN 0 ELSE k.tries END,
        why = CASE WHEN k.due_at IS NULL AND NOT {_IS_QUIET} THEN NULL ELSE k.why END,
        due_at = CASE WHEN k.due_at IS NULL AND NOT {_IS_QUIET} THEN excluded.due_at ELSE k.due_at END"""
)
_MAY_GO = f"""k.due_at <= stockbell_now(0) AND {lists.RELAY_UP}
    AND NOT EXISTS (SELECT 1 FROM pause WHERE item_id IS NULL)"""
_HAS_DUE = Sql(f"SELECT 1 FROM confirmation AS k WHERE {_MAY_GO} LIMIT 1")
_CLAIM = Sql(
    f"""WITH due AS MATERIALIZED (
        SELECT k.contact_id AS whose FROM confirmation AS k
        WHERE {_MAY_GO}
        ORDER BY k.due_at LIMIT 1 FOR UPDATE OF k SKIP LOCKED)
    UPDATE confirmation SET due_at = stockbell_now(:lease), tries = tries + 1 FROM due WHERE contact_id = due.whose
    RETURNING contact_id, asked_at, locale, tries""",
    contact_id="uuid",
    asked_at="time",
)
_WHO = """SELECT id, address, suppressed_at, suppressed_why FROM contact
    WHERE id = :contact_id"""
_CONTACT = Sql(_WHO, id="uuid", suppressed_at="time")
_LOCK = Sql(f"{_WHO} FOR NO KEY UPDATE", id="uuid", suppressed_at="time")
_OPEN = Sql(
    "SELECT locale FROM confirmation WHERE contact_id = :contact_id AND asked_at > stockbell_now(-:keep)",
)
_LATELY = Sql("SELECT 1 FROM contact WHERE id = :contact_id AND confirmed_at > stockbell_now(-:keep)")
_CONFIRMED = Sql("UPDATE contact SET confirmed_at = stockbell_now(0) WHERE id = :contact_id")
_VOUCH = Sql(
    "UPDATE contact SET confirmed_at = stockbell_now(0) WHERE id = (SELECT contact_id FROM request WHERE id = :id)"
)
_DROP = Sql("DELETE FROM confirmation WHERE contact_id = :contact_id")
_END = Sql(
    """UPDATE confirmation SET due_at = NULL, sent_at = stockbell_now(0), why = :why,
        expires_at = CASE WHEN EXISTS (
            SELECT 1 FROM contact AS s WHERE s.id = contact_id AND s.suppressed_at IS NOT NULL)
            THEN stockbell_now(:longer) ELSE expires_at END
    WHERE contact_id = :contact_id AND tries = :tries AND due_at IS NOT NULL"""
)
_LATER = Sql(
    """UPDATE confirmation SET due_at = stockbell_now(:delay), why = :why
    WHERE contact_id = :contact_id AND tries = :tries AND due_at IS NOT NULL"""
)
_IS_LATE = Sql("SELECT 1 FROM confirmation WHERE expires_at < stockbell_now(-:late) LIMIT 1")
_EXPIRE_ASKED = Sql(
    """WITH old AS MATERIALIZED (
        SELECT contact_id AS whose FROM confirmation WHERE expires_at < stockbell_now(0)
        ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM confirmation WHERE contact_id IN (SELECT whose FROM old) RETURNING contact_id""",
    contact_id="uuid",
)
# No index leads from a customer to requests that have ended, so this reads all requests, once for all customers.
_HAVE_REQUESTS = Sql(
    "SELECT DISTINCT r.contact_id FROM ROWS(contact_id uuid) JOIN request AS r ON r.contact_id = rows.contact_id",
    contact_id="uuid",
)
_FORGET = Sql(
    """UPDATE contact SET address = rows.new_address FROM ROWS(contact_id uuid, new_address text)
    WHERE id = rows.contact_id AND suppressed_at IS NULL AND confirmed_at IS NULL"""
)


@dataclass(frozen=True, slots=True)
class Due:
    """A mail that a process has taken, to ask a customer to confirm."""

    contact_id: UUID
    email: str = field(repr=False)
    locale: str | None
    asked_at: datetime
    items: Sequence[Any]
    """what she would wait for: rows with the item's name and options"""
    tries: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a customer is asked, or has confirmed."""

    items: Sequence[Any]
    """what she would wait for, or waits for: rows with the item's name and options"""
    locale: str | None = None
    is_done: bool = False
    """She has confirmed, and nothing is left to confirm."""
    lists: frozenset[UUID] = frozenset()
    """the waiting lists of the requests that wait since she confirmed just now"""


def hold(c: Connection, request_id: UUID, locale: str | None, *, is_new: bool, always: bool) -> None:
    """Keeps a request that was just made until its customer confirms, and asks her to.

    If not `always`, only that of one who never confirmed. One that ended since its customer is suppressed stays so
    until then. `is_new`: an equal one that waits already is not held.
    """
    if is_new:
        unconfirmed.hold(c, request_id, always=always)
    for row in _WHOSE(c, id=request_id):
        if row.failure_code in (UNCONFIRMED, FailureCode.SUPPRESSED):
            ask(c, row.contact_id, locale)


def hold_unseen(
    c: Connection, request_id: UUID | None, address: str, locale: str | None, *, holds: bool, always: bool
) -> None:
    """Does so for a public sign-up, which added this request, or none. What it runs tells nobody what became of it.

    With `holds` a new request is held. Who has anything to confirm is asked, also if nothing was added.
    """
    if holds:
        unconfirmed.hold(c, request_id or _NOBODY, always=always)
    asked = [row.id for row in _HAS_TO_CONFIRM(c, address=address)]
    ask(c, asked[0] if asked else _NOBODY, locale)


def suppressed(c: Connection, request_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Returns those of these requests that ended because their customer gets no mail, each with its contact."""
    if not request_ids:
        return {}
    return {row.id: row.contact_id for row in _ENDED(c, rows=[{"request_id": id_} for id_ in request_ids])}


def ask(c: Connection, contact_id: UUID, locale: str | None) -> None:
    """Has a customer asked by mail, unless she was asked lately, or must not be asked at all."""
    _ASK(
        c,
        contact_id=contact_id,
        locale=locale,
        keep=KEEP_SECONDS,
        quiet=QUIET_SECONDS,
        longer=SUPPRESSED_QUIET_SECONDS,
    )


def ask_for(c: Connection, request_ids: Sequence[UUID]) -> None:
    """Has the customer asked for these requests of hers, if they are unconfirmed."""
    for id_ in request_ids:
        for row in _WHOSE(c, id=id_):
            if row.failure_code == UNCONFIRMED:
                ask(c, row.contact_id, None)


def vouch(c: Connection, request_id: UUID) -> None:
    """Records that somebody we trust says that the customer of this request has confirmed."""
    _VOUCH(c, id=request_id)
    unconfirmed.release(c, [request_id])


def is_any_due(c: Connection) -> bool:
    """Whether there is a mail to send. Not while the relay is down or everything is paused."""
    return bool(_HAS_DUE(c))


def claim(c: Connection) -> Due | None:
    """Takes a mail that is due. Nobody else has it for `LEASE_SECONDS`. None while mail is stopped, or none is due."""
    while found := _CLAIM(c, lease=LEASE_SECONDS):
        row = found[0]
        contact = _CONTACT(c, contact_id=row.contact_id)[0]
        items = unconfirmed.pending(c, contact) if _may_be_asked(contact, row.asked_at) else ()
        if items:
            return Due(row.contact_id, items[0].email, row.locale, row.asked_at, items, row.tries)
        # She left, was erased, or has nothing to confirm any more.
        _DROP(c, contact_id=row.contact_id)
    return None


def sent(c: Connection, due: Due, why: str | None = None) -> None:
    """Records that the mail was sent, or (`why`) that it can't be."""
    _END(c, contact_id=due.contact_id, tries=due.tries, why=why, longer=SUPPRESSED_QUIET_SECONDS)


def later(c: Connection, due: Due, delay: float, why: str) -> None:
    """Records that the mail is to be tried again in `delay` seconds."""
    _LATER(c, contact_id=due.contact_id, tries=due.tries, delay=delay, why=why)


def asked(c: Connection, contact_id: UUID) -> Asked | None:
    """Returns what this customer is asked, or has confirmed lately. None: she is not asked, or too late."""
    return _asked(c, contact_id, _CONTACT(c, contact_id=contact_id))


def confirm(c: Connection, contact_id: UUID, tokens: Tokens | None) -> Asked | None:
    """Lets a customer's requests wait for their items, as she confirms; also ends a suppression by consent.

    Returns what she waits for. None: she was not asked, or too late. Done again, it changes nothing. Raises BadSetting
    as `suppression.lift`.
    """
    contacts = _LOCK(c, contact_id=contact_id)
    found = _asked(c, contact_id, contacts)
    if found is None or found.is_done:
        return found
    contact = contacts[0]
    _CONFIRMED(c, contact_id=contact_id)
    _DROP(c, contact_id=contact_id)
    released = unconfirmed.release_all(c, contact_id)
    if contact.suppressed_at and suppression.lift(c, [contact.address], tokens, by_consent=True):
        released += unconfirmed.revive(c, contact)
    return Asked(unconfirmed.confirmed(c, contact_id), found.locale, is_done=True, lists=frozenset(released))


def expire(c: Connection) -> int:
    """Deletes requests that nobody has confirmed in time, and forgets their customers. Returns how many requests.

    For sweeps. Requests are found by an index. Customers are forgotten once an hour, as that reads all requests.
    """
    expired = unconfirmed.expire(c)
    if _IS_LATE(c, late=FORGET_EVERY):
        _forget(c)
    return expired


def _forget(c: Connection) -> None:
    """Forgets who was asked, and the addresses of those who never had another request, nor confirmed one, nor left."""
    asked = {row.contact_id for row in _EXPIRE_ASKED(c, most=MOST_ROWS)}
    known = {row.contact_id for row in _HAVE_REQUESTS(c, rows=[{"contact_id": id_} for id_ in asked])}
    _FORGET(c, rows=[{"contact_id": id_, "new_address": f"{ERASED}{id_}"} for id_ in sorted(asked - known)])


def _asked(c: Connection, contact_id: UUID, contacts: Sequence[Any]) -> Asked | None:
    if not contacts or contacts[0].address.startswith(ERASED):
        return None
    contact = contacts[0]
    for row in _OPEN(c, contact_id=contact_id, keep=KEEP_SECONDS):
        if items := unconfirmed.pending(c, contact):
            return Asked(items, row.locale)
    return _done(c, contact_id)


def _may_be_asked(contact: Any, asked_at: datetime) -> bool:
    return contact.suppressed_at is None or (
        contact.suppressed_at <= asked_at and contact.suppressed_why not in suppression.STRONG
    )


def _done(c: Connection, contact_id: UUID) -> Asked | None:
    if not _LATELY(c, contact_id=contact_id, keep=KEEP_SECONDS):
        return None
    items = unconfirmed.confirmed(c, contact_id)
    return Asked(items, items[0].locale if items else None, is_done=True)
