"""Commands on hooks, the addresses at which other systems call us: `hooks ...`."""

import sys
from typing import Annotated, Any, Final

import typer

from worker.cli import session
from worker.cli.arguments import AppId, Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_json

WHO_CALLS: Final = "Who calls: woocommerce, shopify, magento, wix; ses, postmark, sendgrid, mailgun, brevo."
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
    kind: Annotated[str, typer.Argument(metavar="KIND", help=WHO_CALLS)],
    name: Annotated[str, typer.Option(help="For people: which shop or account.")] = "",
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET", help="What the caller signs with; - reads it from stdin, so that no shell logs it."
        ),
    ] = None,
    item_id: Annotated[
        str | None, typer.Option("--item-id", metavar="id|sku|handle", help="What sign-ups name as the item's id.")
    ] = None,
    currency: Annotated[str | None, typer.Option(metavar="CODE", help="The shop's currency, like EUR.")] = None,
    app_id: AppId = None,
    shop_url: Annotated[
        str | None, typer.Option("--shop-url", metavar="URL", help="The storefront, for links to its product pages.")
    ] = None,
    header: Annotated[
        str | None, typer.Option(metavar="NAME", help="The header with the signature or the secret.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a hook, and print the URL to enter at the caller.

    [bold]Example:[/bold]  stockbell hooks create woocommerce --secret - < secret.txt
    """
    from worker.domain.hook_kinds import KINDS, PROVIDERS, checked_options, checked_secret
    from worker.services import hook_verbs
    from worker.store import hooks

    if kind not in KINDS:
        raise typer.BadParameter(f"KIND must be one of {', '.join(sorted(KINDS))}")
    given = {"item-id": item_id, "currency": currency, "app-id": app_id, "shop-url": shop_url, "header": header}
    try:
        options = checked_options(kind, given)
        kept, is_new = checked_secret(kind, _given(secret))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if kind in PROVIDERS:
        _check_provider(kind, kept)
    parts = session.ready_parts()
    made = parts.database.write(hook_verbs.create, session.who(), kind, name, kept, options)
    url = f"{parts.settings.public_url or ''}{hooks.path(kind, made)}"
    shown = kept if is_new else None
    if as_json:
        say_json({"id": made, "kind": kind, "url": url, **({"secret": shown} if shown else {})})
        return
    if shown:
        complain("the secret, which is shown once:")
        say(shown)
    say(url)


def _given(secret: str | None) -> str | None:
    """Returns the secret, from stdin if it stands there. Raises ValueError: no file may look like no wish for one."""
    found = sys.stdin.read() if secret == "-" else secret  # noqa: S105  # the sign for stdin
    if found is not None and not found.strip():
        raise ValueError("--secret is empty")
    return found


def _check_provider(kind: str, secret: str | None) -> None:
    """Raises BadParameter if this can't be what the provider proves its calls with."""
    from worker.domain.errors import BadSetting
    from worker.domain.providers import Provider
    from worker.feedback.webhooks import webhook_of

    if secret is None and kind == Provider.BREVO:
        return  # it can do without
    try:
        webhook_of(Provider(kind), secret or "", lambda _: b"")
    except BadSetting as bad:
        raise typer.BadParameter(str(bad), param_hint="--secret") from None


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
    from worker.services import hook_verbs

    if not session.ready_parts().database.write(hook_verbs.revoke, session.who(), hook_id):
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
