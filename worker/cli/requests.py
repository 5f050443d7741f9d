"""Commands on requests: `requests ...`."""

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from worker.cli import arguments, session
from worker.cli.admin import draft_of, ids_of
from worker.cli.arguments import (
    AppId,
    IdArgument,
    IdArguments,
    ItemArgument,
    Json,
    Option,
)
from worker.cli.commands import add_commands, add_group
from worker.cli.output import (
    NO_SUCH_REQUEST,
    complain,
    item_text,
    list_header,
    list_line,
    say,
    say_changed,
    say_json,
    say_pairs,
    say_summary,
)
from worker.domain.errors import Refused

if TYPE_CHECKING:
    from worker.services.selection import Selection

StatusName = Literal["RECEIVED", "PROCESSING", "NOTIFICATION_SENT", "FAILED"]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(app, "requests", "Create, delete, show and list requests.", panel="Requests")
    add_commands(group, {"create": create, "delete": delete, "show": show, "list": list_})


def create(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The customer's address.", show_default=False)],
    item: ItemArgument,
    app_id: AppId = None,
    option: Option = None,
    item_url: Annotated[str | None, typer.Option(help="The URL of the item's page, for the link in the mail.")] = None,
    locale: Annotated[str | None, typer.Option(help="The language of the mail, like de or de-AT.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="Higher ones are told first.")] = None,
    consent: Annotated[
        bool, typer.Option("--consent", help="The customer asks for mail again after a bounce, or after leaving.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a request: send EMAIL a mail when ITEM is back in stock.

    Prints the request. If this address already waits for the item, that request takes the --priority, if one is given.
    Then it prints its id and exits with 1. If this customer gets no mail, the request is kept as FAILED, and it exits
    with 1. --consent makes such a customer one who gets mail again, but not one who complained, or who was suppressed
    by hand.

    [bold]Example:[/bold]  stockbell requests create jane@example.com mug-1 --option size=L
    """
    from worker.domain.outcomes import FailureCode
    from worker.services import requests
    from worker.services.addresses import checked_address
    from worker.services.import_file import checked_locale
    from worker.services.wire import request_json
    from worker.store.requests import NewRequest

    new = NewRequest(
        checked_address(email),
        arguments.reference_of(item, app_id, option),
        arguments.item_url(item_url),
        checked_locale(locale),
        priority=priority,
    )
    parts = session.ready_parts()
    is_new, request_id = requests.create(parts.database, new, parts.tokens, has_consent=consent)
    row = requests.show(parts.database, request_id).request
    if is_new or row.failure_code == FailureCode.SUPPRESSED:
        say_json(request_json(row), pretty=not as_json)
        if row.failure_code != FailureCode.SUPPRESSED:
            return
        complain(f"stockbell: kept as FAILED: {row.failure_reason}; `stockbell contacts show` tells more")
        raise typer.Exit(1)
    now = "" if priority is None else f"; its priority is {row.priority}"
    complain(f"stockbell: this address already waits for this item{now}")
    if as_json:
        say_json({"id": str(request_id), "duplicate": True})
    else:
        say(str(request_id))
    raise typer.Exit(1)


@arguments.selects()
def delete(
    chosen: "Selection",
    ids: IdArguments = None,
    status: Annotated[
        Literal["RECEIVED", "FAILED", "NOTIFICATION_SENT"] | None,
        typer.Option(case_sensitive=False, help="All of this status that match."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, if they are selected by --status.")] = False,
    as_json: Json = False,
) -> None:
    """Delete requests and their attempt logs, in any state. This can't be undone.

    Give either ids, or --status and a filter. If a request that is named by its id is being sent at this moment, the
    customer may still get the mail.

    [bold]Example:[/bold]  stockbell requests delete --status NOTIFICATION_SENT --until 2025-11-01 --yes
    """
    arguments.check_choice(ids, filtered=status is not None, hint="--status, and what else they have in common")
    if ids and len(ids) == 1:
        _delete_one(ids[0], as_json=as_json)
        return
    from worker.services.verbs import Verbs

    if not ids and not yes:
        typer.confirm(f"Delete all that `{chosen.command('list')}` lists?", abort=True, err=True)
    known, malformed = ids_of(ids)
    parts = session.ready_parts()
    which = known if ids else parts.database.read(chosen.filter)
    done = Verbs(parts.database, parts.bell).delete(which, draft=draft_of(parts, "delete", chosen, known))
    say_summary(done, "deleted", malformed, as_json=as_json)


def _delete_one(request: str, *, as_json: bool) -> None:
    from worker.services import requests

    database = session.ready_parts().database
    refused: dict[str, str] = {}
    try:
        requests.delete(database, _id(request), session.who())
    except Refused:
        if not as_json:
            raise
        refused[request] = NO_SUCH_REQUEST
    if as_json:
        say_changed(1 - len(refused), refused, "deleted", as_json=True)
    else:
        say(f"deleted: {request}")


def show(request: IdArgument, as_json: Json = False) -> None:
    """Show a request and its whole story: why it waits, each try, what came back, who did what.

    `receipt` is what the relay said when it took the mail. It often has the id by which the relay's log names it.
    `mailId` is the request in whose mail it was told, if that was another one's.
    `stockbell why` finds it by the customer's address.
    """
    from worker.cli.why import say_story_of
    from worker.services import requests, why
    from worker.services.wire import attempts_json, report_json, request_json

    parts, request_id = session.ready_parts(), _id(request)
    shown = requests.show(parts.database, request_id)
    story = why.story(parts.database, request_id, lease=parts.settings.lease_seconds, rules=parts.reply_rules)
    found = {**request_json(shown.request), "receipt": shown.request.receipt}
    if story.mail_id:
        found["mailId"] = str(story.mail_id)
    if as_json:
        tries, came_back = attempts_json(shown.attempts), [report_json(row) for row in shown.reports]
        say_json({**found, "attemptLog": tries, "cameBack": came_back, "why": story.as_json()})
        return
    say_pairs({**found, "catalogReference": f"{item_text(shown.request)}  (app {shown.request.app_id})"})
    say("")
    say_story_of(story)


def _address(text: str) -> str:
    from worker.services.addresses import checked_address

    return checked_address(text)


@arguments.selects(address=_address)
def list_(
    chosen: "Selection",
    status: Annotated[StatusName | None, typer.Option(case_sensitive=False, help="Only with this status.")] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Newest first, as the page for admins.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many. 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List requests, oldest first.

    --json prints one object per line. For RECEIVED requests `waiting` is the reason why they wait: noStock, soldOut,
    unconfirmed, paused, backoff, interval, quietHours, settling, wave, relayDown or queued, and `waitingUntil` is for
    how long, where that is known. --since and --until compare with the time when they failed if the status is FAILED,
    and else with the time when they were created.

    [bold]Example:[/bold]  stockbell requests list --status FAILED --reason RECIPIENT_REJECTED --limit 0
    """
    from worker.services import requests
    from worker.services.wire import request_json

    database = session.ready_parts().database
    which = database.read(chosen.filter)
    each = requests.each_from_newest if newest else requests.each
    if as_json:
        each(database, which, limit, lambda row: say_json(request_json(row)))
        return
    say(list_header())
    shown = each(database, which, limit, lambda row: say(list_line(row)))
    if shown and shown == limit:
        complain(f"(showing the {'newest' if newest else 'oldest'} {limit}; --limit 0 shows all)")


def _id(text: str) -> UUID:
    found = arguments.request_id(text)
    if found is None:
        raise Refused(f"no such request: {text}")
    return found
