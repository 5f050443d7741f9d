"""Commands on hooks, the addresses at which other systems call us: `hooks ...`."""

import sys
from typing import Annotated, Any, Final

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_json

LINE: Final = "{:<12}  {:<20}  {:<16}  {:<16}  {}"


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(
        app,
        "hooks",
        "Addresses that shop systems and mail providers call: make, list, revoke.",
        panel="The web process",
    )
    add_commands(group, {"create": create, "list": list_, "revoke": revoke})


def create(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Who calls, as docs/hooks.md lists them.")],
    name: Annotated[str, typer.Option(help="For people: which shop or account.")] = "",
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET", help="What the caller signs with; - reads it from stdin, so that no shell logs it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a hook, and print the path of its URL.

    [bold]Example:[/bold]  stockbell hooks create woocommerce --secret - < secret.txt
    """
    from worker.store import hooks

    if kind not in hooks.SHOPS | hooks.PROVIDERS:
        raise typer.BadParameter(f"must be one of {', '.join(sorted(hooks.SHOPS | hooks.PROVIDERS))}")
    if secret == "-":  # noqa: S105  # the sign for stdin
        secret = sys.stdin.readline().strip()
    parts = session.ready_parts()
    made = parts.database.write(hooks.create, kind, name, secret)
    path = f"{parts.settings.public_url or ''}{hooks.path(kind, made)}"
    if as_json:
        say_json({"id": made, "kind": kind, "url": path})
    else:
        say(path)


def list_(as_json: Json = False) -> None:
    """List all hooks, without their secrets."""
    from worker.store import hooks

    found = session.ready_parts().database.read(hooks.each)
    if as_json:
        for row in found:
            say_json(_hook_json(row))
        return
    if not found:
        complain("no hooks")
        return
    say(LINE.format("KIND", "NAME", "LAST CALLED", "REVOKED", "ID"))
    for row in found:
        known = _hook_json(row)
        used, revoked = (str(known[time] or "never")[:16].replace("T", " ") for time in ("lastUsed", "revoked"))
        say(LINE.format(row.kind, printable(row.name), used, revoked, row.id))


def revoke(hook_id: Annotated[str, typer.Argument(metavar="ID", help="The hook's id.", show_default=False)]) -> None:
    """Close a hook. Whoever still calls it is answered 404."""
    from worker.store import hooks

    if not session.ready_parts().database.write(hooks.revoke, hook_id):
        complain(f"no such hook, or revoked before: {printable(hook_id)}")
        raise typer.Exit(1)
    say(f"revoked: {hook_id}")


def _hook_json(row: Any) -> dict[str, Any]:
    from worker.services.wire import timestamp

    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "created": timestamp(row.created_date),
        "lastUsed": row.used_at and timestamp(row.used_at),
        "revoked": row.revoked_at and timestamp(row.revoked_at),
    }
