"""The pages for admins over two million requests on PostgreSQL: how long each takes, and what 50 viewers cost.

The table is that of `population`: 40,000 lists, 340,000 requests that wait, 60,000 that failed. Each page is asked for
over one connection, one after the other, so the time is the server's. Statements of the database are counted by its own
transactions a second, while one browser looks at what is live, and while 50 do.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

from tests.bench.figures import Figure, at_most, number, percentile
from tests.bench.http_client import ask
from tests.bench.population import Population
from tests.bench.processes import NotInTime
from tests.bench.program import Program
from tests.bench.world import World, progress
from tests.ports import free_port
from worker.domain.admins import Role
from worker.domain.catalog import WIX_STORES
from worker.store import admins
from worker.store.database import Database
from worker.web.admin.gate import COOKIE

NAME = "pages"
REQUESTS = 2_000_000, 20_000
LOOKS = 40, 5
VIEWERS = 50
LIVE = "/admin/live"
WATCH_SECONDS = 10.0, 3.0
MOST_MS = 200
MOST_TIMES = 1.5
"""How many times the transactions of one viewer those of 50 may be. Other processes have some, too."""

PAGES = (
    "/admin/",
    "/admin/requests",
    "/admin/requests?status=RECEIVED",
    "/admin/requests?status=FAILED",
    "/admin/requests?status=NOTIFICATION_SENT",
    "/admin/requests?code=RECIPIENT_REJECTED",
    "/admin/requests?waiting=soldOut",
    "/admin/requests?waiting=noStock",
    "/admin/requests?waiting=backoff",
    "/admin/requests?item=item-0",
    "/admin/requests?item=item-0&status=NOTIFICATION_SENT",
    "/admin/requests?email=customer-7%40customer.example",
    "/admin/requests?domain=customer.example&status=FAILED",
    "/admin/requests/{request}",
    "/admin/why?q=customer-7%40customer.example",
    "/admin/failed",
    "/admin/failed?code=RECIPIENT_REJECTED",
    "/admin/items",
    "/admin/items?sort=money",
    "/admin/items?sort=oldest",
    f"/admin/items/{WIX_STORES}/item-0",
    f"/admin/items/{WIX_STORES}/item-0?n=5",
    "/admin/insights",
    "/admin/insights?days=30",
    "/admin/actions",
    "/admin/dead-letters",
    "/admin/contacts",
    "/admin/mail?item=item-0",
    "/admin/webhooks",
    "/admin/keys",
    "/admin/system",
)


def run(world: World) -> list[Figure]:
    """Measures every page, and the viewers."""
    port = free_port()
    settings = {"STOCKBELL_SECRET_KEY": "0" * 64}
    with world.database() as url, Population(url) as population:
        population.grow(world.size(*REQUESTS))
        with closing(Database(url)) as database:
            secret = database.write(admins.open_session, "bench", Role.ADMIN)
        with world.program(url, f"web --serve admin --port {port}", settings=settings) as program:
            request_id = program.ask("SELECT id FROM request WHERE status = 'FAILED' LIMIT 1")
            figures = [_page(world, port, secret, path.format(request=request_id)) for path in PAGES]
            return [*figures, _viewers(world, program, port, secret)]


def _page(world: World, port: int, secret: str, path: str) -> Figure:
    def asked() -> Iterator[bytes]:
        for _ in range(world.size(*LOOKS)):
            yield _get(path, secret)

    answers = ask(port, asked(), 1)
    if set(answers.statuses) != {200}:
        raise NotInTime(f"{path} was answered {answers.statuses}")
    late = percentile(answers.milliseconds, 95)
    progress(NAME, f"{path}: 95 % in {number(late)} ms")
    return Figure(NAME, f"{path}, 95 %", "ms", [late], at_most(MOST_MS))


def _viewers(world: World, program: Program, port: int, secret: str) -> Figure:
    one, all_ = (_transactions(world, program, port, secret, viewers) for viewers in (1, VIEWERS))
    progress(NAME, f"transactions a second: {one:.1f} with one viewer, {all_:.1f} with {VIEWERS}")
    return Figure(NAME, f"{VIEWERS} viewers", "x the transactions of one", [all_ / one], at_most(MOST_TIMES))


def _transactions(world: World, program: Program, port: int, secret: str, viewers: int) -> float:
    """Returns the transactions a second while so many browsers look at what is live."""
    seconds = world.size_seconds(*WATCH_SECONDS)
    with ExitStack() as stack:
        for _ in range(viewers):
            viewer = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10)))
            viewer.sendall(_get(LIVE, secret))
            if not viewer.recv(4096).startswith(b"HTTP/1.1 200"):
                raise NotInTime(f"{LIVE} was refused")
        time.sleep(1)
        before = _count(program)
        time.sleep(seconds)
        return (_count(program) - before) / seconds


def _count(program: Program) -> int:
    question = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    return int(program.ask(question))


def _get(path: str, secret: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {COOKIE}={secret}\r\n\r\n".encode()
