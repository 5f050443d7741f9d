"""Latency: from an event to the relay's acceptance of the mail, for one customer.

idle: 300 items with one waiting customer each are restocked one after the other, each 30 to 80 ms after the mail
before. Nothing else goes on. fairness: while 100,000 customers of one item are being mailed, 200 other items with one
waiting customer each come back, one every 30 ms. The relay is our own sink, since smtp-sink can't tell when it took
which mail. Both times are read from the clock of this machine: just before XADD, and when the whole mail has arrived.
"""

import random
import time
from collections.abc import Iterator

from tests.bench.figures import Figure, at_most, percentile
from tests.bench.fill import fill
from tests.bench.program import LEFT, Program
from tests.bench.sink import Arrivals, timing_sink
from tests.bench.world import World, progress

IDLE, FAIRNESS = "latency, idle", "fairness"
RESTOCKS = 300, 30
WARM_UP = 20
PAUSE_MS = 30, 80
HOT = 100_000, 5_000
OTHERS = 200, 20
EVERY_SECONDS = 0.03
HEAD_START_SECONDS = 1.0, 0.2
MOST_SECONDS = 30.0
MOST_IDLE_MS, MOST_BUSY_MS = 50.0, 1000.0


def run_idle(world: World) -> list[Figure]:
    count = world.size(*RESTOCKS)
    with world.database() as url, timing_sink(world.directory, "probe-") as (relay, arrivals):
        fill(url, "probe", items=WARM_UP + count)
        with world.program(url, relay=relay) as program:
            times = [_restock_one(program, arrivals, number) for number in range(WARM_UP + count)]
    times = times[WARM_UP:]
    progress(IDLE, f"{count} restocks, p99 {percentile(times, 99):.1f} ms")
    return list(_percentiles(IDLE, times, MOST_IDLE_MS, f"{count} restocks"))


def _restock_one(program: Program, arrivals: Arrivals, number: int) -> float:
    began = program.restock(f"probe-{number}")
    at = arrivals.wait_for(f"probe-{number}@customer.example", MOST_SECONDS)
    time.sleep(random.uniform(*PAUSE_MS) / 1000)
    return _milliseconds(began, at)


def run_fairness(world: World) -> list[Figure]:
    hot, count = world.size(*HOT), world.size(*OTHERS)
    with world.database() as url, timing_sink(world.directory, "probe-") as (relay, arrivals):
        fill(url, "probe", items=count)
        fill(url, "hot", waiting=hot)
        with world.program(url, relay=relay) as program:
            program.restock("hot-0")
            time.sleep(world.size_seconds(*HEAD_START_SECONDS))
            began = [_restock_soon(program, number) for number in range(count)]
            left = program.ask(LEFT, item="hot-0")
            deadline = time.monotonic() + MOST_SECONDS
            times = [
                _milliseconds(at, arrivals.wait_for(f"probe-{number}@customer.example", deadline - time.monotonic()))
                for number, at in enumerate(began)
            ]
    progress(FAIRNESS, f"p99 {percentile(times, 99):.0f} ms, {left:,} of {hot:,} were left when the last one came back")
    note = f"{count} items; {left:,} of {hot:,} left then" + ("" if left else ": too few to be busy all the time")
    return list(_percentiles(FAIRNESS, times, MOST_BUSY_MS, note))


def _restock_soon(program: Program, number: int) -> float:
    time.sleep(EVERY_SECONDS)
    return program.restock(f"probe-{number}")


def _milliseconds(began: float, at: float | None) -> float:
    """Returns the milliseconds between two times. None means never, and counts as the longest wait."""
    return 1000 * (at - began if at is not None else MOST_SECONDS)


def _percentiles(scenario: str, times: list[float], most: float, note: str) -> Iterator[Figure]:
    yield Figure(scenario, "p50, XADD to acceptance", "ms", [percentile(times, 50)], note=note)
    yield Figure(scenario, "p99, XADD to acceptance", "ms", [percentile(times, 99)], at_most(most))
    yield Figure(scenario, "longest", "ms", [max(times)])
