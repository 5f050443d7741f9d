"""The terminal output of the demo: lines about what happens, and below them a live progress bar per item.

Without a terminal it prints a line of figures every few seconds instead of the bars.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.demo.books import by_status
from worker.demo.story import ITEMS, Request

_BAR: Final = 28
_PLAIN_SECONDS: Final = 2.0
"""Seconds between two lines of figures where there are no bars."""


class Screen:
    """Writes to stdout. As a context manager it shows the progress bars."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._stroke = "━" if self.console.encoding.startswith("utf") else "#"
        self._bars = Live(console=self.console, auto_refresh=False) if self._live else None
        self._began = self._said_at = time.monotonic()

    def __enter__(self) -> "Screen":
        self._began = time.monotonic()
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def title(self, text: str) -> None:
        """Prints the title of the next part."""
        self.console.print()
        self.console.print(Text(text, style="bold"))

    def say(self, text: str, style: str = "") -> None:
        """Prints a line about what happens."""
        self.console.print(Text(f"  {text}", style=style))

    def command(self, command: str) -> None:
        """Prints a command as a user would type it."""
        self.console.print(Text("  $ ", style="dim").append(command, style="cyan"))

    def event(self, item: str, says: str) -> None:
        """Prints an event that was published."""
        self.console.print(Text(f"  {item:<15}", style="magenta").append(says, style="default"))

    def show(self, requests: Sequence[Request]) -> None:
        """Shows the state of all requests."""
        if self._bars:
            self._bars.update(self._table(requests), refresh=True)
        elif time.monotonic() - self._said_at >= _PLAIN_SECONDS:
            self._said_at = time.monotonic()
            told, failed, waiting = by_status(requests)
            self.say(f"{self._said_at - self._began:5.1f} s: {told} told, {failed} failed, {waiting} waiting")

    def _table(self, requests: Sequence[Request]) -> Table:
        table = Table.grid(padding=(0, 1))
        for item, name in ITEMS.items():
            of_item = [request for request in requests if request.item == item]
            told, failed, waiting = by_status(of_item)
            figures = Text(f"{told:>4} told").append(f"{failed:>4} failed", style="red" if failed else "dim")
            figures.append(f"{waiting:>5} waiting", style="default" if waiting else "dim")
            table.add_row(f"  {name:<13}", self._bar(told, failed, len(of_item)), figures)
        return table

    def _bar(self, told: int, failed: int, total: int) -> Text:
        ended = _BAR * (told + failed) // max(total, 1)
        red = min(ended, -(-_BAR * failed // max(total, 1)))
        bar = Text(self._stroke * (ended - red), style="green").append(self._stroke * red, style="red")
        return bar.append(("─" if self._stroke == "━" else "-") * (_BAR - ended), style="bright_black")
