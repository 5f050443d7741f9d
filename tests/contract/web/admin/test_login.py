"""Log in and out: who gets in, what a browser keeps, how often one may guess, and where it leads."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from argon2 import PasswordHasher
from starlette.testclient import TestClient

from tests.contract.shop import Shop
from tests.contract.web.admin.people import FAST, PASSWORD, SAME, add_user, browser, log_in, secret_of
from tests.contract.web.site import Site, pages_over
from worker.domain.admins import GUESS_SECONDS, MOST_GUESSES, Role, digest
from worker.models import Action, AdminGuess, AdminSession
from worker.store import admins
from worker.web import passwords
from worker.web.admin import desk
from worker.web.admin.gate import COOKIE, SECURE_COOKIE

pytestmark = pytest.mark.usefixtures("cheap")


def is_in(client: TestClient) -> bool:
    return bool(client.get("/admin/me").status_code == 200)


def cookie(answer: Any) -> dict[str, str]:
    """Returns the cookie that was set, with its attributes in lower case."""
    (line,) = answer.headers.get_list("set-cookie")
    first, *rest = [part.strip() for part in line.split(";")]
    name, _, value = first.partition("=")
    attributes = {key.lower(): said.lower() for key, _, said in (part.partition("=") for part in rest)}
    return {"name": name, "value": value, **attributes}


def test_who_knows_the_password_gets_in_and_out_again(site: Site) -> None:
    add_user(site)
    client = browser(site)
    assert not is_in(client)
    answer = log_in(client, " ADA ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")
    assert is_in(client)
    assert [row.verb for row in site.shop.ask("SELECT verb FROM action")] == ["login"]
    old = secret_of(client)
    assert client.post("/admin/logout").headers["location"] == "/admin/login?out=1"
    assert secret_of(client) is None
    client.cookies.set(SECURE_COOKIE, str(old))
    assert not is_in(client)
    assert site.shop.count(AdminSession) == 0


def test_on_https_the_cookie_is_of_this_host_only_and_no_script_reads_it(site: Site) -> None:
    add_user(site)
    found = cookie(log_in(browser(site)))
    assert found.pop("value")
    assert found == {
        "name": "__Host-stockbell", "path": "/", "secure": "", "httponly": "", "samesite": "lax", "max-age": "43200"
    }  # fmt: skip


def test_on_plain_http_the_cookie_has_no_prefix_and_a_planted_one_is_not_read_on_https(site: Site) -> None:
    add_user(site)
    client = browser(site, base="http://bell.internal:8001")
    found = cookie(log_in(client))
    assert (found["name"], "secure" in found, found["samesite"]) == ("stockbell", False, "lax")
    assert is_in(client)
    other = browser(site)
    other.cookies.set(COOKIE, str(found["value"]))
    assert not is_in(other)


def test_a_log_in_makes_a_new_secret_and_ends_the_browsers_old_session(site: Site) -> None:
    add_user(site)
    client = browser(site)
    client.cookies.set(SECURE_COOKIE, "planted", domain="notify.shop.example")
    log_in(client)
    first = str(secret_of(client))
    assert first != "planted"
    log_in(client)
    assert secret_of(client) != first
    other = browser(site)
    other.cookies.set(SECURE_COOKIE, first)
    assert not is_in(other)
    assert site.shop.count(AdminSession) == 1


@pytest.mark.parametrize("next_", ["//evil.example", "https://evil.example", "/\\evil.example", "/x", "/admin/login"])
def test_it_leads_to_no_other_place(light: Site, next_: str) -> None:
    add_user(light)
    client = browser(light)
    assert 'name="next"' not in client.get("/admin/login", params={"next": next_}).text
    assert log_in(client, next=next_).headers["location"] == "/admin/"
    assert client.get("/admin/login", params={"next": next_}).headers["location"] == "/admin/"


def test_it_leads_back_to_the_page_that_was_asked_for(light: Site) -> None:
    add_user(light)
    client = browser(light)
    asked = client.get("/admin/requests?status=FAILED&item=%C3%BC")
    page = client.get(asked.headers["location"])
    (kept,) = re.findall(r'name="next" value="([^"]+)"', page.text)
    assert log_in(client, next=kept.replace("&amp;", "&")).headers["location"] == (
        "/admin/requests?status=FAILED&item=%C3%BC"
    )


def test_an_unknown_name_gets_the_same_words_after_the_same_work(light: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(light)
    verify = Mock(wraps=FAST.verify)
    monkeypatch.setattr(passwords, "_HASHER", Mock(wraps=FAST, verify=verify, salt_len=16, hash_len=32))
    monkeypatch.setattr(passwords, "_dummy", lambda: FAST.hash("nobody knows this"))
    known, unknown = log_in(browser(light), password="wrong"), log_in(browser(light), "bob")
    assert verify.call_count == 2
    assert known.status_code == unknown.status_code == 401
    assert known.text.replace("ada", "bob") == unknown.text
    assert light.shop.count(Action) == light.shop.count(AdminSession) == 0


def test_the_hash_for_nobody_costs_what_a_new_one_costs() -> None:
    passwords._dummy.cache_clear()
    costs = "$m=8,t=1,p=1$"
    assert costs in passwords._dummy()
    assert costs in passwords.hash_of(PASSWORD)
    assert passwords.is_right(None, PASSWORD) is False


def test_a_removed_user_gets_in_no_more(light: Site) -> None:
    add_user(light)
    light.shop.write(admins.remove, "ada")
    assert log_in(browser(light)).status_code == 401


def test_a_hash_with_older_parameters_is_renewed(light: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(light)
    (before,) = light.shop.ask("SELECT password FROM admin_user")
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    assert log_in(browser(light)).status_code == 303
    (after,) = light.shop.ask("SELECT password FROM admin_user")
    assert ("m=8,t=1" in before.password, "m=16,t=2" in after.password) == (True, True)
    assert log_in(browser(light)).status_code == 303


# --- the limit ---


def fail(site: Site, times: int, name: str = "ada", host: str = "198.51.100.7") -> None:
    for _ in range(times):
        assert log_in(browser(site, host), name, "wrong").status_code == 401


def test_after_five_failures_for_a_name_the_right_password_is_refused_too(site: Site) -> None:
    add_user(site)
    for number in range(MOST_GUESSES):
        fail(site, 1, host=f"198.51.100.{number}")
    answer = log_in(browser(site, "203.0.113.1"))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= GUESS_SECONDS
    assert "Too many log-ins have failed" in answer.text
    assert PASSWORD not in answer.text
    site.shop.change("UPDATE admin_guess SET at = stockbell_now(-:ago)", ago=GUESS_SECONDS + 1)
    assert log_in(browser(site, "203.0.113.1")).status_code == 303


def test_after_five_failures_from_an_address_it_may_try_no_other_name(light: Site) -> None:
    add_user(light)
    for number in range(MOST_GUESSES):
        fail(light, 1, f"name-{number}", f"2001:db8:1:2::{number}")
    assert log_in(browser(light, "2001:db8:1:2:ffff::1")).status_code == 429
    assert log_in(browser(light, "2001:db8:1:3::1")).status_code == 303


def test_a_good_log_in_frees_no_guess(light: Site) -> None:
    add_user(light)
    add_user(light, "mallory", Role.VIEWER)
    fail(light, MOST_GUESSES - 1)
    assert log_in(browser(light), "mallory").status_code == 303
    fail(light, 1)
    assert log_in(browser(light), "mallory").status_code == 429
    assert light.shop.count(AdminGuess) == 2 * MOST_GUESSES


def test_the_limit_holds_for_all_processes(site: Site) -> None:
    """And Redis is away for the second."""
    add_user(site)
    fail(site, MOST_GUESSES)
    with pages_over(site.shop) as other:
        assert log_in(browser(other)).status_code == 429


def test_many_guesses_at_once_exceed_the_limit_by_no_more_than_are_made_at_a_time(site: Site) -> None:
    add_user(site)
    clients = [browser(site, f"198.51.100.{number}") for number in range(20)]
    with ThreadPoolExecutor(10) as threads:
        statuses = [each.status_code for each in threads.map(lambda client: log_in(client, password="wrong"), clients)]
    assert MOST_GUESSES <= statuses.count(401) <= MOST_GUESSES + desk.HASHES - 1
    assert set(statuses) <= {401, 429, 503}


def test_whose_guesses_they_are_can_not_be_read(light: Site) -> None:
    add_user(light)
    fail(light, 1)
    (first, second) = (row.subject for row in light.shop.ask("SELECT subject FROM admin_guess"))
    assert first != second
    assert not re.search(r"ada|198", first + second)


def test_only_some_passwords_are_verified_at_a_time_and_only_some_wait(light: Site) -> None:
    """A hash takes 64 MiB."""
    at_once = most = 0
    may_end = asyncio.Event()

    async def run(*_work: object) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await may_end.wait()
        at_once -= 1
        return False

    slow: Any = SimpleNamespace(parts=light.context.parts, read=light.context.read, write=light.context.write, run=run)
    request: Any = SimpleNamespace(headers={}, client=SimpleNamespace(host="198.51.100.1"))

    async def many() -> list[Any]:
        crowded = desk.Desk(slow)
        names = [f"name-{number}" for number in range(desk.MOST_WAITING + 10)]
        tasks = [asyncio.create_task(crowded.log_in(request, name, "wrong")) for name in names]
        while at_once < desk.HASHES or sum(task.done() for task in tasks) < 10:  # noqa: ASYNC110  # both are the loop's
            await asyncio.sleep(0)
        may_end.set()
        return await asyncio.gather(*tasks)

    answers = asyncio.run(many())
    assert most == desk.HASHES
    assert sum(isinstance(each, desk.Wait) and each.is_busy for each in answers) == 10


# --- before there is a user ---


def test_the_one_time_link_lets_somebody_on_this_machine_in_once(site: Site) -> None:
    path = f"/admin/first/{site.context.first_link.issue()}"
    assert browser(site).get(path).status_code == browser(site).post(path).status_code == 404, "from elsewhere"
    client = browser(site, "127.0.0.1", "http://127.0.0.1:8001")
    assert "Open the pages for admins" in client.get(path).text
    assert site.shop.count(AdminSession) == 0, "to look at it changes nothing"
    assert client.post(path).headers["location"] == "/admin/"
    assert "first" in client.get("/admin/me").text
    again = browser(site, "::1", "http://[::1]:8001")
    assert again.get(path).status_code == again.post(path).status_code == 404
    add_user(site)
    assert not is_in(client)


def test_the_link_is_useless_once_there_is_a_user(light: Site) -> None:
    path = f"/admin/first/{light.context.first_link.issue()}"
    add_user(light)
    assert browser(light, "127.0.0.1").post(path).status_code == 404
    assert light.shop.count(AdminSession) == 0


def test_who_comes_by_a_proxy_is_not_on_this_machine(shop: Shop) -> None:
    with pages_over(shop, trusted_proxies="127.0.0.1") as site:
        path = f"/admin/first/{site.context.first_link.issue()}"
        client = browser(site, "127.0.0.1")
        assert client.post(path, headers={"X-Forwarded-For": "198.51.100.1"}).status_code == 404
        assert client.post(path).status_code == 303


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxy_on_this_machine_that_was_not_named_lets_nobody_use_the_link(light: Site, name: str) -> None:
    path = f"/admin/first/{light.context.first_link.issue()}"
    for value in ("198.51.100.1", "127.0.0.1"):
        assert browser(light, "127.0.0.1").post(path, headers={name: value}).status_code == 404
    assert browser(light, "127.0.0.1").post(path).status_code == 303


def test_without_a_user_the_page_says_how_to_add_one(light: Site) -> None:
    assert "stockbell admin add NAME --role admin" in browser(light).get("/admin/login").text


# --- one's own page ---


def test_own_sessions_are_shown_and_can_be_ended(site: Site) -> None:
    add_user(site)
    here, there, third = browser(site), browser(site), browser(site)
    for client, agent in ((here, "Firefox/140 Linux"), (there, "Chrome/156 Windows"), (third, "curl/8")):
        client.headers["User-Agent"] = agent
        log_in(client)
    page = here.get("/admin/me").text
    assert all(text in page for text in ("Firefox on Linux", "Chrome on Windows", "curl", "this one"))
    id_ = digest(str(secret_of(there)))[: admins.SHOWN_DIGITS]
    assert here.post("/admin/me/end", data={"id": id_}).status_code == 303
    assert (is_in(here), is_in(there), is_in(third)) == (True, False, True)
    assert here.post("/admin/me/end", data={"id": id_}).status_code == 404
    assert here.post("/admin/me/end-others").status_code == 303
    assert (is_in(here), is_in(third)) == (True, False)
    verbs = [row.verb for row in site.shop.ask("SELECT verb FROM action ORDER BY id")]
    assert verbs[3:] == ["admin sessions", "admin sessions"]


def change(client: TestClient, **fields: str) -> Any:
    given = {"password": PASSWORD, "new_password": "another good one", "repeated_password": "another good one"}
    return client.post("/admin/me/password", data=given | fields)


def test_a_new_password_ends_all_other_sessions(site: Site) -> None:
    add_user(site, role=Role.VIEWER)
    here, there = browser(site), browser(site)
    log_in(here), log_in(there)
    before = secret_of(here)
    assert change(here).status_code == 303
    assert secret_of(here) != before
    assert (is_in(here), is_in(there)) == (True, False)
    assert log_in(there).status_code == 401
    assert log_in(there, password="another good one").status_code == 303
    assert site.shop.count(AdminGuess) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": "wrong"}, "This is not your password."),
        ({"new_password": "short", "repeated_password": "short"}, "The password must have 12 to 200 characters."),
        ({"new_password": "ada" * 5, "repeated_password": "ada" * 5}, "The password must not be the name."),
        ({"repeated_password": "something else"}, "This is not the same as the new password."),
    ],
)
def test_what_is_wrong_with_a_new_password_is_said_beside_the_field(
    light: Site, fields: dict[str, str], words: str
) -> None:
    add_user(light)
    client = browser(light)
    log_in(client)
    answer = change(client, **fields)
    assert answer.status_code == 400
    assert words in answer.text
    assert "aria-invalid" in answer.text
    assert is_in(client)
    assert log_in(browser(light)).status_code == 303


def test_the_old_password_can_not_be_guessed_either(light: Site) -> None:
    add_user(light)
    client = browser(light)
    log_in(client)
    for _ in range(MOST_GUESSES):
        assert change(client, password="wrong").status_code == 400
    assert change(client).status_code == 429


# --- a proxy that logs people in ---


@pytest.fixture
def sso(shop: Shop) -> Any:
    """The pages behind a proxy at 10.0.0.1 that says who somebody is."""
    with pages_over(shop, trusted_proxies="10.0.0.0/8", admin_proxy_header="X-Remote-User") as site:
        yield site


def named(client: TestClient, *names: str) -> Any:
    headers = [*SAME.items(), *(("X-Remote-User", name) for name in names)]
    return client.get("/admin/keys", headers=headers)


def test_whom_the_proxy_names_is_in_with_the_role_of_the_user(sso: Site) -> None:
    add_user(sso, "jane")
    proxy = browser(sso, "10.0.0.1")
    assert "Make the key" in named(proxy, "Jane").text
    viewer = named(proxy, "someone@shop.example")
    assert viewer.status_code == 200
    assert "Make the key" not in viewer.text
    assert "Log out" not in viewer.text
    posted = proxy.post("/admin/keys", headers={"X-Remote-User": "someone"}, data={"name": "x", "scope": "read"})
    assert posted.status_code == 403
    assert proxy.post("/admin/keys", headers={"X-Remote-User": "jane"}, data={"name": "x", "scope": "read"}).is_success
    assert [row.who for row in sso.shop.ask("SELECT who FROM action")] == ["jane"]


def test_nobody_else_is_believed_about_a_name(sso: Site) -> None:
    add_user(sso, "jane")
    stranger = browser(sso, "198.51.100.1")
    assert named(stranger, "jane").status_code == 303
    pretends = browser(sso, "198.51.100.1")
    pretends.headers["X-Forwarded-For"] = "10.0.0.1"
    assert named(pretends, "jane").status_code == 303
    proxy = browser(sso, "10.0.0.1")
    proxy.headers["X-Forwarded-For"] = "198.51.100.1"
    assert named(proxy, "jane").status_code == 200, "the client is not the peer"
    for names in ((), ("jane", "jane"), ("jane", "bob"), ("",), ("first",), ("cli:root",), ("x" * 65,)):
        assert named(proxy, *names).status_code == 303, names


def test_without_the_setting_the_header_says_nothing(shop: Shop) -> None:
    with pages_over(shop, trusted_proxies="10.0.0.0/8") as site:
        add_user(site, "jane")
        assert named(browser(site, "10.0.0.1"), "jane").status_code == 303
