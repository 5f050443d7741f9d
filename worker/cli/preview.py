"""`preview`: the mail to look at, as files, or on a page that shows each change of a template at once."""

import re
import sys
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode

import typer
from typer.core import TyperCommand

from worker.cli import arguments, session
from worker.cli.arguments import AppId, Json, Option
from worker.cli.commands import unwrapped
from worker.cli.mails import ItemUrl, Locale, check_number, made
from worker.cli.output import complain, say, say_json
from worker.cli.rehearsing import letter_writer
from worker.domain.errors import BadFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.domain.catalog import CatalogReference
    from worker.preview.gallery import Items
    from worker.processes.bootstrap import Parts
    from worker.services.trying import Asked, Facts
    from worker.smtp.mailer import Mail

PORT: Final = 8090

_NOTHING_KNOWN: Final = "no event has named this item's name, price, picture or link yet: the mail does not name it"


class _Command(TyperCommand):
    """Knows an option whose value may be left out, which Typer does not."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_port(args))


def with_port(args: "Sequence[str]") -> list[str]:
    """Returns the arguments of a command with a port after `--serve`."""
    following = [*args, ""][1:]
    is_bare = [arg == "--serve" and not next_.isdecimal() for arg, next_ in zip(args, following, strict=True)]
    return [f"{arg}={PORT}" if bare else arg for arg, bare in zip(args, is_bare, strict=True)]


def add_to(app: typer.Typer) -> None:
    """Adds the command of this module."""
    app.command("preview", cls=_Command, help=unwrapped(preview.__doc__ or ""), rich_help_panel="The mail")(preview)


def preview(
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="ITEM", help="The catalog item's id, or several.", show_default=False),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option("--sample", metavar="NAME", help="A mail about a sample instead, like 'long name'."),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option("--email", help="As this customer gets it: language, options, link and day of their request."),
    ] = None,
    locale: Locale = None,
    app_id: AppId = None,
    option: Option = None,
    item_url: ItemUrl = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Where to write the files. Created if missing. Default: here.", show_default=False
        ),
    ] = None,
    serve: Annotated[
        int | None,
        typer.Option(
            "--serve",
            metavar="[PORT]",
            min=0,
            max=65535,
            help="Show all samples on a page of this machine, until Ctrl-C. A number after it is the port; 0 is a free"
            f" one. Default: {PORT}.",
            show_default=False,
        ),
    ] = None,
    opens: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write the mail about ITEM to files: its HTML, its plain text, and the whole message (.eml).

    Uses the details that events have reported. Prints the paths of the files. Sends nothing, and needs no relay. The
    way out is nobody's. Several items make the mail about all of them, which customers get with STOCKBELL_DIGEST=on.

    With --serve a page shows the mails about all samples, and about ITEM, in all languages, as mail programs show them,
    in light and dark, with what `templates check` finds. It shows each change of a template at once.

    [bold]Example:[/bold]  stockbell preview mug-1 --locale de --folder mails

    [bold]Example:[/bold]  stockbell preview --serve --open
    """
    from worker.services.addresses import checked_address
    from worker.services.import_file import checked_locale
    from worker.services.trying import NOBODY

    _check(items or (), sample, folder, serving=serve is not None)
    for flag, given in {"--app-id": app_id, "--option": option, "--item-url": item_url, "--email": email}.items():
        if given and not items:
            raise typer.BadParameter(f"{flag} needs ITEM")
    references = [arguments.reference_of(item, app_id, option) for item in items or ()]
    address, language = checked_address(email) if email else None, checked_locale(locale)
    if sample:
        from worker.preview.gallery import checked_sample

        checked_sample(sample)
    url = arguments.item_url(item_url)
    parts = session.ready_parts() if references else session.parts()
    about = [_about(parts, reference, address, url, language) for reference in references]
    if references:
        parts.database.close()
    if serve is not None:
        _serve(parts, about, serve, sample, language, opens=opens, as_json=as_json)
        return
    mail = _sample(parts, sample, language) if sample else made(letter_writer(parts), about, address or NOBODY)
    named = [sample] if sample else _words(about)
    files = _written(mail, (folder or Path()) / _stem([*named, *([language] if language else [])]), language)
    if as_json:
        say_json({kind: str(file) for kind, file in files.items()})
    else:
        for file in files.values():
            say(str(file))
    if opens:
        _open(files["html"].resolve().as_uri())


def _check(items: "Sequence[str]", sample: str | None, folder: Path | None, *, serving: bool) -> None:
    check_number(items)
    if items and sample and not serving:
        raise typer.BadParameter("give either ITEM or --sample")
    if not (items or sample or serving):
        raise typer.BadParameter("give ITEM, --sample NAME or --serve")
    if folder and serving:
        raise typer.BadParameter("--serve writes no files, so --folder does nothing")


def _about(
    parts: "Parts", reference: "CatalogReference", address: str | None, url: str | None, language: str | None
) -> "tuple[Facts, Asked]":
    """Returns the facts about an item, and what of its mail is the customer's. Complains if they are not known."""
    from worker.services import trying

    facts = trying.facts_of(parts.database, reference)
    if facts == trying.Facts(facts.catalog_item_id, facts.options):
        complain(f"{facts.catalog_item_id}: {_NOTHING_KNOWN}")
    asked = trying.Asked()
    if address is not None:
        known = trying.asked_by(parts.database, address, reference)
        if known is None:
            complain(f"{facts.catalog_item_id}: this customer has not asked for it: the mail is as for anybody")
        else:
            facts, asked = replace(facts, options=known[0]), known[1]
    return facts, replace(asked, item_url=url or asked.item_url, locale=language or asked.locale)


def _sample(parts: "Parts", sample: str, language: str | None) -> "Mail":
    """Returns the mail about a sample. Raises Refused."""
    from worker.preview.gallery import Gallery

    gallery = Gallery(parts)
    mail, note = gallery.mail(sample, language)
    for each in (*gallery.notes, *([note] if note else [])):
        complain(each)
    return mail


def _words(about: "Sequence[tuple[Facts, Asked]]") -> list[str]:
    more = [f"and-{len(about) - 1}-more"] if len(about) > 1 else []
    return [about[0][0].catalog_item_id, *more]


def _stem(words: "Sequence[str]") -> str:
    return re.sub(r"[^\w.-]", "_", "-".join(["preview", *words]))


def _is_in(wanted: str, language: str) -> bool:
    return wanted.lower().replace("_", "-").split("-")[0] == language.lower().split("-")[0]


def _written(mail: "Mail", stem: Path, language: str | None) -> dict[str, Path]:
    """Writes the files, and complains of what the mail lacks. Raises BadFile."""
    from worker.services import mail_checks, trying

    message = trying.message(mail)
    opened = mail_checks.opened(message)
    if language and not _is_in(language, opened.language):
        complain(f"there is no mail in {language}: this one is in {opened.language}")
    for words in mail_checks.lacking(opened):
        complain(words)
    contents = {"html": opened.html.encode(), "txt": opened.text.encode(), "eml": message}
    files = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in contents}
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for kind, content in contents.items():
            files[kind].write_bytes(content)
    except OSError as error:
        raise BadFile(f"{error.filename}: {error.strerror}") from None
    return files


def _serve(
    parts: "Parts",
    about: "Sequence[tuple[Facts, Asked]]",
    port: int,
    sample: str | None,
    language: str | None,
    *,
    opens: bool,
    as_json: bool,
) -> None:
    from worker.preview.server import Server
    from worker.preview.shelf import Shelf

    items = _named(about)
    locale = language or next((asked.locale for _, asked in about if asked.locale), None)
    wish = {"sample": sample or next(iter(items), None), "locale": locale}
    query = urlencode({name: value for name, value in wish.items() if value})
    # The database has told all that it can: what serves is not connected to it.
    with Server(Shelf(parts.anew(), items), port) as server:
        server.run(lambda: _say_served(f"{server.url}{'?' if query else ''}{query}", opens=opens, as_json=as_json))


def _named(about: "Sequence[tuple[Facts, Asked]]") -> "Items":
    """Returns the shop's items by names for the page: all in one mail, and each alone."""
    all_of_them = {f"these {len(about)} items": list(about)} if len(about) > 1 else {}
    return all_of_them | {f"item {facts.catalog_item_id}": [(facts, asked)] for facts, asked in about}


def _say_served(url: str, *, opens: bool, as_json: bool) -> None:
    if as_json:
        say_json({"url": url})
    else:
        say(url)
        complain("for this machine alone, until Ctrl-C")
    sys.stdout.flush()
    if opens:
        _open(url)


def _open(url: str) -> None:
    if not webbrowser.open(url):
        complain(f"there is no browser to open it with: {url}")
