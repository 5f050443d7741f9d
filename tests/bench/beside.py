"""What `stockbell web` costs the mail line beside it: at rest, and while it tells an endpoint each mail that was sent.

Pairs in one run, in turns which comes first: the same processes mail one list with the web process stopped (SIGSTOP)
and no endpoint, and one with it going on. The ratio of one pair is off by a tenth and more, and the median of twelve by
some hundredths. What is still to be told is thrown away before each measurement.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.bench.figures import Figure, at_least
from tests.bench.fill import fill
from tests.bench.hook import hook
from tests.bench.program import Program
from tests.bench.throughput import mail_all
from tests.bench.world import World, progress
from tests.ports import free_port
from worker.domain.webhooks import Format
from worker.store import endpoints
from worker.store.database import Connection, Database
from worker.web.telling import NOBODY_SECONDS

NAME = "beside"
MAILS, PAIRS = (50_000, 2_000), (12, 1)
WARM_UP = 2_000
SETTLE_SECONDS = NOBODY_SECONDS + 0.5
"""It takes the web process so long to see that an endpoint was disabled or enabled."""
LEAST, LEAST_WITH_ENDPOINT = 0.98, 0.95
"""How many times as fast as without."""


def run(world: World) -> list[Figure]:
    """Measures both."""
    return [
        _measure(world, "web", LEAST, has_endpoint=False),
        _measure(world, "web, with an endpoint", LEAST_WITH_ENDPOINT, has_endpoint=True),
    ]


def _measure(world: World, words: str, least: float, *, has_endpoint: bool) -> Figure:
    mails, pairs = world.size(*MAILS), world.size(*PAIRS)
    rates: dict[bool, list[float]] = {False: [], True: []}
    with world.database() as url, hook(world.directory) as endpoint, closing(Database(url)) as database:
        if has_endpoint:
            database.write(endpoints.add, endpoint, Format.STANDARD, is_full=False, allows_private=True)
        fill(url, "warm", waiting=WARM_UP)
        fill(url, "hot", items=2 * pairs, waiting=mails)
        settings = {"PORT": str(free_port()), "STOCKBELL_SECRET_KEY": "0" * 64}
        with world.program(url, "listen", "work -c 2", "schedule", "web", settings=settings) as program:
            mail_all(program, "warm-0", WARM_UP)
            for number in range(2 * pairs):
                is_on = number % 4 in (1, 2)  # off, on, on, off
                with _web(program, database, is_on=is_on):
                    told, seconds = mail_all(program, f"hot-{number}", mails)
                rates[is_on].append(told / seconds)
                progress(NAME, f"{words}: {told / seconds:,.0f} mails/s {'with' if is_on else 'without'}")
    ratios = [on / off for on, off in zip(rates[True], rates[False], strict=True)]
    return Figure(NAME, words, "x without", ratios, at_least(least))


@contextmanager
def _web(program: Program, database: Database, *, is_on: bool) -> Iterator[None]:
    """While this lasts, the web process and its endpoint are on or off. Nothing is to be told when it begins."""
    web = program.pid_of("web")
    database.write(_switch, is_on=False)
    time.sleep(SETTLE_SECONDS)  # or it would be stopped in the middle of a transaction
    database.write(_clear)
    try:
        if is_on:
            database.write(_switch, is_on=True)
            time.sleep(SETTLE_SECONDS)
        else:
            os.kill(web, signal.SIGSTOP)
        program.until_idle()
        yield
    finally:
        os.kill(web, signal.SIGCONT)


def _switch(c: Connection, *, is_on: bool) -> None:
    c.exec_driver_sql(f"UPDATE webhook_endpoint SET disabled_at = {'NULL' if is_on else 'now()'}")


def _clear(c: Connection) -> None:
    c.exec_driver_sql("UPDATE request SET news = false WHERE news")
    c.exec_driver_sql("DELETE FROM webhook_delivery")
