"""Rate: how close ten seconds come to STOCKBELL_MAX_SEND_RATE, with one, two and four worker children.

More people wait than can be told. The rows told are counted by the database's clock, from one second after the first
mail on. Ten seconds begin with each of these rows. The distance is that of the worst ten seconds.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from tests.bench.figures import Figure, at_most, number
from tests.bench.fill import fill
from tests.bench.world import World, progress

NAME = "rate"
RATE = 200
CHILDREN = (1, 2, 4)
SECONDS = 10.0, 2.0
START_SECONDS, MORE_SECONDS = 1.0, 3.0
MOST_PERCENT = 5.0


def run(world: World) -> list[Figure]:
    return [figure for children in CHILDREN for figure in _measure(world, children)]


def _measure(world: World, children: int) -> Iterator[Figure]:
    seconds = world.size_seconds(*SECONDS)
    watched = START_SECONDS + seconds + MORE_SECONDS
    with world.database() as url:
        fill(url, "hot", waiting=int(2 * RATE * watched))
        settings = {"STOCKBELL_MAX_SEND_RATE": str(RATE)}
        with world.program(url, "listen", f"work -c {children}", "schedule", settings=settings) as program:
            began = program.restock("hot-0")
            time.sleep(watched)
            times = program.times("hot-0", began)
    rates = rates_of(sorted(times), START_SECONDS, seconds)
    worst = max(abs(100 * rate / RATE - 100) for rate in rates)
    name = f"{RATE} mails/s, {children} worker {'child' if children == 1 else 'children'}"
    progress(NAME, f"{name}: {number(min(rates))} to {number(max(rates))}")
    yield Figure(NAME, name, "mails/s", rates)
    yield Figure(NAME, f"{name}: worst {seconds:.0f} s", "% off", [worst], at_most(MOST_PERCENT))


def rates_of(times: Sequence[float], start: float, seconds: float) -> list[float]:
    """Returns things a second in all windows of so many seconds that begin with one of the times.

    The first window begins `start` seconds after the first time, or later.
    """
    begins = [at for at in times if times[0] + start <= at <= times[-1] - seconds]
    return [(bisect_left(times, at + seconds) - bisect_left(times, at)) / seconds for at in begins]
