"""What a customer's own page shows and does: what they wait for, and what they left and may take up again.

The rows are found by the contact. Nobody else's are ever looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Options, options_from_text
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.models import Status
from worker.store import admin, confirmations, suppression
from worker.store.contacts import ERASED
from worker.store.sql import Sql

MOST_WISHES: Final = 200
"""What is shown of each kind, and taken up again at once."""

_CONTACT = Sql("SELECT address, suppressed_why FROM contact WHERE id IN ROWS(contact_id uuid)")


def _wishes(condition: str) -> Sql:
    return Sql(
        f"""SELECT r.id, r.waiting_list_id AS list_id, r.status, r.created_date, r.locale, r.failure_reason, w.options,
            i.name, i.catalog_item_id
        FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id
        WHERE r.contact_id = :contact AND {condition} ORDER BY r.created_date DESC, r.id DESC LIMIT {MOST_WISHES}""",
        id="uuid",
        list_id="uuid",
        created_date="time",
    )


_WAITING = _wishes("r.status IN ('RECEIVED', 'PROCESSING')")
_ENDED = _wishes("r.failure_code = 'SUPPRESSED' AND r.status = 'FAILED'")


@dataclass(frozen=True, slots=True)
class Wish:
    """One item that a customer waits for, or did."""

    list_id: UUID
    item: str = field(repr=False)
    """its name, or its id if no event has named it"""
    options: Options = field(repr=False)
    since: datetime
    is_being_sent: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a customer. Newest wishes first."""

    why: Cause | None
    """why they get no mail; None if they do"""
    waits: Sequence[Wish]
    left: Sequence[Wish]
    """what they may take up again: single items, or all if they left altogether"""
    locale: str | None
    """the language of their newest request"""

    @property
    def has_left(self) -> bool:
        """Whether they get no mail because they wanted none. Only that they can take back here."""
        return self.why is Cause.UNSUBSCRIBED


def standing(c: Connection, contact_id: UUID) -> Standing | None:
    """Returns how it stands with a customer. None: nothing is held about them, or it was erased."""
    contact = next(iter(_CONTACT(c, rows=[{"contact_id": contact_id}])), None)
    if contact is None or contact.address.startswith(ERASED):
        return None
    why = Cause(contact.suppressed_why) if contact.suppressed_why else None
    waiting, ended = _WAITING(c, contact=contact_id), _ENDED(c, contact=contact_id)
    reason = suppression.LEFT_ITEM if why is None else suppression.UNSUBSCRIBED
    left = {row.list_id: _wish(row) for row in reversed(ended) if row.failure_reason == reason}
    waits = {row.list_id: _wish(row) for row in waiting}
    locale = next((row.locale for row in [*waiting, *ended] if row.locale), None)
    return Standing(why, [*waits.values()], [wish for id_, wish in left.items() if id_ not in waits][::-1], locale)


def take_back(c: Connection, contact_id: UUID, tokens: Tokens | None) -> int:
    """Undoes that a customer left altogether: what ended by that waits again. Returns how much.

    Of several equal requests the oldest waits again, and none if another one waits already.
    """
    if not suppression.lift_own(c, contact_id, tokens):
        return 0
    return _take_up(c, [row.id for row in _ended(c, contact_id, suppression.UNSUBSCRIBED)])


def take_back_item(c: Connection, contact_id: UUID, list_id: UUID) -> int:
    """Undoes that a customer left one item. Does nothing if they get no mail at all."""
    ended = _ended(c, contact_id, suppression.LEFT_ITEM)
    return _take_up(c, [row.id for row in ended if row.list_id == list_id])


def _ended(c: Connection, contact_id: UUID, reason: str) -> list[Any]:
    return [row for row in _ENDED(c, contact=contact_id) if row.failure_reason == reason]


def _take_up(c: Connection, ids: Sequence[UUID]) -> int:
    taken_up = admin.retry(c, ids, ordered=False, force=True, by_customer=True).ids
    confirmations.ask_for(c, taken_up)
    return len(taken_up)


def _wish(row: Any) -> Wish:
    options = options_from_text(row.options)
    is_being_sent = row.status == Status.PROCESSING
    return Wish(row.list_id, row.name or row.catalog_item_id, options, row.created_date, is_being_sent)
