"""The sign-up form's endpoint: from a script, from a form without JavaScript, and from whoever tries something else."""

import json
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import httpx2 as httpx
import pytest

from tests.contract.shop import Shop
from tests.contract.web.site import ORIGIN, Site, site_over
from worker.domain.api_keys import Scope
from worker.domain.catalog import WIX_STORES
from worker.store.collections import set_collecting
from worker.store.requests import Filter, find

PATH = "/widget/subscribe"
FORM = "application/x-www-form-urlencoded"
NOW = 1_800_000_000.0


def waiting(site: Site) -> list[Any]:
    return site.shop.database.read(lambda c: list(find(c, Filter())))


def fields(site: Site, **more: str) -> dict[str, str]:
    """What the form sends for a blue mug."""
    key = site.key(Scope.CREATE)
    return {"key": key, "item": "mug-1", "option.Color": "Blue", "email": "ada@mail.example", "locale": "de"} | more


def post(site: Site, data: Any, *, accept: str = "text/html", **headers: str) -> httpx.Response:
    given = {"Origin": ORIGIN, "Accept": accept, "Content-Type": FORM} | headers
    body = data if isinstance(data, (bytes, str)) else urlencode(data)
    return site.client.post(PATH, content=body, headers=given)


def hidden(page: str) -> dict[str, str]:
    """The fields of the form in a page of ours."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    return {unescape(name): unescape(value) for name, value in found}


def test_a_script_s_form_signs_up_and_learns_nothing_of_others(site: Site) -> None:
    first, again = (post(site, fields(site), accept="application/json") for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert first.json() == {"status": "accepted", "mustConfirm": False}
    (row,) = waiting(site)
    assert (row.email, row.catalog_item_id, json.loads(row.options), row.locale) == (
        "ada@mail.example",
        "mug-1",
        {"Color": "Blue"},
        "de",
    )


def test_json_does_the_same(site: Site) -> None:
    body = fields(site) | {"options": {"Color": "Blue"}}
    reply = post(site, json.dumps(body), **{"Content-Type": "application/json; charset=utf-8"})
    assert reply.status_code == 200, reply.text
    assert len(waiting(site)) == 1


def test_with_double_opt_in_the_script_is_told_to_say_so(shop: Shop) -> None:
    with site_over(shop, double_opt_in="on") as site:
        assert post(site, fields(site), accept="application/json").json()["mustConfirm"] is True


@pytest.mark.parametrize("is_multipart", [False, True])
def test_without_javascript_it_takes_one_more_click_on_our_page(
    site: Site, is_multipart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.widget.time.time", lambda: NOW)
    given = fields(site, itemUrl=f"{ORIGIN}/mug?colour=blue", consent="v7")
    headers = {"Origin": ORIGIN, "Accept": "text/html"}
    if is_multipart:
        asked = site.client.post(PATH, files={name: (None, text) for name, text in given.items()}, headers=headers)
    else:
        asked = post(site, given)
    assert asked.status_code == 200
    assert waiting(site) == []
    kept = hidden(asked.text)
    stamp = kept.pop("stamp")
    assert kept | {"email": given["email"]} == given
    at_once = post(site, given | {"stamp": stamp}, Origin=ORIGIN)
    assert "Noch ein Klick" in at_once.text, "nobody reads that fast"
    assert waiting(site) == []
    monkeypatch.setattr("worker.web.widget.time.time", lambda: NOW + 3)
    # As a browser does it from our page: behind a proxy that keeps the host, and behind one that does not.
    done = post(site, given | {"stamp": stamp}, Origin="https://notify.shop.example")
    again = post(site, given | {"stamp": stamp}, **{"Origin": "https://x", "Sec-Fetch-Site": "same-origin"})
    assert (done.status_code, done.text) == (again.status_code, again.text) == (200, done.text)
    assert "Vielen Dank" in done.text
    assert f'<a href="{ORIGIN}/mug?colour=blue">Zurück zum Shop</a>' in done.text
    (row,) = waiting(site)
    assert row.item_url == f"{ORIGIN}/mug?colour=blue"
    assert done.headers["cache-control"] == "no-store"


def test_the_error_is_beside_the_field_and_what_was_typed_is_kept(site: Site) -> None:
    reply = post(site, fields(site, email='ada"@nowhere'))
    assert reply.status_code == 400
    assert 'aria-describedby="error consent" aria-invalid="true" autofocus' in reply.text
    assert '<p id="error" class="bad" role="alert">Bitte geben Sie eine E-Mail-Adresse ein' in reply.text
    assert 'value="ada&#34;@nowhere"' in reply.text
    assert hidden(reply.text)["option.Color"] == "Blue"


def test_a_script_is_told_which_fields_are_wrong(site: Site) -> None:
    reply = post(site, {"key": site.key(Scope.CREATE), "email": "ada", "locale": "?!"}, accept="application/json")
    assert reply.status_code == 400
    violations = reply.json()["details"]["validationError"]["fieldViolations"]
    assert {violation["field"] for violation in violations} == {"email", "item", "locale"}


def test_a_program_that_fills_in_what_nobody_sees_is_thanked_and_forgotten(site: Site) -> None:
    honest = post(site, fields(site), accept="application/json")
    trapped = post(site, fields(site, website="https://pills.example"), accept="application/json")
    assert trapped.content == honest.content
    assert "Vielen Dank" in post(site, fields(site, email="bo@mail.example", website="x")).text
    assert len(waiting(site)) == 1


ORIGINS: list[tuple[dict[str, str], int]] = [
    ({"Origin": ORIGIN}, 200),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Referer": f"{ORIGIN}/mug"}, 200),
    ({"Referer": "https://shop.example.evil.example/"}, 403),
    ({"Referer": "https://[/"}, 403),
    ({"Origin": "https://evil.example", "Referer": f"{ORIGIN}/mug"}, 403),
    ({}, 200),
]


def test_a_form_of_another_shop_is_refused(site: Site) -> None:
    body = urlencode(fields(site))
    for headers, status in ORIGINS:
        given = {"Content-Type": FORM, "Accept": "application/json"} | headers
        assert site.client.post(PATH, content=body, headers=given).status_code == status, headers


def test_a_secret_key_in_a_page_is_refused_and_never_shown_again(site: Site) -> None:
    key = site.key(Scope.ADMIN)
    reply = post(site, fields(site, key=key))
    assert reply.status_code == 403
    assert "revoke it" in reply.text
    assert key not in reply.text
    assert waiting(site) == []


UNREADABLE = [
    (b"email=a", "text/plain", 415),  # text
    (b"", "", 415),  # nothing
    (b"{", "application/json", 400),  # half a JSON
    (b"[]", "application/json", 400),  # a list
    (b"[" * 50_000, "application/json", 400),  # deep JSON
    (b'{"key": "\xff"}', "application/json", 400),  # no UTF-8
    (b"--x\r\nContent-Disposition: form-data", "multipart/form-data; boundary=x", 401),  # cut off
    (b"x", "multipart/form-data", 400),  # no boundary
    (b"a=1&" * 500, FORM, 400),  # many fields
    (b"email=" + b"a" * 70_000, FORM, 413),  # large
    (b"key=sb_pub_x&email=%ff%00&item=%", FORM, 401),  # broken percents
]


def test_what_can_t_be_read_gets_one_clear_answer(site: Site) -> None:
    for body, kind, status in UNREADABLE:
        for accept in ("application/json", "text/html"):
            reply = post(site, body, accept=accept, **{"Content-Type": kind})
            assert reply.status_code == status, (body[:50], kind, reply.text)


HOSTILE = [
    {"item": "a" * 37},
    {"item": "\x00"},
    {"item": ["mug"]},
    {"item": True},
    {"options": {"Color": {"deep": [1]}}},
    {"options": "{"},
    {"options": "[" * 10_000},
    {"options": {"\ud800": "x"}},
    {"email": {"$ne": ""}},
    {"email": "a@mail.example\r\nBcc: b@mail.example"},
    {"appId": ["x"]},
    {"locale": {"de": 1}},
    {"locale": "x" * 3000},
]


@pytest.mark.parametrize("wrong", HOSTILE, ids=str)
def test_a_hostile_field_is_named(site: Site, wrong: dict[str, Any]) -> None:
    body = {key: text for key, text in fields(site).items() if not key.startswith("option.")}
    reply = post(site, json.dumps(body | wrong), **{"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    (violation,) = reply.json()["details"]["validationError"]["fieldViolations"]
    assert violation["field"] == (
        "item" if "item" in wrong or "options" in wrong or "appId" in wrong else next(iter(wrong))
    )
    assert waiting(site) == []


def test_a_client_with_too_many_sign_ups_is_told_so_in_words(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    given = fields(site)
    for number in range(10):
        assert post(site, given | {"email": f"c{number}@mail.example"}, accept="application/json").status_code == 200
    over = post(site, given, accept="application/json")
    assert (over.status_code, over.json()["details"]["applicationError"]["code"]) == (429, "RATE_LIMITED")
    monkeypatch.setattr("worker.web.widget.time.time", lambda: NOW)
    stamp = hidden(post(site, given).text)["stamp"]
    monkeypatch.setattr("worker.web.widget.time.time", lambda: NOW + 3)
    page = post(site, given | {"stamp": stamp})
    assert page.status_code == 429
    assert "Zu viele Anmeldungen" in page.text
    assert int(page.headers["retry-after"]) > 0
    assert len(waiting(site)) == 10


def test_a_shop_that_takes_no_requests_now_gets_none_from_its_form(site: Site) -> None:
    given = fields(site)
    site.shop.write(set_collecting, WIX_STORES, False)
    assert post(site, given, accept="application/json").status_code == 428
    assert waiting(site) == []


def test_a_link_to_elsewhere_is_dropped(site: Site) -> None:
    reply = post(site, fields(site, itemUrl="https://shop.example.evil.example/"), accept="application/json")
    assert reply.status_code == 200
    assert [row.item_url for row in waiting(site)] == [None]
    page = post(site, fields(site, itemUrl="javascript:alert(1)"))
    assert "<a " not in page.text


def test_without_the_database_people_see_a_page_that_says_so(shop: Shop) -> None:
    with site_over(Shop("postgresql://127.0.0.1:1/none", shop.database)) as site:
        given = {"key": "sb_pub_" + "a" * 51, "item": "mug-1", "email": "ada@mail.example"}
        page = post(site, given)
        told = post(site, given, accept="application/json")
    assert page.status_code == told.status_code == 503
    assert "Please try again in a moment" in page.text
    assert page.headers["retry-after"] == told.headers["retry-after"]
    assert told.json()["details"]["applicationError"]["code"] == "DATABASE_AWAY"
