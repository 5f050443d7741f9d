"""The page "Dead letters": events that could not be read, why, and whether today's program can read them."""

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from worker.domain.admins import Visitor
from worker.domain.errors import BadEvent, BadSetting, RedisAway, Refused
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.services import dry_run, replaying
from worker.store.database import Database
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream
from worker.web.admin import posted
from worker.web.admin.frame import query
from worker.web.admin.office import Office
from worker.web.admin.posted import Posted

T = TypeVar("T")

LIST = "stockbell dead-letters list"
REPLAY = "stockbell dead-letters replay"


class _Away(Exception):
    """Redis can't be asked. The text says why."""


def routes(office: Office) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()
    viewer, admin = Depends(office.gate.viewer), Depends(office.gate.admin)
    frame, context = office.frame, office.context
    surveys = replaying.Surveys()

    async def asked(work: Callable[[Stream], T]) -> T:
        def ask() -> T:
            context.parts.check_events()
            return work(context.parts.stream)

        try:
            return await context.run(ask)
        except (RedisAway, BadSetting) as away:
            raise _Away(str(away)) from None

    def words_of(event: Event) -> str:
        is_in_stock = event.is_in_stock(context.parts.settings.min_quantity)
        return dry_run.event_words(event, is_in_stock=is_in_stock)

    def shown(request: Request, visitor: Visitor, status: int = 200, **values: Any) -> HTMLResponse:
        usual: dict[str, Any] = {"away": "", "error": "", "survey": None, "letters": [], "older": "", "newer": ""}
        usual |= {"reason": "", "done": None, "entry_time": _time_of, "event_words": words_of}
        command = [LIST, f"{REPLAY} --all"]
        if reason := values.get("reason"):
            command = [LIST, f"{REPLAY} --reason {shlex.quote(str(reason))}"]
        return frame.show(
            request,
            visitor,
            "dead_letters.html",
            title="Dead letters",
            nav="dead-letters",
            command=command,
            status=status,
            **{**usual, **values},
        )

    @router.get("/dead-letters")
    async def show(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        asked_for = request.query_params
        reason, before = asked_for.get("reason", "").strip(), asked_for.get("before", "").strip()
        if before and not replaying.is_letter_id(before):
            error = "“Before” must be the id of a dead letter, like 1795500000000-0."
            return shown(request, visitor, 400, error=error, reason=reason)
        most = replaying.MOST_SHOWN
        try:
            survey = await asked(surveys.of)
            letters = await asked(lambda stream: replaying.newest(stream, reason or None, before or None, most + 1))
        except _Away as away:
            return shown(request, visitor, 503, away=str(away), reason=reason)
        here = f"{frame.here}/dead-letters"
        older = f"{here}?{query({'reason': reason}, before=letters[most - 1].id)}" if len(letters) > most else ""
        newer = f"{here}?{query({'reason': reason})}".rstrip("?") if before else ""
        return shown(
            request,
            visitor,
            survey=survey,
            letters=letters[:most],
            older=older,
            newer=newer,
            reason=reason,
            done=_done(asked_for.get("done"), asked_for.get("left")),
        )

    @router.get("/dead-letters/{letter_id}")
    async def one(request: Request, visitor: Annotated[Visitor, viewer], letter_id: str) -> HTMLResponse:
        try:
            found = await asked(lambda stream: replaying.find(stream, letter_id))
        except _Away as away:
            return shown(request, visitor, 503, away=str(away))
        if found is None:
            raise Refused("there is no such dead letter: it was replayed, dropped, or made room for newer ones")
        lines = await context.sql(_foretold, context.database, found, context.parts.policies)
        return frame.show(
            request,
            visitor,
            "dead_letter.html",
            title=f"Dead letter {letter_id}",
            nav="dead-letters",
            command=[f"{REPLAY} {letter_id}", f"stockbell dead-letters drop {letter_id}"],
            letter=replaying.letter_of(found),
            entry_time=_time_of,
            lines=lines,
        )

    @router.post("/dead-letters/replay")
    async def replay(request: Request, visitor: Annotated[Visitor, admin]) -> Response:
        form = await posted.read(request)
        try:
            if letter_id := form.text("id"):
                return await replay_one(visitor, letter_id)
            if form.text("sure") != "yes":
                return await ask_first(request, visitor, form)
            return await replay_many(request, visitor, form)
        except _Away as away:
            return shown(request, visitor, 503, away=str(away))

    async def replay_one(visitor: Visitor, letter_id: str) -> Response:
        done = await asked(lambda stream: replaying.replay(stream, [letter_id]))
        if not done.changed:
            raise Refused(f"the letter stays where it is: {next(iter(done.refused.values()))}")
        await context.write(replaying.note, visitor.name, "dead-letters replay", [letter_id], None, done)
        return back(done)

    async def ask_first(request: Request, visitor: Visitor, form: Posted) -> Response:
        """Shows how many there are. What comes after the newest one is not touched later."""
        reason = form.text("reason") or None
        survey = await asked(replaying.survey)
        foreseen = await asked(lambda stream: replaying.foresee(stream, reason, survey.newest))
        line = f"{REPLAY} --reason {shlex.quote(reason)}" if reason else f"{REPLAY} --all"
        return frame.show(
            request,
            visitor,
            "dead_letters_sure.html",
            title="Replay dead letters",
            nav="dead-letters",
            command=line,
            foreseen=foreseen,
            reason=reason,
            upto=survey.newest or "",
        )

    async def replay_many(request: Request, visitor: Visitor, form: Posted) -> Response:
        reason, upto = form.text("reason") or None, form.text("upto")
        if not (replaying.is_letter_id(upto) and form.texts("reason")):
            return shown(request, visitor, 400, error="The form does not say which letters were counted: begin again.")
        done = await asked(lambda stream: replaying.replay(stream, None, reason=reason, upto=upto))
        if done.changed:
            await context.write(replaying.note, visitor.name, "dead-letters replay", None, reason, done)
        return back(done)

    def back(done: replaying.Done) -> Response:
        told = urlencode({"done": done.changed, "left": len(done.refused)})
        return RedirectResponse(f"{frame.here}/dead-letters?{told}", 303)

    return router


def _time_of(entry_id: str) -> datetime | None:
    """Returns when an entry of the stream was added, by its id."""
    try:
        return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # an id that a program has made up
        return None


def _done(done: str | None, left: str | None) -> tuple[int, int] | None:
    """Returns how many were replayed, and how many were left, as the URL says it."""
    numbers = [
        int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else 0 for text in (done, left)
    ]
    return (numbers[0], numbers[1]) if done else None


def _foretold(database: Database, entry: Entry, policies: Policies) -> list[tuple[str, bool | None, str]]:
    """Returns what would come of a replay: the name of a line, whether it is well, and the text."""
    try:
        fields = replaying.event_of(entry.fields)
        return list(dry_run.outcome_of_entry(database, fields, policies, datetime.now(UTC)).lines())
    except BadEvent as bad:
        return [("event", False, f"would be a dead letter again: {bad}")]
