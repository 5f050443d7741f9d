"""Commands on where changes of requests are told: `webhooks ...`."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn
from uuid import UUID

import typer

from worker.cli import session
from worker.cli.arguments import Json, request_id, time_of
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_json
from worker.domain.errors import BadSetting, BadUrl

if TYPE_CHECKING:
    from worker.processes.bootstrap import Parts
    from worker.store.endpoints import Endpoint

LINE: Final = "{:<36}  {:<8}  {:<9}  {:>8}  {:<16}  {}"
DELIVERY: Final = "{:<19}  {:<40}  {:<8}  {:>5}  {:<7}  {}"
NO_KEY: Final = "there is no key: run `stockbell webhooks keygen`"

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(
        app, "webhooks", "Where changes of requests are told: URLs, and streams in Redis.", panel="The web process"
    )
    add_commands(
        group,
        {
            "add": add,
            "list": list_,
            "remove": remove,
            "enable": enable,
            "disable": disable,
            "rotate": rotate,
            "test": try_out,
            "resync": resync,
            "deliveries": deliveries,
            "keygen": keygen,
            "public-key": public_key,
        },
    )


def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://..., or redis://host:6379/0.", show_default=False)],
    form: Annotated[
        Literal["standard", "wix"],
        typer.Option("--format", help="standard: Standard Webhooks, JSON; wix: a JWT, as Wix sends it."),
    ] = "standard",
    full: Annotated[bool, typer.Option("--full", help="Tell the customer's address and link too.")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="The URL may lead into a private network, or to this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell changes of requests to a URL, from now on. Prints the secret that they are signed with, once.

    [bold]Example:[/bold]  stockbell webhooks add https://shop.example/stockbell --full
    """
    from worker.domain.outgoing_urls import is_redis
    from worker.domain.webhooks import Format
    from worker.services import endpoint_verbs
    from worker.store import endpoints
    from worker.web.endpoint_urls import checked

    format_ = Format(form)
    if not is_redis(url):
        _check_extra()
    try:
        found = checked(url, format_, allows_private=allow_private)
    except BadUrl as error:
        raise typer.BadParameter(str(error)) from None
    parts, who = session.ready_parts(), session.who()
    made = parts.database.write(endpoint_verbs.add, who, found, format_, is_full=full, allows_private=allow_private)
    is_stream = made.is_stream
    if form == "wix" and not parts.database.read(endpoints.keys):
        complain(NO_KEY)
    if as_json:
        say_json({"id": str(made.id), "secret": None if is_stream else made.secrets[0]})
    elif is_stream:
        say(f"endpoint {made.id}")
    else:
        complain(f"endpoint {made.id}; its secret is shown once:")
        say(made.secrets[0])


def list_(as_json: Json = False) -> None:
    """List all endpoints, without their secrets."""
    from worker.services.webhooks import endpoint_json
    from worker.store import endpoints

    found = [endpoint_json(row) for row in session.ready_parts().database.read(endpoints.each)]
    if as_json:
        for each in found:
            say_json(each)
        return
    if not found:
        complain("no endpoints")
        return
    say(LINE.format("ID", "FORMAT", "STATE", "WAITING", "LAST SUCCESS", "URL"))
    for each in found:
        last = str(each["lastSuccess"] or "never")[:16].replace("T", " ")
        say(LINE.format(each["id"], each["format"], _state(each), each["backlog"], last, printable(each["url"])))
        if each["disabledWhy"]:
            say(f"  disabled since {each['disabled']}: {each['disabledWhy']}")


def remove(endpoint_id: EndpointId) -> None:
    """Remove an endpoint, with what waits for it."""
    from worker.services import endpoint_verbs

    if not session.ready_parts().database.write(endpoint_verbs.remove, session.who(), _id(endpoint_id)):
        _refuse(endpoint_id)
    say(f"removed: {endpoint_id}")


def enable(endpoint_id: EndpointId) -> None:
    """Enable an endpoint that was disabled. What changed meanwhile is told by `webhooks resync`."""
    from worker.services import endpoint_verbs
    from worker.services.wire import timestamp

    parts = session.ready_parts()
    since = parts.database.write(endpoint_verbs.enable, session.who(), _existing(parts, endpoint_id).id)
    if since is None:
        say(f"is enabled already: {endpoint_id}")
        return
    say(f"enabled: {endpoint_id}")
    complain(f"what it missed: stockbell webhooks resync {endpoint_id} --since {timestamp(since)}")


def disable(endpoint_id: EndpointId) -> None:
    """Tell an endpoint nothing more, until it is enabled again. What waits for it is deleted."""
    from worker.services import endpoint_verbs

    parts = session.ready_parts()
    is_new = parts.database.write(endpoint_verbs.disable, session.who(), _existing(parts, endpoint_id).id)
    say(f"disabled: {endpoint_id}" if is_new else f"is disabled already: {endpoint_id}")


def rotate(endpoint_id: EndpointId, as_json: Json = False) -> None:
    """Give an endpoint a new secret and print it, once. The one before signs too, until the next time."""
    from worker.services import endpoint_verbs

    secret = session.ready_parts().database.write(endpoint_verbs.rotate, session.who(), _id(endpoint_id))
    if secret is None:
        _refuse(endpoint_id)
    if as_json:
        say_json({"id": endpoint_id, "secret": secret})
        return
    complain("the new secret is shown once; deliveries are signed with both until it is rotated again:")
    say(str(secret))


def try_out(endpoint_id: EndpointId, as_json: Json = False) -> None:
    """Send one signed event about no request now, and print what was answered."""
    import asyncio

    _check_extra()
    from worker.services import endpoint_verbs
    from worker.web.courier import send_test

    parts = session.ready_parts()
    endpoint = _existing(parts, endpoint_id)
    answer = asyncio.run(send_test(endpoint, _key(parts)))
    parts.database.write(endpoint_verbs.note_test, session.who(), endpoint.id, answer.status, answer.why)
    if as_json:
        say_json({"status": answer.status, "why": answer.why, "answer": answer.text})
    else:
        say(answer.why or f"taken ({answer.status or 'by Redis'})")
        if answer.text:
            say("".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in answer.text))
    if answer.why:
        raise typer.Exit(1)


def resync(
    endpoint_id: EndpointId,
    since: Annotated[str, typer.Option(metavar="TIME", help="An ISO 8601 time.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Tell an endpoint again what may have changed since a time, as it is now.

    [bold]Example:[/bold]  stockbell webhooks resync ID --since 2026-11-23T09:00:00Z
    """
    from worker.services import endpoint_verbs, webhooks
    from worker.store import actions, endpoints

    at = time_of(since)
    parts = session.ready_parts()
    endpoint = _existing(parts, endpoint_id)
    if at is None:
        raise typer.BadParameter("--since must not be empty")
    if not parts.database.read(endpoints.is_enabled, endpoint.id):
        complain(f"it is disabled: stockbell webhooks enable {endpoint.id}")
        raise typer.Exit(1)
    row = parts.database.write(endpoint_verbs.begin_resync, session.who(), endpoint.id, at)
    told = webhooks.resync(parts.database, endpoint.id, at, _wait)
    parts.database.write(actions.conclude, row, {"requests": told}, changed=told)
    if as_json:
        say_json({"requests": told})
    else:
        say(f"to be told again: {told}")


def deliveries(
    endpoint_id: EndpointId,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest deliveries of an endpoint, newest first."""
    from worker.services.webhooks import delivery_json
    from worker.store import deliveries as store

    parts = session.ready_parts()
    found = parts.database.read(store.last, _existing(parts, endpoint_id).id, limit)
    for number, each in enumerate(map(delivery_json, found)):
        if as_json:
            say_json(each)
            continue
        if number == 0:
            say(DELIVERY.format("CREATED", "WEBHOOK-ID", "KIND", "TRIES", "STATUS", "RESULT"))
        result = each["why"] or ("taken" if each["done"] else "waits")
        retry = f"; next try {each['nextTry'][:19].replace('T', ' ')}" if each["why"] and each["nextTry"] else ""
        created, status = each["created"][:19].replace("T", " "), each["status"] or "-"
        say(DELIVERY.format(created, each["webhookId"], each["kind"], each["tries"], status, result + retry))


def keygen(
    replace: Annotated[bool, typer.Option("--replace", help="Sign with a new key, though there is one.")] = False,
) -> None:
    """Make the key that signs Wix's format, and print its public half."""
    _check_extra()
    from worker.services import endpoint_verbs
    from worker.store import endpoints
    from worker.web.signing import JwtKey, new_private_pem

    parts = session.ready_parts()
    if parts.database.read(endpoints.keys) and not replace:
        complain("there is a key already; with --replace receivers need the new public key at once")
        raise typer.Exit(1)
    pem = new_private_pem()
    id_ = parts.database.write(endpoint_verbs.add_key, session.who(), pem)
    complain(f"key {id_}; its public half, for receivers:")
    say(JwtKey.of(id_, pem).public_pem.rstrip())


def public_key() -> None:
    """Print the public key that verifies Wix's format, as PEM."""
    _check_extra()
    key = _key(session.ready_parts())
    if key is None:
        complain(NO_KEY)
        raise typer.Exit(1)
    say(key.public_pem.rstrip())


def _check_extra() -> None:
    try:
        from worker.web import posting, signing  # noqa: F401  # only whether they are there
    except ModuleNotFoundError as missing:
        raise BadSetting(f"{missing.name} is not installed: pip install 'stockbell[web]'") from None


def _key(parts: "Parts") -> Any:
    from worker.store import endpoints
    from worker.web.signing import JwtKey

    found = parts.database.read(endpoints.keys)
    return JwtKey.of(*found[0]) if found else None


def _existing(parts: "Parts", text: str) -> "Endpoint":
    from worker.store import endpoints

    found = parts.database.read(endpoints.find, _id(text))
    if found is None:
        _refuse(text)
    return found


def _id(text: str) -> UUID:
    found = request_id(text)
    if found is None:
        _refuse(text)
    return found


def _refuse(text: str) -> NoReturn:
    complain(f"no such endpoint: {printable(text)}")
    raise typer.Exit(1)


def _state(endpoint: dict[str, Any]) -> str:
    if endpoint["disabled"]:
        return "disabled"
    return "failing" if endpoint["failingSince"] else "enabled"


def _wait(behind: int) -> None:
    complain(f"{behind:,} events wait; goes on when `stockbell web` has told them")
    time.sleep(5)
