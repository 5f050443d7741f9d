"""Intake: events a second through one listener, and requests a second through `stockbell import`; on PostgreSQL.

The listener is held (SIGSTOP) while the events are put into the stream. The time runs from SIGCONT until the listener
has acknowledged the last event. No worker runs beside it. On a tenth of the items somebody waits. The events are taken
in twice: first their items are new, then they are known. After that come events about one item only. Import reads a CSV
file of new customers for 100 items. The time that the command takes for a file of one line, mostly its start, is
subtracted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, at_least, number
from tests.bench.fill import fill
from tests.bench.processes import NotInTime, until
from tests.bench.program import STREAM, Program, environment
from tests.bench.world import World, progress

EVENTS, IMPORT = "intake", "import"
COUNT = 20_000, 3_000
WAITED_FOR = 10
"""Somebody waits for one item in so many."""
ROWS = 60_000, 3_000
IMPORT_ITEMS = 100
GOAL = at_least(20_000)
MOST_SECONDS = 8.0
GROUP = "stockbell"
IMPORT_SECONDS = 60.0


def run_events(world: World) -> list[Figure]:
    count = world.size(*COUNT)
    rates: dict[str, list[float]] = {"distinct items, new": [], "distinct items, known": [], "one hot item": []}
    with world.database() as url:
        for round_ in world.rounds:
            fill(url, f"d{round_}", items=count // WAITED_FOR)
        fill(url, "hot")
        with world.program(url, "listen") as program:
            for round_ in world.rounds:
                distinct = [f"d{round_}-{number}" for number in range(count)]
                for name, items in zip(rates, (distinct, distinct, ["hot-0"] * count), strict=True):
                    rates[name].append(_take_in(program, items))
                    progress(EVENTS, f"{name}: {number(rates[name][-1])} events/s")
    return [Figure(EVENTS, name, "events/s", rounds, GOAL) for name, rounds in rates.items()]


def _take_in(program: Program, items: Iterable[str]) -> float:
    with _held(program.pid_of("listen")):
        ids = _publish(program, items)
        began = time.monotonic()
    with suppress(NotInTime):
        until(lambda: _taken(program, ids) == len(ids), "", MOST_SECONDS, every=0.02)
    taken, seconds = _taken(program, ids), time.monotonic() - began
    if taken < len(ids):
        progress(EVENTS, f"only {taken:,} of {len(ids):,} events in {MOST_SECONDS:g} s")
        program.redis.delete(STREAM)
    program.until_idle()
    return taken / seconds


@contextmanager
def _held(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _publish(program: Program, items: Iterable[str]) -> list[tuple[int, ...]]:
    with program.redis.pipeline(transaction=False) as pipeline:
        for number_, item in enumerate(items):
            pipeline.xadd(STREAM, {"event": _event(number_, item)})
        return [_order(entry) for entry in pipeline.execute()]


def _event(number_: int, item: str) -> str:
    """Returns an event as a stock system would write it, with all that a mail can use."""
    details = {"name": f"Blue mug {item}", "price": "12.50", "currency": "EUR"}
    url = f"https://shop.example/p/{item}"
    reference = {"catalogItemId": item}
    event = {"id": f"evt-{number_}", "catalogReference": reference, "quantity": 5, "itemUrl": url, "item": details}
    return json.dumps(event)


def _taken(program: Program, ids: list[tuple[int, ...]]) -> int:
    """Returns how many of these entries were acknowledged: all up to the last one read, without those still pending."""
    groups: Any = program.redis.xinfo_groups(STREAM) if program.redis.exists(STREAM) else []
    for group in groups:
        if group["name"].decode() == GROUP:
            return max(0, bisect_right(ids, _order(group["last-delivered-id"])) - int(group["pending"]))
    return 0


def _order(entry: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.split(b"-"))


def run_import(world: World) -> list[Figure]:
    rows = world.size(*ROWS)
    with world.database() as url:
        start = _import(url, _csv(world.directory, "start", 1))
        rates = []
        for round_ in world.rounds:
            file = _csv(world.directory, f"round{round_}", rows)
            rates.append(rows / (_import(url, file) - start))
            progress(IMPORT, f"{number(rates[-1])} requests/s")
    note = f"{rows:,} rows; without the {start:.1f} s that the command takes for one"
    return [Figure(IMPORT, "CSV, new customers", "requests/s", rates, GOAL, note)]


def _csv(directory: Path, name: str, rows: int) -> Path:
    lines = (f"{name}-{row}@customer.example,import-{row % IMPORT_ITEMS}\n" for row in range(rows))
    path = directory / f"{name}.csv"
    path.write_text("email,catalogItemId\n" + "".join(lines))
    return path


def _import(url: str, file: Path) -> float:
    """Returns the seconds that the command takes."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "worker", "import", str(file), "--json"],
        env=environment(url),
        cwd=file.parent,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=IMPORT_SECONDS,
    )
    return time.monotonic() - began
