"""Arguments and options that several commands have, and how their texts are read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from worker.domain.catalog import CatalogReference, Options, canonical_options, checked_url, item_of
from worker.domain.errors import BadReference, BadUrl

ItemArgument = Annotated[str, typer.Argument(metavar="ITEM", help="The catalog item's id.", show_default=False)]
ItemOption = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="Only this catalog item.")]
AppId = Annotated[str | None, typer.Option("--app-id", help="The item's catalog app; without it Wix Stores.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the item, like size=L. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The request's id.", show_default=False)]
IdArguments = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of requests.")]


def reference_of(item: str, app_id: str | None, options: Sequence[str] | None) -> CatalogReference:
    """What ITEM, --app-id and --option name together; raises BadReference."""
    return CatalogReference(item_of(item, app_id), _options(options or ()))


def optional_reference(item: str | None, app_id: str | None, options: Sequence[str] | None) -> CatalogReference | None:
    """The same where --item may be left out."""
    if item is not None:
        return reference_of(item, app_id, options)
    if app_id or options:
        raise typer.BadParameter("--app-id and --option need --item")
    return None


def _options(texts: Sequence[str]) -> Options:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise typer.BadParameter("--option must be NAME=VALUE, like size=L")
    options = {name: value for name, _, value in pairs}
    if len(options) < len(pairs):
        raise BadReference("options name one option twice")
    return canonical_options(options)


def check_choice(ids: Sequence[str] | None, *, filtered: bool, hint: str) -> None:
    """Ids or a filter, and not both."""
    if bool(ids) == filtered:
        raise typer.BadParameter(f"give either ids or a filter ({hint})")


def request_id(text: str) -> UUID | None:
    """An id as it was typed; None if it can't be one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def item_url(text: str | None) -> str | None:
    """The page of an item, fit for a mail; raises BadUrl."""
    try:
        return checked_url(text) if text else None
    except BadUrl as bad:
        raise BadUrl(f"itemUrl {bad}") from None


def time_of(text: str | None) -> datetime | None:
    """A time as people type it: ISO 8601, or a date alone; UTC where nothing else is said."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter("a time must look like 2026-11-23 or 2026-11-23T09:00:00Z") from None


def reason_of(text: str | None) -> str | None:
    """A failure code in whatever case it was typed."""
    from worker.domain.outcomes import TEMPLATE_ERROR, FailureCode

    if text is None:
        return None
    known = (*FailureCode, TEMPLATE_ERROR)
    if text.upper() not in known:
        raise typer.BadParameter(f"a reason must be one of {', '.join(known)}")
    return text.upper()
