"""The command `import`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands
from worker.cli.output import complain, reference_text, say, say_json
from worker.domain.errors import BadFile

if TYPE_CHECKING:
    from worker.services.import_file import Entry, ImportFile, Rejected
    from worker.services.importing import Imported
    from worker.store.requests import NewRequest

STDIN: Final = Path("-")
FIRST: Final = 5
"""How many requests a dry run shows."""


def add_to(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add_commands(app, {"import": import_}, panel="Requests")


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, JSON lines or a JSON array; - for stdin.", show_default=False)
    ],
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="THEIRS=OURS",
            help="What a column means: Ref=catalogItemId, Fit=option.Fit, or Note= to leave it out. May be repeated. "
            "Numbers, like 1=email, are for a file without a header.",
        ),
    ] = None,
    charset: Annotated[str | None, typer.Option(help="The file's charset, like windows-1250 or shift_jis.")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="That of dates without a UTC offset, like UTC or Europe/Berlin.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show how the file is understood, and count.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import requests from a file: CSV as spreadsheets, databases and shops write it, or JSON.

    Required columns (JSON: fields): [bold]email, catalogItemId[/bold]. Optional: appId, options, itemUrl, locale,
    createdDate, priority. A CSV file needs a header with these names or known ones, like E-Mail and SKU. options is a
    JSON object. createdDate is an ISO 8601 time with UTC offset (default: now). priority is from 0 to 9.

    Each bad line is reported on stderr with its number; the other lines are imported. A customer who already waits for
    the item counts as a duplicate, so a file can be imported again. Lines about customers who do not wait any more are
    skipped. Those of customers who get no mail (see `stockbell contacts`) are kept as FAILED, and counted as
    suppressed. A file may have any number of lines.

    [bold]Example:[/bold]  stockbell import requests.csv --map Ref=catalogItemId --dry-run
    """
    from worker.services.expiring import limit
    from worker.services.import_file import open_import
    from worker.services.importing import import_requests, try_import

    names = _names(maps or ())
    zone = _zone(timezone) if timezone else None
    parts = session.ready_parts()
    oldest = limit(parts.database, parts.settings.request_ttl_days)
    with _opened(file) as lines:
        found = open_import(lines, file.name, names, charset, zone, limit=oldest)
        if dry_run:
            first: list[NewRequest] = []
            done = try_import(parts.database, _noting(found.entries, first), _refuse, parts.tokens)
            _say_understood(found, first, done, as_json=as_json)
        else:
            done = import_requests(parts.database, found.entries, _refuse, parts.tokens)
            _say_done(done, as_json=as_json)
    for remark in found.remarks():
        complain(f"stockbell: {remark}")
    if done.rejected:
        raise typer.Exit(1)


def _names(maps: Sequence[str]) -> Mapping[str, str]:
    pairs = [text.rpartition("=") for text in maps]
    if not all(theirs.strip() and equals for theirs, equals, _ in pairs):
        raise typer.BadParameter("--map must be THEIRS=OURS, like Ref=catalogItemId")
    return {theirs.strip(): ours for theirs, _, ours in pairs}


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        raise typer.BadParameter("--timezone must be a name like UTC or Europe/Berlin") from None


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    if file == STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise BadFile(f"{file}: {error.strerror}") from None


def _refuse(line: "Rejected") -> None:
    complain(f"line {line.line}: {line.reason}")


def _noting(entries: "Iterator[Entry]", first: "list[NewRequest]") -> "Iterator[Entry]":
    """Passes the entries on, and adds the first requests to `first`."""
    from worker.store.requests import NewRequest

    for entry in entries:
        if len(first) < FIRST and isinstance(entry, NewRequest):
            first.append(entry)
        yield entry


def _say_understood(found: "ImportFile", first: "Sequence[NewRequest]", done: "Imported", *, as_json: bool) -> None:
    if as_json:
        columns = [{"column": theirs, "readAs": ours or None} for theirs, ours in found.columns]
        form = {"form": found.form, "charset": found.charset, "columns": columns}
        say_json({**_counts(done), "dryRun": True, **form, "first": [_fields(request) for request in first]})
        return
    say(f"{found.form}, {found.charset}")
    for place, (theirs, ours) in enumerate(found.columns, start=1):
        say(f"  column {place}  {theirs!r} is {ours or 'left out'}")
    for request in first:
        say(f"  {'  '.join(f'{name}: {value}' for name, value in _fields(request).items())}")
    say(f"{_counted(done)} (dry run: nothing was written)")


def _say_done(done: "Imported", *, as_json: bool) -> None:
    if as_json:
        say_json(_counts(done))
    else:
        say(_counted(done))


def _counted(done: "Imported") -> str:
    return ", ".join(f"{name}: {count}" for name, count in _counts(done).items())


def _counts(done: "Imported") -> Mapping[str, int]:
    counts = {"created": done.created, "duplicate": done.duplicate, "rejected": done.rejected}
    others = {"suppressed": done.suppressed, "skipped": done.skipped}
    return counts | {name: count for name, count in others.items() if count}


def _fields(request: "NewRequest") -> Mapping[str, str | int]:
    """Returns what was read of one line."""
    from worker.services.wire import timestamp

    date = timestamp(request.created_date) if request.created_date else None
    given: Mapping[str, str | int | None] = {
        "itemUrl": request.item_url,
        "locale": request.locale,
        "createdDate": date,
        "priority": request.priority,
    }
    found = {"email": request.email, "item": reference_text(request.reference)}
    return found | {name: value for name, value in given.items() if value is not None}
