"""Redis behind Sentinel: the primary is killed, frozen, or moved by an admin. Nobody has to lend a hand."""

from collections.abc import Callable
from functools import partial

from tests.confidential import PASSWORD
from tests.faults.trial import Result, Trial, World
from tests.redis_set import SERVICE, RedisSet


def run(world: World) -> Result:
    """Makes one trouble after the other, each amid the mails about one item. Another primary is elected each time.

    An event is published when most sentinels name the new one. What Redis itself may lose, which is what a replica does
    not have yet, is not tried: each event is acknowledged before something breaks.
    """
    mails, rounds = world.size(120, 1_000), world.size(1, 3)
    servers = RedisSet(password=PASSWORD)
    with world.trial("Redis behind Sentinel", server=servers) as trial:
        order = ["primary killed"] if world.short else list(TROUBLES) * rounds
        trial.chance.shuffle(order)
        items = [f"mug-{number}" for number in range(len(order) + 1)]
        for item in items:
            trial.waiting(item, mails)
        trial.start()
        trial.until_ready("worker", 1)
        processes = _processes(trial)
        for item, what in zip(items, order, strict=False):
            place = len(trial.relay.mails) + trial.chance.randrange(1, mails // 2)
            trial.publish(item)
            trial.at(place, what, partial(_break, trial, servers, what), is_instant=True)
            trial.until_broken()
        trial.publish(items[-1])
        trial.settle()
        trial.until_acknowledged()
        _expect_calm(trial, processes)
        return trial.result()


def _break(trial: Trial, servers: RedisSet, what: str) -> bool:
    """Breaks only when the event is acknowledged."""
    if not trial.system.settled_events():
        return False
    trial.soon(TROUBLES[what](servers))
    return True


def _kill(servers: RedisSet) -> Callable[[], None]:
    """Returns what ends the trouble: the old primary comes back, as a replica."""
    old = servers.primary()
    old.kill()

    def end() -> None:
        servers.until_moved(old)
        old.start()
        servers.until_ready()

    return end


def _freeze(servers: RedisSet) -> Callable[[], None]:
    old = servers.primary()
    old.pause()

    def end() -> None:
        servers.until_moved(old)
        old.resume()  # it takes itself for the primary until the sentinels tell it
        servers.until_ready()

    return end


def _move(servers: RedisSet) -> Callable[[], None]:
    old = servers.primary()
    servers.sentinels[0].ask("FAILOVER", SERVICE)

    def end() -> None:
        servers.until_moved(old)
        servers.until_ready()

    return end


TROUBLES: dict[str, Callable[[RedisSet], Callable[[], None]]] = {
    "primary killed": _kill,
    "primary frozen": _freeze,
    "SENTINEL FAILOVER": _move,
}


def _expect_calm(trial: Trial, processes: list[int]) -> None:
    """The same processes go on, and each says once that Redis is away, and once that it is back."""
    said = trial.system.logs()
    trial.expect_that(_processes(trial) == processes, "a process was replaced for it")
    trial.expect_that("Traceback" not in said, "a traceback in a log")
    away, back = (said.count(f'"redis.{what}"') for what in ("away", "back"))
    trial.expect_that(away == back > 0, f"Redis was said to be away {away} times, and back {back} times")


def _processes(trial: Trial) -> list[int]:
    return [*trial.system.pool_parents(), *trial.system.pool_children()]
