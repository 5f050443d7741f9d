"""The command `metrics`."""

import sys

import typer

from worker.cli import session
from worker.cli.commands import add_commands
from worker.cli.output import complain


def add_to(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add_commands(app, {"metrics": metrics}, panel="Monitoring")


def metrics() -> None:
    """Print all figures as text for Prometheus, such as node_exporter's textfile collector reads.

    If the database or Redis is away, it says what it knows. The exit code is 1 without the database.

    [bold]Example:[/bold]  stockbell metrics > stockbell.prom.$$ && mv stockbell.prom.$$ stockbell.prom
    """
    from worker.services import metrics as service

    parts = session.parts()
    parts.check_redis()
    lease = parts.settings.lease_seconds
    stored, queued, reason = service.read_all(parts.database, parts.stream, parts.bell, lease)
    content, _ = service.text(service.families(stored, queued))
    sys.stdout.write(content.decode())
    if stored is None:
        complain(f"stockbell: {reason}")
        raise typer.Exit(1)
