"""Overview in Chromium: live parts, charts and keys, under the strict policy."""

import socket
from typing import Any

import pytest

from tests.polling import eventually
from tests.ports import free_port
from tests.web.conftest import Site
from worker.domain.admins import Role
from worker.store import admins


@pytest.fixture(scope="module")
def seen(in_pages: None, site: Site) -> Any:
    """What overview.mjs saw and did."""
    port = free_port()
    site.program.start("web", "--serve", "admin", PORT=str(port), STOCKBELL_PUBLIC_URL="")
    eventually(lambda: is_open(port), until="the pages for admins are served")
    secret = site.program.write(admins.open_session, "ada", Role.ADMIN)
    return site.run("overview.mjs", base=f"http://127.0.0.1:{port}", secret=secret)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_it_is_live_and_holds_still_while_somebody_reads_or_has_paused_it(seen: Any) -> None:
    assert (seen["live"], seen["released"], seen["resumed"]) == (True, True, True)
    assert seen["held"] == [True, "Held"]
    assert seen["paused"] == "Paused"


def test_charts_are_drawn_from_their_tables_and_kept(seen: Any) -> None:
    assert seen["charts"] == [
        ["bar", 3, True, "Mails a second, 1 h"],
        ["bar", 3, True, "Mails a second, 24 h"],
        ["line", 1, True, "Backlog"],
    ]
    assert seen["kept"] == [True, True]
    light, dark = seen["colours"]
    assert (light.startswith("rgb"), dark.startswith("rgb"), light != dark) == (True, True, True)


def test_keys_lead_somewhere_but_not_while_somebody_types_or_has_switched_them_off(seen: Any) -> None:
    assert seen["help"] == [True, False]
    assert seen["search"] == "find"
    assert seen["typed"] == ["g?r/", "/admin/"]
    assert seen["off"] == ""
    assert seen["went"] == "/admin/requests"


def test_it_keeps_to_its_policy_and_to_this_host_and_is_accessible(seen: Any) -> None:
    assert seen["axe"] == []
    assert seen["seen"] == {"errors": [], "violations": [], "foreign": []}
