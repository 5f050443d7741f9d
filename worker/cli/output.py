"""How commands print: data on stdout, the rest on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from worker.catalog import options_from_text

if TYPE_CHECKING:
    from worker.services.verbs import Summary

LINE = "{:<36}  {:<20}  {:<30}  {:<36}  {}"


def say(text: str) -> None:
    """A line of what was asked for."""
    print(text)


def complain(text: str) -> None:
    """A line about what is wrong."""
    print(text, file=sys.stderr)


def say_json(value: object, *, pretty: bool = False) -> None:
    """JSON on one line, or (`pretty`) for people to read."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if pretty else None))


def say_pairs(pairs: Mapping[str, object]) -> None:
    """Names and values below each other; values that are not there are left out."""
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
    """What a verb did to many; exits with 1 if any was refused. `malformed` can't be ids at all."""
    refused = dict.fromkeys(malformed, "no such request")
    refused |= {str(id_): reason for id_, reason in done.refused.items()}
    if as_json:
        reasons = [{"id": id_, "reason": reason} for id_, reason in refused.items()]
        say_json({"changed": done.changed, "refused": reasons, **(more or {})})
    else:
        for id_, reason in refused.items():
            complain(f"refused {id_}: {reason}")
        say(f"{what}: {done.changed}" + (f", refused: {len(refused)}" if refused else ""))
    if refused:
        raise typer.Exit(1)


def list_header() -> str:
    """The first line above `list_line`s."""
    return LINE.format("ID", "CREATED", "STATUS", "ITEM", "EMAIL")


def list_line(row: Any) -> str:
    """A request on one line."""
    why = row.waiting or row.failure_code or ""
    created = row.created_date.strftime("%Y-%m-%d %H:%M:%S")
    return LINE.format(str(row.id), created, f"{row.status.value} {why}".strip(), item_text(row), row.email)


def item_text(row: Any) -> str:
    """The item with its options, as people write it."""
    options = " ".join(f"{name}={value}" for name, value in options_from_text(row.options))
    return f"{row.catalog_item_id} {options}".strip()
