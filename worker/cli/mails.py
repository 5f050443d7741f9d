"""`send-test`: a real mail, and what becomes of it."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, Json, Option
from worker.cli.commands import add_commands
from worker.cli.output import complain, say, say_json, say_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.domain.catalog import CatalogReference
    from worker.mail.letter import LetterWriter
    from worker.services.sender_rules import Point
    from worker.services.trying import Asked, Facts
    from worker.smtp.mailer import Mail

About = Annotated[
    list[str] | None,
    typer.Option("--item", metavar="ITEM", help="The mail is about this catalog item. May be repeated."),
]
Locale = Annotated[str | None, typer.Option(help="The language of the mail, like de or de-AT.")]
ItemUrl = Annotated[str | None, typer.Option(help="The URL of the item's page, if events and settings have none.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"send-test": send_test}, panel="The mail")


def check_number(items: "Sequence[str]") -> None:
    """Raises BadParameter if no mail is about so many items."""
    from worker.domain.policies import MOST_ITEMS

    if len(items) > MOST_ITEMS:
        raise typer.BadParameter(f"a mail is about {MOST_ITEMS} items at most")


def made(writer: "LetterWriter", about: "Sequence[tuple[Facts, Asked]]", address: str) -> "Mail":
    """Returns the mail. Raises Refused. Complains if it is not about all items."""
    from worker.services import trying

    mail, number = trying.write_many(writer, about, address)
    if number < len(about):
        complain(trying.about_some(number))
    return mail


def send_test(
    address: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="Who gets the mail.", show_default=False)
    ] = None,
    check_file: Annotated[
        Path | None,
        typer.Option(
            "--check-file",
            metavar="FILE",
            help="Send nothing; look at this mail (.eml), saved where a test mail arrived. '-' reads it from stdin.",
        ),
    ] = None,
    item: About = None,
    app_id: AppId = None,
    option: Option = None,
    item_url: ItemUrl = None,
    locale: Locale = None,
    as_json: Json = False,
) -> None:
    """Send a real mail to ADDRESS through the first relay that works. Prints the relay's reply, and how the mail looks.

    That is its header as it is sent, and which rules of mailbox providers and RFCs it keeps (ok), misses (MISS), or
    leaves to others (-). The mail is about a sample item; with --item it is about that item, with the details that
    events have reported. Nothing is recorded, and no request is created.

    With --check-file it tells whether the mail that arrived has passed SPF, DKIM and DMARC, whether DKIM covers the
    way to unsubscribe, and what was changed. The exit code is 1 if a rule is missed.

    [bold]Example:[/bold]  stockbell send-test me@shop.example
    """
    if (address is None) == (check_file is None):
        raise typer.BadParameter("give either ADDRESS or --check-file FILE")
    if check_file is not None:
        _check_file(check_file, as_json=as_json)
    elif address is not None:
        check_number(item or ())
        references = [arguments.optional_reference(each, app_id, option) for each in item or (None,)]
        _send_test(
            address, [each for each in references if each], arguments.item_url(item_url), locale, as_json=as_json
        )


def _send_test(
    address: str, references: "Sequence[CatalogReference]", item_url: str | None, locale: str | None, *, as_json: bool
) -> None:
    from worker.services import trying
    from worker.services.addresses import checked_address
    from worker.services.import_file import checked_locale

    recipient, language = checked_address(address), checked_locale(locale)
    parts = session.ready_parts() if references else session.parts()
    mailer = parts.mailer
    about = [trying.facts_of(parts.database, reference) for reference in references] or [trying.SAMPLE]
    asked = trying.Asked(item_url, language)
    mail = made(parts.letter_writer(parts.sender), [(facts, asked) for facts in about], recipient)
    outcome = trying.send(mailer, mail)
    # With only one relay its name says nothing new.
    said = trying.said(outcome, relay=str(mailer.relay_in_use) if len(mailer.relays) > 1 else None)
    path = trying.return_path(parts.settings.bounce_address, parts.sender, mail)
    looks = _Looks(trying.message(replace(mail, content=mailer.as_sent(mail))), path, mailer.offers_dsn)
    if as_json:
        say_json(said | looks.as_json())
    else:
        _say_outcome(said)
        looks.say()
    if not said["sent"]:
        raise typer.Exit(1)


def _say_outcome(said: "Mapping[str, object]") -> None:
    words = ": ".join(str(said[name]) for name in ("relay", "reply") if name in said)
    if said["sent"]:
        say(words)
    else:
        trouble = "not sent" if said["sent"] is False else "it is unknown whether the mail was sent"
        complain(f"stockbell: {trouble}: {words}")


@dataclass(frozen=True)
class _Looks:
    """How a mail looks: its header, its envelope, and the rules that it keeps."""

    message: bytes
    return_path: str
    offers_dsn: bool | None

    def as_json(self) -> dict[str, object]:
        from worker.services.trying import header_lines

        return {
            "returnPath": self.return_path,
            "dsn": self.offers_dsn,
            "size": len(self.message),
            "header": "\n".join(header_lines(self.message)),
            "rules": [point.as_json() for point in self._points()],
        }

    def say(self) -> None:
        from worker.services.trying import header_lines

        dsn = {True: "offered (RFC 3461)", False: "not offered", None: "not known: no relay was reached"}
        pairs = {"return path": self.return_path, "DSN": dsn[self.offers_dsn], "size": f"{len(self.message):,} octets"}
        say("")
        say_pairs(pairs)
        say("")
        for line in header_lines(self.message):
            say(line)
        say("")
        _say_points(self._points())

    def _points(self) -> "Sequence[Point]":
        from worker.services.sender_rules import points_of

        return points_of(self.message, self.return_path)


def _check_file(path: Path, *, as_json: bool) -> None:
    """Says what a mail that arrived shows. Exits with 1 if it misses a rule."""
    from worker.services.arrival import points_of, read_file

    points = points_of(read_file(path, sys.stdin.buffer))
    is_well = all(point.is_kept is not False for point in points)
    if as_json:
        say_json({"ok": is_well, "rules": [point.as_json() for point in points]})
    else:
        _say_points(points)
    if not is_well:
        raise typer.Exit(1)


def _say_points(points: "Sequence[Point]") -> None:
    width = max(len(point.rule) for point in points)
    for point in points:
        mark = {True: "ok", False: "MISS", None: "-"}[point.is_kept]
        say(f"{mark:<4}  {point.rule:<{width}}  {point.text}")
