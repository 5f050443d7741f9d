"""Commands that run the processes (`listen`, `work`, `schedule`, `web`), and `migrate` and `demo`."""

from logging import WARNING, getLogger
from typing import Annotated

import typer

from worker.cli import session
from worker.cli.commands import add_commands
from worker.cli.output import say
from worker.domain.errors import BadSetting


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"demo": demo, "migrate": migrate}, panel="Getting started")
    add_commands(app, {"listen": listen, "work": work, "schedule": schedule, "web": web}, panel="Processes")


def demo(
    shop: Annotated[
        bool, typer.Option("--shop", help="Keep running until Ctrl-C, with a shop page to sign up on in a browser.")
    ] = False,
) -> None:
    """Run everything with sample data, on the demo's own Redis, database and mail inbox.

    You need to install nothing else. All processes end with the demo.
    """
    from worker import demo

    raise typer.Exit(demo.run(stays=shop))


def migrate() -> None:
    """Migrate the database (STOCKBELL_MIGRATE_URL, else DATABASE_URL) to the newest schema.

    This is safe at any time, and from several machines at once. No other command changes the schema.
    """
    from worker.migrations import migrate

    parts = session.parts()
    getLogger("alembic").setLevel(WARNING)
    found = parts.settings
    is_other_way = found.migrate_url != found.database_url
    before, after = migrate(
        found.migrate_url, pooler=found.database_pooler, used_by=parts.database if is_other_way else None
    )
    say(f"schema {after}: " + ("nothing to do" if before == after else f"migrated from {before or 'nothing'}"))


def listen() -> None:
    """Run a listener. It reads inventory events from Redis and notifies the workers.

    Ends at SIGTERM or Ctrl-C. You can run any number of listeners, on any number of machines.
    """
    from worker.processes import listener

    listener.run(session.parts())


def work(
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", min=1, help="Number of child processes that send. Default: one per CPU."),
    ] = None,
) -> None:
    """Run a worker. It sends the mails. Needs SMTP_URL and MAIL_FROM.

    Every child process keeps up to STOCKBELL_SMTP_CONNECTIONS connections to the relay. Ends at SIGTERM or Ctrl-C; the
    other workers send the remaining mails. You can run any number of workers, on any number of machines.

    [bold]Example:[/bold]  stockbell work -c 4
    """
    from worker.processes import supervisor

    supervisor.run(session.parts(), concurrency)


def schedule() -> None:
    """Run a scheduler. Every few seconds it starts due retries and frees the requests of dead workers.

    At least one must run; more are harmless. Ends at SIGTERM or Ctrl-C.
    """
    from worker.processes import scheduler

    scheduler.run(session.parts())


def web(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The port. Default: PORT, else 8000.")
    ] = None,
    serve: Annotated[
        str, typer.Option("--serve", metavar="PARTS", help="What to serve, separated by commas.")
    ] = "api,unsubscribe,hooks,metrics",
) -> None:
    """Run the HTTP process: the API, sign-up, unsubscribe, webhooks in and out, metrics. Needs the extra `web`.

    The pages for admins (`admin`) are served only if PARTS names them.

    Ends at SIGTERM or Ctrl-C. You can run any number of them, each with its own parts.

    [bold]Example:[/bold]  stockbell web --host 0.0.0.0 --serve unsubscribe
    """
    try:
        from worker.web import server
        from worker.web.app import Part
    except ModuleNotFoundError as missing:
        raise BadSetting(f"{missing.name} is not installed: pip install 'stockbell[web]'") from None
    parts = session.parts()
    try:
        wanted = {Part(name.strip()) for name in serve.split(",")}
    except ValueError:
        raise typer.BadParameter(f"must be some of {', '.join(Part)}", param_hint="'--serve'") from None
    server.run(parts, host, port or parts.settings.port, wanted)
