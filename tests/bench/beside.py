"""What `stockbell web` costs the mail line beside it: at rest, and while it tells an endpoint each mail that was sent.

Pairs in one run, in turns which comes first: the same processes mail one list with the web process stopped (SIGSTOP)
and no endpoint, and one with it going on. Ratios of one pair differ by a tenth, so there are many, and the median
counts. What is still to be told is thrown away before each measurement.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.bench.figures import Figure, at_least
from tests.bench.fill import fill
from tests.bench.program import Program, environment
from tests.bench.throughput import mail_all
from tests.bench.world import World, progress
from tests.ports import free_port
from worker.store.database import Connection, Database

NAME = "beside"
MAILS, PAIRS = (20_000, 2_000), (12, 1)
WARM_UP = 2_000
SETTLE_SECONDS = 1.0
LEAST, LEAST_WITH_ENDPOINT = 0.98, 0.95
"""How many times as fast as without."""
RECEIVER = """
import asyncio, sys, uvloop

class Receiver(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.got = transport, b""
    def data_received(self, data):
        self.got += data
        while (end := self.got.find(b"\\r\\n\\r\\n")) >= 0:
            size = end + 4 + int(self.got[:end].lower().partition(b"content-length: ")[2].split(b"\\r")[0])
            if len(self.got) < size:
                return
            self.got = self.got[size:]
            self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")

async def run():
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

uvloop.run(run())
"""


def run(world: World) -> list[Figure]:
    """Measures both."""
    return [
        Figure(NAME, "web", "x without", _ratios(world, has_endpoint=False), at_least(LEAST)),
        Figure(
            NAME, "web, with an endpoint", "x without", _ratios(world, has_endpoint=True), at_least(LEAST_WITH_ENDPOINT)
        ),
    ]


def _ratios(world: World, *, has_endpoint: bool) -> list[float]:
    words = "with an endpoint" if has_endpoint else "at rest"
    mails, pairs = world.size(*MAILS), world.size(*PAIRS)
    with world.database() as url, _receiver() as port, closing(Database(url)) as database:
        if has_endpoint:
            _add_endpoint(url, port)
        fill(url, "warm", waiting=WARM_UP)
        fill(url, "hot", items=2 * pairs, waiting=mails)
        settings = {"PORT": str(free_port()), "STOCKBELL_SECRET_KEY": "0" * 64}
        with world.program(url, "listen", "work -c 2", "schedule", "web", settings=settings) as program:
            mail_all(program, "warm-0", WARM_UP)
            ratios = []
            for pair in range(pairs):
                rates = {}
                for place, is_on in enumerate((pair % 2 == 1, pair % 2 == 0)):
                    with _only_the_line(program, database, is_on=is_on):
                        told, seconds = mail_all(program, f"hot-{2 * pair + place}", mails)
                    rates[is_on] = told / seconds
                ratios.append(rates[True] / rates[False])
                progress(NAME, f"{words}: {rates[False]:,.0f} mails/s without, {rates[True]:,.0f} with")
    progress(NAME, f"{words}: {statistics.median(ratios):.3f} times as fast as without")
    return ratios


@contextmanager
def _only_the_line(program: Program, database: Database, *, is_on: bool) -> Iterator[None]:
    """Clears what is still to be told, and stops the web process and the endpoint unless they shall be on."""
    web = program.pid_of("web")
    os.kill(web, signal.SIGSTOP)
    try:
        database.write(_clear, is_on=is_on)
        if is_on:
            os.kill(web, signal.SIGCONT)
        time.sleep(SETTLE_SECONDS)
        program.until_idle()
        yield
    finally:
        os.kill(web, signal.SIGCONT)


def _clear(c: Connection, *, is_on: bool) -> None:
    c.exec_driver_sql("UPDATE request SET news = false WHERE news")
    c.exec_driver_sql("DELETE FROM webhook_delivery")
    c.exec_driver_sql(f"UPDATE webhook_endpoint SET disabled_at = {'NULL' if is_on else 'now()'}")


def _add_endpoint(url: str, port: int) -> None:
    words = ["webhooks", "add", f"http://127.0.0.1:{port}/", "--allow-private"]
    subprocess.run(
        [sys.executable, "-m", "worker", *words], env=environment(url), check=True, stdout=subprocess.DEVNULL
    )


@contextmanager
def _receiver() -> Iterator[int]:
    """Yields the port of an endpoint that takes everything."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", RECEIVER, str(port)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()
