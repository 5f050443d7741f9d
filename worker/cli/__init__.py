"""The command line: one module per group of commands, each command a few lines over a service.

What a command needs is imported in its function, so that `stockbell --help` is there at once. Data goes to stdout,
everything else to stderr. Exit codes: 0 done, 1 something was refused or failed, 2 usage.
"""

import errno
import os
import sys
from contextlib import suppress
from typing import Final

import typer

from worker.cli import admin, events, mails, ops, processes, requests
from worker.domain.errors import StockbellError

FAILED: Final = 1
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

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
for group in (processes, requests, events, admin, mails, ops):
    group.add_to(app)


def main() -> None:
    """Runs the command that the process was started with, and ends the process."""
    try:
        _refuse_undecodable(sys.argv)
        app()
    except StockbellError as error:
        _end(f"stockbell: {error}", FAILED)
    except SystemExit as end:  # an interrupt too, see `config.start`
        _end(None, end.code)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _end_unwritten(error)


def _refuse_undecodable(arguments: list[str]) -> None:
    for place, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:
            _end(f"stockbell: argument {place} is not valid text", 2)


def _end(message: str | None, code: str | int | None) -> None:
    """Ends the process; whoever reads our output may have gone before us, or have no more room for it."""
    try:
        if message:
            print(message, file=sys.stderr)
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        _end_unwritten(error)
    sys.exit(code)


def _end_unwritten(error: OSError) -> None:
    # What is still in the buffer would fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno != errno.EPIPE:
        with suppress(OSError):
            print(f"stockbell: can't write the output: {error.strerror}", file=sys.stderr)
    sys.exit(FAILED)
