"""More than anybody can take at once: events before there is a listener, poison among them, an item that flaps.

Also events that come faster than the database takes them. They wait in Redis.
"""

import json
from typing import Any

from tests.faults.system import STREAM, peak_megabytes
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually
from worker.processes.listener import BATCH
from worker.stream.dead_letters import KEPT

POISON: list[dict[str, str]] = [
    {"event": "{not json"},
    {"event": "[" * 1000},
    {"event": json.dumps({"catalogItemId": "mug-0"})},
    {"event": json.dumps({"catalogItemId": "mug-0", "quantity": "many"})},
    {"catalogItemId": "mug-0", "quantity": "5" * 500},
    {"catalogItemId": "mug-0\r\nBcc: all", "quantity": "1"},
    {"catalogItemId": "mug-0", "quantity": "1", "options": '{"Size": '},
    {"catalogItemId": "x" * 37, "quantity": "1"},
    {"inStock": "maybe", "catalogItemId": "mug-0"},
    {"event": '{"catalogItemId": "mug-0", "quantity": NaN}'},
    {"catalogItemId": "mug-0", "quantity": "1", "payload": "x" * 70_000},
]
PADDING = json.dumps({"name": "m" * 500})
PAGE = 5_000
ITEMS = 50
EACH = 4
"""The number of people who wait for each item."""
MOST_MEGABYTES = 120
"""The limit for any process, whatever there is to do."""
AT_ONCE = 2 * BATCH
"""The most events that the listener holds: it commits those of one batch and decodes those of the next."""


def run(world: World) -> Result:
    """Makes a backlog with 100,000 poison events in it. The last event about each item says that it is in stock."""
    events = world.size(100_000, 1_000_000)
    with world.trial("flood, poison, flapping") as trial:
        items = [f"mug-{number}" for number in range(ITEMS)]
        for item in [*items, "flapping"]:
            trial.waiting(item, EACH)
        dead = _flood(trial, events, world.size(100, 10))
        trial.broke(f"{events:,} events at once", 0)
        trial.start()
        for item in items:
            trial.publish(item)
        for number in range(events // 100):
            trial.system.publish(catalogItemId="flapping", quantity=number % 2)
        trial.publish("flapping")
        trial.until_acknowledged()
        trial.settle()
        with trial.system.redis.client() as client:
            kept: Any = client.xlen(f"{STREAM}:dead")
        trial.expect_that(kept >= min(dead, KEPT), f"{kept} dead letters, and {dead} events were poison")
        rejected = trial.system.logs().count('"event.rejected"')
        trial.expect_that(rejected == dead, f"{rejected} events were rejected, and {dead} were poison")
        return trial.result()


def _flood(trial: Trial, events: int, one_in: int) -> int:
    """Adds events, most of them about items for which nobody waits or which are out of stock.

    Returns how many are poison.
    """
    dead = 0
    with trial.system.redis.client() as client:
        for start in range(0, events, PAGE):
            pipe = client.pipeline(transaction=False)
            for number in range(start, min(events, start + PAGE)):
                entry: Any = {"catalogItemId": f"mug-{number % 5000}", "quantity": "0"}
                if number % one_in == 0:
                    entry = POISON[dead % len(POISON)]
                    dead += 1
                pipe.xadd(STREAM, entry)
            pipe.execute()
    return dead


def run_slow_database(world: World) -> Result:
    """Publishes events faster than the database takes them. They wait in Redis, and the listener stays small."""
    events, rounds = world.size(20_000, 1_000_000), world.size(2, 10)
    with world.trial("hot stream, slow database") as trial:
        trial.system.is_quick = False  # a copy has more in memory than its command needs
        trial.waiting("mug-1", EACH)
        trial.start(worker=0)
        trial.until_ready("listener", 1)
        for _ in range(rounds):
            _keep_waiting(trial, events // rounds)
        trial.system.fill("worker")
        trial.publish("mug-1")
        trial.until_acknowledged()
        trial.settle()
        (listener,) = trial.system.roles["listener"]
        peak = peak_megabytes(listener.pid)
        trial.expect_that(peak < MOST_MEGABYTES, f"the listener took {peak:.0f} MB")
        return trial.result()


def _keep_waiting(trial: Trial, events: int) -> None:
    """Publishes so many more events while none can be committed."""
    trial.until_acknowledged()
    with trial.system.redis.client() as client, trial.system.locked("stock"):
        for start in range(0, events, PAGE):
            pipe = client.pipeline(transaction=False)
            for number in range(start, min(events, start + PAGE)):
                pipe.xadd(STREAM, {"catalogItemId": f"hot-{number % 100}", "quantity": "0", "item": PADDING})
            pipe.execute()
        eventually(trial.system.pending, until="a batch waits for the database")
        trial.until_quiet()
        pending, length = trial.system.pending(), client.xlen(STREAM)
        trial.expect_that(pending <= AT_ONCE, f"{pending} events were read and not committed")
        trial.expect_that(length >= events, f"{length} of {events} events are in Redis, and none was committed")
    trial.broke("slow database")
