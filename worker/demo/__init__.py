"""`stockbell demo`: runs all of Stockbell with sample data, on real servers that it starts. Start reading at `play`."""

import signal
import sys

from worker.domain.errors import StockbellError
from worker.processes.stop import Stop

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def run(*, stays: bool = False) -> int:
    """Runs the demo. With `stays` the shop's page stays open until Ctrl-C.

    Returns 0 if all checks pass, 1 if a check fails or the demo can't run, 130 if it was stopped before the checks.
    """
    stop = Stop().listen()
    signal.signal(signal.SIGHUP, lambda _number, _frame: stop.set())  # the terminal was closed
    try:
        return _play(stop, stays)
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        return _refuse(f"the demo needs the package {package}, which is not installed here: run `make setup`")
    except (StockbellError, OSError) as error:
        return _refuse(str(error))


def _play(stop: Stop, stays: bool) -> int:
    from worker.demo.play import play
    from worker.demo.processes import Interrupted
    from worker.demo.screen import Screen

    try:
        return 0 if play(stop, Screen(), stays=stays) else 1
    except Interrupted:
        print("Stopped. All processes have ended.", file=sys.stderr)
        return INTERRUPTED


def _refuse(reason: str) -> int:
    print(f"stockbell demo: {reason}", file=sys.stderr)
    return 1
