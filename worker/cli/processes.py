"""The processes (`listen`, `work`, `schedule`), and what makes them run: `migrate`, `demo`."""

from logging import WARNING, getLogger
from typing import Annotated

import typer

from worker.cli import session
from worker.cli.commands import add_commands
from worker.cli.output import say


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"demo": demo, "migrate": migrate}, panel="Begin here")
    add_commands(app, {"listen": listen, "work": work, "schedule": schedule}, panel="Processes")


def demo() -> None:
    """Show the whole line with sample data: its own Redis, database and mail inbox.

    Needs nothing installed, and leaves nothing running behind.
    """
    from worker import demo

    raise typer.Exit(demo.run())


def migrate() -> None:
    """Bring the database (DATABASE_URL) to the newest schema.

    Safe to run at any time, and from several machines at once. Nothing else changes the schema.
    """
    from config import logging, settings
    from worker.migrations import migrate

    found = settings.load()
    logging.configure(found.log_format)
    getLogger("alembic").setLevel(WARNING)
    before, after = migrate(found.database_url)
    say(f"schema {after}: " + ("nothing to do" if before == after else f"migrated from {before or 'nothing'}"))


def listen() -> None:
    """Run a listener: takes inventory events in from Redis, and rings for the workers.

    Ends by SIGTERM or Ctrl-C. Any number may run, on any number of machines.
    """
    from worker.processes import listener

    listener.run(session.parts())


def work(
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", min=1, help="Child processes that send; without it one a processor."),
    ] = None,
) -> None:
    """Run a worker: sends the mails. Needs SMTP_URL and MAIL_FROM.

    Every child keeps up to STOCKBELL_SMTP_CONNECTIONS connections to the relay. Ends by SIGTERM or Ctrl-C; what is not
    sent by then stays for others. Any number may run, on any number of machines.

    [bold]Example:[/bold]  stockbell work -c 4
    """
    from worker.processes import supervisor

    supervisor.run(session.parts(), concurrency)


def schedule() -> None:
    """Run a scheduler: every few seconds puts what is due in line, and rescues what dead workers held.

    One has to run; more do no harm. Ends by SIGTERM or Ctrl-C.
    """
    from worker.processes import scheduler

    scheduler.run(session.parts())
