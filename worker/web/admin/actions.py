"""The page "Actions": what admins did; and changes of many requests: preview, progress, result, undo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.domain.catalog import options_from_text
from worker.domain.errors import Refused
from worker.services import acting, auditing
from worker.services.acting import Answer, Impossible
from worker.services.auditing import Asked
from worker.services.selection import Selection
from worker.store import actions, clock, failures
from worker.store.actions import Action
from worker.store.database import Connection
from worker.web.admin.office import Office

PAGE: Final = 50
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    # verb: what its button says, what it has done
    "retry": ("Retry", "retried"),
    "report": ("Send now", "ordered to be sent"),
    "mark-sent": ("Mark as sent", "marked as sent"),
    "delete": ("Delete", "deleted"),
}
SAID: Final[Mapping[str, tuple[str, str]]] = {
    # what a form was answered with: words, tone
    "confirm-ALREADY": ("This was confirmed before. It runs once, and this is how it stands.", "info"),
    "confirm-EXPIRED": ("This preview is more than an hour old, so nothing was done. Preview again.", "warn"),
    "confirm-WRONG_NUMBER": ("Nothing was done: the number is not the one above. Type it as it stands there.", "bad"),
    "confirm-NOBODY": ("Nothing was done: there is nobody to do this to.", "warn"),
    "stop-DONE": ("Stopped. What was done so far stays.", "good"),
    "stop-ALREADY": ("It had ended, or was stopped, before.", "info"),
    "stop-NOBODY": ("There is nothing to stop.", "warn"),
    "undo-DONE": ("It is being undone, as far as its mails have not gone.", "good"),
    "undo-ALREADY": ("It was undone before.", "info"),
    "undo-EXPIRED": ("It is too late to undo this: its mails may be on their way. Nothing was changed.", "warn"),
    "undo-NOBODY": ("This can't be undone.", "warn"),
}
RUNNING_SECONDS: Final = 2
BRIEF_SECONDS: Final = 15
"""A page is loaded again by itself only while so little time is left to undo."""
OPTIONS: Final = frozenset({"verb", "force", "ordered"})
"""What a form has besides the fields that select requests."""
KINDS: Final = (("refused", "Refused"), ("changed", "Changed"), ("all", "All"))


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    context, gate, frame = office.context, office.gate, office.frame

    def to(action_id: UUID, said: str = "") -> Response:
        return RedirectResponse(f"{frame.here}/actions/{action_id}" + (f"?said={said}" if said else ""), 303)

    @router.get("/actions")
    async def list_(request: Request, visitor: Annotated[Visitor, Depends(gate.viewer)]) -> HTMLResponse:
        asked, errors = Asked.read(request.query_params.multi_items())
        rows = [] if errors else await context.read(auditing.find, asked, PAGE + 1)
        given = {name: request.query_params.get(name, "") for name in auditing.FIELDS}
        more = (
            f"{frame.here}/actions?{urlencode({**_given(given), 'before': rows[PAGE - 1].id})}" if rows[PAGE:] else ""
        )
        return frame.show(
            request,
            visitor,
            "actions.html",
            title="Actions",
            nav="actions",
            command=asked.command(),
            status=400 if errors else 200,
            rows=rows[:PAGE],
            errors=errors,
            given=given,
            more=more,
            is_filtered=any(given.values()),
            states=[("", "Any"), *((state, state) for state in auditing.STATES)],
            about_of=auditing.about,
        )

    @router.post("/actions")
    async def preview(request: Request, visitor: Annotated[Visitor, Depends(gate.admin)]) -> Response:
        form = (await request.form(max_files=0)).multi_items()
        selection, errors = Selection.read_strictly(form, OPTIONS)
        wrong = [f"{name}: {why}." for name, why in errors.items()]
        names = dict(form)
        if not wrong:
            try:
                made = await context.write(
                    acting.preview,
                    visitor.name,
                    str(names.get("verb", "")),
                    selection,
                    force=bool(names.get("force")),
                    ordered=bool(names.get("ordered")),
                )
                return to(made)
            except Impossible as why:
                wrong = [str(why)]
        return frame.show(
            request, visitor, "action_refused.html", title="Nothing was changed", nav="actions", status=400, wrong=wrong
        )

    @router.get("/actions/{action_id}")
    async def show(
        request: Request, action_id: UUID, visitor: Annotated[Visitor, Depends(gate.viewer)]
    ) -> HTMLResponse:
        query = request.query_params
        kind = query.get("show") if query.get("show") in dict(KINDS) else None
        found = await context.read(_look, action_id, kind, _id(query.get("after", "")))
        action = found.action
        words, tone = SAID.get(query.get("said", ""), ("", ""))
        is_brief = action.is_open or 0 < found.undo_seconds <= BRIEF_SECONDS
        verb, did = WORDS.get(action.verb, (action.verb, "done"))
        return frame.show(
            request,
            visitor,
            "action.html" if action.verb in WORDS and action.as_of else "action_done.html",
            title=_title(action, verb),
            nav="actions",
            command=_commands(action),
            headers={"Refresh": f"{RUNNING_SECONDS};url={frame.here}/actions/{action_id}"} if is_brief else {},
            action=action,
            found=found,
            verb=verb,
            did=did,
            said=words,
            tone=tone,
            kinds=KINDS,
            about=auditing.about(action),
            pairs=_pairs(action),
            is_typed=action.foreseen.get("would", 0) > acting.TYPED_FROM,
            options_of=options_from_text,
            uuid=UUID,
            changed_more=f"{frame.here}/actions/{action_id}?{urlencode({'show': found.kind, 'after': found.after})}",
        )

    @router.post("/actions/{action_id}/confirm")
    async def confirm(request: Request, action_id: UUID, visitor: Annotated[Visitor, Depends(gate.admin)]) -> Response:
        typed = (await request.form()).get("number", "")
        answer = await context.write(acting.confirm, action_id, visitor.name, typed if isinstance(typed, str) else "")
        office.actor.wake()
        return to(action_id, "" if answer is Answer.DONE else f"confirm-{answer.name}")

    @router.post("/actions/{action_id}/stop")
    async def stop(action_id: UUID, visitor: Annotated[Visitor, Depends(gate.admin)]) -> Response:
        answer = await context.write(acting.stop, action_id, visitor.name)
        return to(action_id, f"stop-{answer.name}")

    @router.post("/actions/{action_id}/undo")
    async def undo(action_id: UUID, visitor: Annotated[Visitor, Depends(gate.admin)]) -> Response:
        answer = await context.write(acting.undo, action_id, visitor.name)
        office.actor.wake()
        return to(action_id, f"undo-{answer.name}")

    return router


@dataclass(frozen=True, slots=True)
class _Found:
    """What the page of an action shows."""

    action: Action
    undo_seconds: float
    """so long it can still be undone; 0: it can't"""
    seconds: float
    """how long it has taken so far"""
    is_fresh: bool
    """whether the preview can still be confirmed"""
    kind: str
    rows: Sequence[Any]
    after: str
    requests: Mapping[UUID, Any]
    """as they are now, of those that are there"""


def _look(c: Connection, action_id: UUID, kind: str | None, after: UUID) -> _Found:
    action = actions.get(c, action_id)
    if action is None:
        raise Refused(f"there is no action {action_id}")
    now = clock.now(c)
    kind = kind or ("refused" if action.refused else "changed")
    rows = actions.requests_of(c, action_id, kind, after, PAGE + 1)
    first = [UUID(each) for each in action.foreseen.get("first", ())] if action.state == "preview" else []
    shown = rows[:PAGE]
    return _Found(
        action,
        _left(action, now),
        ((action.ended_at or now) - (action.confirmed_at or now)).total_seconds(),
        (now - action.at).total_seconds() < actions.PREVIEW_SECONDS,
        kind,
        shown,
        str(shown[-1].request_id) if len(rows) > PAGE else "",
        failures.of_ids(c, first or [row.request_id for row in shown]),
    )


def _left(action: Action, now: datetime) -> float:
    if action.undo_until is None or action.state not in ("done", "stopped"):
        return 0.0
    return max(0.0, (action.undo_until - now).total_seconds()) if action.changed else 0.0


def _title(action: Action, verb: str) -> str:
    if not action.as_of or action.verb not in WORDS:
        return f"{action.verb}, by {action.who}"
    number = action.foreseen.get("would", action.changed) if action.state == "preview" else action.changed
    return f"{verb}: preview" if action.state == "preview" else f"{verb}: {number:,}"


def _commands(action: Action) -> list[str]:
    if action.state == "preview" and action.verb == "retry" and action.command:
        return [f"{action.command} --dry-run", action.command]
    show = f"stockbell actions show {action.id}"
    return [action.command, show] if action.command else [show]


def _pairs(action: Action) -> list[tuple[str, str]]:
    """Returns the query of the requests that an action is about; none if that can't be read any more."""
    try:
        return auditing.selection_of(action).as_pairs() if action.verb in WORDS and action.as_of else []
    except ValueError:
        return []


def _given(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value and name != "before"}


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
