"""`python -m tests.bench`: measures, and shows the figures. All of it takes under ten minutes on two cores."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import (
    beside,
    cost,
    distance,
    growth,
    intake,
    latency,
    machine,
    pages,
    rate,
    rest,
    scale,
    throughput,
    waves,
    web,
)
from tests.bench.figures import Figure, table
from tests.bench.plot import bars
from tests.bench.processes import NotInTime, say
from tests.bench.servers import postfix_tool, postgres, smtp_sink
from tests.bench.world import World

SCENARIOS: dict[str, Callable[[World], list[Figure]]] = {
    "throughput": throughput.run,
    "latency": latency.run_idle,
    "fairness": latency.run_fairness,
    "distance": distance.run,
    "rate": rate.run,
    "intake": intake.run_events,
    "import": intake.run_import,
    "web": web.run,
    "rest": rest.run,
    "growth": growth.run,  # after `rest`, since it adds to the table that both use
}
WHEN_NAMED: dict[str, Callable[[World], list[Figure]]] = {
    "beside": beside.run,
    "cost": cost.run,
    "capacity": cost.check,
    "pages": pages.run,
    "scale": scale.run,
    "waves": waves.run,
    "digest": waves.run_digest,
}
"""They run only with --only."""
ALL = SCENARIOS | WHEN_NAMED
OUTPUT = Path("bench-out")


def main() -> int:
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended"))  # like Ctrl-C, this first ends what was started
    for tool in ("smtp-sink", "smtp-source"):
        postfix_tool(tool)
    try:
        about, figures = _measure(options.quick, options.only or list(SCENARIOS))
    except KeyboardInterrupt:
        say("stopped")
        return 130
    _show(about, figures, options.json, options.plot)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small numbers and one round: shows that it works, no more"
    )
    parser.add_argument("--only", action="append", choices=ALL, metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--json", type=Path, default=OUTPUT / "bench.json", metavar="FILE", help="all figures")
    parser.add_argument("--plot", type=Path, default=OUTPUT / "bench.svg", metavar="FILE", help="the mails a second")
    return parser.parse_args()


def _measure(quick: bool, names: Sequence[str]) -> tuple[dict[str, str], list[Figure]]:
    began = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="stockbell-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        with postgres(directory) as server, smtp_sink(directory) as sink, ExitStack() as stack:
            about = machine.describe(server.url, directory)
            world = World(quick, directory, server, sink, stack)
            for scenario in names:
                figures += _one(scenario, world)
    about["took"] = f"{time.monotonic() - began:.0f} s" + (" (quick: small numbers, one round)" if quick else "")
    return about, figures


def _one(scenario: str, world: World) -> list[Figure]:
    """Runs one scenario. If it can't be measured, this says so, and the others go on."""
    began = time.monotonic()
    try:
        return ALL[scenario](world)
    except NotInTime as late:
        say(f"{scenario}: NOT MEASURED: {late}")
        return []
    finally:
        say(f"{scenario}: took {time.monotonic() - began:.0f} s")


def _show(about: dict[str, str], figures: Sequence[Figure], json_file: Path, plot_file: Path) -> None:
    width = max(map(len, about))
    sys.stdout.write("".join(f"{name:{width}}  {value}\n" for name, value in about.items()) + "\n" + table(figures))
    rates = [figure for figure in figures if figure.scenario == throughput.NAME and figure.unit == "mails/s"]
    subtitle = f"{about['processor']}, PostgreSQL {about['PostgreSQL']}"
    plot = bars("One event, until the last row is recorded", subtitle, rates)
    data = json.dumps({"machine": about, "figures": [figure.as_json() for figure in figures]}, indent=1)
    for path, text in ((json_file, data + "\n"), (plot_file, plot)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        say(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
