"""Commands on items: `items show`, `items list`, `items set`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, ItemArgument, Json, Option
from worker.cli.commands import add_commands, add_group
from worker.cli.output import item_words, printable, reference_text, say, say_json, say_pairs

if TYPE_CHECKING:
    from worker.domain.catalog import Options
    from worker.services.items import Shown, Waiters, WhatIf
    from worker.services.policy_words import Line


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    about = "Show what is known of an item and who waits for it, and set its own sending policies."
    group = add_group(app, "items", about, panel="Monitoring")
    add_commands(group, {"show": show, "list": list_, "set": set_policies})


def show(
    item: ItemArgument,
    app_id: AppId = None,
    option: Option = None,
    what_if: Annotated[
        int | None,
        typer.Option("--what-if", metavar="N", min=0, max=10**9, help="Tell what happens if N pieces come back."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show an item: details, stock as events said, seats and waves, who waits and why, policies, the last restocks.

    Of all that it tells what happens next.

    --what-if N tells who would be told if N pieces came back, in which order, and who would not, and why. --option is
    what those pieces are. It changes nothing.

    [bold]Example:[/bold]  stockbell items show mug-1 --what-if 5 --option size=L
    """
    from worker.services import items

    if option and what_if is None:
        raise typer.BadParameter("--option needs --what-if")
    reference = arguments.reference_of(item, app_id, option)
    parts = session.ready_parts()
    shown = parts.database.read(items.show, [reference.item], parts.policies)
    guess = None
    if what_if is not None:
        guess = items.what_if(parts.database, reference, what_if, parts.policies)
    if as_json:
        say_json(shown.as_json() | ({"whatIf": guess.as_json()} if guess else {}))
        return
    if guess is None:
        _say(shown)
    else:
        _say_guess(guess)


def list_(as_json: Json = False) -> None:
    """List the items that have sending policies of their own, with what is not as the shop has it.

    [bold]Example:[/bold]  stockbell items list
    """
    from worker.services import item_policies

    parts = session.ready_parts()
    for item, holding in item_policies.with_own(parts.database, parts.policies):
        if as_json:
            say_json({"catalogItemId": item.catalog_item_id, "appId": item.app_id, **holding.policies_json()})
            continue
        own = ", ".join(f"{each.label} {each.words}" for each in holding.lines if each.is_own)
        say(printable(f"{item_words(item.catalog_item_id, (), item.app_id)}: {own}"))


def set_policies(
    item: ItemArgument,
    app_id: AppId = None,
    min_quantity: Annotated[
        str | None, typer.Option("--min-quantity", metavar="N", help="It is in stock from so many pieces on.")
    ] = None,
    per_unit: Annotated[
        str | None,
        typer.Option("--per-unit", metavar="N|all", help="So many customers are told for each piece, wave by wave."),
    ] = None,
    wave_seconds: Annotated[
        str | None,
        typer.Option("--wave-seconds", metavar="TIME", help="So long after a wave the next one begins, like 90 or 2h."),
    ] = None,
    settle_seconds: Annotated[
        str | None,
        typer.Option("--settle-seconds", metavar="TIME", help="It has to be in stock for so long first, like 10min."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Remove what it has of its own, before the other options are set.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give an item sending policies of its own, or take them away. What it has none for, the shop's settings decide.

    They hold for all its variants, from now on: `docs/policies.md` says what becomes of a wave that runs. The item may
    be unknown.

    [bold]Example:[/bold]  stockbell items set mug-1 --per-unit 2 --wave-seconds 1h
    """
    from worker.services import item_policies
    from worker.services.policy_words import flag

    texts = {
        "min_quantity": min_quantity,
        "per_unit": per_unit,
        "wave_seconds": wave_seconds,
        "settle_seconds": settle_seconds,
    }
    given = {name: text for name, text in texts.items() if text is not None}
    if not given and not reset:
        raise typer.BadParameter(
            "give at least one of --min-quantity, --per-unit, --wave-seconds, --settle-seconds, --reset"
        )
    wish, errors = item_policies.read({name: text or "-" for name, text in given.items()}, is_reset=reset)
    for name, wrong in errors.items():
        raise typer.BadParameter(f"{flag(name)}: {wrong}")
    reference = arguments.reference_of(item, app_id, None)
    parts = session.ready_parts()
    done = item_policies.change(parts.database, parts.bell, reference.item, wish, parts.policies, session.who())
    if as_json:
        say_json(done.as_json())
        return
    say(f"{reference_text(reference)}: {'changed' if done.is_changed else 'they were so already'}")
    say_pairs(_policy_pairs(done.lines))


def _policy_pairs(lines: "Sequence[Line]") -> dict[str, str]:
    return {each.label: f"{each.words} ({each.whose})" for each in lines}


def _say(shown: "Shown") -> None:
    row = shown.row
    price = " ".join(filter(None, [row.price, row.currency]))
    details = {"item": shown.item.catalog_item_id, "app": shown.item.app_id, "name": row.name, "price": price or None}
    links = {"image": row.image_url, "page": row.url}
    paused = "; ".join(f"{_paused(options)} since {since:%Y-%m-%d %H:%M} UTC" for options, since in shown.pauses)
    waiting = f"{shown.waiting:,}" + (f" ({shown.money})" if shown.money else "")
    pairs = {**details, **links, "paused": paused or None, "waiting": waiting}
    say_pairs({name: value and printable(value) for name, value in pairs.items()})
    for title, lines in (
        ("what happens next:", shown.next),
        ("policies:", [f"{each.label}: {each.words} ({each.whose})" for each in shown.policy_lines]),
        ("stock, as events said:", [_stock_line(shown, each) for each in shown.stock]),
        ("who waits:", [_list_line(shown, each) for each in shown.lists]),
        ("restocks:", [_restock_line(each) for each in shown.restocks]),
    ):
        if lines:
            say(title)
        for line in lines:
            say(printable(f"  {line}"))


def _paused(options: "Options | None") -> str:
    from worker.domain.difference import options_words

    if options is None:
        return "everything"
    return options_words(options) if options else "the whole item"


def _stock_line(shown: "Shown", row: Any) -> str:
    from worker.domain.catalog import options_from_text
    from worker.domain.difference import options_words
    from worker.services.outlook import utc_words

    options = options_from_text(row.options)
    quantity = f", {row.quantity:,}" if row.quantity is not None else ""
    about = options_words(options) if options else "the whole item"
    wave, settles_at = shown.wave(row), shown.settles_at(row)
    seats = f"; {wave.words(shown.now)}" if wave else ""
    settles = f"; settles until {utc_words(settles_at, shown.now)}" if settles_at else ""
    return f"{row.occurred_at:%Y-%m-%d %H:%M:%S}  {'in' if row.in_stock else 'out'}{quantity}  {about}{seats}{settles}"


def _list_line(shown: "Shown", each: "Waiters") -> str:
    from worker.domain.difference import options_words
    from worker.services.outlook import utc_words

    why = ", ".join(f"{reason}: {n:,}" for reason, n in each.reasons.items())
    told = f"{each.told:,}{'+' * each.is_more}"
    ended = f"being sent: {each.sending:,}, told: {told}, failed: {each.failed:,}"
    opens = f"its door opens at {utc_words(each.opens_at, shown.now)}" if each.opens_at else ""
    settles = f"settles until {utc_words(each.settles_at, shown.now)}" if each.settles_at else ""
    return f"{each.waiting:,}  {options_words(each.options)}  ({'; '.join(filter(None, [why, ended, opens, settles]))})"


def _restock_line(each: Any) -> str:
    from worker.domain.difference import options_words

    about = options_words(each.options) if each.options else "the whole item"
    told = f"{each.told:,}{'+' * each.is_more} told"
    times = "" if each.first_seconds is None else f", the first after {each.first_seconds:.1f} s"
    median = "" if each.median_seconds is None else f", half of them after {each.median_seconds:.1f} s"
    return f"{each.at:%Y-%m-%d %H:%M:%S}  {told}{times}{median}  {about}"


def _say_guess(guess: "WhatIf") -> None:
    from worker.services.rehearsal_words import request_line

    for name, _, text in guess.outcome.lines():
        say(f"{name + ':':<10} {printable(text)}")
    if guess.told and not guess.outcome.next:
        rate = "unknown: nothing was sent in the last 24 h"
        if guess.rate and guess.seconds is not None:
            rate = f"{guess.seconds:,.1f} s, at {guess.rate:,.1f} mails a second (the best minute of the last 24 h)"
        say(f"{'takes:':<10} {rate}")
        if guess.first_seconds is not None:
            say(f"{'first:':<10} after {guess.first_seconds:.1f} s, as on average in the last 24 h")
    for place, row in enumerate(guess.first, start=1):
        say(printable(f"{place:>3}. {request_line(row, names_items=False)}"))
    if (more := guess.told - len(guess.first)) > 0 and guess.first:
        say(f"     and {more:,} more")
