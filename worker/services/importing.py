"""Takes many requests in, a thousand a transaction."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from worker.errors import DatabaseAway
from worker.services.import_file import Rejected
from worker.store import requests
from worker.store.database import Database
from worker.store.requests import NewRequest

BATCH = 1000


@dataclass(slots=True)
class Imported:
    """What became of a file's lines."""

    created: int = 0
    duplicate: int = 0
    """left out, since their like is unresolved (or stands further up in the file)"""
    rejected: int = 0


def import_requests(
    database: Database,
    entries: Iterable[NewRequest | Rejected],
    refuse: Callable[[Rejected], None],
) -> Imported:
    """Commits the good ones batch by batch, and hands the others to `refuse` as they are met.

    Raises DatabaseAway; what was committed before stays, and is a duplicate when tried again.
    """
    done = Imported()
    batch: list[NewRequest] = []
    for entry in entries:
        if isinstance(entry, Rejected):
            done.rejected += 1
            refuse(entry)
            continue
        batch.append(entry)
        if len(batch) == BATCH:
            _commit(database, batch, done)
            batch = []
    if batch:
        _commit(database, batch, done)
    return done


def _commit(database: Database, batch: list[NewRequest], done: Imported) -> None:
    try:
        created = len(database.write(requests.create, batch))
    except DatabaseAway as away:
        raise DatabaseAway(f"{away} (after {done.created} new requests; import the file again to go on)") from away
    done.created += created
    done.duplicate += len(batch) - created
