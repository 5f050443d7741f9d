"""kill -9 of the processes that send, of those above them, of the listener and of the scheduler."""

from functools import partial

from tests.acceptance.stockbell import Process
from tests.faults.system import Role, kill
from tests.faults.trial import Action, Result, Trial, World
from tests.polling import eventually

ITEMS = 3
NAMES: dict[str, Role] = {"supervisor": "worker", "scheduler": "scheduler", "listener": "listener"}


def run_workers(world: World) -> Result:
    """Kills every process that can be killed, at random mails. An init system starts those that nobody else starts."""
    with world.trial("workers killed") as trial:
        return _kill_them(trial, world.size(500, 20_000), world.size(1, 12))


def run_parents(world: World) -> Result:
    """Kills the processes that don't send. Those that send end in order, and nobody is told twice."""
    with world.trial("all but the senders killed") as trial:
        return _kill_them(trial, world.size(400, 5_000), world.size(1, 4), spare_children=True)


def run_workers_sqlite(world: World) -> Result:
    """Does the same on SQLite, where a crash must leave the file whole."""
    with world.trial("workers killed, SQLite", database="sqlite") as trial:
        return _kill_them(trial, world.size(200, 2_000), world.size(1, 5))


def run_at_most_once(world: World) -> Result:
    """Kills as `run_workers` does. With ON_UNKNOWN=fail nobody is told twice, whoever is killed."""
    with world.trial("workers killed, ON_UNKNOWN=fail", STOCKBELL_ON_UNKNOWN="fail") as trial:
        return _kill_them(trial, world.size(400, 20_000), world.size(1, 12), at_most_once=True)


def _kill_them(
    trial: Trial, mails: int, rounds: int, *, at_most_once: bool = False, spare_children: bool = False
) -> Result:
    system, bound = trial.system, 0 if at_most_once else trial.system.repeats_a_kill
    items = [f"mug-{number}" for number in range(ITEMS)]
    for item in items:
        trial.waiting(item, mails // ITEMS)
    trial.waiting("quiet", 3)
    trial.start()

    def child() -> bool:
        return kill(trial.chance, system.pool_children())

    def parent() -> bool:
        return kill(trial.chance, system.pool_parents())

    def process(role: Role) -> None:
        (victim,) = system.roles[role]
        victim.kill()
        trial.soon(partial(_replace, trial, role, victim))

    kills: list[tuple[str, Action, int]] = []
    if not spare_children:
        kills += [("child", child, bound)] * 2 * rounds
    kills += [("pool", parent, 0)] * rounds
    for name, role in NAMES.items():
        kills += [(name, partial(process, role), 0)] * rounds
    trial.chance.shuffle(kills)
    for place, (name, action, repeats) in zip(trial.places(len(kills), mails), kills, strict=True):
        trial.at(place, f"kill -9 {name}", action, may_repeat=repeats, is_instant=True)
        if trial.system.is_on_sqlite:
            trial.at(place, "", partial(_look_at_the_file, trial))
    trial.publish(items[0])
    for number, item in enumerate(items[1:], 1):
        trial.at(mails // ITEMS * number // 2, "", partial(trial.publish, item))
    trial.settle()
    if trial.system.is_on_sqlite:
        _look_at_the_file(trial)
    return trial.result()


def _replace(trial: Trial, role: Role, victim: Process) -> None:
    victim.wait()
    trial.system.fill(role)


def _look_at_the_file(trial: Trial) -> None:
    damage = trial.system.damage()
    trial.expect_that(not damage, f"after a kill the file is damaged: {damage[:3]}")


def run_uncommitted(world: World) -> Result:
    """Kills the processes that send while the database takes no outcomes: then the most are uncommitted."""
    rounds = world.size(2, 10)
    mails = 500 * rounds
    with world.trial("killed while commits wait") as trial:
        trial.waiting("mug-1", mails)
        trial.start()
        for number in range(rounds):
            # Both children are killed, so that each round's bound is that of two processes.
            place = 200 + 500 * number
            bound = trial.system.children * trial.system.repeats_a_kill
            trial.at(place, "kill -9 of all children", partial(_hold_and_kill, trial), may_repeat=bound)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def _hold_and_kill(trial: Trial) -> bool:
    victims = trial.system.pool_children()
    if not victims:
        return False
    with trial.system.locked("request"):
        trial.until_quiet()
        for pid in victims:
            kill(trial.chance, [pid])
    return True


def run_listener(world: World) -> Result:
    """Kills the listener when it has read events and can't commit them."""
    rounds = world.size(2, 20)
    with world.trial("listener killed before its commit") as trial:
        for number in range(rounds):
            trial.waiting(f"mug-{number}", 10)
        trial.start()
        for number in range(rounds):
            trial.until_ready("listener", number + 1)
            _read_and_kill(trial, f"mug-{number}")
        trial.settle()
        return trial.result()


def _read_and_kill(trial: Trial, item: str) -> None:
    system = trial.system
    with system.locked("stock"):
        trial.publish(item)
        eventually(lambda: system.unread() == 0, until="the listener has read it")
        trial.until_quiet()
        (listener,) = system.roles["listener"]
        listener.kill()
        listener.wait()
    trial.broke("kill -9 listener")
    system.fill("listener")
    trial.until_acknowledged()
