"""What `stockbell status --watch` shows: what the page "Overview" has, in a terminal."""

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.domain.difference import options_words
from worker.domain.going import Tone, duration, rate_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from worker.services.overview import Overview
    from worker.store.progress import Progress

NARROW: Final = 72
"""A narrower terminal has no room for the bar and the times of each item."""
_STYLES: Final = {Tone.GOOD: "bold green", Tone.INFO: "bold cyan", Tone.WARN: "bold yellow", Tone.BAD: "bold red"}


def sentence(found: "Overview") -> Text:
    """How it goes."""
    said = found.sentence
    return Text(said.words, style=_STYLES[said.tone])


def screen(found: "Overview", width: int) -> Group:
    """Returns what fills the terminal, of so many columns."""
    is_narrow = width < NARROW
    parts: list[RenderableType] = [sentence(found), Text(), _tiles(found, is_narrow)]
    if found.seen.items:
        parts += [Text(), _mailing(found, is_narrow)]
    if found.seen.failures:
        parts += [Text(), _failures(found)]
    return Group(*parts, Text(), _line(found))


def _tiles(found: "Overview", is_narrow: bool) -> Table:
    requests, seen = found.status.requests, found.seen
    left = found.seconds_left
    pairs = [
        ("waiting", f"{found.waiting:,}"),
        ("due", f"{requests.due:,}"),
        ("being sent", f"{found.sending:,}"),
        ("told today", f"{seen.told_today:,}"),
        ("failed", f"{requests.by_status['FAILED']:,}"),
        ("unconfirmed", f"{requests.unconfirmed:,}"),
        ("rate", rate_words(seen.rate) if seen.rate else "none"),
        ("time left", "none" if left is None else duration(left)),
    ]
    return _grid(pairs, 1 if is_narrow else 2)


def _grid(pairs: list[tuple[str, str]], columns: int) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in range(columns):
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(style="bold", min_width=14, no_wrap=True)
    rows = -(-len(pairs) // columns)
    for row in range(rows):
        grid.add_row(*(text for pair in pairs[row::rows] for text in pair))
    return grid


def _mailing(found: "Overview", is_narrow: bool) -> Table:
    table = Table(title="Being mailed", title_justify="left", title_style="bold", expand=True, box=None, padding=(0, 1))
    table.add_column("item", ratio=1, no_wrap=True, overflow="ellipsis")
    if not is_narrow:
        table.add_column("", width=14)
        table.add_column("told", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    table.add_column("a second", justify="right", no_wrap=True)
    table.add_column("time left", justify="right", no_wrap=True)
    for each in found.seen.items:
        middle = () if is_narrow else (_bar(each), f"{each.told:,}")
        time = "paused" if each.is_paused else "-" if each.seconds_left is None else duration(each.seconds_left)
        table.add_row(_name(each), *middle, f"{each.left:,}", f"{each.rate:,.0f}", time)
    return table


def _bar(each: "Progress") -> ProgressBar:
    return ProgressBar(total=each.told + each.left, completed=each.told, width=14)


def _name(each: "Progress") -> Text:
    options = f" ({options_words(each.options)})" if each.options else ""
    # A name may hold anything, also what moves the cursor.
    return Text("".join(c if c.isprintable() else " " for c in f"{each.name or each.catalog_item_id}{options}"))


def _failures(found: "Overview") -> Table:
    table = Table(title="Failed in the last hour", title_justify="left", title_style="bold", box=None, padding=(0, 1))
    table.show_header = False
    table.add_column(justify="right")
    table.add_column()
    for code, n in found.seen.failures.items():
        table.add_row(f"{n:,}", code or "without a code")
    return table


def _line(found: "Overview") -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in _facts(found):
        table.add_row(name, words)
    return table


def _facts(found: "Overview") -> "Iterator[tuple[str, str]]":
    status, seen = found.status, found.seen
    breaker, events = status.breaker, status.events
    since = f" since {breaker.since:%H:%M:%S} UTC" if breaker.since else ""
    refused = f"up, but {breaker.refusals:,} refused and none taken: {breaker.refusal}" if breaker.refusals else "up"
    yield "relay", f"DOWN{since}: {breaker.reason}" if breaker.is_open else refused
    yield "paused", ", ".join(["everything"] * status.paused.everything + list(status.paused.items)) or "nothing"
    if found.policy_words:
        yield "policies", "\n".join(found.policy_words)
    yield "workers", ", ".join(f"{host.workers:,} on {host.name}" for host in seen.hosts) or "none"
    yield "last sweep", "never" if seen.sweep_seconds is None else f"{seen.sweep_seconds:.0f} s ago"
    if events is None:
        yield "events", "Redis is away"
    else:
        lag = "an unknown number" if events.lag is None else f"{events.lag:,}"
        nobody = "; NOBODY READS THEM" if events.unattended else ""
        yield "events", f"{lag} unread, {events.pending:,} pending, {events.dead_letters:,} dead letters{nobody}"
    requests = status.requests
    if requests.put_off:
        yield "put off", f"{requests.put_off:,} wait for another try since the relay refused them"
    if requests.overdue_claims:
        yield "overdue claims", f"{requests.overdue_claims:,}"
    for reason, n in requests.held.items():
        yield "held", f"{n:,}: {reason}"
    if status.unheard_words:
        yield "woke nobody", status.unheard_words
    if status.webhooks:
        yield "webhooks", status.webhooks.words
