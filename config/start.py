"""The start of the program: handles signals first, and only then imports what a command needs.

Importing the libraries takes a second or two, or more on a busy machine. A supervisor may send a signal at any time.
"""

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

PROCESSES: Final = frozenset({"listen", "work", "schedule", "web"})
"""The commands that run until they are stopped. A signal is their normal end."""
TEMPORARY: Final = 75
"""EX_TEMPFAIL (sysexits.h): whoever hands a message over shall try again."""
INTERRUPTED: Final = 128 + signal.SIGINT
PRIVATE: Final = 0o077
"""The umask. Databases, mails and logs contain customers' addresses, so only our user may access new files."""


def main() -> None:
    """The entry point of `stockbell`: runs the command of this process and exits."""
    os.umask(PRIVATE)
    open_streams()
    answer_signals(sys.argv[1:])
    from worker.cli import main

    try:
        main()
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:  # a signal during Python's exit would print a traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def open_streams() -> None:
    """Opens closed standard streams on the null device, and escapes characters that stdout can't encode.

    Otherwise the next file or socket would get the number of the closed stream, and the output written to it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(nowhere.fileno(), True)
            setattr(sys, name, nowhere)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def answer_signals(arguments: list[str]) -> None:
    """Makes signals end the process without a traceback, until `Stop` takes over."""
    if is_handed_a_message(arguments):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _exit_temporarily)
    elif PROCESSES.intersection(arguments[:1]) or (arguments[:1] == ["bounces"] and "--follow" in arguments):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit_at_once)
    elif signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def is_handed_a_message(arguments: list[str]) -> bool:
    """Whether a mail server runs us to hand over one message: `stockbell bounces -`."""
    return arguments[:1] == ["bounces"] and "-" in arguments


def _exit_temporarily(_number: int, _frame: FrameType | None) -> NoReturn:
    """Exits at once, so that the mail server keeps the message. For a process that a signal ended it would bounce."""
    os._exit(TEMPORARY)


def _exit_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """Exits at once: nothing has been started that needs an orderly end."""
    os._exit(0)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends a command by SystemExit. If that takes too long, a second Ctrl-C kills the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise SystemExit(INTERRUPTED)
