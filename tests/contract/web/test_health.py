"""Health, and what happens around every request."""

from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over


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
