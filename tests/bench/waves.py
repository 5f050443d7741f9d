"""Sending policies: mails a second to one hot item with a policy, against the same without, in turn.

- `waves`: so many per unit. There are enough seats for all, so each mail takes one, and nobody waits for the next wave.
- `digest`: one mail about all that a customer can be told of. Nobody waits for anything else, as has to be found out.
"""

from collections.abc import Mapping
from typing import Final

from tests.bench.figures import Figure, Goal, at_least, number, per_mail
from tests.bench.fill import fill
from tests.bench.program import spent
from tests.bench.throughput import WARM_UP, mail_all
from tests.bench.world import World, progress

WAVES, DIGEST = "waves", "digest"
MAILS: Final = 50_000, 5_000
CHILDREN: Final = 4
WAVES_GOAL, DIGEST_GOAL = at_least(0.7), at_least(0.9)
PER_UNIT: Final = 10
PIECES: Final = 1_000_000


def run(world: World) -> list[Figure]:
    return _in_turn(world, WAVES, "so many per unit", {"STOCKBELL_NOTIFY_PER_UNIT": str(PER_UNIT)}, WAVES_GOAL)


def run_digest(world: World) -> list[Figure]:
    return _in_turn(world, DIGEST, "digest", {"STOCKBELL_DIGEST": "on"}, DIGEST_GOAL)


def _in_turn(world: World, name: str, policy: str, settings: Mapping[str, str], goal: Goal) -> list[Figure]:
    mails = world.size(*MAILS)
    states: dict[str, Mapping[str, str]] = {"off": {}, "on": settings}
    found: dict[str, list[float]] = {state: [] for state in states}
    costs: dict[str, list[dict[str, float]]] = {state: [] for state in states}
    for _ in world.rounds:
        for state, chosen in states.items():
            rate, cost = _measure(world, mails, chosen)
            progress(name, f"{state}: {number(rate)} mails/s")
            found[state].append(rate)
            costs[state].append(cost)
    ratios = [on / off for off, on in zip(found["off"], found["on"], strict=True)]
    return [
        *(Figure(name, f"{policy} {state}, {CHILDREN} children", "mails/s", found[state]) for state in states),
        Figure(name, "on against off", "x", ratios, goal),
        *(figure for state in states for figure in per_mail(name, state, costs[state])),
    ]


def _measure(world: World, mails: int, settings: Mapping[str, str]) -> tuple[float, dict[str, float]]:
    with world.database() as url:
        fill(url, "warm", waiting=WARM_UP)
        fill(url, "hot", waiting=mails)
        with world.program(url, "listen", f"work -c {CHILDREN}", "schedule", settings=settings) as program:
            mail_all(program, "warm-0", WARM_UP, quantity=PIECES)
            program.until_idle()
            before = program.cpu()
            told, seconds = mail_all(program, "hot-0", mails, quantity=PIECES)
            cost = spent(before, program.cpu())
    return told / seconds, {role: used * 1e6 / max(told, 1) for role, used in cost.items()}
