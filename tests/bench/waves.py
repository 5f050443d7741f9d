"""Waves: mails a second to one hot item with so many per unit, against the same without, in turn.

There are enough seats for all, so that each mail takes one and nobody waits for the next wave.
"""

from typing import Final

from tests.bench.figures import Figure, at_least, number, per_mail
from tests.bench.fill import fill
from tests.bench.program import spent
from tests.bench.throughput import WARM_UP, mail_all
from tests.bench.world import World, progress

NAME: Final = "waves"
MAILS: Final = 50_000, 5_000
CHILDREN: Final = 4
GOAL: Final = at_least(0.7)
PER_UNIT: Final = 10
PIECES: Final = 1_000_000


def run(world: World) -> list[Figure]:
    mails = world.size(*MAILS)
    found: dict[str, list[float]] = {"off": [], "on": []}
    costs: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
    for _ in world.rounds:
        for name in found:
            rate, cost = _measure(world, mails, name)
            found[name].append(rate)
            costs[name].append(cost)
    ratios = [on / off for off, on in zip(found["off"], found["on"], strict=True)]
    return [
        *(Figure(NAME, f"so many per unit {name}, {CHILDREN} children", "mails/s", found[name]) for name in found),
        Figure(NAME, "on against off", "x", ratios, GOAL),
        *(figure for name in found for figure in per_mail(NAME, name, costs[name])),
    ]


def _measure(world: World, mails: int, name: str) -> tuple[float, dict[str, float]]:
    settings = {"STOCKBELL_NOTIFY_PER_UNIT": str(PER_UNIT)} if name == "on" else {}
    with world.database() as url:
        fill(url, "warm", waiting=WARM_UP)
        fill(url, "hot", waiting=mails)
        with world.program(url, "listen", f"work -c {CHILDREN}", "schedule", settings=settings) as program:
            mail_all(program, "warm-0", WARM_UP, quantity=PIECES)
            program.until_idle()
            before = program.cpu()
            told, seconds = mail_all(program, "hot-0", mails, quantity=PIECES)
            cost = spent(before, program.cpu())
    progress(NAME, f"{name}: {number(told / seconds)} mails/s")
    return told / seconds, {role: used * 1e6 / max(told, 1) for role, used in cost.items()}
