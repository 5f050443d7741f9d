"""The commands for admins: changes to many requests, in chunks, and pause and resume."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from worker.domain.catalog import WIX_STORES, CatalogReference
from worker.services.ringing import try_to_ring
from worker.store import actions, admin, pauses, requests
from worker.store.admin import Changed, Key
from worker.store.database import Connection, Database
from worker.store.requests import Filter

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process seldom needs

CHUNK = 1000
"""requests per transaction"""

Verb = Callable[[Connection, Sequence[UUID]], Changed]
Show = Callable[[Any], None]
"""shows a request (a row of `store.requests.find`) that a dry run would change"""


@dataclass(slots=True)
class Summary:
    """The result of a verb on many requests."""

    changed: int = 0
    lists: set[UUID] = field(default_factory=set)
    """the waiting lists of the changed requests"""
    refused: dict[UUID, str] = field(default_factory=dict)
    """the reason for each request that was not changed"""


@dataclass(frozen=True, slots=True)
class Verbs:
    """The verbs for admins, on requests named by id or selected by a filter.

    All of them raise DatabaseAway. If Redis is away, changed requests wait for the next sweep.
    """

    database: Database
    bell: "Bell"

    def retry(self, which: Sequence[UUID] | Filter, *, ordered: bool, force: bool) -> Summary:
        """Moves FAILED requests to RECEIVED. With `ordered` they are sent whatever the stock is."""
        return self._rung(self._each(which, partial(admin.retry, ordered=ordered, force=force)))

    def would_retry(self, which: Sequence[UUID] | Filter, *, force: bool, show: Show) -> Summary:
        """Returns what `retry` would do, and shows the requests that it would change. Changes nothing."""
        taken: dict[Key, UUID] = {}

        def verb(c: Connection, ids: Sequence[UUID]) -> Changed:
            changed = admin.retry(c, ids, ordered=False, force=force, dry_run=True, taken=taken)
            for row in requests.find(c, Filter(ids=changed.ids)):
                show(row)
            return changed

        return self._each(which, verb)

    def report(self, which: Sequence[UUID] | Filter, extras: str | None = None) -> Summary:
        """Marks RECEIVED requests to be sent now, whatever the stock is. For `extras` see `store.admin.report`."""
        return self._rung(self._each(which, partial(admin.report, extras=extras)))

    def mark_sent(self, which: Sequence[UUID]) -> Summary:
        """Moves RECEIVED and FAILED requests to NOTIFICATION_SENT, for mails that were sent by other means."""
        return self._each(which, admin.mark_sent)

    def pause(self, reference: CatalogReference | None, who: str | None = None) -> bool:
        """Pauses sending for an item (None: everything). Returns False if it was paused already.

        `who` did it: the audit trail says so.
        """
        return self.database.write(_noted, pauses.pause, reference, who, "pause")

    def resume(self, reference: CatalogReference | None, who: str | None = None) -> bool:
        """Ends the pause with this reference. Returns False if there is none."""
        resumed = self.database.write(_noted, pauses.resume, reference, who, "resume")
        if resumed:
            try_to_ring(self.database, self.bell, waiting_lists(self.database, reference))
        return resumed

    def still_stopped_by(self, reference: CatalogReference) -> str | None:
        """Returns, as text, the wider pause that still stops this item or variant; None if there is none."""
        return self.database.read(pauses.wider, reference)

    def is_known(self, reference: CatalogReference) -> bool:
        """Whether a request or an event has ever named this item or variant."""
        return self.database.read(pauses.is_known, reference)

    def _rung(self, done: Summary) -> Summary:
        if done.lists:
            try_to_ring(self.database, self.bell, done.lists)
        return done

    def _each(self, which: Sequence[UUID] | Filter, verb: Verb) -> Summary:
        done = Summary()
        if isinstance(which, Filter):
            # One connection reads while another one writes, so a million ids need no list in memory.
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


def _noted(
    c: Connection,
    act: Callable[[Connection, CatalogReference | None], bool],
    reference: CatalogReference | None,
    who: str | None,
    verb: str,
) -> bool:
    """Pauses or resumes, and records who did it."""
    changed = act(c, reference)
    if changed and who:
        about = {
            "item": reference and reference.item.catalog_item_id,
            "app": reference and reference.item.app_id,
            "options": dict(reference.options) if reference else {},
        }
        actions.note(c, who, verb, about, command=_command(verb, reference), changed=1)
    return changed


def _command(verb: str, reference: CatalogReference | None) -> str:
    words = ["stockbell", verb]
    if reference:
        words += ["--item", reference.item.catalog_item_id]
        words += ["--app-id", reference.item.app_id] if reference.item.app_id != WIX_STORES else []
        words += [word for key, value in reference.options for word in ("--option", f"{key}={value}")]
    return shlex.join(words)


def waiting_lists(database: Database, reference: CatalogReference | None) -> Sequence[UUID] | None:
    """Returns the waiting lists of an item that include these options, or None (all lists) without a reference."""
    if reference is None:
        return None
    return database.read(requests.lists_of, reference.item, reference.options)


def _chunks(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    left = iter(ids)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
