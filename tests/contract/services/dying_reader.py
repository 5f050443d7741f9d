"""Reads a mailbox again and again, and is killed each time at another step: `dying_reader KIND PLACE DATABASE`.

Each reader is a process that kills itself with SIGKILL, so that nothing it holds is put in order. Prints the steps at
which one died, and leaves the mailbox as the last one left it.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.contract.reporting import DOMAIN, TOKENS
from worker.domain.imap_account import parse_imap_account
from worker.domain.recognition import Recognizer
from worker.feedback import messages
from worker.feedback.imap import ImapMailbox
from worker.feedback.mailbox import Mailbox
from worker.feedback.maildir import Maildir
from worker.feedback.mbox import Mbox
from worker.services import bounce_intake
from worker.services.bounce_intake import BounceIntake
from worker.services.returning import Intake
from worker.store import places
from worker.store.database import Database

KINDS: dict[str, Callable[[str], Mailbox]] = {
    "maildir": lambda place: Maildir(Path(place)),
    "mbox": lambda place: Mbox(Path(place)),
    "imap": lambda place: ImapMailbox(parse_imap_account(place)),
}
Step = tuple[object, str, str, int]
"""What has a function, its name, before or after which call the process dies."""
STEPS: list[Step] = [
    (messages, "read", "after", 3),
    (Intake, "take", "before", 1),
    (Intake, "take", "after", 1),
    (Intake, "take", "before", 2),
    (Intake, "take", "after", 2),
    (places, "keep", "before", 1),
    (places, "keep", "after", 1),
]
OWN: dict[str, list[Step]] = {
    "maildir": [(Maildir, "_move", "before", 1), (Maildir, "_move", "after", 3), (Maildir, "settle", "after", 1)],
    "mbox": [(Mbox, "settle", "after", 1), (Mbox, "settle", "after", 2)],
    "imap": [
        (ImapMailbox, "_put_away", "before", 1),
        (ImapMailbox, "_put_away", "after", 1),
        (ImapMailbox, "_put_away", "after", 2),
    ],
}


def dying(function: Callable[..., Any], when: str, number: int) -> Callable[..., Any]:
    """Returns a function that kills the process at this call."""
    calls = 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def read(kind: str, place: str, database_url: str) -> None:
    mailbox = KINDS[kind](place)
    with closing(Database(database_url)) as database, closing(mailbox):
        BounceIntake(database, Intake(database, Recognizer(TOKENS, DOMAIN)), mailbox).take_all()


def main(kind: str, place: str, database_url: str) -> None:
    bounce_intake.BATCH = 5  # type: ignore[misc]  # smaller, so that there are several
    bounce_intake.KEPT_EVERY = 5  # type: ignore[misc]
    for owner, name, when, number in (*OWN[kind], *STEPS):
        child = os.fork()
        if not child:
            setattr(owner, name, dying(getattr(owner, name), when, number))
            read(kind, place, database_url)
            os._exit(0)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            sys.stdout.write(f"{name} {when} {number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
