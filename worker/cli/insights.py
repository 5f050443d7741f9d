"""The command `insights`: how it went in a period."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands
from worker.cli.output import say, say_json

if TYPE_CHECKING:
    from worker.services.insights import Insights, Latency

TableName = Literal["funnel", "failures", "latency", "first-latency", "signups"]
_WIDE = 40
"""characters of the longest bar"""


def add_to(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add_commands(app, {"insights": insights}, panel="Monitoring")


def insights(
    days: Annotated[int, typer.Option(min=1, max=366, help="The last so many days.")] = 1,
    csv: Annotated[TableName | None, typer.Option(help="Print this table as CSV instead.")] = None,
    as_json: Json = False,
) -> None:
    """Show how it went: how many came how far, why requests failed, how fast mails left, and sign-ups.

    A day is told by the hour, a week by six hours, more by the day (UTC). It counts what happened, so it does not
    change if requests are retried or deleted later.

    [bold]Example:[/bold]  stockbell insights --days 7 --csv failures > failures.csv
    """
    from datetime import UTC, datetime

    from worker.services import insights as service
    from worker.store import actions

    if csv is not None and as_json:
        raise typer.BadParameter("--csv and --json can't be used together")
    database = session.ready_parts().database
    found = database.read(service.read, service.Period(days), datetime.now(UTC))
    if as_json:
        say_json(found.as_json())
    elif csv is not None:
        database.write(actions.note, session.who(), "export insights", {"table": csv, "days": days})
        sys.stdout.writelines(found.tables[csv].as_csv())
    else:
        _show(found)


def _show(found: "Insights") -> None:
    from worker.services.insights import STAGES

    say(f"Since {found.since:%Y-%m-%d %H:%M} UTC\n")
    _bars({STAGES[name]: n for name, n in found.funnel.items()})
    if found.failures:
        say("\nFailed")
        _bars(found.failures)
    say("")
    _say_latency("First mail of a restock", found.latency(first=True))
    _say_latency("All mails", found.latency())
    say(f"\nSign-ups: {found.signup_words}")


def _say_latency(name: str, latency: "Latency") -> None:
    from worker.services.insights import lasting

    values = [f"{each} {lasting(value)}" for each, value in latency.quantiles.items() if value is not None]
    say(f"{name:<25}  {',  '.join(values) or 'none'}")


def _bars(numbers: dict[str, int]) -> None:
    most = max(numbers.values()) or 1
    for name, n in numbers.items():
        say(f"  {name:<20}  {n:>11,}  {'#' * round(n / most * _WIDE)}".rstrip())
