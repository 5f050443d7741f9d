"""What ops do: more workers, fewer workers, and a new release, process by process. Nobody is lost or told twice."""

import random
from collections.abc import Sequence
from functools import partial

from tests.acceptance.stockbell import Process
from tests.faults.system import COMMANDS, Role
from tests.faults.trial import Result, Trial, World
from tests.relay import Answer, Later

QUICK, SLOW, SLOW_SHARE = Later(0.01), Later(0.3), 0.1
"""How long verdicts take. So mails are on their way whenever a process is asked to end."""


def run(world: World) -> Result:
    """Goes from 1 to 4 to 1 workers by SIGTERM, then replaces every process. Each step comes amid an item's mails."""
    mails, rounds = world.size(100, 400), world.size(1, 13)
    with world.trial("scaled and restarted by SIGTERM", workers=1) as trial:
        trial.relay.decide = partial(_slowly, random.Random(world.seed))
        trial.start()
        for number in range(rounds):
            amid(trial, f"a-{number}", mails, "1 -> 4 workers", partial(trial.system.fill, "worker", 4))
            trial.until_ready("worker", 4 + number * 4)
            amid(trial, f"b-{number}", mails, "4 -> 1 workers", partial(_end, trial, "worker", 3))
            for role in COMMANDS:
                replace(trial, role, f"{role}-{number}", mails)
        return trial.result()


def _slowly(chance: random.Random, stage: str, _recipient: str | None) -> Answer | None:
    """Lets some verdicts take their time."""
    if stage != "dot":
        return None
    return SLOW if chance.random() < SLOW_SHARE else QUICK


def amid(trial: Trial, item: str, mails: int, what: str, action: partial[None]) -> None:
    """Does something in the middle of the mails about an item."""
    trial.waiting(item, mails)
    trial.at(len(trial.relay.mails) + trial.chance.randrange(mails // 4, mails // 2), what, action, is_instant=True)
    trial.publish(item)
    trial.settle()


def replace(trial: Trial, role: Role, item: str, mails: int) -> None:
    """Asks the old process to end when the new one is there."""
    up = trial.system.ready(role)
    trial.system.fill(role, 2)
    trial.until_ready(role, up + 1)
    amid(trial, item, mails, f"{role} replaced", partial(_end, trial, role, 1))


def _end(trial: Trial, role: Role, count: int) -> None:
    processes = trial.system.roles[role]
    leaving, trial.system.roles[role] = processes[:count], processes[count:]
    for process in leaving:
        process.terminate()
    trial.soon(partial(_see_off, trial, leaving))


def _see_off(trial: Trial, leaving: Sequence[Process]) -> None:
    trial.ended(trial.system.wait_for(leaving))
