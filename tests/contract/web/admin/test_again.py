"""A form whose session ended meanwhile: nothing is lost, nothing is done without a click, and no password is kept."""

import html
import re
from typing import Any

import pytest

from tests.contract.web.admin.people import PASSWORD, add_user, browser, log_in
from tests.contract.web.site import Site
from worker.models import ApiKey
from worker.web.admin import again

pytestmark = pytest.mark.usefixtures("cheap")

HOSTILE = '"><script>alert(1)</script>'


def hidden(page: str) -> dict[str, str]:
    """Returns the fields of a page that are not shown."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def test_a_form_goes_through_the_log_in_and_is_sent_by_a_click(site: Site) -> None:
    add_user(site)
    client = browser(site)
    form = {"name": HOSTILE, "scope": "read", "origins": "", "new_password": PASSWORD}
    asked = client.post("/admin/keys", data=form)
    assert asked.status_code == 401
    assert "You were logged out meanwhile" in asked.text
    assert PASSWORD not in asked.text
    assert "<script>alert" not in asked.text
    wrong = log_in(client, password="wrong", **hidden(asked.text))
    assert hidden(wrong.text) == hidden(asked.text), "a mistyped password loses nothing either"
    back = log_in(client, **hidden(wrong.text))
    assert back.status_code == 200
    assert "Send it again" in back.text
    assert 'action="/admin/keys"' in back.text
    assert "<script>alert" not in back.text
    assert site.shop.count(ApiKey) == 0, "only a click sends it"
    assert hidden(back.text) == {"name": HOSTILE, "scope": "read", "origins": ""}
    done = client.post("/admin/keys", data=hidden(back.text))
    assert "sb_read_" in done.text
    assert site.shop.count(ApiKey) == 1


def test_fields_that_repeat_and_the_query_are_kept_in_their_order(light: Site) -> None:
    add_user(light)
    client = browser(light)
    body: Any = "id=1&id=2&id=3&verb=retry&option=a%3Db&empty="
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    asked = client.post("/admin/keys/revoke?a=b&c=d", content=body, headers=head)
    kept = hidden(asked.text)
    assert kept == {"again_path": "/admin/keys/revoke?a=b&c=d", "again_fields": body}
    back = log_in(client, **kept).text
    assert re.findall(r'name="(\w+)" value="([^"]*)"', back) == [
        ("id", "1"),
        ("id", "2"),
        ("id", "3"),
        ("verb", "retry"),
        ("option", "a=b"),
        ("empty", ""),
    ]
    assert 'action="/admin/keys/revoke?a=b&amp;c=d"' in back


@pytest.mark.parametrize("path", ["https://evil.example/", "//evil.example", "/v1/events", "/admin/login", "/admin//x"])
def test_it_is_sent_to_no_other_place(light: Site, path: str) -> None:
    add_user(light)
    answer = log_in(browser(light), again_path=path, again_fields="a=b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")


def test_what_is_too_long_is_not_kept_and_that_is_said(light: Site) -> None:
    add_user(light)
    answer = browser(light).post("/admin/keys", data={"name": "x" * again.MOST_OCTETS})
    assert answer.status_code == 401
    assert "too long to keep" in answer.text
    assert hidden(answer.text) == {}


def test_the_longest_that_is_kept_gets_through(light: Site) -> None:
    add_user(light)
    client = browser(light)
    name = "%" * (again.MOST_OCTETS // 3 - 20)
    asked = client.post("/admin/keys", data={"name": name})
    back = log_in(client, **hidden(asked.text))
    assert hidden(back.text)["name"] == name


def test_a_stream_is_not_answered_with_the_log_in_page(light: Site) -> None:
    answer = browser(light).get("/admin/keys", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.text) == (401, "")
