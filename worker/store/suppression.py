"""Suppression: contacts that get no mail. No RECEIVED request belongs to one of them.

Every arrow into RECEIVED holds that rule, and ends as FAILED, SUPPRESSED instead; so `claim` needs no look at the
contact. `suppress` moves what waits. A statement that began before `suppress` was committed does not see it, and may
still write RECEIVED: the sweep repeats the move. What is PROCESSING runs out. See *suppressed contact* in
`docs/glossary.md`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.outcomes import FailureCode
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.store import contacts, tally
from worker.store.outbox import NEWS, news_if
from worker.store.seats import NO_SEAT
from worker.store.sql import Sql

MOST_ROWS: Final = 5000
"""One sweep moves at most this many rows, so that it stays short."""
RECENT_SECONDS: Final = 900.0
"""For so long sweeps repeat the move. No claim is older, so nothing that was claimed before comes back later, even from
a program that knows nothing of suppression."""
STRONG: Final = contacts.STRONG

_SUPPRESSED = FailureCode.SUPPRESSED.value
_WORDS: Final = "the customer gets no mail: "
_REASON = f"'{_WORDS}'"
UNSUBSCRIBED: Final = f"{_WORDS}{Cause.UNSUBSCRIBED.value}"
"""The reason of what ended because the customer left."""
LEFT_ITEM: Final = "the customer left this item"
"""The reason of what ended because the customer wanted no more mail about this item. They may get others."""
NEVER: Final = "'9000-01-01'"
"""SQL: only the `not_before` of requests whose customers have not confirmed is later. See `unconfirmed`."""
WEAK: Final = ", ".join(f"'{cause.value}'" for cause in Cause if cause not in STRONG)
"""SQL: the other causes."""

# So it is not forgotten that nobody confirmed what ends: a customer may take it up again.
_END = f"""status = 'FAILED', failed_at = stockbell_now(0),
        not_before = CASE WHEN not_before > {NEVER} THEN not_before END,
        failure_code = '{_SUPPRESSED}'"""

# The fragments for arrows from PROCESSING into RECEIVED, in an UPDATE of `request AS r`.
CONTACT = "(SELECT id AS who, suppressed_at, suppressed_why FROM contact) AS s"
ITS_CONTACT = "s.who = r.contact_id"
IS_SUPPRESSED = "s.suppressed_at IS NOT NULL"
REASON = f"{_REASON} || s.suppressed_why"


def back(code: str, reason: str) -> str:
    """SQL that sets RECEIVED with this code and reason (both SQL), or FAILED, SUPPRESSED if the contact is suppressed.

    What ends from PROCESSING has autoNotified set, whatever it ended for.
    """
    return f"""status = CASE WHEN {IS_SUPPRESSED} THEN 'FAILED' ELSE 'RECEIVED' END,
        auto_notified = CASE WHEN {IS_SUPPRESSED} THEN true END,
        failure_code = CASE WHEN {IS_SUPPRESSED} THEN '{_SUPPRESSED}' ELSE {code} END,
        failure_reason = CASE WHEN {IS_SUPPRESSED} THEN {REASON} ELSE {reason} END,
        failed_at = CASE WHEN {IS_SUPPRESSED} THEN stockbell_now(0) END, {NO_SEAT},
        {news_if(IS_SUPPRESSED)}"""


# For a new request whose contact is suppressed, where the column `why` says why.
NEW_STATUS = "CASE WHEN why IS NULL THEN 'RECEIVED' ELSE 'FAILED' END"
NEW_CODE = f"CASE WHEN why IS NOT NULL THEN '{_SUPPRESSED}' END"
NEW_REASON = f"{_REASON} || why"
NEW_FAILED_AT = "CASE WHEN why IS NOT NULL THEN stockbell_now(0) END"

_SUPPRESS = Sql(
    """WITH locked AS MATERIALIZED (
        SELECT id AS contact_id FROM contact WHERE id IN ROWS(contact_id uuid) AND suppressed_at IS NULL
        ORDER BY id FOR NO KEY UPDATE)
    UPDATE contact SET suppressed_at = stockbell_now(0), suppressed_why = :cause, suppressed_by = :by
    FROM locked WHERE id = locked.contact_id AND suppressed_at IS NULL RETURNING id""",
    id="uuid",
)
_STRENGTHEN = Sql(
    f"""WITH locked AS MATERIALIZED (
        SELECT id AS contact_id FROM contact WHERE id IN ROWS(contact_id uuid) AND suppressed_why IN ({WEAK})
        ORDER BY id FOR NO KEY UPDATE)
    UPDATE contact SET suppressed_why = :cause, suppressed_by = :by
    FROM locked WHERE id = locked.contact_id"""
)


def _move(whose: str, limit: str = "") -> Sql:
    """A statement that ends what waits for these suppressed contacts. autoNotified stays empty: nobody took it up."""
    return Sql(
        f"""WITH waiting AS MATERIALIZED (
            SELECT r.id AS request_id, s.suppressed_why AS why
            FROM contact AS s CROSS JOIN request AS r
            WHERE r.contact_id = s.id AND {whose} AND {IS_SUPPRESSED}
              AND r.status IN ('RECEIVED', 'PROCESSING') AND r.status = 'RECEIVED'
            ORDER BY r.id {limit} FOR NO KEY UPDATE OF r)
        UPDATE request SET {_END},
            failure_reason = {_REASON} || waiting.why, {NEWS}
        FROM waiting WHERE id = waiting.request_id AND status || '' = 'RECEIVED' RETURNING id""",
        id="uuid",
    )


_LEAVE_ITEM = Sql(
    f"""WITH waiting AS MATERIALIZED (
        SELECT r.id AS request_id FROM request AS r
        WHERE r.contact_id = :contact AND r.waiting_list_id = :list
          AND r.status IN ('RECEIVED', 'PROCESSING') AND r.status = 'RECEIVED' FOR NO KEY UPDATE OF r)
    UPDATE request SET {_END},
        failure_reason = '{LEFT_ITEM}', {NEWS}
    FROM waiting WHERE id = waiting.request_id AND status || '' = 'RECEIVED' RETURNING id""",
    id="uuid",
)
_MOVE = _move("s.id IN ROWS(contact_id uuid)")
_MOVE_LATE = _move("s.suppressed_at > stockbell_now(-:recent)", "LIMIT :most")
_LIFT = Sql(
    f"""WITH locked AS MATERIALIZED (
        SELECT id AS contact_id FROM contact WHERE address IN ROWS(address text) AND suppressed_at IS NOT NULL
          AND (:whatever OR suppressed_why IN ({WEAK}))
        ORDER BY id FOR NO KEY UPDATE)
    UPDATE contact SET suppressed_at = NULL, suppressed_why = NULL, suppressed_by = NULL
    FROM locked WHERE id = locked.contact_id RETURNING address"""
)
_LIFT_OWN = Sql(
    f"""UPDATE contact SET suppressed_at = NULL, suppressed_why = NULL, suppressed_by = NULL
    WHERE id IN ROWS(contact_id uuid) AND suppressed_why = '{Cause.UNSUBSCRIBED.value}'
      AND NOT address LIKE '{contacts.ERASED}%' RETURNING address"""
)
_FORGET = Sql(
    f"""UPDATE contact SET address_key = NULL
    WHERE address_key IN ROWS(address_key text) AND (:whatever OR suppressed_why IN ({WEAK})) RETURNING id""",
    id="uuid",
)
_KEYS = Sql("SELECT id, address_key FROM contact WHERE address_key IN ROWS(address_key text)", id="uuid")


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Who is suppressed since now, and which requests have ended because of it."""

    contacts: Sequence[UUID]
    requests: Sequence[UUID]


def suppress(c: Connection, contact_ids: Sequence[UUID], cause: Cause, by: str) -> Suppressed:
    """Sends these contacts no more mail: their RECEIVED requests end as FAILED, SUPPRESSED.

    Who is suppressed already stays so since then, and for that cause, unless this one is stronger. `by` says for people
    what told us.
    """
    rows = [{"contact_id": id_} for id_ in contact_ids]
    if cause in STRONG:
        _STRENGTHEN(c, rows=rows, cause=cause.value, by=by)
    new = [row.id for row in _SUPPRESS(c, rows=rows, cause=cause.value, by=by)]
    ended = _ended(c, _MOVE(c, rows=rows))
    tally.add(c, {f"unsubscribed:{cause.value}": len(new)})
    return Suppressed(new, ended)


def leave_item(c: Connection, contact_id: UUID, list_id: UUID) -> bool:
    """Ends what a contact waits for on one list, by their own wish. Returns False if nothing was RECEIVED there.

    It is not deleted: they may take it back, admins see why it ended, and an import that is repeated adds nothing.
    """
    ended = _ended(c, _LEAVE_ITEM(c, contact=contact_id, list=list_id))
    tally.add(c, {"unsubscribed:item": len(ended)})
    return bool(ended)


def lift_own(c: Connection, contact_id: UUID, tokens: Tokens | None) -> bool:
    """Ends the suppression of a contact who left by their own wish. Returns False if there was no such one.

    Also that of the same address before it was erased. Else the next sign-up would find it suppressed again.
    """
    lifted = [row.address for row in _LIFT_OWN(c, rows=[{"contact_id": contact_id}])]
    _forget(c, contacts.keys_of(c, lifted, tokens) if lifted else {}, whatever=False)
    return bool(lifted)


def repeat(c: Connection) -> int:
    """Ends what has become RECEIVED while its contact was being suppressed. For sweeps. Returns how many requests."""
    return len(_ended(c, _MOVE_LATE(c, recent=RECENT_SECONDS, most=MOST_ROWS)))


def _ended(c: Connection, rows: Sequence[Any]) -> list[UUID]:
    """Counts requests that have ended as FAILED, SUPPRESSED, and returns them."""
    tally.add(c, {tally.SUPPRESSED: len(rows)})
    return [row.id for row in rows]


def lift(c: Connection, addresses: Collection[str], tokens: Tokens | None, *, by_consent: bool = False) -> set[str]:
    """Ends the suppression of these normalised addresses, also of erased ones. Returns those that were suppressed.

    What has ended stays so. With `by_consent` a complaint, and what was done by hand, stands. Raises BadSetting if an
    erased address can't be recognised, because there is no key.
    """
    lifted = {row.address for row in _LIFT(c, rows=[{"address": each} for each in addresses], whatever=not by_consent)}
    return lifted | _forget(c, contacts.keys_of(c, addresses, tokens), whatever=not by_consent)


def _forget(c: Connection, keys: Mapping[str, str], *, whatever: bool) -> set[str]:
    """Forgets erased addresses that want no mail: `keys` has them by their keys. Returns those that it forgot."""
    rows = [{"address_key": key} for key in keys]
    of_contact = {row.id: row.address_key for row in _KEYS(c, rows=rows)} if rows else {}
    if not of_contact:
        return set()
    return {keys[of_contact[row.id]] for row in _FORGET(c, rows=rows, whatever=whatever)}
