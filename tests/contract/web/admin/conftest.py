"""Fixtures of the tests of the pages for admins."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.contract.shop import Shop, shop_at
from tests.contract.web.admin.people import FAST
from tests.contract.web.site import Site, pages_over
from tests.redis_server import RedisServer
from worker.web import passwords

ON_BOTH: Final = frozenset({"test_actions", "test_again", "test_live", "test_login", "test_nonsense", "test_pages"})
"""These use all pages and verbs. What a page shows of what the store tells it depends on no database."""


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Lets other modules run on PostgreSQL only."""
    if "shop_url" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] not in ON_BOTH:
        # As a mark, it takes precedence over the fixture's own parameters.
        metafunc.definition.add_marker(pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True))


@pytest.fixture
def site(shop: Shop, redis_server: RedisServer) -> Iterator[Site]:
    """The pages for admins over the shop's database, with a Redis. The test runs on PostgreSQL, or on both."""
    with pages_over(shop, redis_url=redis_server.url) as opened:
        yield opened


@pytest.fixture
def light(sqlite_url: str) -> Iterator[Site]:
    """A web process over SQLite, without Redis, for rules that no database decides."""
    with shop_at(sqlite_url) as shop, pages_over(shop) as site:
        yield site


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords whose hashes take no time and no memory."""
    monkeypatch.setattr(passwords, "_HASHER", FAST)
    passwords._dummy.cache_clear()
