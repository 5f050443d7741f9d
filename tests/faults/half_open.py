"""The network to Redis falls silent: connections stay, nobody answers, nobody is told. Redis itself is well."""

import time

from tests.confidential import PASSWORD
from tests.faults.trial import Result, Trial, World
from tests.proxy import HOST, Proxy

SILENCE_SECONDS = 2, 60
RECOVERY_SECONDS = 60
"""The limit at full length: from the end of the silence until all are told."""


def run(world: World) -> Result:
    """Leaves old connections dead, as behind a router that forgot them. The same processes connect anew."""
    seconds = world.size(*SILENCE_SECONDS)
    with world.trial("Redis half-open") as trial, Proxy(trial.system.redis.port) as proxy:
        trial.system.environment["REDIS_URL"] = f"redis://:{PASSWORD}@{HOST}:{proxy.port}/0"
        for item in ("before", "meanwhile", "after"):
            trial.waiting(item, 20)
        trial.start()
        trial.publish("before")
        trial.settle()
        processes = _processes(trial)
        proxy.fall_silent()
        trial.publish("meanwhile")
        time.sleep(seconds)
        proxy.speak()
        trial.broke(f"{seconds} s of silence")
        trial.publish("after")
        trial.settle()
        others = _processes(trial) != processes
        result = trial.result()
        if others:
            result.findings.breaches.append("a process was replaced for it")
        if not world.short and result.recovered > RECOVERY_SECONDS:
            result.findings.breaches.append(f"back at work only after {result.recovered:.0f} s")
        return result


def _processes(trial: Trial) -> list[int]:
    return [*trial.system.pool_parents(), *trial.system.pool_children()]
