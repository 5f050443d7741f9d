"""Commands on the audit trail: `actions ...`."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

import typer

from worker.cli import arguments, session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_json, say_pairs
from worker.domain.errors import Refused

if TYPE_CHECKING:
    from worker.store.actions import Action
    from worker.store.database import Database

LINE: Final = "{:<36}  {:<20}  {:<14}  {:<12}  {:<10}  {:>8}  {:>8}  {}"
WAIT_SECONDS: Final = 120.0
ActionId = Annotated[str, typer.Argument(metavar="ID", help="The action's id.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(app, "actions", "Show what admins did, stop and undo it.", panel="Admin")
    add_commands(group, {"list": list_, "show": show, "undo": undo, "stop": stop})


def list_(
    who: Annotated[str | None, typer.Option(help="Only what this one did: a user's name, or cli:ACCOUNT.")] = None,
    verb: Annotated[str | None, typer.Option(help="Only this, like retry or login.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state, like running or undone.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only since this time (ISO 8601, UTC without an offset).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 100,
    as_json: Json = False,
) -> None:
    """List what admins did, on the pages, by the command line and with keys; newest first.

    [bold]Example:[/bold]  stockbell actions list --verb retry --since 2026-11-23
    """
    from worker.services import auditing
    from worker.services.auditing import Asked

    given = {"who": who, "verb": verb, "state": state, "since": since, "until": until}
    asked, errors = Asked.read((name, text) for name, text in given.items() if text is not None)
    for name, wrong in errors.items():
        raise typer.BadParameter(f"--{name}: {wrong}")
    found = session.ready_parts().database.read(auditing.find, asked, limit)
    if as_json:
        for action in found:
            say_json(_json(action))
        return
    say(LINE.format("ID", "WHEN", "WHO", "WHAT", "STATE", "CHANGED", "REFUSED", "ABOUT"))
    for action in found:
        when = f"{action.at:%Y-%m-%d %H:%M:%S}"
        numbers = action.changed, action.refused
        line = LINE.format(
            str(action.id), when, action.who, action.verb, action.state, *numbers, auditing.about(action)
        )
        say(printable(line))


def show(
    action: ActionId,
    requests: Annotated[
        Literal["refused", "changed", "all"] | None, typer.Option(help="Also show what was done to which requests.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an admin did: to what, how many requests it changed, and why it refused others."""
    database = session.ready_parts().database
    found = _found(database, action)
    each = _requests(database, found.id, requests) if requests else []
    if as_json:
        say_json({**_json(found), **({"requests": each} if requests else {})}, pretty=True)
        return
    pairs = {name: _text(value) for name, value in _json(found).items()}
    say_pairs({name: printable(text) for name, text in pairs.items() if text})
    for one in each:
        say(printable(f"  {one['id']}  {one.get('refused') or ('undone' if 'undone' in one else 'changed')}"))


def undo(action: ActionId, as_json: Json = False) -> None:
    """Undo an action, as far as its mails have not been taken up.

    That is possible while it runs, and for 10 seconds after its end; for mark-sent for ten minutes. What was deleted
    can't be brought back.
    """
    from worker.services import acting
    from worker.services.acting import Answer

    database = session.ready_parts().database
    id_ = _found(database, action).id
    match database.write(acting.undo, id_, session.who()):
        case Answer.EXPIRED:
            raise Refused("it is too late to undo this: that goes for 10 s, and for mark-sent for 10 min")
        case Answer.ALREADY:
            raise Refused("it was undone before")
        case Answer.NOBODY:
            raise Refused("this can't be undone")
    runner, patience = acting.Runner(database, only=id_), time.monotonic() + WAIT_SECONDS
    while (found := _found(database, action)).is_open and time.monotonic() < patience:
        if not runner.step().is_any:  # another process is at it
            time.sleep(0.2)
    undone, late = found.result.get("undone", 0), found.result.get("late", 0)
    if as_json:
        say_json({"undone": undone, "late": late, "state": found.state})
    else:
        say(f"undone: {undone}" + (f", too late for: {late}" if late else ""))
    if late or found.is_open:
        raise typer.Exit(1)


def stop(action: ActionId, as_json: Json = False) -> None:
    """Stop an action that runs. What it has done stays."""
    from worker.services import acting
    from worker.services.acting import Answer

    database = session.ready_parts().database
    id_ = _found(database, action).id
    if database.write(acting.stop, id_, session.who()) is not Answer.DONE:
        raise Refused("it does not run")
    found = _found(database, action)
    if as_json:
        say_json({"state": found.state, "changed": found.changed, "refused": found.refused})
    else:
        say(f"stopped; changed: {found.changed}, refused: {found.refused}")


def _found(database: "Database", text: str) -> "Action":
    from worker.store import actions

    id_ = arguments.request_id(text)
    found = database.read(actions.get, id_) if id_ else None
    if found is None:
        complain("(`stockbell actions list` lists them)")
        raise Refused(f"no such action: {text}")
    return found


def _requests(database: "Database", action_id: UUID, kind: str) -> list[dict[str, str]]:
    from worker.services.wire import timestamp
    from worker.store import actions

    found: list[dict[str, str]] = []
    after = UUID(int=0)
    while rows := database.read(actions.requests_of, action_id, kind, after, 1000):
        for row in rows:
            one = {"id": str(row.request_id), "refused": row.refusal}
            one["undone"] = timestamp(row.undone_at) if row.undone_at else None
            found.append({name: value for name, value in one.items() if value})
        after = rows[-1].request_id
    return found


def _json(action: "Action") -> dict[str, Any]:
    from worker.services.wire import timestamp

    times = {"confirmedDate": action.confirmed_at, "endedDate": action.ended_at, "undoUntil": action.undo_until}
    return {
        "id": str(action.id),
        "date": timestamp(action.at),
        "who": action.who,
        "verb": action.verb,
        "state": action.state,
        "about": action.about,
        "options": action.options,
        "changed": action.changed,
        "refused": action.refused,
        "result": action.result,
        **({"foreseen": action.foreseen} if action.foreseen else {}),
        **({"command": action.command} if action.command else {}),
        **({"contactId": str(action.contact_id)} if action.contact_id else {}),
        **{name: timestamp(at) for name, at in times.items() if at},
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        texts = (
            (name, f"({_text(each)})" if each and isinstance(each, dict) else _text(each))
            for name, each in value.items()
        )
        return ", ".join(f"{name}: {text}" for name, text in texts if text)
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
