"""The command line: one module per group of commands, each command a few lines over a service.

What a command needs is imported in its function, so that `stockbell --help` is there at once. Data goes to stdout,
everything else to stderr. Exit codes: 0 done, 1 something was refused or failed, 2 usage.
"""

import os
import sys
from typing import Final

import typer

from worker.cli import admin, events, ops, processes, requests
from worker.errors import StockbellError

FAILED: Final = 1
INTERRUPTED: Final = 130

_HELP = """Tells customers that an item they waited for is back in stock.

Stock systems publish events to Redis; Stockbell finds who waits for the item, mails them once, and records it. \
Settings come from the environment or a file .env; `stockbell doctor` checks them.

[bold]To begin:[/bold] stockbell migrate, then stockbell import requests.csv, then listen, work and schedule.
"""

app = typer.Typer(
    name="stockbell",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (processes, requests, events, admin, ops):
    group.add_to(app)


def main() -> None:
    """Runs the command that the process was started with, and ends the process."""
    try:
        _refuse_undecodable(sys.argv)
        app()
    except StockbellError as error:
        _end(f"stockbell: {error}", FAILED)
    except KeyboardInterrupt:
        _end(None, INTERRUPTED)
    except SystemExit as end:
        _end(None, end.code)


def _refuse_undecodable(arguments: list[str]) -> None:
    for place, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:
            _end(f"stockbell: argument {place} is not valid text", 2)


def _end(message: str | None, code: str | int | None) -> None:
    """Ends the process; whoever reads our output may have gone before us."""
    try:
        if message:
            print(message, file=sys.stderr)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    sys.exit(code)
