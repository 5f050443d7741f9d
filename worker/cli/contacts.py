"""Commands on customers: `contacts ...`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from worker.cli import arguments, session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, list_header, list_line, say, say_changed, say_json, say_pairs

if TYPE_CHECKING:
    from worker.services.contacts import Contacts, Given, Known, Suppressing

CauseName = Literal["unsubscribed", "complained", "bounced", "manual"]
STDIN: Final = "-"
LINE: Final = "{:<19}  {:<12}  {:<16}  {}"

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The customer's address.", show_default=False)]
Addresses = Annotated[
    list[str], typer.Argument(metavar="ADDRESS...", help="Addresses of customers.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(
        app, "contacts", "Stop all mail to customers, and show, export or erase what is held of them.", panel="Requests"
    )
    add_commands(group, {"suppress": suppress, "unsuppress": unsuppress, "list": list_, "show": show})
    add_commands(group, {"export": export, "erase": erase})


def suppress(
    addresses: Annotated[
        list[str],
        typer.Argument(metavar="ADDRESS...", help="Addresses; - for stdin, one a line.", show_default=False),
    ],
    cause: Annotated[CauseName, typer.Option(case_sensitive=False, help="Why they get no mail.")] = "manual",
    as_json: Json = False,
) -> None:
    """Send these customers no more mail. What they wait for ends as FAILED, SUPPRESSED.

    An address that nobody waits with is remembered, so that a later import mails nobody who has left elsewhere. Each
    bad line of stdin is reported on stderr with its number. A mail that is being sent at this moment may still arrive.

    [bold]Example:[/bold]  stockbell contacts suppress - --cause unsubscribed < left.txt
    """
    from worker.domain.returned import Cause
    from worker.services.contacts import lines_of

    contacts, refused = _contacts(), dict[str, str]()
    if addresses == [STDIN]:
        given = lines_of(sys.stdin.buffer)
        done = contacts.suppress(given, Cause(cause), lambda place, reason: complain(f"{place}: {reason}"))
        _say_suppressed(done, as_json=as_json)
        return
    done = contacts.suppress(_given(addresses), Cause(cause), refused.__setitem__)
    more = {"already": done.already, "requests": done.requests}
    say_changed(done.changed, refused, _suppressed(done), as_json=as_json, more=more)


def _say_suppressed(done: "Suppressing", *, as_json: bool) -> None:
    if as_json:
        counts = {"changed": done.changed, "already": done.already, "requests": done.requests}
        say_json({**counts, "rejected": done.refused})
    else:
        say(f"{_suppressed(done)}: {done.changed}, rejected: {done.refused}")
    if done.refused:
        raise typer.Exit(1)


def _suppressed(done: "Suppressing") -> str:
    return f"ended requests: {done.requests}, suppressed already: {done.already}, suppressed"


def unsuppress(addresses: Addresses, as_json: Json = False) -> None:
    """Let these customers get mail again, whatever the cause was.

    What has ended meanwhile stays FAILED: `stockbell contacts show` lists it, `stockbell retry ID --force` sends it.
    """
    refused: dict[str, str] = {}
    changed = _contacts().unsuppress(_given(addresses), refused.__setitem__)
    say_changed(changed, refused, "get mail again", as_json=as_json)


def list_(
    cause: Annotated[CauseName | None, typer.Option(case_sensitive=False, help="Only with this cause.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only since this time (ISO 8601, UTC without an offset).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many. 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List who gets no mail, and why, newest first.

    --json prints one object per line.

    [bold]Example:[/bold]  stockbell contacts list --cause bounced --since 2026-11-23 --limit 0
    """
    from worker.domain.returned import Cause
    from worker.services.wire import contact_json

    start, why = arguments.time_of(since), Cause(cause) if cause else None
    contacts = _contacts()
    if as_json:
        contacts.each_suppressed(why, start, limit, lambda row: say_json(contact_json(row)))
        return
    say(LINE.format("SINCE", "CAUSE", "BY", "ADDRESS"))
    shown = contacts.each_suppressed(why, start, limit, lambda row: say(_line(row)))
    if shown and shown == limit:
        complain(f"(showing the newest {limit}; --limit 0 shows all)")


def _line(row: Any) -> str:
    return LINE.format(f"{row.suppressed_at:%Y-%m-%d %H:%M:%S}", row.suppressed_why, row.suppressed_by, row.address)


def show(address: Address, as_json: Json = False) -> None:
    """Show a customer: whether mail is sent to them, if not why, their requests, and what came back."""
    from worker.services.wire import contact_json, report_json, request_json

    known = _known(address)
    contact, reports = contact_json(known.contact), [report_json(row) for row in known.reports]
    if as_json:
        say_json({**contact, "requests": [request_json(row) for row in known.requests], "reports": reports})
        return
    say_pairs({**contact, "suppressed": "yes" if contact["suppressed"] else "no"})
    if known.requests:
        say(list_header())
    for row in known.requests:
        say(list_line(row))
    for report in reports:
        say(_report_line(report))


def _report_line(report: dict[str, object]) -> str:
    names = ("at", "kind", "source", "status", "words")
    return "  ".join(["", *(str(report[name]) for name in names if report[name] is not None)])


def export(address: Address) -> None:
    """Print everything that is held about a customer, as one JSON document (GDPR articles 15 and 20)."""
    normalised = _normalised(address)
    say_json(_contacts().export(normalised), pretty=True)


def erase(addresses: Addresses, as_json: Json = False) -> None:
    """Erase customers: their address, links, and what relays said of them (GDPR article 17).

    Counts, states and dates stay. What they wait for ends as FAILED, SUPPRESSED. Of a suppressed customer a keyed hash
    of the address stays, so that an old list that is imported again mails nobody; that needs STOCKBELL_SECRET_KEY. A
    mail that is being sent at this moment may still arrive. This can't be undone.
    """
    refused: dict[str, str] = {}
    changed = _contacts().erase(_given(addresses), refused.__setitem__)
    say_changed(changed, refused, "erased", as_json=as_json)


def _given(addresses: Sequence[str]) -> "list[Given]":
    return [(address, address) for address in addresses]


def _known(address: str) -> "Known":
    normalised = _normalised(address)
    return _contacts().known(normalised)


def _normalised(address: str) -> str:
    from worker.services.addresses import checked_address

    return checked_address(address).lower()


def _contacts() -> "Contacts":
    from worker.services.contacts import Contacts

    parts = session.ready_parts()
    return Contacts(parts.database, parts.tokens, session.who())
