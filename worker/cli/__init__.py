"""The command line. Each module has one group of commands; each command is a few lines that call a service.

Commands import what they need inside their function, so that `stockbell --help` is fast. Data goes to stdout,
everything else to stderr. Exit codes: 0 done, 1 something was refused or failed, 2 wrong usage.
"""

import errno
import os
import sys
from contextlib import suppress
from typing import Final

import typer

from worker.cli import (
    actions,
    admin,
    admins,
    bounces,
    contacts,
    demand,
    events,
    hooks,
    imports,
    insights,
    items,
    keys,
    mails,
    metrics,
    ops,
    planning,
    preview,
    processes,
    requests,
    templates,
    webhooks,
    why,
)
from worker.domain.errors import StockbellError

FAILED: Final = 1
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

_HELP = """Send a mail to customers when an item that they wait for is back in stock.

Stock systems publish events to Redis. Stockbell finds the customers who wait for the item, sends each of them one \
mail, and records the result. Settings come from the environment or from a file .env; `stockbell doctor` checks them.

[bold]First steps:[/bold] run `stockbell migrate`, then `stockbell import requests.csv`, then start `listen`, `work` \
and `schedule`.
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
for group in (
    processes,
    bounces,
    imports,
    requests,
    why,
    contacts,
    events,
    admin,
    admins,
    actions,
    keys,
    hooks,
    webhooks,
    preview,
    mails,
    templates,
    ops,
    metrics,
    insights,
    demand,
    items,
    planning,
):
    group.add_to(app)


def main() -> None:
    """Runs the command of this process, and ends the process."""
    try:
        _refuse_undecodable(sys.argv)
        app()
    except StockbellError as error:
        _end(f"stockbell: {error}", FAILED)
    except SystemExit as end:  # also after an interrupt, see `config.start`
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
    """Ends the process. The reader of the output may have closed it, or the disk may be full."""
    try:
        if message:
            print(message, file=sys.stderr)
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        _end_unwritten(error)
    sys.exit(code)


def _end_unwritten(error: OSError) -> None:
    # Python writes the rest of the buffer when it ends, and that would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno != errno.EPIPE:
        with suppress(OSError):
            print(f"stockbell: can't write the output: {error.strerror}", file=sys.stderr)
    sys.exit(FAILED)
