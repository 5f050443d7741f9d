"""HTTP: requests created and read through one web process, on PostgreSQL, over 16 kept connections.

Each connection sends its next request as soon as it is answered. Client, web process and database share the two cores.
All creates are of new customers, for 100 items, with a server's key.
"""

import json
from collections.abc import Iterator
from contextlib import closing

from tests.bench.figures import Figure, at_least, at_most, number, percentile
from tests.bench.http_client import Answers, ask
from tests.bench.processes import NotInTime
from tests.bench.program import Program
from tests.bench.world import World, progress
from tests.ports import free_port
from worker.domain.api_keys import Scope
from worker.store import keys
from worker.store.database import Database

NAME = "web"
CREATES, GETS = (6_000, 300), (12_000, 600)
CONNECTIONS, ITEMS = 16, 100
REQUESTS = "/v1/back-in-stock-notification-requests"
APP = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
CREATES_A_SECOND, GETS_A_SECOND, MOST_MS, MOST_MEGABYTES = 1_000, 3_000, 50, 120


def run(world: World) -> list[Figure]:
    """Measures creating and reading, and the memory that the process has afterwards."""
    port = free_port()
    rates: dict[str, list[float]] = {"create": [], "get": []}
    late: dict[str, list[float]] = {"create": [], "get": []}
    with world.database() as url:
        with closing(Database(url)) as database:
            key = database.write(keys.create, "bench", Scope.ADMIN).text
        settings = {"PORT": str(port), "STOCKBELL_SECRET_KEY": "0" * 64}
        with world.program(url, "web", settings=settings) as program:
            for round_ in world.rounds:
                for name, requests in (
                    ("create", _creates(key, round_, world.size(*CREATES))),
                    ("get", _gets(key, program, world.size(*GETS))),
                ):
                    answers = _all_well(name, ask(port, requests, CONNECTIONS))
                    rates[name].append(answers.rate)
                    late[name].append(percentile(answers.milliseconds, 99))
                    progress(NAME, f"{name}: {number(answers.rate)} a second, 99 % in {late[name][-1]:.0f} ms")
            memory = program.memory()["web"]
    goals = {"create": at_least(CREATES_A_SECOND), "get": at_least(GETS_A_SECOND)}
    return [
        *(Figure(NAME, name, "requests/s", found, goals[name]) for name, found in rates.items()),
        *(Figure(NAME, f"{name}, 99 %", "ms", found, at_most(MOST_MS)) for name, found in late.items()),
        Figure(NAME, "memory", "MB", [memory], at_most(MOST_MEGABYTES)),
    ]


def _all_well(name: str, answers: Answers) -> Answers:
    if set(answers.statuses) != {200}:
        raise NotInTime(f"{name} was answered {answers.statuses}")
    return answers


def _creates(key: str, round_: int, count: int) -> Iterator[bytes]:
    for place in range(count):
        item = f"web-{place % ITEMS}"
        reference = {"catalogItemId": item, "appId": APP, "options": {"variantId": f"v{place % 3}"}}
        request = {"email": f"r{round_}-{place}@customer.example", "catalogReference": reference}
        body = json.dumps({"request": request, "itemDetails": {"name": item, "price": "12.50"}}).encode()
        yield _head(f"POST {REQUESTS}", key, len(body)) + body


def _gets(key: str, program: Program, count: int) -> Iterator[bytes]:
    request_id = program.ask("SELECT id FROM request LIMIT 1")
    asked = _head(f"GET {REQUESTS}/{request_id}", key, None)
    for _ in range(count):
        yield asked


def _head(line: str, key: str, length: int | None) -> bytes:
    body = "" if length is None else f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    return f"{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n{body}\r\n".encode()
