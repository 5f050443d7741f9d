"""Requests as CSV: all that match, in parts, so that there may be any number of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from worker.domain.catalog import options_from_text
from worker.models import Status
from worker.services.csv_lines import csv_line
from worker.services.selection import Selection
from worker.services.wire import timestamp
from worker.store import request_list
from worker.store.database import Connection, Database
from worker.store.request_list import Place

CHUNK: Final = 1000
"""requests a transaction"""

COLUMNS: Final[Mapping[str, Callable[[Any], object]]] = {
    "id": lambda row: row.id,
    "status": lambda row: Status(row.status).value,
    "email": lambda row: row.email,
    "catalogItemId": lambda row: row.catalog_item_id,
    "appId": lambda row: row.app_id,
    "options": lambda row: ", ".join(f"{name}={value}" for name, value in options_from_text(row.options)),
    "itemName": lambda row: row.item_name,
    "locale": lambda row: row.locale,
    "priority": lambda row: row.priority or None,
    "createdDate": lambda row: timestamp(row.created_date),
    "notifiedDate": lambda row: row.notified_date and timestamp(row.notified_date),
    "failedDate": lambda row: row.failed_at and timestamp(row.failed_at),
    "waiting": lambda row: row.waiting,
    "failureCode": lambda row: row.failure_code,
    "failureReason": lambda row: row.failure_reason,
    "attempts": lambda row: row.attempts,
    "itemUrl": lambda row: row.item_url,
    "contactId": lambda row: row.contact_id,
}


def csv_lines(database: Database, selection: Selection) -> Iterator[str]:
    """Yields the file line by line, with a header, newest first. Readers may be slow: each part is a transaction."""
    yield csv_line(COLUMNS)
    place: Place | None = None
    while True:
        rows, place = database.read(_next, selection, place)
        yield from (csv_line(value(row) for value in COLUMNS.values()) for row in rows)
        if place is None:
            return


def _next(c: Connection, selection: Selection, place: Place | None) -> tuple[Any, Place | None]:
    return request_list.every(c, selection.filter(c), place, CHUNK)
