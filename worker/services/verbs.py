"""The commands for admins: changes to many requests, in chunks, and pause and resume.

With a `Draft` they leave a row in the audit trail, and what they did to each request. Such an action runs in this
process alone: if it is killed, nobody goes on with it.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from worker.domain.catalog import CatalogReference, reference_arguments
from worker.domain.errors import Refused
from worker.services import acting
from worker.services.ringing import try_to_ring
from worker.store import actions, admin, pauses, requests
from worker.store.actions import UNDO_SECONDS, Draft
from worker.store.admin import Changed, Key
from worker.store.database import Connection, Database
from worker.store.requests import Filter

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process seldom needs

CHUNK = 1000
"""requests per transaction"""

Verb = Callable[[Connection, Sequence[UUID]], Changed]
Seen = Callable[[Sequence[UUID]], object]
"""takes the requests that a dry run would change, chunk by chunk"""


@dataclass(slots=True)
class Summary:
    """The result of a verb on many requests."""

    changed: int = 0
    lists: set[UUID] = field(default_factory=set)
    """the waiting lists of the changed requests"""
    refused: dict[UUID, str] = field(default_factory=dict)
    """the reason for each request that was not changed"""
    action_id: UUID | None = None
    """its row in the audit trail"""


@dataclass(frozen=True, slots=True)
class Verbs:
    """The verbs for admins, on requests named by id or selected by a filter.

    All of them raise DatabaseAway. If Redis is away, changed requests wait for the next sweep.
    """

    database: Database
    bell: "Bell"

    def retry(
        self, which: Sequence[UUID] | Filter, *, ordered: bool, force: bool, draft: Draft | None = None
    ) -> Summary:
        """Moves FAILED requests to RECEIVED. With `ordered` they are sent whatever the stock is."""
        return self._rung(self._noted(which, partial(admin.retry, ordered=ordered, force=force), draft))

    def would_retry(self, which: Sequence[UUID] | Filter, *, force: bool, seen: Seen) -> Summary:
        """Returns what `retry` would do, and tells `seen` whom it would change. Changes nothing."""
        taken: dict[Key, UUID] = {}
        return self._tried(which, partial(admin.retry, ordered=False, force=force, dry_run=True, taken=taken), seen)

    def would_report(self, which: Sequence[UUID] | Filter, *, seen: Seen) -> Summary:
        """Returns what `report` would do, and tells `seen` whom it would change. Changes nothing."""
        return self._tried(which, partial(admin.report, dry_run=True), seen)

    def _tried(self, which: Sequence[UUID] | Filter, verb: Verb, seen: Seen) -> Summary:
        def and_tell(c: Connection, ids: Sequence[UUID]) -> Changed:
            changed = verb(c, ids)
            seen(changed.ids)
            return changed

        return self._each(which, and_tell)

    def report(
        self, which: Sequence[UUID] | Filter, extras: str | None = None, *, draft: Draft | None = None
    ) -> Summary:
        """Marks RECEIVED requests to be sent now, whatever the stock is. For `extras` see `store.admin.report`."""
        return self._rung(self._noted(which, partial(admin.report, extras=extras), draft))

    def mark_sent(self, which: Sequence[UUID] | Filter, *, draft: Draft | None = None) -> Summary:
        """Moves RECEIVED and FAILED requests to NOTIFICATION_SENT, for mails that were sent by other means."""
        return self._noted(which, admin.mark_sent, draft)

    def delete(self, which: Sequence[UUID] | Filter, *, draft: Draft | None = None) -> Summary:
        """Deletes requests, but those that are being sent."""
        return self._noted(which, admin.delete, draft)

    def pause(self, reference: CatalogReference | None, who: str | None = None) -> bool:
        """Pauses sending for an item (None: everything). Returns False if it was paused already.

        `who` is named in the audit trail.
        """
        return self.database.write(_noting, pauses.pause, "pause", reference, who)

    def resume(self, reference: CatalogReference | None, who: str | None = None) -> bool:
        """Ends the pause with this reference. Returns False if there is none. `who` is named in the audit trail."""
        resumed = self.database.write(_noting, pauses.resume, "resume", reference, who)
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

    def _noted(self, which: Sequence[UUID] | Filter, verb: Verb, draft: Draft | None) -> Summary:
        if draft is None:
            return self._each(which, verb)
        owner = uuid4()
        log = _Log(self.database.write(actions.begin, draft, owner), owner, draft.verb, verb)
        state = "stopped"
        try:
            done = self._each(which, log)
            done.action_id, log.result, state = log.action_id, log.newest, "done"
        finally:
            undo = UNDO_SECONDS.get(draft.verb, 0.0)
            self.database.write(actions.end, log.action_id, owner, state, log.result, undo=undo)
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


@dataclass(slots=True)
class _Log:
    """A verb that records what it does, in the same transactions."""

    action_id: UUID
    owner: UUID
    name: str
    verb: Verb
    result: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, Any] = field(default_factory=dict)
    """with the chunk that may not be committed yet"""
    chunk: Sequence[UUID] = ()

    def __call__(self, c: Connection, ids: Sequence[UUID]) -> Changed:
        if not actions.hold(c, self.action_id, self.owner):
            raise Refused(f"stopped by another admin: `stockbell actions show {self.action_id}` tells what was done")
        if ids is not self.chunk:  # else the transaction is run again, after a conflict
            self.chunk, self.result = ids, self.newest
        changed = self.verb(c, ids)
        self.newest = acting.record(c, self.action_id, self.name, self.result, changed, None)
        return changed


def _noting(
    c: Connection,
    change: Callable[[Connection, CatalogReference | None], bool],
    verb: str,
    reference: CatalogReference | None,
    who: str | None,
) -> bool:
    is_changed = change(c, reference)
    if is_changed and who:
        actions.note(c, who, verb, about_item(reference), command=_command(verb, reference), changed=1)
    return is_changed


def about_item(reference: CatalogReference | None) -> dict[str, Any]:
    """Returns an item and its options as the audit trail names them; nothing for everything."""
    if reference is None:
        return {}
    found: dict[str, Any] = {"item": reference.item.catalog_item_id, "app": reference.item.app_id}
    return found | ({"option": [f"{name}={value}" for name, value in reference.spelled]} if reference.spelled else {})


def _command(verb: str, reference: CatalogReference | None) -> str:
    item = ["--item", *reference_arguments(reference.item, reference.options)] if reference else []
    return shlex.join(["stockbell", verb, *item])


def waiting_lists(database: Database, reference: CatalogReference | None) -> Sequence[UUID] | None:
    """Returns the waiting lists of an item that include these options, or None (all lists) without a reference."""
    if reference is None:
        return None
    return database.read(requests.lists_of, reference.item, reference.options)


def _chunks(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    left = iter(ids)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
