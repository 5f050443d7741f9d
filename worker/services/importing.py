"""Imports many requests, a thousand per transaction, or only tries to."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.domain.errors import DatabaseAway
from worker.domain.tokens import Tokens
from worker.services.import_file import Entry, Rejected, Skipped
from worker.store import requests
from worker.store.database import Connection, Database
from worker.store.requests import Fate, NewRequest

BATCH = 1000
MOST_KEPT = 1_000_000
"""How many different requests a trial remembers, so that its memory has a bound."""


@dataclass(slots=True)
class Imported:
    """Counts of an import's lines."""

    created: int = 0
    """wait now"""
    duplicate: int = 0
    """skipped: an equal request is unresolved or stands in the file too, or the line was imported before. Of equal
    requests the oldest createdDate counts, and the priority that was said last"""
    rejected: int = 0
    skipped: int = 0
    """do not wait any more, says the file: told, failed, given up"""
    suppressed: int = 0
    """kept as FAILED, SUPPRESSED: their customers get no mail"""


def import_requests(
    database: Database,
    entries: Iterable[Entry],
    refuse: Callable[[Rejected], None],
    tokens: Tokens | None = None,
) -> Imported:
    """Commits the valid requests in batches, and calls `refuse` with each rejected line.

    Raises DatabaseAway, and BadSetting if there are erased addresses and no `tokens` to recognise them. Batches that
    were committed stay, and count as duplicates when the file is imported again.
    """
    done = Imported()

    # The next batch is read while one is committed.
    under_way: Future[None] | None = None
    with ThreadPoolExecutor(1) as committer:
        for batch in _batches(entries, done, refuse):
            if under_way:
                under_way.result()
            under_way = committer.submit(_commit, database, batch, done, tokens)
        if under_way:
            under_way.result()
    return done


def try_import(
    database: Database, entries: Iterable[Entry], refuse: Callable[[Rejected], None], tokens: Tokens | None = None
) -> Imported:
    """Counts what `import_requests` would do, and writes nothing. Raises the same errors.

    After a million different requests it counts those that stand in the file twice as created.
    """
    done = Imported()
    seen: set[int] = set()
    for batch in _batches(entries, done, refuse):
        for request, fate in zip(batch, database.read(requests.fates, batch, tokens), strict=True):
            # Those who are suppressed don't wait, so that each date of theirs is kept.
            date = request.created_date if fate is Fate.SUPPRESSED else None
            key = hash((request.email.lower(), request.reference, date))
            if fate is Fate.DUPLICATE or key in seen:
                done.duplicate += 1
                continue
            done.created += fate is Fate.CREATED
            done.suppressed += fate is Fate.SUPPRESSED
            if len(seen) < MOST_KEPT:
                seen.add(key)
    return done


def _batches(
    entries: Iterable[Entry], done: Imported, refuse: Callable[[Rejected], None]
) -> Iterator[list[NewRequest]]:
    batch: list[NewRequest] = []
    for entry in entries:
        if isinstance(entry, Rejected):
            done.rejected += 1
            refuse(entry)
            continue
        if isinstance(entry, Skipped):
            done.skipped += 1
            continue
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _commit(database: Database, batch: list[NewRequest], done: Imported, tokens: Tokens | None) -> None:
    try:
        added, suppressed = database.write(_create, batch, tokens)
    except DatabaseAway as away:
        raise DatabaseAway(f"{away} (after {done.created} new requests; import the file again to go on)") from away
    done.created += added - suppressed
    done.suppressed += suppressed
    done.duplicate += len(batch) - added


def _create(c: Connection, batch: list[NewRequest], tokens: Tokens | None) -> tuple[int, int]:
    added = requests.create(c, batch, tokens)
    if len(added) < len(batch):
        requests.confirm_equal(c, batch)
    return len(added), requests.suppressed(c, added)
