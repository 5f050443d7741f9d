"""A process that does not die, but is frozen for longer than its lease, and then goes on."""

import os
import signal

from tests.acceptance.stockbell import CONNECTIONS, is_alive
from tests.faults.system import freeze
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually

ON_ITS_WAY = 2 * CONNECTIONS
"""What a child may have written to its connections, the commands of the next mails included."""
ENOUGH = 4 * ON_ITS_WAY


def run(world: World) -> Result:
    """What it held is rescued and sent by others; when it goes on it may repeat what it had on its connections.

    It goes on just while others send what it held: their claims must not be touched.
    """
    mails, rounds = world.size(600, 20_000), world.size(1, 8)
    with world.trial("child frozen longer than its lease") as trial:
        items = [f"mug-{number}" for number in range(rounds)]
        for item in items:
            trial.waiting(item, mails // rounds)
        trial.start()
        for number, item in enumerate(items):
            # In the middle of a slice that is well under way, so that it holds a good many.
            place = mails // rounds * number + mails // rounds // 3
            bound = trial.system.repeats_a_kill
            trial.at(place, "SIGSTOP of a child", lambda: freeze_a_sender(trial), may_repeat=bound, is_instant=True)
            trial.publish(item)
            trial.settle()
        return trial.result()


def freeze_a_sender(trial: Trial) -> bool:
    """A child that holds more than fits on its connections; it goes on when others send that. False: there is none."""
    victim, held = max(trial.system.holders().items(), key=lambda holder: len(holder[1]), default=(0, []))
    if len(held) <= ENOUGH or victim not in trial.system.pool_children():
        return False
    freeze(victim)
    held = trial.system.holders().get(victim, [])
    if len(held) <= ENOUGH:  # it was about to release them
        os.kill(victim, signal.SIGCONT)
        return False
    trial.relay.hold_back(held[ON_ITS_WAY:])
    trial.soon(lambda: _thaw(trial, victim))
    return True


def _thaw(trial: Trial, victim: int) -> None:
    """When somebody else has been given what it held, and is being kept waiting for the replies."""
    eventually(lambda: trial.relay.holding, 60, until="what it held is sent by somebody else")
    assert is_alive(victim)
    os.kill(victim, signal.SIGCONT)
    trial.until_quiet()
    trial.relay.let_go()
