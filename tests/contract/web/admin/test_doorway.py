"""Forms of other sites, of viewers and of nobody: refused at every verb of every page, and nothing is written."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel
from starlette.testclient import TestClient

from tests.contract.shop import Shop
from tests.contract.web.admin.people import browser
from tests.contract.web.site import Site, pages_over
from worker.domain.admins import Role, digest
from worker.domain.catalog import WIX_STORES
from worker.models import Action, AdminSession
from worker.store import admins
from worker.web.admin import app as admin
from worker.web.admin.frame import HEADERS
from worker.web.admin.gate import SECURE_COOKIE

ID: Final = "01890000-0000-7000-8000-000000000000"
DOORS: Final = {"/login", "/logout", "/first/{secret}"}
"""Verbs of those who are not in."""
OWN: Final = {"/me/end", "/me/end-others", "/me/password", "/why", "/contacts"}
"""Verbs of everybody: about themselves, and searches by an address, which must be in no URL."""
HOST: Final = "https://notify.shop.example"
OTHERS: Final[Sequence[dict[str, str]]] = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": f"{HOST}:8443"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.example"},
    {"Origin": f"{HOST}:8443"},
    {"Origin": "http://notify.shop.example"},
    {"Origin": "null"},
    {},
)


def verbs(site: Site) -> Iterator[tuple[str, str]]:
    """Yields the method and the path of whatever changes something on any page."""
    office = admin.office_of(site.context)
    for page in admin._PAGES:
        for route in page(office).routes:
            found: Any = route
            for method in found.methods - {"GET", "HEAD"}:
                yield method, found.path


def filled(path: str) -> str:
    return f"/admin{re.sub(r'{[^}]+}', ID, path)}"


def everything(shop: Shop) -> dict[str, list[Any]]:
    """Returns all rows of all tables. When a session was last seen is left out."""
    tables = SQLModel.metadata.sorted_tables
    found = shop.database.read(lambda c: {t.name: [tuple(row) for row in c.execute(select(t))] for t in tables})
    found["admin_session"] = [row.digest for row in shop.ask("SELECT digest FROM admin_session ORDER BY digest")]
    return found


def bare(site: Site) -> TestClient:
    client = browser(site)
    del client.headers["Sec-Fetch-Site"]
    return client


def test_there_are_verbs(light: Site) -> None:
    found = {path for _, path in verbs(light)}
    assert found >= DOORS | OWN | {"/keys", "/keys/revoke", "/keys/start", "/keys/stop"}


def test_no_form_of_another_site_is_taken(site: Site) -> None:
    site.shop.waiting(1)
    client = bare(site)
    client.cookies.set(SECURE_COOKIE, site.shop.write(admins.open_session, "ada", Role.ADMIN))
    before = everything(site.shop)
    for method, path in verbs(site):
        for headers in OTHERS:
            answer = client.request(method, filled(path), headers=headers, data={"id": ID, "name": "x"})
            assert answer.status_code == 403, (path, headers)
            assert "access-control-allow-origin" not in answer.headers
    assert everything(site.shop) == before


@pytest.mark.parametrize("path", ["/admin/requests.csv", "/admin/items.csv", "/admin/insights.csv?table=failures"])
def test_no_export_is_made_because_another_site_says_so(light: Site, path: str) -> None:
    client = bare(light)
    client.cookies.set(SECURE_COOKIE, light.shop.write(admins.open_session, "ada", Role.ADMIN))
    for site in ("cross-site", "same-site"):
        assert client.get(path, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert light.shop.count(Action) == 0
    for site in ("same-origin", "none"):
        assert client.get(path, headers={"Sec-Fetch-Site": site}).status_code == 200
    assert light.shop.count(Action) == 2


def test_the_same_forms_of_ours_are_taken(light: Site) -> None:
    """Else the test before could not fail."""
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": HOST}):
        client = bare(light)
        client.cookies.set(SECURE_COOKIE, light.shop.write(admins.open_session, "ada", Role.ADMIN))
        answer = client.post("/admin/keys", headers=headers, data={"name": "x", "scope": "read"})
        assert answer.status_code == 200
        assert "sb_read_" in answer.text


def test_a_viewer_changes_nothing(site: Site) -> None:
    site.shop.waiting(1)
    client = browser(site)
    client.cookies.set(SECURE_COOKIE, site.shop.write(admins.open_session, "vera", Role.VIEWER))
    before = everything(site.shop)
    for method, path in verbs(site):
        if path not in DOORS | OWN:
            answer = client.request(method, filled(path), data={"id": ID, "name": "x", "scope": "read"})
            assert answer.status_code == 403, path
            assert "You may look at everything here" in answer.text
    assert everything(site.shop) == before


@pytest.mark.parametrize("ended", ["nobody", "idle", "over", "unknown"])
def test_without_a_session_nothing_is_changed(site: Site, ended: str) -> None:
    site.shop.waiting(1)
    client = browser(site)
    if ended != "nobody":
        client.cookies.set(SECURE_COOKIE, site.shop.write(admins.open_session, "ada", Role.ADMIN))
    column = {"idle": "seen_at", "over": "ends_at"}.get(ended)
    if column:
        site.shop.change(f"UPDATE admin_session SET {column} = stockbell_now(-3600)")
    if ended == "unknown":
        client.cookies.set(SECURE_COOKIE, "x" * 43)
    before = everything(site.shop)
    for method, path in verbs(site):
        if path not in DOORS:
            answer = client.request(method, filled(path), data={"id": ID, "name": "x", "scope": "read"})
            assert answer.status_code == 401, path
    assert everything(site.shop) == before


def test_behind_a_trusted_proxy_our_origin_is_as_the_browser_knows_it(shop: Shop) -> None:
    with pages_over(shop, trusted_proxies="10.0.0.0/8") as site:
        secret = shop.write(admins.open_session, "ada", Role.ADMIN)

        def post(host: str, origin: str, **forwarded: str) -> int:
            client = browser(site, host, "http://backend:8001")
            del client.headers["Sec-Fetch-Site"]
            headers = {"Cookie": f"__Host-stockbell={secret}", "Origin": origin, **forwarded}
            return client.post("/admin/keys/stop", headers=headers, data={"catalog": "none"}).status_code

        def headers(host: str, **more: str) -> dict[str, str]:
            return {"X-Forwarded-Proto": "https", "X-Forwarded-Host": host, **more}

        origin = "https://bell.shop.example:8443"
        assert post("10.0.0.1", origin, **headers("bell.shop.example:8443")) == 404, "taken: no such catalog"
        assert post("10.0.0.1", origin, **headers("bell.shop.example", **{"X-Forwarded-Port": "8443"})) == 404
        assert post("10.0.0.1", origin, **headers("other.example")) == 403
        assert post("198.51.100.1", origin, **headers("bell.shop.example:8443")) == 403, "anybody can say so"


@pytest.mark.parametrize(
    "path", ["/admin", "/admin/", "/admin/nowhere", "/admin/keys", "/admin/login", f"/admin/requests/{ID}"]
)
def test_every_answer_has_the_headers_and_none_of_cors(light: Site, path: str) -> None:
    for client in (browser(light), browser(light)):
        for answer in (
            client.get(path, headers={"Origin": "https://evil.example"}),
            client.post(path, headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}),
        ):
            assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not [name for name in answer.headers if name.startswith("access-control")]
        client.cookies.set(SECURE_COOKIE, light.shop.write(admins.open_session, "ada", Role.ADMIN))


def test_no_page_of_another_origin_is_let_in_before_it_asks(light: Site) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for path in ("/admin", "/admin/keys", "/admin/login"):
        answer = browser(light).options(path, headers=asked)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert browser(light).options("/v1/events", headers=asked).headers["access-control-allow-origin"] == "*"


def test_its_files_may_be_framed_by_nobody_and_are_asked_for_again(light: Site) -> None:
    answer = browser(light).get("/static/admin/admin.css")
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-cache", "nosniff")


def test_a_fault_of_ours_is_a_page_with_the_same_headers(light: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.store.keys.each", lambda _c: [None])
    client = browser(light)
    client.cookies.set(SECURE_COOKIE, light.shop.write(admins.open_session, "ada", Role.ADMIN))
    answer = client.get("/admin/keys")
    assert answer.status_code == 500
    assert "<h1" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"]


def test_a_page_that_is_not_there_has_the_menu_for_those_who_are_in(light: Site) -> None:
    client = browser(light)
    assert "<nav" not in client.get("/admin/nowhere").text
    client.cookies.set(SECURE_COOKIE, light.shop.write(admins.open_session, "ada", Role.ADMIN))
    assert "<nav" in client.get("/admin/nowhere").text
    assert "<nav" in client.post("/admin/keys/revoke", data={"id": "none"}).text


def test_with_a_path_in_the_public_url_the_pages_are_there_with_and_without_it(sqlite_url: str) -> None:
    from tests.contract.shop import shop_at

    with shop_at(sqlite_url) as shop, pages_over(shop, public_url="https://shop.example/bell") as site:
        client = browser(site)
        client.cookies.set(SECURE_COOKIE, shop.write(admins.open_session, "ada", Role.ADMIN))
        for path in ("/admin/keys", "/bell/admin/keys", "/bell/static/admin/admin.css"):
            assert client.get(path).status_code == 200, path
        assert 'href="/bell/admin/keys"' in client.get("/admin/keys").text
        posted = client.post("/bell/admin/keys/stop", data={"catalog": WIX_STORES})
        assert posted.headers["location"] == "/bell/admin/keys?done=stopped"
        assert client.post("/bell/admin/keys", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        client.cookies.clear()
        asked = client.get("/bell/admin/keys?a=b").headers["location"]
        assert asked == "/bell/admin/login?next=%2Fadmin%2Fkeys%3Fa%3Db"


def test_what_is_live_ends_with_the_session(light: Site) -> None:
    session = digest(light.shop.write(admins.open_session, "ada", Role.ADMIN))
    assert light.shop.database.read(admins.still_open, [session]) == {session}
    light.shop.write(admins.close_session, session)
    assert (session in light.shop.database.read(admins.still_open, [session])) is False
    assert light.shop.count(AdminSession) == 0
