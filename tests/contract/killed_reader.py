"""A program that takes reports in processes of its own, each of which is killed with SIGKILL after one step.

`python -m tests.contract.killed_reader URL REQUEST_ID...` prints a line for each step: what became of the process, and
what another reader would make of the same reports then.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Final
from uuid import UUID

from config import logging
from tests.contract.reporting import DOMAIN, TOKENS, report
from worker.domain.recognition import Recognizer
from worker.domain.returned import Kind, Report
from worker.services.returning import Intake
from worker.store import reports
from worker.store.database import Database

STEPS: Final = ("find", "_suppress", "bounce", "apply", "take")
"""The functions after which a process is killed, in their order. All but the last run before the commit."""


def main(url: str, request_ids: list[str]) -> None:
    logging.configure("json")
    found = [("", report(Kind.DEAD, TOKENS.for_return(UUID(id_), 1))) for id_ in request_ids]
    for step in STEPS:
        child = os.fork()
        if not child:
            _take(url, found, step)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        line = (step, signal.Signals(os.WTERMSIG(status)).name, *_judged(url, found))
        sys.stdout.write(f"{' '.join(line)}\n")
        sys.stdout.flush()


def _take(url: str, found: list[tuple[str, Report]], step: str) -> None:
    if step != "take":
        setattr(reports, step, _deadly(getattr(reports, step)))
    with closing(Database(url)) as database:
        _deadly(Intake(database, Recognizer(TOKENS, DOMAIN)).take)(found, "maildir")


def _deadly(function: Callable[..., object]) -> Callable[..., object]:
    def call(*args: object) -> object:
        function(*args)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it was killed")

    return call


def _judged(url: str, found: list[tuple[str, Report]]) -> list[str]:
    with closing(Database(url)) as database:
        return [taken.result.value for taken in Intake(database, Recognizer(TOKENS, DOMAIN)).judge(found)]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
