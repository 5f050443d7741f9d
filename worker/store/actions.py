"""What admins did: the audit trail, and changes of many requests while they run.

What is done at once is one row, written in the transaction that does it (`note`). What a page does to many requests is
first a preview; once that is confirmed, a process runs it (`services.acting`): it holds a lease, and every write of
its is fenced by it. The states are those of `models.Action`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.models import ids_of, uuid7
from worker.store import clock
from worker.store.sql import Sql

LEASE_SECONDS: Final = 15.0
"""So long a process that runs an action is believed to be alive after its last chunk."""
PREVIEW_SECONDS: Final = 3600.0
"""So long a preview can be confirmed."""
UNDO_SECONDS: Final[Mapping[str, float]] = {"retry": 10.0, "report": 10.0, "mark-sent": 600.0}
"""So long after its end an action can be undone. What sends mail holds them back for as long."""
KEEP_REQUESTS_DAYS: Final = 90
KEEP_PREVIEWS_DAYS: Final = 1
KEEP_DAYS: Final = 365
MOST_ROWS: Final = 5000
"""So many rows are forgotten at once."""

_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)

_COLUMNS: Final = """id, at, who, verb, state, about, options, command, as_of, foreseen, result, place, changed,
    refused, contact_id, confirmed_at, owner, lease_until, undo_until, ended_at"""
_TYPES: Final = {
    **dict.fromkeys(("id", "contact_id", "owner"), "uuid"),
    **dict.fromkeys(("at", "as_of", "confirmed_at", "lease_until", "undo_until", "ended_at"), "time"),
}
_NOTE = Sql(
    """INSERT INTO action (id, at, who, verb, state, about, options, command, result, changed, refused, contact_id,
        confirmed_at, ended_at)
    VALUES (:id, stockbell_now(0), :who, :verb, 'done', :about, :options, :command, :result,
        :changed, :refused, :contact_id, stockbell_now(0), stockbell_now(0))"""
)
_PREVIEW = Sql(
    """INSERT INTO action (id, at, who, verb, state, about, options, command, as_of, foreseen, changed, refused,
        contact_id)
    VALUES (:id, :as_of, :who, :verb, 'preview', :about, :options, :command, :as_of, :foreseen, 0, 0, :contact_id)"""
)
# Without a place: no other process goes on with what a command does.
_BEGIN = Sql(
    """INSERT INTO action (id, at, who, verb, state, about, options, command, as_of, changed, refused, contact_id,
        confirmed_at, owner, lease_until)
    VALUES (:id, stockbell_now(0), :who, :verb, 'running', :about, :options, :command, stockbell_now(0), 0, 0,
        :contact_id, stockbell_now(0), :owner, stockbell_now(:lease))"""
)
_GET = Sql(f"SELECT {_COLUMNS} FROM action WHERE id = :id", **_TYPES)
_FIND = Sql(
    f"""SELECT {_COLUMNS} FROM action
    WHERE (CAST(:who AS text) IS NULL OR who = :who) AND (CAST(:verb AS text) IS NULL OR verb = :verb)
      AND (CAST(:state AS text) IS NULL OR state = :state)
      AND id >= :since AND id < :before AND at < :until
    ORDER BY id DESC LIMIT :most""",
    **_TYPES,
)
_CONFIRM = Sql(
    """UPDATE action SET state = 'confirmed', confirmed_at = stockbell_now(0), options = :options, place = '{}'
    WHERE id = :id AND state = 'preview' AND at > stockbell_now(-:seconds)"""
)
# What is to be undone first: its mails go out soon. Then whatever has waited longest for its turn.
_TAKE = Sql(
    f"""WITH next AS MATERIALIZED (
        SELECT a.id AS next_id FROM action AS a
        WHERE a.state IN ('confirmed', 'running') AND a.place IS NOT NULL
          AND a.id = coalesce(:only, a.id) AND (a.owner = :owner
            OR a.lease_until IS NULL OR NOT a.lease_until BETWEEN stockbell_now(0) AND stockbell_now(:lease))
        ORDER BY CASE WHEN a.place LIKE '%"undo"%' THEN 0 ELSE 1 END, coalesce(a.lease_until, a.confirmed_at), a.id
        LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE action SET state = 'running', owner = :owner, lease_until = stockbell_now(:lease)
    FROM next WHERE id = next.next_id RETURNING {_COLUMNS}""",
    **_TYPES,
)
_HOLD = Sql(
    """UPDATE action SET lease_until = stockbell_now(:lease)
    WHERE id = :id AND state = 'running' AND owner = :owner"""
)
_GO_ON = Sql(
    """UPDATE action SET place = :place, changed = changed + :changed, refused = refused + :refused, result = :result
    WHERE id = :id"""
)
_END = Sql(
    """UPDATE action SET state = :state, result = :result, ended_at = stockbell_now(0), owner = NULL,
        lease_until = NULL, undo_until = CASE WHEN :undo > 0 THEN stockbell_now(:undo) END
    WHERE id = :id AND state = 'running' AND owner = :owner"""
)
_RELEASE = Sql("UPDATE action SET owner = NULL, lease_until = NULL WHERE owner = :owner AND state = 'running'")
_STOP = Sql(
    """UPDATE action SET state = 'stopped', options = :options, ended_at = stockbell_now(0), owner = NULL,
        lease_until = NULL, undo_until = CASE WHEN :undo > 0 THEN stockbell_now(:undo) END
    WHERE id = :id AND state IN ('confirmed', 'running') AND (place IS NULL OR place NOT LIKE '%"undo"%')"""
)
_UNDO = Sql(
    """UPDATE action SET state = 'running', place = '{"undo": true}', options = :options, owner = NULL,
        lease_until = NULL, undo_until = NULL
    WHERE id = :id AND (state IN ('confirmed', 'running') AND (place IS NULL OR place NOT LIKE '%"undo"%')
        OR state IN ('done', 'stopped') AND undo_until > stockbell_now(0))"""
)
_ABANDONED = Sql(
    """UPDATE action SET state = 'stopped', ended_at = stockbell_now(0), owner = NULL, lease_until = NULL
    WHERE state IN ('confirmed', 'running') AND state = 'running' AND place IS NULL
      AND NOT lease_until BETWEEN stockbell_now(0) AND stockbell_now(:lease)"""
)
_ADD_REQUESTS = Sql(
    """INSERT INTO action_request (action_id, request_id, refusal, before)
    SELECT :action, request_id, refusal, before FROM ROWS(request_id uuid, refusal text, before text)
    WHERE true ON CONFLICT DO NOTHING"""
)
_TO_UNDO = Sql(
    """SELECT request_id, before FROM action_request
    WHERE action_id = :action AND request_id > :after AND refusal IS NULL AND undone_at IS NULL
    ORDER BY request_id LIMIT :most""",
    request_id="uuid",
)
_UNDONE = Sql(
    """UPDATE action_request SET undone_at = stockbell_now(0)
    WHERE action_id = :action AND request_id IN ROWS(request_id uuid)"""
)
_REQUESTS = Sql(
    """SELECT request_id, refusal, undone_at FROM action_request
    WHERE action_id = :action AND request_id > :after
      AND (:kind = 'all' OR :kind = 'refused' AND refusal IS NOT NULL OR :kind = 'changed' AND refusal IS NULL)
    ORDER BY request_id LIMIT :most""",
    request_id="uuid",
    undone_at="time",
)
_FORGET_REQUESTS = Sql(
    """DELETE FROM action_request WHERE (action_id, request_id) IN (
        SELECT q.action_id, q.request_id FROM action_request AS q WHERE q.action_id < :before
        ORDER BY q.action_id, q.request_id LIMIT :most)"""
)
_FORGET_PREVIEWS = Sql(
    """DELETE FROM action WHERE id IN (
        SELECT a.id FROM action AS a WHERE a.id < :before AND a.state = 'preview' LIMIT :most)"""
)
_FORGET = Sql("DELETE FROM action WHERE id IN (SELECT a.id FROM action AS a WHERE a.id < :before LIMIT :most)")


@dataclass(frozen=True, slots=True)
class Action:
    """A row of the audit trail."""

    id: UUID
    at: datetime
    who: str
    verb: str
    state: str
    about: Mapping[str, Any]
    options: Mapping[str, Any]
    command: str | None
    as_of: datetime | None
    foreseen: Mapping[str, Any]
    """the numbers of its preview"""
    result: Mapping[str, Any]
    place: Mapping[str, Any] | None
    changed: int
    refused: int
    contact_id: UUID | None
    confirmed_at: datetime | None
    owner: UUID | None
    lease_until: datetime | None
    undo_until: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Any) -> "Action":
        """Returns it from a row with all columns."""
        texts = {name: json.loads(getattr(row, name) or "{}") for name in ("about", "options", "foreseen", "result")}
        place = json.loads(row.place) if row.place is not None else None
        return cls(**{**row._asdict(), **texts, "place": place})

    @property
    def is_undone_now(self) -> bool:
        """Whether it is being undone."""
        return self.state == "running" and bool(self.place and self.place.get("undo"))

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done, or being done."""
        return self.state in ("confirmed", "running")


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be done: everything but when."""

    who: str
    verb: str
    about: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    contact_id: UUID | None = None

    def values(self) -> dict[str, object]:
        """Returns its columns, with a new id."""
        return {
            "id": uuid7(),
            "who": self.who,
            "verb": self.verb,
            "about": json.dumps(self.about),
            "options": json.dumps(self.options),
            "command": self.command,
            "contact_id": self.contact_id,
        }


_CONCLUDE = Sql(
    """UPDATE action SET result = :result, changed = :changed, refused = :refused, ended_at = stockbell_now(0)
    WHERE id = :id"""
)
# The ids sort by time, so that not all rows are read.
_COUNT = Sql("SELECT count(*) AS n FROM action WHERE id > :first AND verb = :verb AND at > stockbell_now(-:since)")

_OF_CONTACT = Sql(
    """SELECT id, at, who, verb, state, changed, refused FROM action WHERE contact_id = :contact
    ORDER BY id DESC LIMIT :most""",
    id="uuid",
    at="time",
)


def note(
    c: Connection,
    who: str,
    verb: str,
    about: Mapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    command: str | None = None,
    result: Mapping[str, Any] | None = None,
    changed: int = 0,
    refused: int = 0,
    contact_id: UUID | None = None,
) -> UUID:
    """Records something that was done at once, and returns the id of its row.

    `about` says what it was done to, as JSON: an item, ids, a filter. Nothing may hold an address: whom it is about
    is `contact_id`.
    """
    values = Draft(who, verb, about, options or {}, command, contact_id).values()
    found = None if result is None else json.dumps(result)
    _NOTE(c, result=found, changed=changed, refused=refused, **values)
    return UUID(str(values["id"]))


def add_preview(c: Connection, draft: Draft, as_of: datetime, foreseen: Mapping[str, Any]) -> UUID:
    """Adds what an admin is asked to confirm, and returns its id."""
    values = draft.values()
    _PREVIEW(c, as_of=as_of, foreseen=json.dumps(foreseen), **values)
    return UUID(str(values["id"]))


def begin(c: Connection, draft: Draft, owner: UUID) -> UUID:
    """Adds what a command does at once, in chunks, and returns its id. Nobody else goes on with it."""
    values = draft.values()
    _BEGIN(c, owner=owner, lease=LEASE_SECONDS, **values)
    return UUID(str(values["id"]))


def get(c: Connection, action_id: UUID) -> Action | None:
    """Returns an action, or None if there is none with this id."""
    found = _GET(c, id=action_id)
    return Action.of(found[0]) if found else None


def find(
    c: Connection,
    *,
    who: str | None = None,
    verb: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: UUID | None = None,
    most: int = 50,
) -> Sequence[Action]:
    """Returns actions, newest first. Every condition that is given must hold; `before` is the id of a newer one."""
    found = _FIND(
        c,
        who=who,
        verb=verb,
        state=state,
        since=ids_of(since)[0] if since else UUID(int=0),
        until=until or _END_OF_TIME,
        before=before or UUID(int=2**128 - 1),
        most=most,
    )
    return [Action.of(row) for row in found]


def confirm(c: Connection, action_id: UUID, options: Mapping[str, Any]) -> bool:
    """Turns a preview into what is to be done. Returns False if it is none any more, or too old."""
    return _CONFIRM.count(c, id=action_id, options=json.dumps(options), seconds=PREVIEW_SECONDS) > 0


def take(c: Connection, owner: UUID, only: UUID | None = None) -> Action | None:
    """Takes the action whose turn it is (or `only` this one) for the length of a lease. None: nothing is to be done."""
    found = _TAKE(c, owner=owner, lease=LEASE_SECONDS, only=only)
    return Action.of(found[0]) if found else None


def hold(c: Connection, action_id: UUID, owner: UUID) -> bool:
    """Locks a running action until the end of the transaction, and renews its lease. False: it was stopped or lost."""
    return _HOLD.count(c, id=action_id, owner=owner, lease=LEASE_SECONDS) > 0


def go_on(
    c: Connection,
    action_id: UUID,
    place: Mapping[str, Any] | None,
    result: Mapping[str, Any],
    *,
    changed: int = 0,
    refused: int = 0,
) -> None:
    """Records what a chunk has done, in its transaction. Call `hold` first."""
    kept = None if place is None else json.dumps(place)
    _GO_ON(c, id=action_id, place=kept, result=json.dumps(result), changed=changed, refused=refused)


def end(
    c: Connection, action_id: UUID, owner: UUID, state: str, result: Mapping[str, Any], *, undo: float = 0.0
) -> bool:
    """Ends a running action. It can be undone for `undo` seconds. False: it was stopped or lost."""
    return _END.count(c, id=action_id, owner=owner, state=state, result=json.dumps(result), undo=undo) > 0


def release(c: Connection, owner: UUID) -> None:
    """Gives back what a process has taken that ends now, so that another one goes on at once."""
    _RELEASE(c, owner=owner)


def stop(c: Connection, action: Action, options: Mapping[str, Any]) -> bool:
    """Stops an action between two chunks. Returns False if it has ended, or is being undone."""
    undo_seconds = UNDO_SECONDS.get(action.verb, 0.0)
    return _STOP.count(c, id=action.id, options=json.dumps(options), undo=undo_seconds) > 0


def ask_to_undo(c: Connection, action: Action, options: Mapping[str, Any]) -> bool:
    """Has an action undone by whatever process runs actions. Returns False if it is too late, or was asked before."""
    return _UNDO.count(c, id=action.id, options=json.dumps(options)) > 0


def add_requests(c: Connection, action_id: UUID, rows: Iterable[Mapping[str, Any]]) -> None:
    """Records what an action did to requests: `request_id`, `refusal` and `before` of each."""
    if kept := list(rows):
        _ADD_REQUESTS(c, action=action_id, rows=kept)


def to_undo(c: Connection, action_id: UUID, after: UUID, most: int) -> dict[UUID, str | None]:
    """Returns what was kept of the next requests that are still to be undone. None: their customer was erased."""
    return {row.request_id: row.before for row in _TO_UNDO(c, action=action_id, after=after, most=most)}


def mark_undone(c: Connection, action_id: UUID, ids: Iterable[UUID]) -> None:
    """Records that requests are again as they were."""
    if rows := [{"request_id": id_} for id_ in ids]:
        _UNDONE(c, action=action_id, rows=rows)


def requests_of(c: Connection, action_id: UUID, kind: str, after: UUID, most: int) -> Sequence[Any]:
    """Returns what an action did to requests, by their ids: `kind` is all, changed or refused."""
    return _REQUESTS(c, action=action_id, kind=kind, after=after, most=most)


def tidy(c: Connection) -> None:
    """Forgets what is too old, a part at a time; and ends what a command left that was killed."""
    _ABANDONED(c, lease=LEASE_SECONDS)
    today = clock.now(c)
    _FORGET_REQUESTS(c, before=_before(today, KEEP_REQUESTS_DAYS), most=MOST_ROWS)
    _FORGET_PREVIEWS(c, before=_before(today, KEEP_PREVIEWS_DAYS), most=MOST_ROWS)
    _FORGET(c, before=_before(today, KEEP_DAYS), most=MOST_ROWS)


def conclude(c: Connection, action_id: UUID, result: Mapping[str, Any], *, changed: int = 0, refused: int = 0) -> None:
    """Records what came of something that was noted before it was done, since it takes a while."""
    _CONCLUDE(c, id=action_id, result=json.dumps(result), changed=changed, refused=refused)


def count_since(c: Connection, verb: str, seconds: float) -> int:
    """Returns how often something was noted in the last seconds."""
    found: int = _COUNT(
        c, verb=verb, since=seconds, first=ids_of(datetime.now(UTC) - timedelta(seconds=2 * seconds))[0]
    )[0].n
    return found


def of_contact(c: Connection, contact_id: UUID, most: int) -> Sequence[Any]:
    """Returns what was done about one customer, newest first."""
    return _OF_CONTACT(c, contact=contact_id, most=most)


def _before(today: datetime, days: int) -> UUID:
    return ids_of(today - timedelta(days=days))[0]
