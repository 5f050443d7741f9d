"""What admins do to many requests at once, in chunks, and to whom sending stops and goes on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from worker.domain.catalog import CatalogReference
from worker.queue.bell import Bell
from worker.services.ringing import try_to_ring
from worker.store import admin, pauses, requests
from worker.store.admin import Changed, Key
from worker.store.database import Connection, Database
from worker.store.requests import Filter

CHUNK = 1000
"""requests a transaction"""

Verb = Callable[[Connection, Sequence[UUID]], Changed]
Show = Callable[[Any], None]
"""takes a request (a row of `store.requests.find`) that a dry run would change"""


@dataclass(slots=True)
class Summary:
    """What a verb did to many."""

    changed: int = 0
    lists: set[UUID] = field(default_factory=set)
    """the waiting lists of those that were changed"""
    refused: dict[UUID, str] = field(default_factory=dict)
    """why the others were not"""


@dataclass(frozen=True, slots=True)
class Verbs:
    """The verbs of admins, for requests named by id or found by a filter.

    All of them raise DatabaseAway. A Redis that is away only makes changed requests wait for the
    next sweep.
    """

    database: Database
    bell: Bell

    def retry(self, which: Sequence[UUID] | Filter, *, ordered: bool, force: bool) -> Summary:
        """FAILED -> RECEIVED; with `ordered` they are sent whatever the stock."""
        return self._rung(self._each(which, partial(admin.retry, ordered=ordered, force=force)))

    def would_retry(self, which: Sequence[UUID] | Filter, *, force: bool, show: Show) -> Summary:
        """What `retry` would do. Changes nothing, and shows whom it would change."""
        taken: dict[Key, UUID] = {}

        def verb(c: Connection, ids: Sequence[UUID]) -> Changed:
            changed = admin.retry(c, ids, ordered=False, force=force, dry_run=True, taken=taken)
            for row in requests.find(c, Filter(ids=changed.ids)):
                show(row)
            return changed

        return self._each(which, verb)

    def report(self, which: Sequence[UUID] | Filter) -> Summary:
        """Orders RECEIVED requests to be told now, whatever the stock."""
        return self._rung(self._each(which, admin.report))

    def mark_sent(self, which: Sequence[UUID]) -> Summary:
        """RECEIVED, FAILED -> NOTIFICATION_SENT: the mail went out by other means."""
        return self._each(which, admin.mark_sent)

    def pause(self, reference: CatalogReference | None) -> bool:
        """Stops sending for an item (None: everything); False if it was paused already."""
        return self.database.write(pauses.pause, reference)

    def resume(self, reference: CatalogReference | None) -> bool:
        """Lets sending go on where `pause` stopped it; False if it was not paused."""
        resumed = self.database.write(pauses.resume, reference)
        if resumed:
            try_to_ring(self.database, self.bell, waiting_lists(self.database, reference))
        return resumed

    def still_stopped_by(self, reference: CatalogReference) -> str | None:
        """The wider pause that goes on when the one of this item or variant is taken back; for people."""
        return self.database.read(pauses.wider, reference)

    def is_known(self, reference: CatalogReference) -> bool:
        """Whether anybody ever waited for this item or variant, or an event told of it."""
        return self.database.read(pauses.is_known, reference)

    def _rung(self, done: Summary) -> Summary:
        if done.lists:
            try_to_ring(self.database, self.bell, done.lists)
        return done

    def _each(self, which: Sequence[UUID] | Filter, verb: Verb) -> Summary:
        done = Summary()
        if isinstance(which, Filter):
            # Read on one connection while the other one writes: no list of a million ids.
            self.database.read(self._found, which, verb, done)
        else:
            self._in_chunks(dict.fromkeys(which), verb, done)
        return done

    def _found(self, c: Connection, which: Filter, verb: Verb, done: Summary) -> None:
        self._in_chunks((row.id for row in requests.find(c, which)), verb, done)

    def _in_chunks(self, ids: Iterable[UUID], verb: Verb, done: Summary) -> None:
        for chunk in _chunks(ids):
            changed = self.database.write(verb, chunk)
            done.changed += len(changed.ids)
            done.lists |= changed.lists
            done.refused |= changed.refused


def waiting_lists(database: Database, reference: CatalogReference | None) -> Sequence[UUID] | None:
    """The waiting lists of an item that have these options; None (which is all) where no item is named."""
    if reference is None:
        return None
    return database.read(requests.lists_of, reference.item, reference.options)


def _chunks(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    left = iter(ids)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
