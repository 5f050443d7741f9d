"""The demo's final report: results and reasons, speed, checks, and where the output is."""

import sysconfig
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.demo.books import Check, Facts, by_status
from worker.demo.inbox import MAILS_PER_SECOND
from worker.demo.output import Output
from worker.demo.screen import Screen
from worker.demo.story import ITEMS, SIZE_LATE, TOLD, VISITOR, Ending, Request, why
from worker.models import Status

_TEXTS: Final = {"Item", "Ended", "Reason"}


def report(screen: Screen, facts: Facts, checks: Sequence[Check], output: Output) -> None:
    """Prints the report."""
    screen.title("Results")
    screen.console.print(Padding.indent(_items(facts), 2))
    screen.title("Reasons")
    screen.console.print(Padding.indent(_reasons(facts), 2))
    screen.title("Speed")
    for line in _speed(facts):
        screen.say(line)
    screen.title("Checks")
    for check in checks:
        screen.say(f"{'WRONG' if check.wrong else 'ok   '} {check.says}", "bold red" if check.wrong else "")
        for wrong in check.wrong:
            screen.say(f"      {wrong}", "red")
    screen.title("Output")
    for place in _places(facts, output):
        screen.console.print(place, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim", border_style="dim")
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXTS else "right", no_wrap=column != "Reason")
    return table


def _items(facts: Facts) -> Table:
    table = _table("Item", "Requests", "Told", "Failed", "Waiting", "First mail after")
    for item, name in ITEMS.items():
        of_item = [request for request in facts.requests if request.item == item]
        told, failed, waiting = by_status(of_item)
        table.add_row(name, str(len(of_item)), str(told), str(failed), str(waiting), _first_mail(facts, item))
    told, failed, waiting = by_status(facts.requests)
    table.add_section()
    table.add_row("All", f"{len(facts.requests):,}", str(told), str(failed), str(waiting), "")
    return table


def _first_mail(facts: Facts, item: str) -> str:
    ids = {request.id for request in facts.requests if request.item == item}
    published_at = facts.published.get(item)
    return "" if published_at is None else _milliseconds(published_at, _arrivals(facts, ids))


def _arrivals(facts: Facts, ids: Collection[UUID]) -> list[float]:
    return [arrival.at for arrival in facts.arrived if arrival.request_id in ids]


def _milliseconds(since: float, times: Sequence[float]) -> str:
    return f"{(min(times) - since) * 1000:,.0f} ms" if times else "no mail"


def _reasons(facts: Facts) -> Table:
    table = _table("Ended", "Requests", "Reason")
    for words, count in _told(facts).items():
        table.add_row("told", str(count), words)
    others = Counter(
        (request.ending, why(request)) for request in facts.requests if request.ending.status != TOLD.status
    )
    for (ending, words), count in sorted(others.items()):
        reason = Text(f"{ending.reason}  ", style="cyan").append(words, style="default")
        table.add_row(_word(ending), str(count), reason)
    return table


def _told(facts: Facts) -> Counter[str]:
    failed_first = {request.id for request in facts.first_round if request.ending.status == Status.FAILED}

    def how(request: Request) -> str:
        if request.id in failed_first:
            return "after an admin's retry"
        if request.email in facts.deferred:
            return "at a later attempt, after 450 4.2.1 mailbox is busy"
        return "at the first attempt"

    return Counter(sorted((how(request) for request in facts.requests if request.ending == TOLD), reverse=True))


def _word(ending: Ending) -> str:
    return {Status.FAILED: "failed", Status.RECEIVED: "waiting"}.get(ending.status, ending.status.value)


def _speed(facts: Facts) -> Iterator[str]:
    late = _arrivals(facts, {request.id for request in facts.requests if request.size == SIZE_LATE})
    yield f"{_milliseconds(facts.published_late, late)} from an event to its first mail, while nothing else is sent"
    limit = f"the inbox accepts at most {MAILS_PER_SECOND:.0f}, so that you can watch"
    visitor = _arrivals(facts, {request.id for request in facts.requests if request.email == VISITOR})
    yield f"{_milliseconds(facts.published_for_visitor, visitor)} for the customer who signed up on the shop's page"
    yield f"{_mails_per_second(facts):.0f} mails per second ({limit})"


def _mails_per_second(facts: Facts) -> float:
    """Returns the rate while the inbox was busy. The last 5 % are left out, since they had to wait for a retry."""
    times = sorted(arrival.at for arrival in facts.arrived)
    bulk = times[: facts.arrived_in_first_round * 95 // 100]
    return (len(bulk) - 1) / (bulk[-1] - bulk[0]) if len(bulk) > 1 else 0.0


def _places(facts: Facts, output: Output) -> Iterator[Text]:
    for name, what in (
        ("mails/", f"all {len(facts.arrived):,} mails, as .eml files for any mail program"),
        ("first-mail.html", "the first mail, for a browser"),
        ("logs/", "the log of each process"),
        ("stockbell.db", "the database; read it with commands like this one:"),
    ):
        yield Text(f"  {output.shown}/{name:<16}", style="cyan").append(f" {what}", style="default")
    database = f"DATABASE_URL=sqlite:///{output.shown}/{output.database.name}"
    yield Text("  $ ", style="dim").append(f"{database} {_stockbell()} requests list --status FAILED", style="cyan")
    yield Text("  In a browser, with the pages for admins:")
    yield Text("  $ ", style="dim").append(f"{database} {_stockbell()} web --serve admin", style="cyan")


def _stockbell() -> str:
    """Returns the program's path as a user would type it here."""
    program = Path(sysconfig.get_path("scripts")) / "stockbell"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)
