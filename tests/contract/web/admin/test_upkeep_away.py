"""The pages for upkeep while the database is away: they say so, and come back by themselves."""

from typing import Any, NoReturn

import pytest

from tests.contract.web.site import Site
from worker.domain.errors import DatabaseAway


@pytest.mark.parametrize("path", ["dead-letters", "mail", "contacts", "webhooks", "system"])
def test_a_page_says_that_the_database_is_away(site: Site, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def away(*_: Any, **__: Any) -> NoReturn:
        raise DatabaseAway("no route to host")

    site.log_in()
    with monkeypatch.context() as patched:
        patched.setattr(site.context.database, "read", away)
        page = site.client.get(f"/admin/{path}")
        posted = site.client.post(f"/admin/{path}", data={"address": "anne@example.com"})
    assert (page.status_code, "database is away" in page.text) == (503, True)
    assert page.headers["Refresh"]
    assert posted.status_code in (503, 405)
    assert site.client.get(f"/admin/{path}").status_code == 200
