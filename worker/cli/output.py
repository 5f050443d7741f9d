"""The output of commands: data on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from worker.domain.catalog import WIX_STORES, CatalogReference, Options, options_from_text

if TYPE_CHECKING:
    from worker.services.verbs import Summary

NO_SUCH_REQUEST = "no such request"
LINE = "{:<36}  {:<20}  {:<30}  {:<36}  {}"


def say(text: str) -> None:
    """Prints a line of data."""
    print(text)


def complain(text: str) -> None:
    """Prints a line about a problem."""
    print(text, file=sys.stderr)


def printable(text: str) -> str:
    """Replaces control characters, so that what others wrote can't control the admin's terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def say_json(value: object, *, pretty: bool = False) -> None:
    """Prints JSON on one line, or indented if `pretty`. Escapes non-ASCII characters if stdout is not UTF-8."""
    is_ascii = sys.stdout.encoding.lower() not in ("utf-8", "utf8")
    print(json.dumps(value, ensure_ascii=is_ascii, indent=2 if pretty else None))


def say_pairs(pairs: Mapping[str, object]) -> None:
    """Prints one name and value per line. Leaves out values that are None."""
    given = {name: value for name, value in pairs.items() if value is not None}
    width = max(map(len, given), default=0) + 2
    for name, value in given.items():
        print(f"{name:<{width}}{value}")


def say_summary(
    done: "Summary",
    what: str,
    malformed: Sequence[str] = (),
    *,
    as_json: bool,
    more: Mapping[str, object] | None = None,
) -> None:
    """Prints the result of a verb. Exits with 1 if any id was refused. `malformed` are texts that are not ids."""
    refused = dict.fromkeys(malformed, NO_SUCH_REQUEST)
    refused |= {str(id_): reason for id_, reason in done.refused.items()}
    say_changed(done.changed, refused, what, as_json=as_json, more=more)


def say_changed(
    changed: int,
    refused: Mapping[str, str],
    what: str,
    *,
    as_json: bool,
    more: Mapping[str, object] | None = None,
) -> None:
    """Prints how many were changed, and each refused id with its reason. Exits with 1 if any was refused."""
    if as_json:
        reasons = [{"id": id_, "reason": reason} for id_, reason in refused.items()]
        say_json({"changed": changed, "refused": reasons, **(more or {})})
    else:
        for id_, reason in refused.items():
            complain(f"refused {id_}: {reason}")
        say(f"{what}: {changed}" + (f", refused: {len(refused)}" if refused else ""))
    if refused:
        raise typer.Exit(1)


def list_header() -> str:
    """Returns the header above the lines of `list_line`."""
    return LINE.format("ID", "CREATED", "STATUS", "ITEM", "EMAIL")


def list_line(row: Any) -> str:
    """Returns a request as one line."""
    why = row.waiting or row.failure_code or ""
    created = row.created_date.strftime("%Y-%m-%d %H:%M:%S")
    return LINE.format(str(row.id), created, f"{row.status.value} {why}".strip(), item_text(row), row.email)


def item_text(row: Any) -> str:
    """Returns an item with its options as text."""
    return _with_options(row.catalog_item_id, options_from_text(row.options))


def reference_text(reference: CatalogReference | None) -> str:
    """Returns the subject of a command as text: an item with its options and app, or everything."""
    if reference is None:
        return "everything"
    return item_words(reference.item.catalog_item_id, reference.spelled, reference.item.app_id)


def item_words(catalog_item_id: str, options: Options, app_id: str) -> str:
    """Returns an item with its options, and its app if that is not Wix Stores."""
    named = _with_options(catalog_item_id, options)
    return named if app_id == WIX_STORES else f"{named} (app {app_id})"


def _with_options(item: str, options: Options) -> str:
    return " ".join([item, *(f"{name}={value}" for name, value in options)])
