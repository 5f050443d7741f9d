"""One row whose mail kills every process that sends it. The row fails, alone, and nobody else fails for it."""

import os
import signal
from functools import partial

from tests.faults.trial import Result, Trial, World
from worker.store.sweep import MOST_RESCUES

MOST_DEATHS = MOST_RESCUES + 1
SURVIVED = MOST_RESCUES - 1
"""How many deaths have happened before a short run. Each takes a lease."""


def run(world: World) -> Result:
    """Kills the process that tells the relay of that recipient, every time."""
    mails, before = world.size(200, 2_000), world.size(SURVIVED, 0)
    victim = f"mug-1-{mails // 2}@customer.example"
    with world.trial("a row that kills its worker") as trial:
        deaths: list[int] = []
        trial.waiting("mug-1", mails)
        trial.system.has_survived(victim, before)
        trial.relay.decide = partial(_kill_the_sender, trial, victim, deaths)
        trial.start()
        trial.publish("mug-1")
        trial.settle()
        result = trial.result()
        rows = {row.address: row for row in trial.system.requests_left()}
        failed = [address for address, row in rows.items() if row.status == "FAILED"]
        if failed != [victim] or rows[victim].failure_code != "OUTCOME_UNKNOWN":
            result.findings.breaches.append(f"FAILED are {failed}, and only {victim} killed anybody")
        if len(deaths) != MOST_DEATHS - before:
            result.findings.breaches.append(f"{len(deaths)} deaths by one row, and not {MOST_DEATHS - before}")
        return result


def _kill_the_sender(trial: Trial, victim: str, deaths: list[int], stage: str, recipient: str | None) -> None:
    """Kills the sender, in the relay's thread. Stops after a number of kills, in case nobody else stops it."""
    if (stage, recipient) == ("rcpt", victim) and len(deaths) < 2 * MOST_DEATHS:
        (sender,) = [pid for pid, held in trial.system.holders().items() if victim in held]
        os.kill(sender, signal.SIGKILL)
        deaths.append(sender)
        trial.broke("kill -9 by a row", trial.system.repeats_a_kill)
