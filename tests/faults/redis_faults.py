"""Redis is killed, emptied, frozen, cut off, full, read-only. Whoever was woken is told. Later events are heard."""

import time
from collections.abc import Callable
from functools import partial

from tests.faults.trial import Result, Trial, World
from tests.polling import eventually

FREEZE_SECONDS = 2, 20

OUT_OF_MEMORY = ["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]
READ_ONLY = ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]

End = Callable[[], object]


def run(world: World) -> Result:
    """Makes one trouble after the other, each while there are bells in the queue. A new event comes after each."""
    mails, rounds = world.size(80, 1_000), world.size(1, 3)
    with world.trial("Redis broken") as trial:
        seconds = world.size(*FREEZE_SECONDS)
        server = trial.system.redis
        troubles: dict[str, tuple[Callable[[], object], End | None]] = {
            "Redis killed": (partial(server.restart, empty=False), None),
            "Redis restarted empty": (partial(server.restart, empty=True), None),
            "FLUSHALL": (server.flush, None),
            f"Redis frozen {seconds} s": (server.pause, partial(_thaw, trial, seconds)),
            "CLIENT KILL": (partial(_cut, trial), None),
            "Redis out of memory": (partial(_say, trial, OUT_OF_MEMORY[0]), partial(_relent, trial, OUT_OF_MEMORY[1])),
            "Redis read-only": (partial(_say, trial, READ_ONLY[0]), partial(_relent, trial, READ_ONLY[1])),
        }
        order = list(troubles) * rounds + ["Redis killed", "FLUSHALL"] * world.size(0, 7)
        trial.chance.shuffle(order)
        items = [f"mug-{number}" for number in range(len(order) + 1)]
        for item in items:
            trial.waiting(item, mails)
        _lose_every_bell(trial, mails)
        if trial.left():
            return trial.result()
        for item, what in zip(items, order, strict=False):
            begin, end = troubles[what]
            place = len(trial.relay.mails) + trial.chance.randrange(1, mails // 2)
            # In this order: if the event came after `_break` has looked, but before it breaks, nobody would have it.
            trial.publish(item)
            trial.at(place, what, partial(_break, trial, begin, end), is_instant=True)
            trial.until_broken()
        trial.publish(items[-1])
        trial.settle()
        return trial.result()


def _lose_every_bell(trial: Trial, mails: int) -> None:
    """Empties Redis when all bells are in the queue, and no worker is there to ring again."""
    trial.waiting("mug", mails)
    trial.start(worker=0)
    trial.publish("mug")
    eventually(lambda: trial.system.bells() and trial.system.settled_events(), 60, until="a bell is queued")
    trial.system.redis.flush()
    trial.broke("FLUSHALL")
    trial.system.fill("worker")
    trial.settle()


def _break(trial: Trial, begin: Callable[[], object], end: End | None) -> bool:
    """Breaks only when the event is acknowledged. Until then Redis has to keep it."""
    if not trial.system.settled_events():
        return False
    begin()
    if end is not None:
        trial.soon(end)
    return True


def _thaw(trial: Trial, seconds: float) -> None:
    time.sleep(seconds)
    trial.system.redis.resume()


def _cut(trial: Trial) -> None:
    for kind in ("normal", "pubsub"):
        _say(trial, ["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])


def _relent(trial: Trial, command: list[str]) -> None:
    """Ends the trouble when everything that can be tried during it has been tried."""
    trial.until_quiet()
    _say(trial, command)


def _say(trial: Trial, command: list[str]) -> None:
    with trial.system.redis.client() as client:
        client.execute_command(*command)
