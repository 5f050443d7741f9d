"""Fixtures of the tests that run the real processes."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.acceptance.stockbell import NOBODY_THERE, Stockbell
from tests.redis_server import RedisServer
from tests.relay import ScriptedRelay


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    """The relay that gets all mails of a test."""
    with ScriptedRelay() as relay:
        yield relay


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> type[Stockbell]:
    """How processes begin: a module says `KIND = Loaded` if its tests are not about that."""
    found: type[Stockbell] = getattr(request.module, "KIND", Stockbell)
    return found


@pytest.fixture
def stockbell(
    postgres_url: str, redis_server: RedisServer, relay: ScriptedRelay, tmp_path: Path, kind: type[Stockbell]
) -> Iterator[Stockbell]:
    """The program on PostgreSQL. Nothing is started yet."""
    yield from running(postgres_url, redis_server, relay, tmp_path, kind)


@pytest.fixture
def program(
    sqlite_url: str, redis_server: RedisServer, relay: ScriptedRelay, tmp_path: Path, kind: type[Stockbell]
) -> Iterator[Stockbell]:
    """The program on SQLite. Nothing is started yet."""
    yield from running(sqlite_url, redis_server, relay, tmp_path, kind)


@pytest.fixture
def alone(tmp_path: Path, sqlite_url: str) -> Stockbell:
    """The program with a database, but without Redis and a relay."""

    redis: Any = SimpleNamespace(url=NOBODY_THERE)
    relay: Any = SimpleNamespace(url="smtp://127.0.0.1:1")
    return Stockbell(sqlite_url, redis, relay, tmp_path)


def running(
    url: str, redis_server: RedisServer, relay: ScriptedRelay, directory: Path, kind: type[Stockbell] = Stockbell
) -> Iterator[Stockbell]:
    """Yields the program. Stops whatever the test started afterwards."""
    program = kind(url, redis_server, relay, directory)
    try:
        yield program
    finally:
        program.stop_all()
