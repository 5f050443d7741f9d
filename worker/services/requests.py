"""Creates, deletes and shows single requests, and lists many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from worker.domain.errors import Refused
from worker.domain.tokens import Tokens
from worker.store import actions, report_log, request_list, requests, suppression, unconfirmed
from worker.store.database import Connection, Database
from worker.store.requests import Filter, NewRequest

CHUNK: Final = 1000


def create(
    database: Database, new: NewRequest, tokens: Tokens | None = None, *, has_consent: bool = False
) -> tuple[bool, UUID]:
    """Adds a request. Returns True and its id, or False and the id of the equal request that is there.

    The request of a suppressed contact ends at once, as FAILED. With `has_consent` the customer asks for mail again: it
    lifts the suppression if that was by a bounce or by their own wish. An equal request that is unconfirmed becomes a
    confirmed one, and counts as added. Raises DatabaseAway, and BadSetting if the
    address may be an erased one and there are no `tokens` to tell.
    """
    return database.write(_create, new, tokens, has_consent)


def add(c: Connection, new: NewRequest, tokens: Tokens | None, *, has_consent: bool) -> tuple[bool, UUID]:
    """Does what `create` does, in a transaction of the caller's."""
    if has_consent:
        suppression.lift(c, [new.email.lower()], tokens, by_consent=True)
    while True:
        if added := requests.create(c, [new], tokens):
            return True, added[0]
        if found := requests.equal(c, new):
            return False, found
        # The equal request was resolved between the two statements: try again.


def delete(database: Database, request_id: UUID, who: str | None = None) -> None:
    """Deletes a request in any state. Raises Refused if there is no such request, and DatabaseAway.

    `who` is named in the audit trail.
    """
    if not database.write(_delete, request_id, who):
        raise Refused(f"no such request: {request_id}")


def _delete(c: Connection, request_id: UUID, who: str | None) -> bool:
    is_removed = requests.remove(c, request_id)
    if is_removed and who:
        actions.note(c, who, "delete", {"id": [str(request_id)]}, changed=1)
    return is_removed


@dataclass(frozen=True, slots=True)
class Shown:
    """A request, its failed attempts, and the reports about its mails, both oldest first."""

    request: Any
    attempts: Sequence[Any]
    reports: Sequence[Any]


def show(database: Database, request_id: UUID) -> Shown:
    """Returns a request with its history. Raises Refused if there is no such request, and DatabaseAway."""
    found = database.read(_show, request_id)
    if found is None:
        raise Refused(f"no such request: {request_id}")
    return found


def each(database: Database, which: Filter, limit: int, show: Callable[[Any], None]) -> int:
    """Calls `show` with each matching request, oldest first. Returns how many there were. `limit` 0 means all.

    Requests are streamed, so there may be any number of them. Raises DatabaseAway.
    """
    return database.read(_each, which, limit, show)


def each_from_newest(database: Database, which: Filter, limit: int, show: Callable[[Any], None]) -> int:
    """Does what `each` does, newest first (by id). A part at a time, each in a transaction of its own."""
    shown, place = 0, None
    while not limit or shown < limit:
        most = min(CHUNK, limit - shown) if limit else CHUNK
        page = database.read(request_list.page, which, place, most)
        for row in page.rows:
            show(row)
        shown, place = shown + len(page.rows), page.after
        if place is None:
            break
    return shown


def _create(c: Connection, new: NewRequest, tokens: Tokens | None, has_consent: bool) -> tuple[bool, UUID]:
    is_new, request_id = add(c, new, tokens, has_consent=has_consent)
    if is_new:
        return True, request_id
    return bool(unconfirmed.release(c, [request_id])), request_id


def _show(c: Connection, request_id: UUID) -> Shown | None:
    found = list(requests.find(c, Filter(ids=[request_id])))
    if not found:
        return None
    return Shown(found[0], requests.attempts(c, request_id), report_log.of_request(c, found[0]))


def _each(c: Connection, which: Filter, limit: int, show: Callable[[Any], None]) -> int:
    shown = 0
    for shown, row in enumerate(requests.find(c, which, limit), start=1):  # noqa: B007
        show(row)
    return shown
