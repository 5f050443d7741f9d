"""`why`: why a customer was told or was not. Also how `requests show` prints the story of a request."""

import shutil
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, Json, Option
from worker.cli.commands import add_commands
from worker.cli.output import printable, say, say_json

if TYPE_CHECKING:
    from worker.services.story import Story
    from worker.services.why import Answer

MOST_WIDTH: Final = 100
_INDENT: Final = " " * 21


def add_to(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add_commands(app, {"why": why}, panel="Requests")


def why(
    email: Annotated[
        str, typer.Argument(metavar="EMAIL", help="The customer's address, or the id of a request.", show_default=False)
    ],
    item: Annotated[str | None, typer.Argument(metavar="[ITEM]", help="The catalog item's id.")] = None,
    app_id: AppId = None,
    option: Option = None,
    as_json: Json = False,
) -> None:
    """Say why a customer was told about ITEM, or was not: the whole story in the order of time.

    Without ITEM it is about all that the customer asked for. If they did not ask for ITEM, it says what they asked for,
    and whether somebody with another spelling of the address did, and exits with 1.

    [bold]Example:[/bold]  stockbell why jane@example.com mug-1 --option size=L
    """
    from worker.services import why as service

    reference = arguments.optional_reference(item, app_id, option)
    request_id = arguments.request_id(email)
    parts = session.ready_parts()
    lease = parts.settings.lease_seconds
    if request_id is not None:
        story = service.story(parts.database, request_id, lease=lease, rules=parts.reply_rules)
        if as_json:
            say_json(story_json(story))
        else:
            say_story(story)
        return
    found = service.find(parts.database, email, reference, tokens=parts.tokens, lease=lease, rules=parts.reply_rules)
    if as_json:
        say_json(_answer_json(found))
    else:
        _say_answer(found)
    if found.story is None:
        raise typer.Exit(1)


def say_story(story: "Story") -> None:
    """Prints a story, in lines that fit the terminal."""
    from worker.services.story_words import item_words

    row = story.request
    say_wrapped(f"{row.email}, {item_words(row)}")
    say(f"request {row.id}")
    say("")
    say_story_of(story)


def say_story_of(story: "Story") -> None:
    """Prints the sentence and what happened, oldest first."""
    for sentence in (story.sentence, story.place, *story.moves):
        if sentence:
            say_wrapped(sentence)
    say("")
    for moment in story.moments:
        at = moment.at.strftime("%Y-%m-%d %H:%M:%S")
        say_wrapped(moment.words, f"{at}  ", _INDENT)
        for text in (moment.quote and f"“{moment.quote}”", moment.note):
            if text:
                say_wrapped(text, _INDENT, _INDENT)


def say_wrapped(text: str, first: str = "", rest: str = "") -> None:
    """Prints text in lines that fit the terminal. `first` is before the first line, `rest` before the others."""
    width = min(shutil.get_terminal_size((80, 24)).columns, MOST_WIDTH)
    lines = textwrap.wrap(printable(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    say("\n".join(lines))


def story_json(story: "Story") -> dict[str, object]:
    """Returns a story as JSON, with its request."""
    from worker.services.wire import request_json

    return {"request": request_json(story.request), **story.as_json()}


def _say_answer(found: "Answer") -> None:
    for sentence in found.sentences:
        say_wrapped(sentence)
    if found.story:
        say_story(found.story)
    told = found.story.request.id if found.story else None
    also = "They also asked for:" if found.story else "They asked for:"
    _say_requests(also, [row for row in (*found.requests, *found.nearest) if row.id != told])
    for other in found.others:
        _say_requests(f"Another spelling of the address, {other.address}, asked for:", other.requests)


def _say_requests(head: str, rows: Any) -> None:
    from worker.services.story_words import item_words

    if not rows:
        return
    say("")
    say_wrapped(head)
    for row in rows:
        status = f"{row.status} {row.waiting or row.failure_code or ''}".strip()
        say_wrapped(f"{row.id}  {row.created_date:%Y-%m-%d}  {status}  {item_words(row)}", "  ", "    ")


def _answer_json(found: "Answer") -> dict[str, object]:
    from worker.services.wire import request_json

    return {
        "found": found.story is not None,
        "sentences": list(found.sentences),
        **(story_json(found.story) if found.story else {}),
        "requests": [request_json(row) for row in found.requests],
        "nearest": [request_json(row) for row in found.nearest],
        "otherSpellings": [
            {"address": other.address, "requests": [request_json(row) for row in other.requests]}
            for other in found.others
        ],
    }
