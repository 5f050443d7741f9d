"""Every page for admins: who may see it, and what is around it."""

import pytest

from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.web.admin.frame import MENU

PATHS = [f"/admin{entry.path}" for entries in MENU.values() for entry in entries]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_shown_to_those_who_have_logged_in(site: Site, path: str) -> None:
    assert site.client.get(path, follow_redirects=False).status_code == 303
    site.log_in(Role.VIEWER)
    answer = site.client.get(path)
    assert answer.status_code == 200
    assert answer.text.count("<h1>") == 1
    assert 'aria-current="page"' in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
