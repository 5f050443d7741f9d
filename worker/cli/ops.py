"""How it goes: `status` and `doctor`."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands
from worker.cli.output import complain, say, say_json
from worker.errors import BadSetting

if TYPE_CHECKING:
    from worker.bootstrap import Parts
    from worker.services.doctor import Finding, Patient
    from worker.services.status import Status


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"status": status, "doctor": doctor}, panel="How it goes")


def status(
    as_json: Json = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit with 1 if somebody due waits over 60 s, or claims are overdue."),
    ] = False,
) -> None:
    """Show how requests, events, workers and the relay stand.

    [bold]Example:[/bold]  stockbell status --check || echo "Stockbell is stuck"
    """
    from worker.services.status import read_status

    parts = session.ready_parts()
    found = read_status(parts.database, parts.stream, parts.bell, parts.settings.lease_seconds)
    if as_json:
        say_json(found.as_json())
    else:
        _show(found)
    if found.redis_trouble:
        complain(f"stockbell: Redis is away: {found.redis_trouble}")
    if check and not found.is_well:
        complain("stockbell: requests are due for over 60 s, or claims are overdue")
        raise typer.Exit(1)


def _show(found: "Status") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title="Stockbell", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _lines(found).items():
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _lines(found: "Status") -> dict[str, str]:
    counts, events, breaker = found.requests, found.events, found.breaker
    oldest = counts.oldest_due_seconds
    paused = ["everything"] * found.paused.everything + list(found.paused.items)
    return {
        **{name: f"{count:,}" for name, count in counts.by_status.items()},
        "oldest due": "nobody is" if oldest is None else f"for {oldest:.1f} s",
        "overdue claims": f"{counts.overdue_claims:,}",
        "held by a template": f"{counts.held:,}",
        "workers": f"{counts.workers:,}",
        "relay": "up" if breaker.state == "closed" else f"DOWN: {breaker.reason}",
        "paused": ", ".join(paused) or "nothing",
        "events": "Redis is away"
        if events is None
        else f"{_count(events.lag)} unread, {events.pending:,} in work, {events.dead_letters:,} dead letters",
        "bells queued": "Redis is away" if found.bells is None else f"{found.bells:,}",
    }


def _count(lag: int | None) -> str:
    return "very many" if lag is None else f"{lag:,}"


def doctor() -> None:
    """Check settings, database, Redis, the login at the relay, and templates: one line each.

    Sends no mail. Exits with 1 if anything is wrong, and says what to do about it.
    """
    from worker.services.doctor import Finding, examine

    try:
        parts = session.parts()
    except BadSetting as bad:
        _say_finding(Finding("settings", is_well=False, text=str(bad)))
        raise typer.Exit(1) from None
    findings = [Finding("settings", is_well=True, text="understood"), *examine(_patient(parts))]
    for finding in findings:
        _say_finding(finding)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


def _patient(parts: "Parts") -> "Patient":
    from worker.services.doctor import Patient

    return Patient(parts.database, parts.stream, parts.bell, lambda: parts.renderer, lambda: parts.mailer)


def _say_finding(finding: "Finding") -> None:
    say(f"{'ok' if finding.is_well else 'FAIL':<4}  {finding.name:<10}  {finding.text}")
