"""`stockbell demo`: the whole line with sample data, on real parts that it brings along. Start reading at `play`."""

import signal
import sys

from worker.domain.errors import StockbellError
from worker.processes.stop import Stop

INTERRUPTED = 130
"""The exit code of what was stopped by Ctrl-C."""


def run() -> int:
    """Plays the demo; 0 if the books balance, 1 if they don't or it can't be played, 130 if it was stopped."""
    stop = Stop().listen()
    signal.signal(signal.SIGHUP, lambda _number, _frame: stop.set())  # the terminal was closed
    try:
        return _play(stop)
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        return _refuse(f"the demo needs the package {package}, which is not installed here: run `make setup`")
    except (StockbellError, OSError) as error:
        return _refuse(str(error))


def _play(stop: Stop) -> int:
    from worker.demo.play import play
    from worker.demo.processes import Interrupted
    from worker.demo.screen import Screen

    try:
        return 0 if play(stop, Screen()) else 1
    except Interrupted:
        print("Stopped; no process is left behind.", file=sys.stderr)
        return INTERRUPTED


def _refuse(reason: str) -> int:
    print(f"stockbell demo: {reason}", file=sys.stderr)
    return 1
