"""The pages Demand, Item and Requests: hostile names, nonsense in the filter, verbs, exports, who may do what."""

import csv
import io
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import pytest
from sqlalchemy import text

from tests.contract.shop import MUG, ref
from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.domain.catalog import WIX_STORES, CatalogReference, Item
from worker.services import demand
from worker.store.demand import Which
from worker.web.admin.kept import Costly

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
ITEM = f"/admin/items/{WIX_STORES}/mug-1"


def _actions(site: Site) -> list[tuple[str, str]]:
    rows = site.shop.database.read(lambda c: c.execute(text("SELECT verb, about FROM action ORDER BY id")).all())
    return [(row.verb, row.about) for row in rows]


@pytest.fixture
def admin(site: Site) -> Site:
    """A site with hostile names, and somebody who may do anything."""
    site.log_in(Role.ADMIN)
    site.shop.tell(MUG, in_stock=False, name=HOSTILE, price="12.50", currency="EUR", url="javascript:alert(1)")
    site.shop.sign_up_many(3)
    site.shop.sign_up(ref("mug-1", **{"<b>": HOSTILE[:60]}))
    return site


@pytest.mark.parametrize(
    "path", ["/admin/items", "/admin/items?by=variant", ITEM, f"{ITEM}?n=5&option=%7B%7D", "/admin/requests"]
)
def test_hostile_names_are_text(admin: Site, path: str) -> None:
    answer = admin.client.get(path)
    assert answer.status_code == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "<script>alert" not in answer.text
    assert "<img" not in answer.text
    assert 'href="javascript' not in answer.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/admin/items?sort=x", "it must be one of waiting, money, oldest, name"),
        ("/admin/items?by=x", "it must be one of item, variant"),
        (f"/admin/items?q={'x' * 201}", "at most 200 characters"),
        (f"/admin/items?app={'x' * 37}", "1 to 36 characters"),
        ("/admin/items?at=x", "begin at the first one"),
        (f"{ITEM}?n=-1", "it must be a whole number"),
        (f"{ITEM}?n=9999999999999", "it must be a whole number"),
        (f"{ITEM}?n=%F0%9F%98%80", "it must be a whole number"),
        (f"{ITEM}?n=5&option=x", "can&#39;t be read"),
        (f"{ITEM}?n=5&option=[[", "can&#39;t be read"),
        ("/admin/requests?status=x", "it must be one of RECEIVED"),
        ("/admin/requests?since=x", "a time must look like"),
        ("/admin/requests?after=x", "begin at the first one"),
        ("/admin/requests?email=x", "error"),
        (f"/admin/requests?item={'x' * 37}", "1 to 36 characters"),
    ],
)
def test_nonsense_is_shown_back(admin: Site, path: str, words: str) -> None:
    answer = admin.client.get(path)
    assert answer.status_code == 400
    assert words in answer.text
    assert "<h1>" in answer.text


@pytest.mark.parametrize("item", ["a/b", "..", ".", "a//b", "כוס", "a?b#c", "100%", "a b", "a\\b", "x.csv"])
def test_any_id_has_a_page_to_which_the_list_links(site: Site, item: str) -> None:
    site.log_in(Role.VIEWER)
    site.shop.sign_up(CatalogReference(Item("an/app", item)))
    listed = site.client.get("/admin/items").text
    start = listed.index('<th scope="row"><a href="') + len('<th scope="row"><a href="')
    link = listed[start : listed.index('"', start)].replace("&amp;", "&")
    answer = site.client.get(link)
    assert answer.status_code == 200
    assert "an/app" in answer.text


def test_viewers_change_nothing_and_take_nothing_away(admin: Site) -> None:
    admin.log_in(Role.VIEWER, "grace")
    assert '<form method="post" action="/admin/items' not in admin.client.get(ITEM).text
    assert "checkbox" not in admin.client.get("/admin/requests").text
    assert admin.client.post(ITEM, data={"verb": "pause", "option": "{}"}).status_code == 403
    for path in ("/admin/items.csv", "/admin/requests.csv"):
        assert admin.client.get(path).status_code == 403
    assert _actions(admin) == []


def test_pause_and_resume_are_noted_once(admin: Site) -> None:
    answer = admin.client.post(ITEM, data={"verb": "pause", "option": "{}"}, follow_redirects=False)
    assert answer.status_code == 303
    assert "Paused." in admin.client.get(answer.headers["location"]).text
    admin.client.post(ITEM, data={"verb": "pause", "option": "{}"})
    assert "is paused since" in admin.client.get(ITEM).text
    admin.client.post(ITEM, data={"verb": "resume", "option": "{}"})
    assert "is paused since" not in admin.client.get(ITEM).text
    assert [verb for verb, _ in _actions(admin)] == ["pause", "resume"]


@pytest.mark.parametrize(
    "data", [{}, {"verb": "x"}, {"verb": "pause", "option": "["}, {"verb": "pause"}, {"verb": "pause", "option": " "}]
)
def test_a_form_with_nonsense_changes_nothing(admin: Site, data: dict[str, str]) -> None:
    assert admin.client.post(ITEM, data=data).status_code == 404
    assert _actions(admin) == []


def test_exports_have_all_rows_and_are_noted_without_addresses(admin: Site) -> None:
    demand = list(csv.reader(io.StringIO(admin.client.get("/admin/items.csv?by=variant").text)))
    assert [row[4] for row in demand] == ["waiting", "3", "1"]
    first = admin.shop.rows()[0].email
    admin.shop.change("UPDATE request SET priority = 5 WHERE email = :email", email=first)
    answer = admin.client.get("/admin/requests.csv", params={"email": first})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["email"] for row in rows] == [first]
    every = list(csv.DictReader(io.StringIO(admin.client.get("/admin/requests.csv").text)))
    assert sorted(row["priority"] for row in every) == ["", "", "", "5"]  # empty: an import of it changes nothing
    noted = _actions(admin)
    assert [verb for verb, _ in noted] == ["export demand", "export requests", "export requests"]
    assert not [about for _, about in noted if "@" in about]


def test_pages_of_requests_go_on_and_back(admin: Site) -> None:
    admin.shop.sign_up_many(60)
    first = admin.client.get("/admin/requests").text
    assert first.count('type="checkbox"') == 50
    link = _link(first, "next")
    second = admin.client.get(link).text
    assert second.count('type="checkbox"') == 14
    assert admin.client.get(_link(second, "prev")).text.count('type="checkbox"') == 50


def _link(page: str, rel: str) -> str:
    start = page.index(f'rel="{rel}" href="') + len(f'rel="{rel}" href="')
    return page[start : page.index('"', start)].replace("&amp;", "&")


@pytest.mark.parametrize("query", ["email=nobody@example.com", "item=nix", "status=FAILED", "code=BOUNCED"])
def test_what_matches_nothing_says_what_to_try(admin: Site, query: str) -> None:
    answer = admin.client.get(f"/admin/requests?{quote(query, safe='=&@')}")
    assert answer.status_code == 200
    assert 'class="empty"' in answer.text


def test_a_slow_first_page_is_kept_and_says_since_when(admin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(_self: Costly[Which, demand.Page], _key: Which, read: Callable[[], Awaitable[demand.Page]]) -> object:
        return await read(), 4.4

    monkeypatch.setattr(Costly, "get", get)
    assert "Counted 4 s ago." in admin.client.get("/admin/items").text
    assert "s ago.</caption>" not in admin.client.get("/admin/items?q=mug").text
