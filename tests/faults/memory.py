"""No process grows, however much is sent and however often Redis is lost."""

from pathlib import Path

from tests.acceptance.stockbell import descendants
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually
from tests.relay import Later

MAILS_MB = 5, 10
"""How much a process may grow after the first mails: less than if it kept them, and far less if they are many."""
RECONNECTS_MB = 5
SLOW_SECONDS = 0.3
"""How long verdicts take where both children are to mail at once."""
LISTENING = "xreadgroup", "brpop"
"""The last commands of the processes that wait for events and for bells."""


def run_mails(world: World) -> Result:
    """Checks that every process is as large after the last mail as after the first ones, but for a few MB."""
    mails = world.size(8_000, 200_000)
    with world.trial("memory, mails") as trial:
        trial.waiting("mug-1", mails)
        trial.start()
        sizes: dict[int, float] = {}
        trial.at(mails // world.size(4, 10), f"{mails:,} mails", lambda: sizes.update(_sizes(trial)))
        trial.publish("mug-1")
        trial.settle()
        return _judged(trial, sizes, world.size(*MAILS_MB))


def run_reconnects(world: World) -> Result:
    """Ends every connection to Redis, again and again. All are made anew, and nothing is kept of the old ones."""
    times = world.size(10, 1_000)
    with world.trial("memory, Redis reconnects") as trial:
        for item in ("mug-1", "mug-2", "mug-3"):
            trial.waiting(item, 20)
        # Each child mails an item first, since a child grows by some MB with its first mail.
        trial.relay.decide = lambda stage, _: Later(SLOW_SECONDS) if stage == "dot" else None
        trial.start()
        trial.until_ready("worker", 1)
        trial.publish("mug-1", "mug-3")
        trial.settle()
        trial.relay.decide = None
        sizes: dict[int, float] = {}
        for number in range(times):
            # An event, since a listener waits longer each time that it is cut off before it has read anything.
            trial.system.publish(catalogItemId="mug-2", quantity=0)
            eventually(lambda: _is_listened(trial), until="all are connected again, and have work")
            if number == times // world.size(2, 10):
                sizes = _sizes(trial)
            with trial.system.redis.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            trial.broke("CLIENT KILL")
        trial.publish("mug-2")
        trial.settle()
        return _judged(trial, sizes, RECONNECTS_MB)


def _is_listened(trial: Trial) -> bool:
    with trial.system.redis.client() as client:
        said = {each["cmd"] for each in client.client_list()}
    return said.issuperset(LISTENING) and trial.system.settled_events()


def _judged(trial: Trial, before: dict[int, float], limit: int) -> Result:
    after = _sizes(trial)
    result = trial.result()
    grown = {pid: after[pid] - size for pid, size in before.items() if pid in after}
    if len(grown) < len(before):
        result.findings.breaches.append("a process was replaced meanwhile")
    if not grown or max(grown.values()) > limit:
        figures = ", ".join(f"{before[pid]:.0f} + {growth:.1f}" for pid, growth in grown.items())
        result.findings.breaches.append(f"MB of the processes, and more than {limit} too many: {figures}")
    return result


def _sizes(trial: Trial) -> dict[int, float]:
    """Returns the MB of every process that was started, and of those below."""
    pids = [pid for process in trial.system.processes for pid in (process.pid, *descendants(process.pid))]
    return {pid: _resident(pid) for pid in pids}


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kilobytes) / 1024
