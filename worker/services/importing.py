"""Imports many requests, a thousand per transaction."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.domain.errors import DatabaseAway
from worker.services.import_file import Rejected
from worker.store import requests
from worker.store.database import Database
from worker.store.requests import NewRequest

BATCH = 1000


@dataclass(slots=True)
class Imported:
    """Counts of an import's lines."""

    created: int = 0
    duplicate: int = 0
    """skipped: an equal request is unresolved or stands in the file too, or the line was imported before. Of equal
    requests the oldest createdDate counts"""
    rejected: int = 0


def import_requests(
    database: Database,
    entries: Iterable[NewRequest | Rejected],
    refuse: Callable[[Rejected], None],
) -> Imported:
    """Commits the valid requests in batches, and calls `refuse` with each rejected line.

    Raises DatabaseAway. Batches that were committed stay, and count as duplicates when the file is imported again.
    """
    done = Imported()

    def refused(line: Rejected) -> None:
        done.rejected += 1
        refuse(line)

    # The next batch is read while one is committed.
    under_way: Future[None] | None = None
    with ThreadPoolExecutor(1) as committer:
        for batch in _batches(entries, refused):
            if under_way:
                under_way.result()
            under_way = committer.submit(_commit, database, batch, done)
        if under_way:
            under_way.result()
    return done


def _batches(
    entries: Iterable[NewRequest | Rejected], refuse: Callable[[Rejected], None]
) -> Iterator[list[NewRequest]]:
    batch: list[NewRequest] = []
    for entry in entries:
        if isinstance(entry, Rejected):
            refuse(entry)
            continue
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _commit(database: Database, batch: list[NewRequest], done: Imported) -> None:
    try:
        created = len(database.write(requests.create, batch))
    except DatabaseAway as away:
        raise DatabaseAway(f"{away} (after {done.created} new requests; import the file again to go on)") from away
    done.created += created
    done.duplicate += len(batch) - created
