"""Fixtures of the tests of the pages for admins."""

from collections.abc import Iterator

import pytest

from tests.contract.shop import shop_at
from tests.contract.web.admin.people import FAST
from tests.contract.web.site import Site, site_over
from worker.web import passwords


@pytest.fixture
def light(sqlite_url: str) -> Iterator[Site]:
    """A web process over SQLite, without Redis, for rules that no database decides."""
    with shop_at(sqlite_url) as shop, site_over(shop) as site:
        yield site


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords whose hashes take no time and no memory."""
    monkeypatch.setattr(passwords, "_HASHER", FAST)
    passwords._dummy.cache_clear()
