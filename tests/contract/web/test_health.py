"""Health, and what happens around every request."""

import pytest
import structlog
from structlog.testing import capture_logs

from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over
from worker.store.database import Database
from worker.web import health


def test_a_ready_process_says_so(site: Site) -> None:
    assert site.client.get("/healthz").json() == {"status": "ok"}
    assert site.client.get("/readyz").json() == {"status": "ok"}


def test_without_the_database_it_is_alive_and_not_ready(shop: Shop) -> None:
    with site_over(Shop("postgresql://127.0.0.1:1/none", shop.database)) as site:
        assert site.client.get("/healthz").status_code == 200
        reply = site.client.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["status"] == "unavailable"


def test_an_error_has_a_code_and_an_id_that_pages_may_read(site: Site) -> None:
    reply = site.client.get("/nothing", headers={"Origin": "https://other.example"})
    assert reply.status_code == 404
    assert reply.json()["details"]["applicationError"]["code"] == "NOT_FOUND"
    assert reply.headers["x-wix-request-id"]
    assert reply.headers["access-control-allow-origin"] == "*"


def test_a_fault_of_ours_is_logged_once_and_its_id_reaches_the_page(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_database: Database) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(health, "check_schema", break_down)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        reply = site.client.get("/readyz", headers={"Origin": "https://other.example"})
    assert reply.status_code == 500
    assert reply.json()["details"]["applicationError"]["code"] == "INTERNAL"
    assert reply.headers["access-control-allow-origin"] == "*"
    faults = [each for each in logs if each["log_level"] == "error"]
    assert [(each["event"], each["route"]) for each in faults] == [("web.fault", "/readyz")]
    assert faults[0]["http_request"] == reply.headers["x-wix-request-id"]
