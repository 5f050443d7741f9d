"""Commands that show and test the mail: `preview` and `send-test`."""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, ItemArguments, Json, Option
from worker.cli.commands import add_commands
from worker.cli.output import complain, say, say_json, say_pairs
from worker.cli.rehearsing import letter_writer
from worker.domain.errors import BadFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.domain.catalog import CatalogReference
    from worker.mail.letter import LetterWriter
    from worker.services.sender_rules import Point
    from worker.services.trying import Facts
    from worker.smtp.mailer import Mail

NOBODY = "customer@shop.example"

_NOTHING_KNOWN = "no event has named this item's name, price, picture or link yet: the mail does not name it"

About = Annotated[
    list[str] | None,
    typer.Option("--item", metavar="ITEM", help="The mail is about this catalog item. May be repeated."),
]
Locale = Annotated[str | None, typer.Option(help="The language of the mail, like de or de-AT.")]
ItemUrl = Annotated[str | None, typer.Option(help="The URL of the item's page, if events and settings have none.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"preview": preview, "send-test": send_test}, panel="The mail")


def preview(
    items: ItemArguments,
    app_id: AppId = None,
    option: Option = None,
    item_url: ItemUrl = None,
    locale: Locale = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where to write the files. Created if missing.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write the mail about ITEM to files: its HTML, its plain text, and the whole message (.eml).

    Uses the details that events have reported. Prints the paths of the files. Sends nothing, and needs no relay.
    Several items make the mail about all of them, which customers get with STOCKBELL_DIGEST=on.

    [bold]Example:[/bold]  stockbell preview mug-1 --locale de --folder mails
    """
    from worker.services import trying
    from worker.services.import_file import checked_locale

    _check_number(items)
    references = [arguments.reference_of(item, app_id, option) for item in items]
    language, url = checked_locale(locale), arguments.item_url(item_url)
    parts = session.ready_parts()
    about = [trying.facts_of(parts.database, reference) for reference in references]
    for facts in about:
        if facts == trying.Facts(facts.catalog_item_id, facts.options):
            complain(_NOTHING_KNOWN if len(about) == 1 else f"{facts.catalog_item_id}: {_NOTHING_KNOWN}")
    mail = _made(letter_writer(parts), about, NOBODY, url, language)
    files = _written(mail, folder / re.sub(r"[^\w.-]", "_", "-".join(_stem(items, language))))
    if as_json:
        say_json({kind: str(file) for kind, file in files.items()})
    else:
        for file in files.values():
            say(str(file))


def _check_number(items: "Sequence[str]") -> None:
    from worker.domain.policies import MOST_ITEMS

    if len(items) > MOST_ITEMS:
        raise typer.BadParameter(f"a mail is about {MOST_ITEMS} items at most")


def _made(
    writer: "LetterWriter", about: "Sequence[Facts]", address: str, item_url: str | None, locale: str | None
) -> "Mail":
    """Returns the mail. Raises Refused. Complains if it is not about all items."""
    from worker.services import trying

    mail, number = trying.write_many(writer, about, address, item_url=item_url, locale=locale)
    if number < len(about):
        complain(f"the mail would be too long: it is about the first {number}, and the next mail about the rest")
    return mail


def _stem(items: "Sequence[str]", language: str | None) -> list[str]:
    """Returns the words of which the files' name is made."""
    more = [f"and-{len(items) - 1}-more"] if len(items) > 1 else []
    return ["preview", items[0], *more, *([language] if language else [])]


def _written(mail: "Mail", stem: Path) -> dict[str, Path]:
    from worker.services.trying import message, texts

    text, html = texts(mail)
    contents = {"html": html.encode(), "txt": text.encode(), "eml": message(mail)}
    files = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in contents}
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for kind, content in contents.items():
            files[kind].write_bytes(content)
    except OSError as error:
        raise BadFile(f"{error.filename}: {error.strerror}") from None
    return files


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
        _check_number(item or ())
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
    mail = _made(parts.letter_writer(parts.sender), about, recipient, item_url, language)
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
