"""Commands on the files that mails are made from: `templates ...`."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, say, say_json


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(
        app, "templates", "The files that mails are made from: take ours, and change them.", panel="The mail"
    )
    add_commands(group, {"check": check, "export": export})


def check(as_json: Json = False) -> None:
    """Try all mails in all languages, with samples that are hard on them, and say what is wrong with their templates.

    One line each: the file, the line, what is wrong and what to do. With a fault (FAIL) a mail can't be made, and
    waits, or lacks what it must have; the exit code is 1. A warning (warn) is worth a look.

    [bold]Example:[/bold]  stockbell templates check
    """
    inspection = session.parts().inspection()
    if as_json:
        say_json(
            {
                "ok": not inspection.faults,
                "mails": inspection.mails,
                "languages": list(inspection.languages),
                "findings": [each.as_json() for each in inspection.findings],
            }
        )
    else:
        for each in inspection.findings:
            say(f"{'FAIL' if each.is_fault else 'warn'}  {each}")
        if not inspection.faults:
            say(f"ok    {inspection.mails} mails in {len(inspection.languages)} languages are made")
    if inspection.faults:
        raise typer.Exit(1)


def export(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE", help="Like _base/mail.css, or a folder like confirm. None: list them.", show_default=False
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where to. Default: STOCKBELL_TEMPLATE_DIR.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Copy files of the shipped mail to your own templates, where each takes the place of ours.

    At its top each file says what may be in it. One file is enough: what you don't have is ours. Prints the paths.

    [bold]Example:[/bold]  stockbell templates export _base/mail.css --to templates
    """
    from config.settings import SHIPPED_TEMPLATES
    from worker.services import template_export

    parts = session.parts()
    if not files:
        listed = template_export.listed(parts.templates)
        if as_json:
            say_json([{"file": each.name, "about": each.about, "own": each.is_own} for each in listed])
        else:
            width = max(len(each.name) for each in listed)
            for each in listed:
                say(f"{each.name:<{width}}  {'own   ' if each.is_own else 'ours  '}  {each.about}")
        return
    own = parts.settings.template_dir
    is_set = own != SHIPPED_TEMPLATES
    if folder is None and not is_set:
        raise typer.BadParameter("say where: --to DIR")
    target = folder or own
    wanted = template_export.chosen(parts.templates, files)
    written = template_export.export(parts.templates, wanted, target, replaces=force)
    if as_json:
        say_json({name: str(path) for name, path in written.items()})
    else:
        for path in written.values():
            say(str(path))
    if not (is_set and target.resolve() == own.resolve()):
        complain(f"mails are made of them if STOCKBELL_TEMPLATE_DIR={target}")
