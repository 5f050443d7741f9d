"""A process that does not die, but is frozen for longer than its lease, and then goes on."""

import os
import signal

from tests.acceptance.stockbell import CONNECTIONS, is_alive
from tests.faults.system import freeze
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually

ON_ITS_WAY = 2 * CONNECTIONS
"""What a child may have written to its connections, including the commands of the next mails."""
ENOUGH = 2 * ON_ITS_WAY
"""A child that is to be frozen holds more than this. On a slow machine a slice has 30 mails."""


def run(world: World) -> Result:
    """Freezes a child. Others rescue and send what it held. When it goes on, it may repeat what its connections held.

    It goes on just while others send what it held. It must not touch their claims.
    """
    mails, rounds = world.size(600, 20_000), world.size(1, 8)
    with world.trial("child frozen longer than its lease") as trial:
        items = [f"mug-{number}" for number in range(rounds)]
        for item in items:
            trial.waiting(item, mails // rounds)
        trial.start()
        for number, item in enumerate(items):
            # In the middle of a slice that is well under way, so that the child holds many requests.
            place = mails // rounds * number + mails // rounds // 3
            bound = trial.system.repeats_a_kill
            trial.at(place, "SIGSTOP of a child", lambda: freeze_a_sender(trial), may_repeat=bound, is_instant=True)
            trial.publish(item)
            trial.settle()
        return trial.result()


def freeze_a_sender(trial: Trial) -> bool:
    """Freezes a child that holds more than fits on its connections. The child goes on when others send that.

    Returns False if there is no such child.
    """
    children = trial.system.pool_children()
    # A child that was killed before holds what it held until that is rescued.
    living = [(pid, held) for pid, held in trial.system.holders().items() if pid in children]
    victim, held = max(living, key=lambda holder: len(holder[1]), default=(0, []))
    if len(held) <= ENOUGH:
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
    """Lets the child go on when somebody else was given what it held, and is being kept waiting for the replies."""
    eventually(lambda: trial.relay.holding, 60, until="what it held is sent by somebody else")
    assert is_alive(victim)
    os.kill(victim, signal.SIGCONT)
    trial.until_quiet()
    trial.relay.let_go()
