"""The command `demand`: who waits for what, since when, and how much money that is."""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from worker.cli import session
from worker.cli.arguments import AppId, Json
from worker.cli.commands import add_commands
from worker.cli.output import complain, item_words, printable, say, say_json

if TYPE_CHECKING:
    from datetime import datetime

    from worker.services.demand import Row

SortName = Literal["waiting", "money", "oldest", "name"]
STDOUT: Final = "-"
_USUAL: Final = 50
_WIDEST: Final = 44
"""characters of an item in the table"""


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"demand": demand}, panel="Monitoring")


def demand(
    item: Annotated[
        str, typer.Argument(metavar="ITEM", help="Only items whose id or name begins so.", show_default=False)
    ] = "",
    app_id: AppId = None,
    sort: Annotated[SortName, typer.Option(case_sensitive=False, help="What comes first.")] = "waiting",
    limit: Annotated[
        int | None, typer.Option(min=0, help="Show at most this many. 0: all. Default: 50, and with --csv all.")
    ] = None,
    variants: Annotated[
        bool, typer.Option("--variants", help="One line for each variant that people wait for.")
    ] = False,
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file instead; - for standard output.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how many people wait for what, since when, and how much money that is.

    Without ITEM it shows whatever somebody waits for. Money is the number of those who wait times the item's price, if
    that is a plain number; several currencies are not added up. TOLD stops at 10,000+ for each variant. --json prints
    one object per line.

    [bold]Example:[/bold]  stockbell demand --sort money --variants --csv demand.csv
    """
    from worker.domain.catalog import item_of
    from worker.services import demand as service
    from worker.store.demand import By, Sort, Which

    if csv is not None and as_json:
        raise typer.BadParameter("--csv and --json can't be used together")
    app = None if app_id is None else item_of("x", app_id).app_id
    which = service.with_search(Which(By.VARIANT if variants else By.ITEM, Sort(sort), app_id=app), item)
    database = session.ready_parts().database
    if csv is not None:
        _write(csv, service.csv_lines(service.every(database, which, limit or 0)))
        session.note(database, "export demand", {"sort": sort, "variants": variants, "search": item})
        return
    most = _USUAL if limit is None else limit
    if as_json:
        for row in service.every(database, which, most):
            say_json(row.as_json())
        return
    rows = list(service.every(database, which, most))
    _show(rows)
    if rows and len(rows) == most:
        complain(f"(showing the first {most}; --limit 0 shows all)")


def _write(place: str, lines: Iterable[str]) -> None:
    if place != STDOUT and Path(place).is_dir():
        raise typer.BadParameter(f"{place} is a directory")
    with nullcontext(sys.stdout) if place == STDOUT else Path(place).open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def _show(rows: "list[Row]") -> None:
    from datetime import UTC, datetime

    if not rows:
        say("nobody waits for anything like that")
        return
    now = datetime.now(UTC)
    table: list[tuple[str, ...]] = [("WAITING", "MONEY", "OLDEST", "SENDING", "TOLD", "FAILED", "STOCK", "ITEM")]
    table += [_cells(row, now) for row in rows]
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]) - 1)]
    for line in table:
        numbers = [cell.rjust(width) for cell, width in zip(line[:6], widths[:6], strict=True)]
        say("  ".join([*numbers, line[6].ljust(widths[6]), line[7]]))


def _cells(row: "Row", now: "datetime") -> tuple[str, ...]:
    from worker.services.demand import stock_words

    name = f"  {_short(printable(row.name))}" if row.name else ""
    return (
        f"{row.waiting:,}",
        row.money or "-",
        "-" if row.oldest is None else f"{(now - row.oldest).days} d",
        f"{row.sending:,}",
        f"{row.ended.told:,}{'+' * row.ended.is_more}",
        f"{row.ended.failed:,}",
        stock_words(row.stock),
        printable(item_words(row.catalog_item_id, row.options or (), row.app_id)) + name,
    )


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
