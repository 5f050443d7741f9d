"""Events: `publish` and `dead-letters ...`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, DryRun, ItemArgument, Json, Option
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_changed, say_json
from worker.cli.rehearsing import letter_writer, say_rehearsal
from worker.domain.errors import StockbellError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.processes.bootstrap import Parts
    from worker.services.replaying import Done
    from worker.stream.entries import Entry


FIELDS_SHOWN = 200
"""characters of a dead letter's fields in the plain list; the JSON has all of them"""

LetterIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of dead letters, from the list.")]
AllLetters = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"publish": publish}, panel="Events")
    letters = add_group(app, "dead-letters", "List, replay and drop events that could not be decoded.", panel="Events")
    add_commands(letters, {"list": list_dead_letters, "replay": replay, "drop": drop})


def publish(
    item: ItemArgument,
    app_id: AppId = None,
    option: Option = None,
    quantity: Annotated[int | None, typer.Option(help="The quantity in stock.")] = None,
    in_stock: Annotated[
        bool | None, typer.Option("--in-stock/--out-of-stock", help="In stock or not. Overrides --quantity.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The item's name, for the mail.")] = None,
    price: Annotated[str | None, typer.Option(help="Its price, like 12.50.")] = None,
    currency: Annotated[str | None, typer.Option(help="The price's currency, like EUR.")] = None,
    image_url: Annotated[str | None, typer.Option(help="The URL of its picture.")] = None,
    item_url: Annotated[str | None, typer.Option(help="The URL of its page, for the link in the mail.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Publish an inventory event, like a stock system, and print the id of its stream entry.

    Needs --quantity, --in-stock or --out-of-stock. Needs no database. With --option the event is about that variant,
    without it about the whole item. An empty name, price, currency or URL clears the value of earlier events.

    --dry-run publishes nothing. It tells who would be told, in which order, wave and when, and shows the first mail. It
    needs the database, and no Redis. The exit code is 1 if people wait for the item and nobody would be told.

    [bold]Example:[/bold]  stockbell publish mug-1 --quantity 5 --name "Blue mug" --item-url https://shop.example/p/mug-1
    """
    from worker.services.publishing import NewEvent, checked, publish

    if quantity is None and in_stock is None:
        raise typer.BadParameter("give --quantity, --in-stock or --out-of-stock")
    reference = arguments.reference_of(item, app_id, option)
    event = NewEvent(reference, quantity, in_stock, name, price, currency, image_url, item_url)
    if dry_run:
        _rehearse(checked(event.fields()), as_json=as_json)
        return
    entry = publish(session.stream(), event)
    if as_json:
        say_json({"id": entry})
    else:
        say(entry)


def _rehearse(entry: "Mapping[bytes, bytes]", *, as_json: bool) -> None:
    """Says what an event would do. Exits with 1 if it tells nobody though people wait."""
    from dataclasses import replace

    from worker.services.rehearsal import of_entry

    parts = session.ready_parts()
    outcome, found = of_entry(parts.database, letter_writer(parts), entry, parts.policies)
    if as_json:
        say_json({"dryRun": True, "ok": outcome.is_well, **found.as_json(), "outcome": outcome.as_json()})
    else:
        for name, _, words in replace(outcome, next=()).lines():  # the waves say what happens next
            say(printable(f"{name:<9} {words}"))
        say_rehearsal(found)
    if not outcome.is_well:
        raise typer.Exit(1)


def list_dead_letters(
    limit: Annotated[int, typer.Option(min=0, help="Show only this many, the newest. 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters with their reason and the fields of the event. The newest comes last."""
    for letter in session.stream().dead_letters.newest(limit):
        found = _letter_json(letter)
        if as_json:
            say_json(found)
        else:
            said = [str(found.get(name, "-")) for name in ("id", "receivedAt", "reason", "originalId")]
            fields = json.dumps(found["fields"], ensure_ascii=False)[:FIELDS_SHOWN]
            say(printable("{}  {}  {}  (entry {})  {}".format(*said, fields)))


def replay(
    ids: LetterIds = None,
    everything: AllLetters = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="All dead letters with exactly this reason.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put dead letters back into the event stream, for example after an upgrade that can decode them.

    An event keeps the time of its original entry, so newer events about the item still win. A dead letter that still
    can't be decoded is refused with the reason, and stays in the list.

    [bold]Example:[/bold]  stockbell dead-letters replay --reason "catalogItemId is missing"
    """
    from worker.services.replaying import replay

    arguments.check_choice(ids, filtered=everything or reason is not None, hint="--all, --reason")
    parts = session.parts()
    parts.check_events()
    done = replay(parts.stream, ids, reason=reason)
    _note(parts, "dead-letters replay", ids, reason, done)
    say_changed(done.changed, done.refused, "replayed", as_json=as_json)


def drop(ids: LetterIds = None, everything: AllLetters = False, as_json: Json = False) -> None:
    """Delete dead letters for good, by id or all of them.

    A dropped letter can't be replayed. Nothing else changes: an event that could not be decoded was never applied.

    [bold]Example:[/bold]  stockbell dead-letters drop 1795500000000-0
    """
    from worker.services.replaying import drop

    arguments.check_choice(ids, filtered=everything, hint="--all")
    parts = session.parts()
    parts.check_events()
    done = drop(parts.stream, ids)
    _note(parts, "dead-letters drop", ids, None, done)
    say_changed(done.changed, done.refused, "dropped", as_json=as_json)


def _note(parts: "Parts", verb: str, ids: list[str] | None, reason: str | None, done: "Done") -> None:
    """Notes it in the audit trail. Redis has done it already, so a database that is away is only said."""
    from worker.services.replaying import note
    from worker.services.schema_check import check_schema

    if not done.changed:
        return
    try:
        check_schema(parts.database)
        parts.database.write(note, session.who(), verb, ids, reason, done)
    except StockbellError as error:
        complain(f"not noted in the audit trail: {error}")


def _letter_json(letter: "Entry") -> dict[str, object]:
    from worker.services.replaying import letter_of

    found = letter_of(letter)
    own = {"originalId": found.original_id, "reason": found.reason or None, "receivedAt": found.received_at}
    own["truncated"] = "1" if found.is_truncated else None
    return {
        "id": found.id,
        **{name: value for name, value in own.items() if value is not None},
        "fields": dict(found.fields),
    }
