"""Changes of many requests by admins: previewed, confirmed, done in chunks by whatever process is there, undone.

A preview is a row, and so is all that follows: whichever process holds the row's lease does the next chunk, in one
transaction with the record of it. A process that is killed loses the chunk it was at, and another one goes on after its
lease. What is to be changed is frozen at the preview: nothing that failed later is touched.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from worker.domain.errors import StockbellError
from worker.models import Status
from worker.services.selection import Selection
from worker.store import actions, admin, clock, foreseeing, undoing
from worker.store.actions import UNDO_SECONDS, Action, Draft
from worker.store.admin import Changed
from worker.store.database import Connection, Database
from worker.store.foreseeing import Foreseen

CHUNK: Final = 1000
"""requests per transaction"""
SHOWN: Final = 20
"""So many requests are shown in a preview."""
TYPED_FROM: Final = 1000
"""Above this number it has to be typed."""
VERBS: Final[Mapping[str, tuple[Status, ...]]] = {
    "retry": (Status.FAILED,),
    "report": (Status.RECEIVED,),
    "mark-sent": (Status.RECEIVED, Status.FAILED),
    "delete": (Status.RECEIVED, Status.FAILED, Status.NOTIFICATION_SENT),
}
"""The verbs on many requests, and whom they can change."""

log = structlog.get_logger()
_BY_ANOTHER: Final = re.compile(rf"^{admin.SUPERSEDED} [0-9a-f-]{{36}}$")
_START: Final = UUID(int=0)


class Answer(Enum):
    """What became of a wish to confirm, stop or undo an action."""

    DONE = auto()
    ALREADY = auto()
    """Somebody has done so before."""
    EXPIRED = auto()
    """It is too late."""
    WRONG_NUMBER = auto()
    """The number that was typed is not the preview's."""
    NOBODY = auto()
    """There is nobody to do it to."""


class Impossible(ValueError):
    """A verb can't be done to such requests. The text says why, as a sentence."""


def group_of(refusal: str) -> str:
    """Returns what refusals have in common that differ in an id."""
    return _BY_ANOTHER.sub(f"{admin.SUPERSEDED} another request", refusal)


# --- preview and confirmation ---


def checked(verb: str, selection: Selection) -> Selection:
    """Returns the selection that a verb means. Raises Impossible."""
    if verb not in VERBS:
        raise Impossible(f"There is no such verb: it is one of {', '.join(VERBS)}.")
    if selection == Selection():
        raise Impossible("Nothing is picked: tick some requests, or filter them.")
    if selection.ids:
        return Selection(ids=selection.ids)
    can = VERBS[verb]
    status = selection.status or (Status.RECEIVED if selection.waiting else None)
    if status is None and len(can) == 1:
        status = can[0]
    if status is None:
        raise Impossible("Choose a status first: this would go through all requests there are.")
    if status not in can:
        raise Impossible(f"Requests that are {status.value} can't be changed like this, but {' and '.join(can)}.")
    return replace(selection, status=status)


def preview(
    c: Connection, who: str, verb: str, selection: Selection, *, force: bool = False, ordered: bool = False
) -> UUID:
    """Adds a preview and returns its id. Nothing else is written. Raises Impossible."""
    which = checked(verb, selection).without_address(c)
    as_of = clock.now(c)
    found = which.filter(c, before=None if which.ids else as_of)
    foreseen = foreseeing.foresee(c, found, verb, force=force)
    missing = len(which.ids) - foreseen.matching if which.ids else 0
    first = [str(row.id) for row in foreseeing.walk(c, found, None, SHOWN)]
    options = {"force": force, "ordered": ordered}
    draft = Draft(who, verb, which.as_json(), options, which.command(verb, **options), which.contact)
    return actions.add_preview(c, draft, as_of, _as_json(foreseen, first, missing))


def _as_json(foreseen: Foreseen, first: Sequence[str], missing: int) -> dict[str, Any]:
    return {
        "all": foreseen.matching,
        "would": foreseen.would,
        "isExact": foreseen.is_exact,
        "isCounted": foreseen.is_counted,
        "codes": foreseen.codes,
        "refused": {**foreseen.refused, **({"no such request": missing} if missing else {})},
        "first": list(first),
    }


def confirm(c: Connection, action_id: UUID, who: str, typed: str = "") -> Answer:
    """Lets a preview be done. Of several who confirm it, one does."""
    action = actions.get(c, action_id)
    if action is None:
        return Answer.NOBODY
    if action.state != "preview":
        return Answer.ALREADY
    number = action.foreseen["would"]
    if not number:
        return Answer.NOBODY
    if number > TYPED_FROM and re.sub(r"[\s,.'\u2019\u202f\u00a0]", "", typed) != str(number):
        return Answer.WRONG_NUMBER
    if actions.confirm(c, action_id, {**action.options, "confirmedBy": who}):
        return Answer.DONE
    again = actions.get(c, action_id)
    return Answer.EXPIRED if again is None or again.state == "preview" else Answer.ALREADY


def stop(c: Connection, action_id: UUID, who: str) -> Answer:
    """Stops an action between two chunks. What it has done stays."""
    action = actions.get(c, action_id)
    if action is None:
        return Answer.NOBODY
    if not actions.stop(c, action, {**action.options, "stoppedBy": who}):
        return Answer.ALREADY
    actions.note(c, who, "stop", {"action": str(action_id)})
    return Answer.DONE


def undo(c: Connection, action_id: UUID, who: str) -> Answer:
    """Has an action undone, as far as its requests were not claimed yet. One that runs is stopped by that."""
    action = actions.get(c, action_id)
    if action is None or not undoing.can_undo(action.verb):
        return Answer.NOBODY
    if actions.ask_to_undo(c, action, {**action.options, "undoneBy": who}):
        actions.note(c, who, "undo", {"action": str(action_id)})
        return Answer.DONE
    return Answer.ALREADY if action.state == "undone" or action.is_undone_now else Answer.EXPIRED


# --- doing it ---


@dataclass(slots=True)
class Step:
    """What one step of a runner did."""

    is_any: bool
    """False: there was nothing to do"""
    lists: set[UUID] = field(default_factory=set)
    """the waiting lists that may have requests to send now"""
    is_undo: bool = False


class Runner:
    """Does what was confirmed (or `only` one action), a chunk at a time. Any number of processes may have one."""

    def __init__(self, database: Database, only: UUID | None = None) -> None:
        self.owner = uuid4()
        self._database = database
        self._only = only

    def step(self) -> Step:
        """Does the next chunk of the action whose turn it is. Raises DatabaseAway."""
        action = self._database.write(actions.take, self.owner, self._only)
        if action is None:
            return Step(False)
        try:
            return self._database.write(_chunk, action, self.owner)
        except StockbellError:
            raise
        except Exception as fault:  # ours; the action would hold up all others
            log.error("action.failed", action_id=str(action.id), error=type(fault).__name__)
            result = {**action.result, "error": type(fault).__name__}
            self._database.write(actions.end, action.id, self.owner, "failed", result)
            return Step(True)

    def release(self) -> None:
        """Lets other processes go on at once. Raises DatabaseAway."""
        self._database.write(actions.release, self.owner)


def _chunk(c: Connection, action: Action, owner: UUID) -> Step:
    if not actions.hold(c, action.id, owner):
        return Step(True)
    return _undo_chunk(c, action, owner) if action.is_undone_now else _verb_chunk(c, action, owner)


def _verb_chunk(c: Connection, action: Action, owner: UUID) -> Step:
    ids, place = _next(c, action)
    changed = _change(c, action, ids)
    result = record(c, action.id, action.verb, action.result, changed, place)
    if len(ids) < CHUNK:
        _finish(c, action, owner, changed, result)
    return Step(True)


def _next(c: Connection, action: Action) -> tuple[Sequence[UUID], dict[str, Any]]:
    """Returns the next requests, and how far that goes."""
    which, place = Selection.from_json(action.about), action.place or {}
    if which.ids:
        number = place.get("number", 0)
        return which.ids[number : number + CHUNK], {"number": number + CHUNK}
    if not place and which.status is Status.FAILED:
        foreseeing.settle(c)
    after = (_time(place["at"]), UUID(place["id"])) if place else None
    rows = foreseeing.walk(c, which.filter(c, before=action.as_of), after, CHUNK)
    if rows:
        at = rows[-1].failed_at
        place = {"at": at.isoformat() if at else None, "id": str(rows[-1].id)}
    return [row.id for row in rows], dict(place)


def _change(c: Connection, action: Action, ids: Sequence[UUID]) -> Changed:
    options, hold = action.options, UNDO_SECONDS.get(action.verb, 0.0)
    match action.verb:
        case "retry":
            is_ordered, is_forced = bool(options.get("ordered")), bool(options.get("force"))
            return admin.retry(c, ids, ordered=is_ordered, force=is_forced, hold=hold, as_of=action.as_of)
        case "report":
            return admin.report(c, ids, hold=hold)
        case "mark-sent":
            return admin.mark_sent(c, ids, as_of=action.as_of)
        case "delete":
            return admin.delete(c, ids, as_of=action.as_of)
    raise ValueError(action.verb)


def record(
    c: Connection,
    action_id: UUID,
    verb: str,
    result: Mapping[str, Any],
    changed: Changed,
    place: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Records what a chunk did, in its transaction. Returns the whole result so far."""
    refusals = Counter(result.get("refused", {})) + Counter(map(group_of, changed.refused.values()))
    codes = Counter(result.get("codes", {})) + Counter(
        row.failure_code or str(row.status) for row in changed.before.values()
    )
    done = {**result, "refused": dict(refusals), "codes": dict(codes)}
    actions.add_requests(c, action_id, _rows(changed, keeps=undoing.can_undo(verb)))
    actions.go_on(c, action_id, place, done, changed=len(changed.ids), refused=len(changed.refused))
    return done


def _rows(changed: Changed, *, keeps: bool) -> Iterable[dict[str, Any]]:
    for id_ in changed.ids:
        yield {"request_id": id_, "refusal": None, "before": undoing.kept(changed.before[id_]) if keeps else None}
    for id_, refusal in changed.refused.items():
        yield {"request_id": id_, "refusal": refusal, "before": None}


def _finish(c: Connection, action: Action, owner: UUID, changed: Changed, result: dict[str, Any]) -> None:
    seen = action.changed + action.refused + len(changed.ids) + len(changed.refused)
    foreseen = action.foreseen.get("all", 0) if action.foreseen.get("isCounted") else 0
    if foreseen > seen:
        result = {**result, "gone": foreseen - seen}
    actions.end(c, action.id, owner, "done", result, undo=UNDO_SECONDS.get(action.verb, 0.0))


def _undo_chunk(c: Connection, action: Action, owner: UUID) -> Step:
    after = UUID((action.place or {}).get("id", str(_START)))
    before = actions.to_undo(c, action.id, after, CHUNK)
    undone = undoing.undo(c, action.verb, before)
    actions.mark_undone(c, action.id, undone)
    counts = Counter(undone=action.result.get("undone", 0), late=action.result.get("late", 0))
    counts.update(undone=len(undone), late=len(before) - len(undone))
    result = {**action.result, **counts}
    actions.go_on(c, action.id, {"undo": True, "id": str(max(before, default=after))}, result)
    if len(before) < CHUNK:
        actions.end(c, action.id, owner, "undone", result)
    return Step(True, set(undone.values()) if action.verb == "mark-sent" else set(), is_undo=True)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
