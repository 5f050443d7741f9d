"""Fixtures of the web tests: a shop, and the web process over it, called as by HTTP but without a socket."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def kept_redis() -> Iterator[RedisServer]:
    """A Redis server that the tests use one after the other. No test of the web process ends it."""
    with closing(RedisServer()) as server:
        server.start()
        yield server


@pytest.fixture
def redis_server(kept_redis: RedisServer) -> RedisServer:
    """A Redis server without data."""
    kept_redis.flush()
    return kept_redis


@pytest.fixture
def site(shop: Shop, redis_server: RedisServer) -> Iterator[Site]:
    """A web process over the shop's database, with a Redis. The test runs on SQLite and on PostgreSQL."""
    with site_over(shop, redis_url=redis_server.url) as opened:
        yield opened
