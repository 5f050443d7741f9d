"""Monitoring commands: `status`, `doctor` and `explain-reply`."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands
from worker.cli.explaining import explain_reports
from worker.cli.lookups import lookup_of
from worker.cli.output import complain, say, say_json, say_pairs
from worker.domain.errors import BadEvent, BadSetting, DatabaseAway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from worker.cli.lookups import Lookup
    from worker.processes.bootstrap import Parts
    from worker.services.doctor import Finding
    from worker.services.overview import Overview
    from worker.services.status import Status
    from worker.store.breaker import Breaker
    from worker.store.quiet_hours import Hours
    from worker.store.report_log import CameBack

WATCH_SECONDS: Final = 1.0


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.callback()(stockbell)
    add_commands(app, {"status": status, "doctor": doctor, "explain-reply": explain_reply}, panel="Monitoring")


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"stockbell {version('stockbell')}")
        raise typer.Exit


def stockbell(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options without a command. The help text is that of the app."""


def status(
    as_json: Json = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Exit with 1 if somebody due waits over 60 s, claims are overdue, mails can't be made, "
            "nobody reads the events, most of the last events were dead letters, the relay takes nothing, "
            "or Redis is away.",
        ),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update it every second, until Ctrl-C.")] = False,
) -> None:
    """Show the state of requests, events, workers and the relay.

    [bold]Example:[/bold]  stockbell status --check || echo "Stockbell is stuck"
    """
    if watch and check:
        raise typer.BadParameter("--check and --watch can't be used together")
    parts = session.ready_parts()
    parts.check_redis()
    if watch:
        _watch(parts, as_json=as_json)
    overview = _looker(parts)()
    found = overview.status
    _say_figures(overview, as_json=as_json)
    _say_troubles(found.troubles if check else found.redis_troubles)
    if check:
        _say_troubles([f"warning: {warning}" for warning in found.warnings])
    if check and found.troubles:
        raise typer.Exit(1)


def _looker(parts: "Parts", *, told: bool = True) -> "Callable[[], Overview]":
    """Returns what looks once. It keeps what it has counted, so that to look again costs little."""
    from worker.services.overview import Watcher, overview_of
    from worker.services.status import read_redis

    watcher = Watcher(parts.settings.lease_seconds, told=told)
    return lambda: overview_of(parts.database.read(watcher.look), read_redis(parts.stream, parts.bell), parts.policies)


def _say_figures(found: "Overview", *, as_json: bool) -> None:
    if as_json:
        say_json(found.as_json())
    else:
        from worker.cli import watching

        console = _console()
        console.print(watching.sentence(found))
        console.print(_table(found.status, found.policy_words))


def _say_troubles(troubles: "Sequence[str]") -> None:
    if troubles:
        complain(f"stockbell: {'; '.join(troubles)}")


def _watch(parts: "Parts", *, as_json: bool) -> NoReturn:
    """Shows the status every second, on a terminal in place. Ends at Ctrl-C."""
    console = _console()
    if as_json or not console.is_terminal:
        look = _looker(parts)
        _repeat(lambda: _say_once(look(), as_json=as_json), complain)
    from rich.live import Live

    from worker.cli import watching

    look = _looker(parts, told=False)
    with Live(console=console, auto_refresh=False) as live:
        _repeat(
            lambda: live.update(watching.screen(look(), console.width), refresh=True),
            lambda trouble: live.update(trouble, refresh=True),
        )


def _say_once(found: "Overview", *, as_json: bool) -> None:
    _say_figures(found, as_json=as_json)
    _say_troubles(found.status.redis_troubles)


def _repeat(show: "Callable[[], None]", say_trouble: "Callable[[str], None]") -> NoReturn:
    while True:
        try:
            show()
        except DatabaseAway as away:  # the database may come back
            say_trouble(f"stockbell: {away}")
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, markup=False)


def _table(found: "Status", policies: "Sequence[str]") -> "Table":
    from rich.table import Table

    table = Table(show_header=False, title="Stockbell", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _lines(found, policies).items():
        table.add_row(name, value)
    return table


def _lines(found: "Status", policies: "Sequence[str]") -> dict[str, str]:
    counts, events, breaker = found.requests, found.events, found.breaker
    paused = ["everything"] * found.paused.everything + list(found.paused.items)
    return {
        **{name: f"{count:,}" for name, count in counts.by_status.items()},
        **({"NOTIFICATION_SENT": f"about {counts.by_status['NOTIFICATION_SENT']:,}"} if counts.is_estimated else {}),
        "due": _due(found),
        **({"unconfirmed": f"{counts.unconfirmed:,} of those RECEIVED"} if counts.unconfirmed else {}),
        "overdue claims": f"{counts.overdue_claims:,}",
        "held by a template": "\n".join(f"{count:,}: {reason}" for reason, count in counts.held.items()) or "0",
        "workers": f"{counts.workers:,}",
        "relay": _relay(breaker, counts.put_off),
        **({"send window": _hours(found.hours)} if found.hours else {}),
        "paused": ", ".join(paused) or "nothing",
        **({"policies": "\n".join(policies)} if policies else {}),
        "events": "Redis is away"
        if events is None
        else f"{_count(events.lag)} unread, {events.pending:,} pending, {events.dead_letters:,} dead letters"
        + ("; NOBODY READS THEM" if events.unattended else "")
        + (f"\n{found.dead_words}" if found.dead_words else ""),
        "woke nobody": found.unheard_words or "no event",
        "bells queued": "Redis is away" if found.bells is None else f"{found.bells:,}",
        "came back in 24 h": _came_back(found.came_back),
        "suppressed": _counts(found.came_back.suppressed) or "nobody",
        **({"webhooks": found.webhooks.words} if found.webhooks else {}),
    }


def _due(found: "Status") -> str:
    due, oldest = found.requests.due, found.requests.oldest_due_seconds
    if due and found.hours and found.hours.quiet_until:
        return f"{due:,}, told after quiet hours"
    return "nobody" if oldest is None else f"{due:,}, the oldest for {oldest:.1f} s"


def _hours(found: "Hours") -> str:
    until = f" until {found.until:%Y-%m-%d %H:%M:%S} UTC" if found.until else ""
    return f"{'open' if found.is_open else 'CLOSED'}{until}: {found.window}"


def _came_back(found: "CameBack") -> str:
    from worker.services.status import CAME_BACK

    named = {name.replace("autoR", "auto-r"): found.by_kind.get(kind, 0) for kind, name in CAME_BACK.items()}
    return _counts({**named, "unmatched": found.unmatched}) or "nothing"


def _counts(named: "Mapping[str, int]") -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in named.items() if count)


def _relay(found: "Breaker", put_off: int) -> str:
    waiting = f"\n{put_off:,} wait for another try since it refused them" if put_off else ""
    if found.is_open:
        probe = f"\nnext probe at {found.probe_at:%H:%M:%S} UTC" if found.probe_at else ""
        return f"DOWN{_since(found.since)}: {found.reason}{probe}{waiting}"
    if found.refusals:
        return (
            f"up, but {found.refusals:,} refused{_since(found.refused_since)} and none taken: {found.refusal}{waiting}"
        )
    return f"up{waiting}"


def _since(at: "datetime | None") -> str:
    return f" since {at:%Y-%m-%d %H:%M:%S} UTC" if at else ""


def _count(lag: int | None) -> str:
    return "an unknown number" if lag is None else f"{lag:,}"


def doctor(
    event: Annotated[
        str | None,
        typer.Option(
            "--event",
            metavar="JSON",
            help="Tell instead what this event would do, and who would not be told, and why. '-' reads it from stdin.",
        ),
    ] = None,
    dns: Annotated[
        bool,
        typer.Option("--dns", help="Also look up SPF, DMARC and MX of the domains of From and of the return path."),
    ] = False,
    dkim_selector: Annotated[
        list[str] | None,
        typer.Option(
            "--dkim-selector",
            metavar="NAME",
            help="With --dns: also look at this key of the relay's (s= of its DKIM-Signature). May be repeated.",
        ),
    ] = None,
    name_server: Annotated[
        str | None,
        typer.Option(
            "--name-server", metavar="IP", help="With --dns: ask this DNS server, like 192.0.2.1 or 192.0.2.1:5353."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check settings, database, Redis, the login at each relay, and templates. Prints one line for each.

    Sends no mail. If a check fails, its line says what to do, and the exit code is 1. A check that depends on a failed
    one is skipped (-).

    With --dns it also tells whether receivers can authenticate the mail, and whether bounces find their way back.

    With --event nothing is checked and nothing is changed. The exit code is 1 if the event would be a dead letter, or
    people wait for its item and nobody would be told.

    [bold]Example:[/bold]  stockbell doctor --event '{"catalogItemId": "mug-1", "quantity": 5}'
    """
    if (dkim_selector or name_server) and not dns:
        raise typer.BadParameter("--dkim-selector and --name-server go with --dns")
    if event is not None and dns:
        raise typer.BadParameter("--event and --dns can't be used together")
    lookup = lookup_of(dkim_selector or [], name_server) if dns else None
    if event is not None:
        _foretell(sys.stdin.read() if event == "-" else event, as_json=as_json)
        return
    findings: list[Finding] = []
    for finding in _findings(lookup):
        findings.append(finding)
        if not as_json:
            _say_finding(finding)
    is_well = all(finding.is_well for finding in findings)
    if as_json:
        say_json({"ok": is_well, "checks": [finding.as_json() for finding in findings]})
    if not is_well:
        raise typer.Exit(1)


def _foretell(event: str, *, as_json: bool) -> None:
    """Says what an event would do. Exits with 1 if it can't be understood, or tells nobody though people wait."""
    from datetime import UTC, datetime

    from worker.services.doctor import Finding
    from worker.services.dry_run import outcome_of

    parts = session.ready_parts()
    try:
        outcome = outcome_of(parts.database, event, parts.policies, datetime.now(UTC))
    except BadEvent as bad:
        if as_json:
            say_json({"ok": False, "understood": False, "reason": str(bad)})
        else:
            _say_finding(Finding("event", is_well=False, text=f"would be a dead letter: {bad}"))
        raise typer.Exit(1) from None
    if as_json:
        say_json(outcome.as_json())
    else:
        for line in outcome.lines():
            _say_finding(Finding(*line))
    if not outcome.is_well:
        raise typer.Exit(1)


def _findings(lookup: "Lookup | None") -> "Iterator[Finding]":
    from worker.services.doctor import Finding, examine

    try:
        parts = session.parts()
    except BadSetting as bad:
        yield Finding("settings", is_well=False, text=str(bad))
        return
    yield Finding("settings", is_well=True, text="valid")
    yield from examine(parts.installation)
    if lookup:
        yield from lookup.findings(parts)


def _say_finding(finding: "Finding") -> None:
    mark = {True: "ok", False: "FAIL", None: "-"}[finding.is_well]
    say(f"{mark:<4}  {finding.name:<10}  {finding.text}")


def explain_reply(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT", help="The reply as a log has it. Lines may be joined by \\n.", show_default=False
        ),
    ] = None,
    stage: Annotated[str, typer.Option("--stage", help="When the relay said it: mail, rcpt, data, dot ...")] = "rcpt",
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Explain instead a message that came back, as it came. '-' reads it from stdin. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show who is blamed for a relay's reply, by which row of the table, and what follows from it.

    With --report: how a bounce, complaint or other message that came back is judged for each recipient, and what it
    proves. Rows of your own come from the file that STOCKBELL_REPLY_RULES names. Nothing is sent or changed.

    [bold]Example:[/bold]  stockbell explain-reply "550 5.1.1 <jane@example.com>: User unknown" --stage rcpt
    """
    if (text is None) is (not report):
        raise typer.BadParameter("give either a reply or --report", param_hint="TEXT")
    if report:
        explain_reports(report, as_json=as_json)
    else:
        _explain_text(text or "", stage, as_json=as_json)


def _explain_text(text: str, stage: str, *, as_json: bool) -> None:
    from worker.domain.replies import Stage, parse_reply
    from worker.services.explaining import explain

    if stage not in list(Stage):
        raise typer.BadParameter(f"a stage must be one of {', '.join(Stage)}", param_hint="--stage")
    try:
        reply = parse_reply(text)
    except ValueError as wrong:
        raise typer.BadParameter(f"the reply {wrong}", param_hint="TEXT") from None
    found = explain(session.parts().reply_rules, Stage(stage), reply).as_json()
    if as_json:
        say_json(found)
    else:
        say_pairs({**found, "row": found["row"] or "none knows this reply"})
