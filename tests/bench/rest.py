"""At rest: what the idle system costs, and a sweep over two million requests.

The table is that of `growth`: 20,000 lists, each with 10 people who wait and 90 who were told. Half of the lists are in
stock, but people who wait there signed up later. The idle system's CPU time is counted over ten seconds, of all
processes that have to run. The sweep is `Sweeper.sweep` in this process, twenty times, with a bell that does not ring;
once more with all sending policies on, and with expiry and retention that find nobody: what they have to look at.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from uuid import UUID

from tests.bench.figures import Figure, at_most, percentile
from tests.bench.program import spent
from tests.bench.world import World, progress
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.send_window import parse_send_window
from worker.queue.bell import Bell
from worker.services.sweeping import Sweeper
from worker.store.database import Database

NAME = "rest"
SECONDS = 10.0, 2.0
SWEEPS = 20
LEASE, INTERVAL = 60.0, 5.0
MOST_MS = 50.0
POLICIES = Policies(
    per_unit=2,
    settle_seconds=600,
    assumed_quantity=10,
    window=parse_send_window("00:00-24:00 UTC"),
    digest=True,
    contact_interval=14400,
    request_ttl_days=3650,  # nobody reaches these
    keep_told_days=3650,
    keep_failed_days=3650,
)
SWEEPS_OF = {"a sweep of the large table": NO_POLICIES, "a sweep with all policies on": POLICIES}


class SilentBell(Bell):
    """A bell that rings for nobody and needs no Redis."""

    def __init__(self) -> None:
        pass

    def ring(self, lists: Sequence[UUID]) -> None:
        pass

    def ring_probe(self) -> None:
        pass

    def queued(self) -> int:
        return 0


def run(world: World) -> list[Figure]:
    return [*_sweep(world.large), *_idle(world, world.large)]


def _sweep(url: str) -> Iterator[Figure]:
    for title, policies in SWEEPS_OF.items():
        with closing(Database(url)) as database:
            sweeper = Sweeper(database, SilentBell(), lease=LEASE, interval=INTERVAL, policies=policies)
            times = [_milliseconds(sweeper) for _ in range(SWEEPS + 1)][1:]
        progress(NAME, f"{title}: {percentile(times, 50):.1f} ms")
        yield Figure(NAME, title, "ms", times, at_most(MOST_MS))


def _milliseconds(sweeper: Sweeper) -> float:
    began = time.monotonic()
    sweeper.sweep()
    return 1000 * (time.monotonic() - began)


def _idle(world: World, url: str) -> Iterator[Figure]:
    seconds = world.size_seconds(*SECONDS)
    with world.program(url) as program:
        before = program.cpu()
        time.sleep(seconds)
        costs = spent(before, program.cpu())
    for role, cost in costs.items():
        yield Figure(NAME, f"idle, {role}", "% of a core", [100 * cost / seconds])
    yield Figure(NAME, "idle, all together", "% of a core", [100 * sum(costs.values()) / seconds])
