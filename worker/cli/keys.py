"""Commands on the keys of the HTTP API: `keys ...`."""

from typing import Annotated, Any, Final, Literal

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_json

LINE: Final = "{:<8}  {:<6}  {:<20}  {:<16}  {:<16}  {}"


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(app, "keys", "Make, list and revoke keys for the HTTP API.", panel="The web process")
    add_commands(group, {"create": create, "list": list_, "revoke": revoke})
    add_commands(group, {"collecting": collecting, "start": start, "stop": stop})


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people: what the key is for.", show_default=False)],
    scope: Annotated[
        Literal["create", "read", "admin"],
        typer.Option(help="create: sign up (publishable); read: get, query, count; admin: everything."),
    ],
    origins: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="URL", help="A page of this origin may use a publishable key; repeatable."),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--item-url-host", metavar="HOST", help="A host that its requests may link to; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once: only a hash of it is kept.

    [bold]Example:[/bold]  stockbell keys create shop --scope create --origin https://shop.example
    """
    from worker.domain.api_keys import Scope, checked_hosts, checked_name, checked_origins
    from worker.services import keys

    wanted = Scope(scope)
    try:
        name = checked_name(name)
        may_use, may_link = checked_origins(origins or [], wanted), checked_hosts(hosts or [], wanted)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    made = session.ready_parts().database.write(keys.create, session.who(), name, wanted, may_use, may_link)
    if as_json:
        say_json({"id": made.id, "key": made.text})
        return
    complain(f"key {made.id}, scope {wanted}; it is shown once:")
    say(made.text)


def list_(as_json: Json = False) -> None:
    """List all keys, without their secrets."""
    from worker.store import keys

    found = session.ready_parts().database.read(keys.each)
    if as_json:
        for row in found:
            say_json(_key_json(row))
        return
    if not found:
        complain("no keys")
        return
    say(LINE.format("ID", "SCOPE", "NAME", "LAST USED", "REVOKED", "ORIGINS"))
    for row in found:
        known = _key_json(row)
        used, revoked = (str(known[time] or "never")[:16].replace("T", " ") for time in ("lastUsed", "revoked"))
        origins = " ".join(known["origins"])
        say(LINE.format(row.id, row.scope, printable(row.name), used, revoked, origins).rstrip())


def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.", show_default=False)]) -> None:
    """Revoke a key. Whoever still uses it is refused, a second later at most."""
    from worker.domain.api_keys import id_of
    from worker.services import keys

    key_id = id_of(key_id) or key_id  # a whole key may be given, and is not shown
    if not session.ready_parts().database.write(keys.revoke, session.who(), key_id):
        complain(f"no such key, or revoked before: {printable(key_id)}")
        raise typer.Exit(1)
    say(f"revoked: {key_id}")


AppId = Annotated[str | None, typer.Argument(metavar="[APP_ID]", help="The catalog. Default: Wix Stores.")]


def collecting(as_json: Json = False) -> None:
    """Show for which catalogs the API takes new requests: Wix Stores, and those of STOCKBELL_CATALOGS."""
    from worker.services import keys
    from worker.store import collections

    parts = session.ready_parts()
    stopped = parts.database.read(collections.stopped)
    for catalog in keys.catalogs(parts.settings.catalogs):
        if as_json:
            say_json({"appId": catalog, "collectingRequests": catalog not in stopped})
        else:
            say(f"{catalog}  {'stopped' if catalog in stopped else 'taken'}")


def start(app_id: AppId = None, as_json: Json = False) -> None:
    """Take new requests of a catalog over the API again."""
    _collect(app_id, on=True, as_json=as_json)


def stop(app_id: AppId = None, as_json: Json = False) -> None:
    """Take no more new requests of a catalog over the API. Mails to those who wait already go on."""
    _collect(app_id, on=False, as_json=as_json)


def _collect(app_id: str | None, *, on: bool, as_json: bool) -> None:
    from worker.domain.catalog import item_of
    from worker.services import keys

    parts = session.ready_parts()
    named = item_of("-", app_id).app_id.lower()
    catalog = next((each for each in keys.catalogs(parts.settings.catalogs) if each.lower() == named), None)
    if catalog is None:
        complain(f"this catalog is not in STOCKBELL_CATALOGS: {printable(app_id or '')}")
        raise typer.Exit(1)
    is_changed = parts.database.write(keys.collect, session.who(), catalog, on=on)
    state = "taken" if on else "stopped"
    if as_json:
        say_json({"appId": catalog, "collectingRequests": on, "changed": is_changed})
    else:
        say(f"{catalog}  {state}" + ("" if is_changed else " (as before)"))


def _key_json(row: Any) -> dict[str, Any]:
    import json

    from worker.services.wire import timestamp

    return {
        "id": row.id,
        "name": row.name,
        "scope": row.scope,
        "origins": json.loads(row.origins),
        "itemUrlHosts": json.loads(row.url_hosts),
        "created": timestamp(row.created_date),
        "lastUsed": row.used_at and timestamp(row.used_at),
        "revoked": row.revoked_at and timestamp(row.revoked_at),
    }
