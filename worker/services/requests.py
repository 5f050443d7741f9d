"""Single requests: created, deleted, looked at."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from worker.errors import Refused
from worker.store import requests
from worker.store.database import Connection, Database
from worker.store.requests import Filter, NewRequest


class AlreadyWaiting(Refused):
    """This person waits for this (item, options) already."""

    def __init__(self, request_id: UUID) -> None:
        super().__init__(f"this address waits for this item already: request {request_id}")
        self.request_id = request_id


class NoSuchRequest(Refused):
    """No request has this id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"no such request: {request_id}")


def create(database: Database, new: NewRequest) -> Any:
    """Adds a request and returns its row. Raises AlreadyWaiting, DatabaseAway."""
    created, request_id = database.write(_create, new)
    if not created:
        raise AlreadyWaiting(request_id)
    return show(database, request_id)[0]


def delete(database: Database, request_id: UUID) -> None:
    """Deletes a request, in any state. Raises NoSuchRequest, DatabaseAway."""
    if not database.write(requests.remove, request_id):
        raise NoSuchRequest(str(request_id))


def show(database: Database, request_id: UUID) -> tuple[Any, Sequence[Any]]:
    """A request and its attempt log. Raises NoSuchRequest, DatabaseAway."""
    found = database.read(_show, request_id)
    if found is None:
        raise NoSuchRequest(str(request_id))
    return found


def each(database: Database, which: Filter, limit: int, show: Callable[[Any], None]) -> int:
    """Hands the matching requests to `show`, oldest first; returns how many. `limit` 0 means all.

    They are read as they are shown, so that there may be any number of them. Raises DatabaseAway.
    """
    return database.read(_each, which, limit, show)


def _create(c: Connection, new: NewRequest) -> tuple[bool, UUID]:
    while True:
        if added := requests.create(c, [new]):
            return True, added[0]
        if found := requests.unresolved(c, new.email, new.reference):
            return False, found
        # It was resolved between the two statements.


def _show(c: Connection, request_id: UUID) -> tuple[Any, Sequence[Any]] | None:
    found = list(requests.find(c, Filter(ids=[request_id])))
    return (found[0], requests.attempts(c, request_id)) if found else None


def _each(c: Connection, which: Filter, limit: int, show: Callable[[Any], None]) -> int:
    shown = 0
    for shown, row in enumerate(requests.find(c, which, limit), start=1):  # noqa: B007
        show(row)
    return shown
