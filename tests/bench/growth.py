"""Growth: mails a second with few and with a million waiting, in a table of two million requests that have ended.

The table has 20,000 lists. On each of them 10 people still wait, and 90 were told long ago. One list after the other is
added, each longer than the one before. In every round its item is in stock for three seconds and then sold out again.
The rate is that of the middle four fifths of the rows, by the times that the database wrote into them. The rate of the
longest list should be at least 0.9 of the shortest one's, and no process may grow.
"""

from collections.abc import Iterator

from tests.bench.figures import Figure, at_least, at_most, number, steady_rate
from tests.bench.fill import fill
from tests.bench.program import Program
from tests.bench.world import World, progress

NAME = "growth"
SIZES = (10_000, 100_000, 1_000_000), (1_000, 10_000)
WINDOW_SECONDS = 3.0
LEAST_RATIO = 0.9
MOST_MEGABYTES = 120.0


def run(world: World) -> list[Figure]:
    sizes = SIZES[1] if world.quick else SIZES[0]
    rates: dict[int, list[float]] = {}
    memory: dict[int, dict[str, float]] = {}
    with world.program(world.large) as program:
        for size in sizes:
            rates[size] = _measure(world, program, world.large, size)
            memory[size] = program.memory()
    return [*_rates(rates), *_memory(memory)]


def _measure(world: World, program: Program, url: str, size: int) -> list[float]:
    # If a list is told in less than the window, each round gets a new one.
    lists = len(world.rounds) if size <= SIZES[0][0] else 1
    fill(url, f"size-{size}", items=lists, waiting=size)
    rates = []
    for round_ in world.rounds:
        program.until_idle()
        rates.append(window(program, f"size-{size}-{round_ % lists}", WINDOW_SECONDS))
        progress(NAME, f"{size:,} waiting: {number(rates[-1])} mails/s")
    return rates


def window(program: Program, item: str, seconds: float) -> float:
    """Returns mails a second while an item is in stock for so long, or until all are told. PostgreSQL only."""
    last = program.last_of(item)
    began = program.restock(item)
    program.wait_for(item, last, seconds)
    program.restock(item, quantity=0)
    program.until_idle()
    return steady_rate(program.times(item, began))


def _rates(rates: dict[int, list[float]]) -> Iterator[Figure]:
    for size, rounds in rates.items():
        yield Figure(NAME, f"{size:,} waiting", "mails/s", rounds)
    (least, base), *_, (most, last) = rates.items()
    ratios = [rate / before for before, rate in zip(base, last, strict=True)]
    yield Figure(NAME, f"{most:,} against {least:,}", "x", ratios, at_least(LEAST_RATIO))


def _memory(memory: dict[int, dict[str, float]]) -> Iterator[Figure]:
    (least, before), *_, (most, after) = memory.items()
    for role, megabytes in after.items():
        note = f"{number(before[role])} after {least:,}; this after {most:,}"
        yield Figure(NAME, f"memory, {role}", "MB resident", [megabytes], at_most(MOST_MEGABYTES), note)
