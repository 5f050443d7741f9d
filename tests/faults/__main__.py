"""`python -m tests.faults`: breaks the program in every way it can, and shows who was lost or told twice.

The exit code is 1 if any promise of `docs/architecture.md` was broken. SEED=n repeats a run's choices. HOURS=n goes on
for so long with new choices. Several scenarios run at a time.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.bench.processes import say
from tests.faults import apart, table
from tests.faults.postgres import PostgresServer
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Result, Unavailable, World


def main() -> int:
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended"))  # like Ctrl-C, this first ends what was started
    try:
        results = _soak(options) if options.hours else _run(options)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    sys.stdout.write(table.table(results) + table.breaches(results))
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return 1 if any(result.findings.breaches for result in results) else 0


@contextmanager
def world(*, seed: int, short: bool, patience: float = World.patience, logs: Path | None = None) -> Iterator[World]:
    """Yields what scenarios run in."""
    with tempfile.TemporaryDirectory(prefix="stockbell-faults-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        with PostgresServer(directory) as postgres:
            yield World(directory, postgres, seed, short, patience, logs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    seed = int(os.environ.get("SEED") or random.randrange(2**31))
    parser.add_argument("--seed", type=int, default=seed, help="default: SEED, else a new one")
    hours = float(os.environ.get("HOURS") or 0)
    parser.add_argument("--hours", type=float, default=hours, help="again and again, for so long; default: HOURS")
    parser.add_argument("--short", action="store_true", help="as in `make test`: few mails, each trouble about once")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="scenarios at a time; default: one a core")
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was found, also in a file")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="where the logs of what went wrong are kept")
    parser.add_argument(
        "--patience", type=float, default=World.patience, metavar="SECONDS", help="without progress: then it is hung"
    )
    return parser.parse_args()


def _soak(options: argparse.Namespace) -> list[Result]:
    """Runs all scenarios again and again, each time with the next seed. Begins none when the time is over."""
    results, chance = [], random.Random(options.seed)
    deadline = time.monotonic() + options.hours * 3600
    while time.monotonic() < deadline:
        results += _run(options, deadline)
        options.seed = chance.randrange(2**31)
    return results


def _run(options: argparse.Namespace, deadline: float = float("inf")) -> list[Result]:
    say(f"SEED={options.seed}")
    names = options.only or list(SCENARIOS)
    if len(names) == 1:
        with world(seed=options.seed, short=options.short, patience=options.patience, logs=options.logs) as made:
            return [_one(names[0], made)]
    arguments = ["--seed", str(options.seed), "--patience", str(options.patience), *["--short"] * options.short]
    arguments += ["--logs", str(options.logs)] if options.logs else []
    results = []
    for result in apart.run(names, options.jobs, arguments, deadline):
        say(table.table([result]) + table.breaches([result]))
        results.append(result)
    return results


def _one(name: str, made: World) -> Result:
    """Runs one scenario. If it hangs, that is a breach too, and the others go on."""
    try:
        return SCENARIOS[name](made)
    except Unavailable as unavailable:
        return apart.skipped(name, str(unavailable))
    except AssertionError as error:
        return apart.hung(name, f"hung: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    sys.exit(main())
