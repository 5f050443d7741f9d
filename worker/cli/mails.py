"""Commands that show and test the mail: `preview` and `send-test`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, ItemArgument, Json, Option
from worker.cli.commands import add_commands
from worker.cli.output import complain, say, say_json
from worker.domain.errors import BadFile

if TYPE_CHECKING:
    from worker.domain.outcomes import Outcome
    from worker.smtp.mailer import Mail

NOBODY, SHOP = "customer@shop.example", "shop@shop.example"

About = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="The mail is about this catalog item.")]
Locale = Annotated[str | None, typer.Option(help="The language of the mail, like de or de-AT.")]
ItemUrl = Annotated[str | None, typer.Option(help="The URL of the item's page, if events and settings have none.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"preview": preview, "send-test": send_test}, panel="The mail")


def preview(
    item: ItemArgument,
    app_id: AppId = None,
    option: Option = None,
    item_url: ItemUrl = None,
    locale: Locale = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where to write the files. Created if missing.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write the mail about ITEM to files: its HTML, its plain text, and the whole message (.eml).

    Uses the details that events have reported. Prints the paths of the files. Sends nothing, and needs no relay.

    [bold]Example:[/bold]  stockbell preview mug-1 --locale de --folder mails
    """
    from worker.domain.relays import Mailbox
    from worker.services import trying
    from worker.services.import_file import checked_locale

    reference = arguments.reference_of(item, app_id, option)
    language, url = checked_locale(locale), arguments.item_url(item_url)
    parts = session.ready_parts()
    facts = trying.facts_of(parts.database, reference)
    if facts == trying.Facts(facts.catalog_item_id, facts.options):
        complain("no event has named this item's name, price, picture or link yet: the mail shows only its id")
    writer = parts.letter_writer(parts.settings.mail_from or Mailbox("", SHOP))
    mail = trying.write(writer, facts, NOBODY, item_url=url, locale=language)
    stem = "-".join(["preview", item, *([language] if language else [])])
    files = _written(mail, folder / re.sub(r"[^\w.-]", "_", stem))
    if as_json:
        say_json({kind: str(file) for kind, file in files.items()})
    else:
        for file in files.values():
            say(str(file))


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
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Who gets the mail.", show_default=False)],
    item: About = None,
    app_id: AppId = None,
    option: Option = None,
    item_url: ItemUrl = None,
    locale: Locale = None,
    as_json: Json = False,
) -> None:
    """Send a real mail to ADDRESS through the first relay that works, and print the relay's reply.

    The mail is about a sample item; with --item it is about that item, with the details that events have reported.
    Nothing is recorded, and no request is created.

    [bold]Example:[/bold]  stockbell send-test me@shop.example
    """
    from worker.services import trying
    from worker.services.addresses import checked_address
    from worker.services.import_file import checked_locale

    recipient, language, url = checked_address(address), checked_locale(locale), arguments.item_url(item_url)
    reference = arguments.optional_reference(item, app_id, option)
    parts = session.parts() if reference is None else session.ready_parts()
    mailer = parts.mailer
    facts = trying.facts_of(parts.database, reference) if reference else trying.SAMPLE
    mail = trying.write(parts.letter_writer(parts.sender), facts, recipient, item_url=url, locale=language)
    outcome = trying.send(mailer, mail)
    # With only one relay its name says nothing new.
    _say_outcome(outcome, relay=str(mailer.relay_in_use) if len(mailer.relays) > 1 else None, as_json=as_json)


def _say_outcome(outcome: "Outcome", *, relay: str | None, as_json: bool) -> None:
    from worker.domain.outcomes import Deferred, Sent, Unknown
    from worker.domain.replies import reason

    words = reason(outcome.reply) if isinstance(outcome, Sent | Deferred) else outcome.reason
    is_sent = None if isinstance(outcome, Unknown) else isinstance(outcome, Sent)
    if as_json:
        say_json({"sent": is_sent, "reply": words} | ({"relay": relay} if relay and is_sent else {}))
    elif is_sent:
        say(f"{relay}: {words}" if relay else words)
    else:
        complain(f"stockbell: {'not sent' if is_sent is False else 'it is unknown whether the mail was sent'}: {words}")
    if not is_sent:
        raise typer.Exit(1)
