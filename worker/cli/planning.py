"""The command for who plans an installation: `capacity`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from worker.cli.arguments import Json
from worker.cli.commands import add_commands
from worker.cli.output import say, say_json
from worker.domain import quantities
from worker.domain.errors import BadCosts

if TYPE_CHECKING:
    from worker.domain.costs import Costs

T = TypeVar("T")

LONGEST_LATENCY: Final = 60.0


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"capacity": capacity}, panel="Monitoring")


def capacity(
    waiting: Annotated[
        str, typer.Option("--waiting", metavar="N", help="How many mails: 1000000, 250k, 1M.", show_default=False)
    ],
    minutes: Annotated[
        str | None, typer.Option("--minutes", metavar="TIME", help="In how long: 10 (minutes), 90s, 1h 30min.")
    ] = None,
    children: Annotated[
        int | None, typer.Option("--children", min=1, max=100_000, help="Say what so many worker children can do.")
    ] = None,
    relay_latency: Annotated[
        str, typer.Option("--relay-latency", metavar="TIME", help="From a command to the relay's answer: 20ms.")
    ] = "0ms",
    database_latency: Annotated[
        str, typer.Option("--database-latency", metavar="TIME", help="From a COMMIT to the database's answer.")
    ] = "1ms",
    items: Annotated[
        str, typer.Option("--items", metavar="N", help="How many items come back, for which they wait.")
    ] = "1",
    connections: Annotated[
        int | None,
        typer.Option("--connections", min=1, max=1000, help="For each child. Default: STOCKBELL_SMTP_CONNECTIONS."),
    ] = None,
    relay_connections: Annotated[
        int | None, typer.Option("--relay-connections", min=1, help="How many the relay lets in at most.")
    ] = None,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="RATE",
            help="Of the relay: 100/s, 6000/min, 50000/day. STOCKBELL_MAX_SEND_RATE holds, too.",
        ),
    ] = None,
    cores: Annotated[
        float | None, typer.Option("--cores", min=0.01, help="Of all worker hosts together. Default: enough.")
    ] = None,
    database_cores: Annotated[
        float | None, typer.Option("--database-cores", min=0.01, help="Of the database. Default: enough.")
    ] = None,
    no_pipelining: Annotated[
        bool, typer.Option("--no-pipelining", help="The relay offers none, or STOCKBELL_SMTP_PIPELINING is off.")
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="The relay is reached with TLS. Default: as SMTP_URL says.")
    ] = False,
    mail_size: Annotated[
        str | None, typer.Option("--mail-size", metavar="SIZE", help="For the traffic: 8000, 20KB.")
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option("--costs", metavar="FILE", help='Measured on your machine by `make bench ARGS="--only cost"`.'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what it takes to send so many mails in time, and which part is the limit. Needs no database and no relay.

    Give --minutes to learn how many worker children that needs, or --children to learn how long they take, or both.
    It counts with measured costs of one mail, and names them. The exit code is 1 if the time is too short.

    [bold]Example:[/bold]  stockbell capacity --waiting 1000000 --minutes 10 --relay-latency 20ms
    """
    from config import settings
    from worker.domain.capacity import Demand, Installation, plan
    from worker.services.capacity import Answer

    if minutes is None and children is None:
        raise typer.BadParameter("give --minutes, --children or both")
    wanted = _optional("--minutes", lambda text: quantities.seconds(text, bare="min"), minutes)
    demand = Demand(_given("--waiting", quantities.count, waiting), _given("--items", quantities.count, items), wanted)
    if wanted == 0:
        raise typer.BadParameter("must be more than zero", param_hint="--minutes")
    if demand.items > demand.mails:
        raise typer.BadParameter("must not be more than --waiting", param_hint="--items")
    relay_seconds = _given("--relay-latency", _latency, relay_latency)
    database_seconds = _given("--database-latency", _latency, database_latency)
    limit = _optional("--rate-limit", quantities.rate, rate_limit)
    mail_bytes = _optional("--mail-size", quantities.size, mail_size)
    measured = _costs(costs)
    found = settings.load()
    there = Installation(
        connections=connections or found.smtp_connections,
        relay_seconds=relay_seconds,
        database_seconds=database_seconds,
        is_pipelined=not no_pipelining and found.smtp_pipelining == "auto",
        has_tls=tls or any(relay.security != "plain" for relay in found.smtp or ()),
        batch_size=found.batch_size,
        children=children,
        cores=cores,
        database_cores=database_cores,
        relay_connections=relay_connections,
        rate_limit=min(filter(None, (limit, found.max_send_rate)), default=None),
        mail_bytes=mail_bytes,
    )
    answer = Answer(plan(demand, there, measured), there, measured)
    if as_json:
        say_json(answer.as_json())
    else:
        say("\n".join(answer.lines()))
    if not answer.plan.is_enough:
        raise typer.Exit(1)


def _latency(text: str) -> float:
    seconds = quantities.seconds(text)
    if seconds > LONGEST_LATENCY:
        raise ValueError(f"must be at most {LONGEST_LATENCY:.0f} s")
    return seconds


def _given(option: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint=option) from None


def _optional(option: str, read: Callable[[str], T], text: str | None) -> T | None:
    return None if text is None else _given(option, read, text)


def _costs(path: Path | None) -> "Costs":
    from worker.domain.costs import SHIPPED, Costs

    try:
        return Costs.read(path or SHIPPED)
    except BadCosts as bad:
        raise typer.BadParameter(f"the file {bad}", param_hint="--costs") from None
