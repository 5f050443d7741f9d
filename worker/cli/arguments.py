"""Arguments and options that several commands share, and the parsing of their values."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from worker.domain.catalog import CatalogReference, catalog_reference, checked_url, given_reference, item_of
from worker.domain.errors import BadReference, BadUrl

if TYPE_CHECKING:
    from worker.services.selection import Selection

ItemArgument = Annotated[str, typer.Argument(metavar="ITEM", help="The catalog item's id.", show_default=False)]
ItemOption = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="Only this catalog item.")]
AppId = Annotated[str | None, typer.Option("--app-id", help="The id of the item's catalog app. Default: Wix Stores.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the item, like size=L. May be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; tell who would be told, in which order and when.")
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="CODE", help="Only requests with this failure code.")]
All = Annotated[bool, typer.Option("--all", help="All that it can be done to.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only since this time (ISO 8601, UTC without an offset): when they failed, or were created.",
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only before this time, which is compared as for --since.")
]
Domain = Annotated[str | None, typer.Option("--domain", help="Only recipients at this domain, like example.com.")]
Words = Annotated[
    str | None,
    typer.Option(
        "--words", metavar="TEXT", help='Only if the reason has these words. "…" is any text; in quotes: the whole.'
    ),
]
Locale = Annotated[str | None, typer.Option("--locale", help="Only mails in this language, like de.")]
Email = Annotated[str | None, typer.Option("--email", help="Only requests of this address.")]
ContactOption = Annotated[str | None, typer.Option("--contact", metavar="ID", help="Only requests of this contact.")]
Waiting = Annotated[
    str | None,
    typer.Option("--waiting", metavar="REASON", help="Only those that wait for this reason, like soldOut or backoff."),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The request's id.", show_default=False)]
IdArguments = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of requests.")]


def reference_of(item: str, app_id: str | None, options: Sequence[str] | None) -> CatalogReference:
    """Returns the reference that ITEM, --app-id and --option name. Raises BadReference."""
    given = _options(options or ()) or None
    reference = catalog_reference(item_of(item, app_id), given)
    return replace(reference, given=given_reference(reference, item, app_id, given))


def optional_reference(item: str | None, app_id: str | None, options: Sequence[str] | None) -> CatalogReference | None:
    """Like `reference_of`, for commands where --item is optional."""
    if item is not None:
        return reference_of(item, app_id, options)
    if app_id or options:
        raise typer.BadParameter("--app-id and --option need --item")
    return None


def _options(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise typer.BadParameter("--option must be NAME=VALUE, like size=L")
    options = {name: value for name, _, value in pairs}
    if len(options) < len(pairs):
        raise BadReference("--option names the same option twice")
    return options


def check_choice(ids: Sequence[str] | None, *, filtered: bool, hint: str) -> None:
    """Raises BadParameter unless there are either ids or a filter, but not both."""
    if bool(ids) == filtered:
        raise typer.BadParameter(f"give either ids or a filter ({hint})")


def selection(options: Sequence[str] | None, **given: str | None) -> "Selection":
    """Returns the requests that these options select, by the names of `Selection.read`. Raises BadParameter."""
    from worker.services.selection import Selection

    pairs = [(name, value) for name, value in given.items() if value is not None]
    empty = next((name for name, value in pairs if not value.strip()), None)
    found, errors = Selection.read([*pairs, *(("option", option) for option in options or ())])
    for name, wrong in ({empty: "it is empty"} if empty else errors).items():
        raise typer.BadParameter(f"--{_FLAGS.get(name, name)}: {wrong}")
    return found


_FLAGS = {"app": "app-id", "code": "reason"}
_SELECTING: Final = {
    "item": ItemOption,
    "app_id": AppId,
    "option": Option,
    "email": Email,
    "contact": ContactOption,
    "reason": Reason,
    "waiting": Waiting,
    "domain": Domain,
    "words": Words,
    "since": Since,
    "until": Until,
    "locale": Locale,
}


def selects(address: Callable[[str], str] = str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options that select requests. It gets what they select, a `Selection`, as first argument.

    Its own `status` selects, too, if it has one. `address` is applied to --email first, and may raise.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            asked = {name: given.pop(name) for name in _SELECTING}
            item, app_id, option = (asked.pop(name) for name in ("item", "app_id", "option"))
            email, reason = asked.pop("email"), asked.pop("reason")
            optional_reference(item, app_id, option)
            chosen = selection(
                option,
                status=given.get("status"),
                item=item,
                app=app_id,
                email=address(email) if email else email,
                code=reason_of(reason),
                **asked,
            )
            command(chosen, **given)

        # Typer reads the options from the signature and the annotations.
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        options = [inspect.Parameter(name, kind, default=None, annotation=each) for name, each in _SELECTING.items()]
        own = list(inspect.signature(command).parameters.values())[1:]
        place = next((number for number, each in enumerate(own, start=1) if each.name == "status"), 0)
        parameters = [*own[:place], *options, *own[place:]]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return with_options


def request_id(text: str) -> UUID | None:
    """Parses an id. Returns None if the text is not an id."""
    try:
        return UUID(text)
    except ValueError:
        return None


def item_url(text: str | None) -> str | None:
    """Returns an item's URL, checked for use in a mail. Raises BadUrl."""
    try:
        return checked_url(text) if text else None
    except BadUrl as bad:
        raise BadUrl(f"itemUrl {bad}") from None


def time_of(text: str | None) -> datetime | None:
    """Parses an ISO 8601 time or date. Without a UTC offset it is UTC. Raises BadParameter."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter("a time must look like 2026-11-23 or 2026-11-23T09:00:00Z") from None


def reason_of(text: str | None) -> str | None:
    """Returns a failure code in upper case. Raises BadParameter if there is no such code."""
    from worker.domain.outcomes import INTERVAL, TEMPLATE_ERROR, UNCONFIRMED, FailureCode

    if text is None:
        return None
    known = (*FailureCode, TEMPLATE_ERROR, UNCONFIRMED, INTERVAL)
    if text.upper() not in known:
        raise typer.BadParameter(f"a reason must be one of {', '.join(known)}")
    return text.upper()
