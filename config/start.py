"""How the program begins: what a signal does until a command answers it, and only then all that a command needs.

Loading the libraries takes a second or two, on a busy machine more, and a supervisor may change its mind at any time.
"""

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

PROCESSES: Final = frozenset({"listen", "work", "schedule"})
"""The commands that run until they are stopped: a signal is their ordinary end."""
INTERRUPTED: Final = 128 + signal.SIGINT
PRIVATE: Final = 0o077
"""Databases, mails and logs hold customers' addresses: what we make is for nobody but our user."""


def main() -> None:
    """`stockbell`: runs the command that the process was started with, and ends the process."""
    os.umask(PRIVATE)
    open_streams()
    answer_signals(sys.argv[1:])
    from worker.cli import main

    try:
        main()
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:  # Python complains about one while it cleans up
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def open_streams() -> None:
    """A standard stream that is closed is one that nobody listens to, not a trouble; nor are signs that one can't show.

    Else the next file or socket would get its number, and what is written there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(nowhere.fileno(), True)
            setattr(sys, name, nowhere)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def answer_signals(arguments: list[str]) -> None:
    """Makes a signal end the process without a traceback, until `Stop` takes over."""
    if PROCESSES.intersection(arguments[:1]):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
    elif signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Nothing has begun that would have to be ended."""
    os._exit(0)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends a command from where it is. Should that take long, the second Ctrl-C ends it for sure."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise SystemExit(INTERRUPTED)
