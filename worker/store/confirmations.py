"""Double opt-in: requests that wait until their customers confirm, and the mails that ask them to.

An unconfirmed request is RECEIVED with `not_before` in the far future, so that the indexes of what may be claimed leave
it out, and has the code UNCONFIRMED. How far in the future tells when it was made: thus those that nobody has confirmed
in time are found by the index of `not_before`.

A customer is asked by one row of `confirmation`: once a day at most, however often she is signed up. Whoever is
suppressed by her own wish or by a bounce is asked too, once in 30 days at most: to confirm ends the suppression, and
the requests that she made meanwhile wait again. Whoever complained, or was suppressed by hand, is not asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import UNCONFIRMED, FailureCode
from worker.domain.tokens import Tokens
from worker.models import ids_of
from worker.store import lists, suppression
from worker.store.contacts import ERASED
from worker.store.sql import Sql

DAY: Final = 86_400.0
KEEP_SECONDS: Final = 7 * DAY
"""Who has not confirmed after this time is forgotten."""
QUIET_SECONDS: Final = DAY
"""So long a customer gets no second mail that asks her."""
SUPPRESSED_QUIET_SECONDS: Final = 30 * DAY
"""The same for one who is suppressed."""
LEASE_SECONDS: Final = 900.0
"""So long nobody else sends a mail that a process has taken. Sending takes a minute at most."""
MOST_ITEMS: Final = 20
"""A mail and a page name no more items than that."""
MOST_ROWS: Final = 5000
"""One sweep forgets no more rows than that."""

FAR_SECONDS: Final = 7900 * 365.25 * DAY
"""How much later than its sign-up an unconfirmed request would be due."""
NEVER: Final = "'9000-01-01'"
"""SQL: only the `not_before` of unconfirmed requests is later."""

_WEAK = suppression.WEAK
_MAY_BE_ASKED = f"(s.suppressed_why IS NULL OR s.suppressed_why IN ({_WEAK})) AND NOT s.address LIKE '{ERASED}%'"

_HOLD = Sql(
    f"""UPDATE request SET not_before = stockbell_now(:far), failure_code = '{UNCONFIRMED}'
    WHERE id = :id AND status || '' = 'RECEIVED' AND (:always OR EXISTS (
        SELECT 1 FROM contact AS s WHERE s.id = request.contact_id AND s.confirmed_at IS NULL))"""
)
_HAS_TO_CONFIRM = Sql(
    f"""SELECT s.id FROM contact AS s WHERE s.address = :address AND (s.suppressed_at IS NOT NULL OR EXISTS (
        SELECT 1 FROM request AS r WHERE r.contact_id = s.id AND r.status IN ('RECEIVED', 'PROCESSING')
          AND r.failure_code = '{UNCONFIRMED}'))""",
    id="uuid",
)
_NOBODY: Final = UUID(int=0)
_WHOSE = Sql("SELECT contact_id, failure_code FROM request WHERE id = :id", contact_id="uuid")
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
_COLUMNS = "r.id, r.waiting_list_id, r.email, w.options, i.catalog_item_id, i.app_id, i.name"
_HELD = """r.contact_id = :contact_id AND r.status IN ('RECEIVED', 'PROCESSING') AND r.status = 'RECEIVED'"""
_IS_UNCONFIRMED = f"r.failure_code = '{UNCONFIRMED}'"
# Those that were made since the customer is suppressed have ids of that time (`requests.create`).
_MADE_MEANWHILE = f"""r.id BETWEEN :low AND :high AND r.contact_id = :contact_id
    AND r.status || '' = 'FAILED' AND r.failure_code = '{FailureCode.SUPPRESSED.value}' AND r.auto_notified IS NULL"""


def _items(condition: str) -> Sql:
    return Sql(
        f"""SELECT {_COLUMNS} FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        JOIN item AS i ON i.id = w.item_id WHERE {condition} ORDER BY r.created_date DESC, r.id DESC LIMIT :most""",
        id="uuid",
        waiting_list_id="uuid",
    )


_UNCONFIRMED_OF = _items(f"{_HELD} AND {_IS_UNCONFIRMED}")
_MEANWHILE_OF = _items(_MADE_MEANWHILE)
_WAITING_OF = _items(f"{_HELD} AND coalesce(r.failure_code, '') <> '{UNCONFIRMED}'")
_RELEASE = Sql(
    f"""WITH held AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r WHERE {_HELD} AND {_IS_UNCONFIRMED}
        ORDER BY r.id FOR NO KEY UPDATE)
    UPDATE request SET not_before = NULL, failure_code = NULL
    FROM held WHERE id = held.request_id AND status || '' = 'RECEIVED' RETURNING waiting_list_id""",
    waiting_list_id="uuid",
)
_RELEASE_THESE = Sql(
    f"""UPDATE request SET not_before = NULL, failure_code = NULL
    FROM ROWS(request_id uuid) WHERE id = rows.request_id AND status || '' = 'RECEIVED'
      AND failure_code = '{UNCONFIRMED}' RETURNING id""",
    id="uuid",
)
_REVIVE = Sql(
    f"""WITH ended AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r WHERE {_MADE_MEANWHILE} AND NOT EXISTS (
            SELECT 1 FROM request AS same WHERE same.contact_id = r.contact_id
              AND same.waiting_list_id = r.waiting_list_id AND same.status IN ('RECEIVED', 'PROCESSING'))
        ORDER BY r.id FOR NO KEY UPDATE)
    UPDATE request SET status = 'RECEIVED', failure_code = NULL, failure_reason = NULL
    FROM ended WHERE id = ended.request_id AND status || '' = 'FAILED' RETURNING waiting_list_id""",
    waiting_list_id="uuid",
)
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
_EXPIRE = Sql(
    f"""WITH old AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r
        WHERE r.status = 'RECEIVED' AND r.not_before > {NEVER} AND r.not_before < stockbell_now(:far)
        ORDER BY r.not_before LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM request WHERE id IN (SELECT request_id FROM old) AND failure_code = '{UNCONFIRMED}' RETURNING id"""
)
_EXPIRE_ASKED = Sql(
    """WITH old AS MATERIALIZED (
        SELECT contact_id AS whose FROM confirmation WHERE expires_at < stockbell_now(0)
        ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM confirmation WHERE contact_id IN (SELECT whose FROM old)"""
)
_COUNT = Sql(f"SELECT count(*) AS n FROM request WHERE status = 'RECEIVED' AND not_before > {NEVER}")


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
        _HOLD(c, id=request_id, far=FAR_SECONDS, always=always)
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
        _HOLD(c, id=request_id or _NOBODY, far=FAR_SECONDS, always=always)
    asked = [row.id for row in _HAS_TO_CONFIRM(c, address=address)]
    ask(c, asked[0] if asked else _NOBODY, locale)


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


def vouch(c: Connection, request_id: UUID) -> None:
    """Records that somebody we trust says that the customer of this request has confirmed."""
    _VOUCH(c, id=request_id)
    release(c, [request_id])


def release(c: Connection, request_ids: Sequence[UUID]) -> list[UUID]:
    """Lets those of these requests wait for their item that were unconfirmed, and returns them."""
    return [row.id for row in _RELEASE_THESE(c, rows=[{"request_id": id_} for id_ in request_ids])]


def is_any_due(c: Connection) -> bool:
    """Whether there is a mail to send. Not while the relay is down or everything is paused."""
    return bool(_HAS_DUE(c))


def claim(c: Connection) -> Due | None:
    """Takes a mail that is due. Nobody else has it for `LEASE_SECONDS`. None while mail is stopped, or none is due."""
    while found := _CLAIM(c, lease=LEASE_SECONDS):
        row = found[0]
        contact = _CONTACT(c, contact_id=row.contact_id)[0]
        items = _pending(c, contact) if _may_be_asked(contact, row.asked_at) else ()
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
    released = [row.waiting_list_id for row in _RELEASE(c, contact_id=contact_id)]
    if contact.suppressed_at and suppression.lift(c, [contact.address], tokens, by_consent=True):
        released += [row.waiting_list_id for row in _REVIVE(c, **_meanwhile(contact))]
    return Asked(_waiting(c, contact_id), found.locale, is_done=True, lists=frozenset(released))


def waiting(c: Connection) -> int:
    """Returns how many requests are unconfirmed."""
    n: int = _COUNT(c)[0].n
    return n


def expire(c: Connection) -> int:
    """Deletes requests that nobody has confirmed in time, and what says who was asked. Returns how many requests.

    For sweeps: both are found by an index.
    """
    _EXPIRE_ASKED(c, most=MOST_ROWS)
    return len(_EXPIRE(c, far=FAR_SECONDS - KEEP_SECONDS, most=MOST_ROWS))


def _asked(c: Connection, contact_id: UUID, contacts: Sequence[Any]) -> Asked | None:
    if not contacts or contacts[0].address.startswith(ERASED):
        return None
    contact = contacts[0]
    for row in _OPEN(c, contact_id=contact_id, keep=KEEP_SECONDS):
        if items := _pending(c, contact):
            return Asked(items, row.locale)
    return _done(c, contact_id)


def _may_be_asked(contact: Any, asked_at: datetime) -> bool:
    return contact.suppressed_at is None or (
        contact.suppressed_at <= asked_at and contact.suppressed_why not in suppression.STRONG
    )


def _pending(c: Connection, contact: Any) -> Sequence[Any]:
    """Returns what a customer has to confirm: what is unconfirmed, or what ended since she is suppressed."""
    if contact.suppressed_at is None:
        return _UNCONFIRMED_OF(c, contact_id=contact.id, most=MOST_ITEMS)
    if contact.suppressed_why in suppression.STRONG:
        return ()
    return _MEANWHILE_OF(c, most=MOST_ITEMS, **_meanwhile(contact))


def _waiting(c: Connection, contact_id: UUID) -> Sequence[Any]:
    return _WAITING_OF(c, contact_id=contact_id, most=MOST_ITEMS)


def _done(c: Connection, contact_id: UUID) -> Asked | None:
    if not _LATELY(c, contact_id=contact_id, keep=KEEP_SECONDS):
        return None
    return Asked(_waiting(c, contact_id), is_done=True)


def _meanwhile(contact: Any) -> Mapping[str, object]:
    low, high = ids_of(contact.suppressed_at)
    return {"contact_id": contact.id, "low": low, "high": high}
