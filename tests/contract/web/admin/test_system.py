"""The page "System". On PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.contract.shop import Shop
from tests.contract.web.site import Site, pages_over
from tests.redis_server import RedisServer
from worker.domain.admins import Role
from worker.models import SCHEMA
from worker.services.doctor import Finding, Installation
from worker.store import breaker, owners, sweep
from worker.stream.event_stream import Stream
from worker.web.admin import system as page_module

PAGE = "/admin/system"
HOSTILE = "<script>alert(1)</script>"


def facts(page: str, process: str) -> str:
    return page.partition(f"<code>{process}</code>")[2].partition("</tr>")[0]


def test_what_runs_is_seen_and_what_does_not_is_named(site: Site, shop: Shop, redis_server: RedisServer) -> None:
    site.log_in(Role.VIEWER)
    page = site.client.get(PAGE).text
    for process in ("stockbell work", "stockbell listen", "stockbell schedule"):
        assert "not seen" in facts(page, process)
    owner, _claims = shop.claimed(3)
    gone = shop.owner()
    shop.die(gone)
    shop.write(sweep.stamp, 60.0, 60.0)
    with closing(Stream(redis_server.url, "inventory:events", consumer=HOSTILE)) as stream:
        stream.read(1, 0)  # makes the group
        stream.publish({"catalogItemId": "mug-1", "quantity": "5"})
        stream.read(1, 0)
        page = site.client.get(PAGE).text
    for process in ("stockbell work", "stockbell listen", "stockbell schedule"):
        assert "seen</span>" in facts(page, process)
        assert "not seen" not in facts(page, process)
    assert "1 alive" in page
    assert ">gone<" in page
    assert f"{SCHEMA} <span" in page
    assert HOSTILE not in page
    assert "<form" not in page.partition("<main")[2]
    rows = shop.database.read(owners.each, 60.0, 10)
    assert [(row.id, row.is_alive, row.claims) for row in rows] == [(owner, True, 3), (gone, False, 0)]


def test_settings_are_shown_without_secrets(shop: Shop) -> None:
    secrets: dict[str, Any] = {
        "smtp": "smtps://user:hunter2@relay.example",
        "redis_url": "rediss://user:hunter2@127.0.0.1:1/0?ssl_password=hunter2",
        "bounce_imap": "imaps://user:hunter2@mail.example",
        "secret_key": "hunter2" * 8,
        "store_name": HOSTILE,
    }
    with pages_over(shop, **secrets) as site:
        site.log_in()
        page = site.client.get(PAGE).text
    assert "hunter2" not in page
    assert HOSTILE not in page
    assert "smtps://relay.example:465" in page
    assert "rediss://***@127.0.0.1:1/0?***" in page
    assert "Redis can&#39;t be asked" in page  # it is away, and the page is shown all the same
    for name in ("SMTP_URL", "STOCKBELL_SECRET_KEY", "STOCKBELL_LEASE_SECONDS"):
        assert f"<code>{name}</code>" in page


def test_the_breakers_words_are_shown_and_do_nothing(site: Site, shop: Shop) -> None:
    shop.write(breaker.trip, f"535 {HOSTILE}", "account", at_once=True)
    site.log_in()
    page = site.client.get(PAGE).text
    assert "nothing is sent: <bdi>535 &lt;script&gt;" in page


def test_the_checks_run_when_an_admin_asks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.log_in()
    assert "Run the checks" in site.client.get(PAGE).text
    page = site.client.post(f"{PAGE}/doctor").text
    assert "checks failed" in page
    assert "SMTP_URL is not set" in page
    assert "is current" in page
    assert site.client.get(f"{PAGE}/doctor").status_code in (404, 405)
    site.log_in(Role.VIEWER, "bob")
    assert site.client.post(f"{PAGE}/doctor").status_code == 403


def test_checks_that_take_too_long_are_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def slow(_installation: Installation) -> Iterator[Finding]:
        yield Finding("database", True, f"answers {HOSTILE}")
        [checks] = running
        checks.given_up.wait(10)
        seen.append("given up")
        yield Finding("smtp", True, "late")
        seen.append("went on")

    running: list[page_module._Checks] = []
    run = page_module._Checks.run

    def remembered(self: page_module._Checks, *arguments: object) -> None:
        running.append(self)
        run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(page_module, "examine", slow)
    monkeypatch.setattr(page_module._Checks, "run", remembered)
    monkeypatch.setattr(page_module, "DOCTOR_SECONDS", 0.01)
    site.log_in()
    page = site.client.post(f"{PAGE}/doctor").text
    assert "those that are missing are not known" in page
    assert HOSTILE not in page
    assert "went on" not in seen
