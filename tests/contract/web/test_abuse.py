"""Attacks on sign-ups by publishable keys: each row of the table in docs/keys.md, tried over HTTP."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.contract.shop import Shop, ref, shop_at
from tests.contract.web.site import ORIGIN, SECRET, Site, site_over
from tests.redis_server import RedisServer
from tests.unit.domain.test_altcha import packed, solved
from worker.domain import altcha
from worker.domain.api_keys import Scope
from worker.domain.moving_window import PER_HOUR
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.domain.webhooks import Format
from worker.models import Confirmation, Contact, Status
from worker.services.contacts import Contacts
from worker.services.signing_up import Desk, OptIn, SignUp
from worker.store import confirmations, contacts, endpoints, erasure, keys, signups, suppression
from worker.store.requests import NewRequest
from worker.store.sql import Sql
from worker.stream import shared_window
from worker.web import access, limits

URL: Final = "/v1/back-in-stock-notification-requests"
APP: Final = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
JANE: Final = "jane@shop.example"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine Redis may take its time."""
    monkeypatch.setattr(limits, "PATIENCE_SECONDS", 20)
    monkeypatch.setattr(shared_window, "TIMEOUT_SECONDS", 20)


@pytest.fixture
def alone(shop: Shop) -> Iterator[Site]:
    """A web process whose Redis is away."""
    with site_over(shop) as site:
        yield site


def caller(site: Site, address: str, app: Any = None) -> TestClient:
    """Returns a client with this address, whose requests run in the process's own event loop."""
    client = TestClient(app or site.client.app, client=(address, 1))
    client.portal = site.client.portal
    return client


@pytest.fixture
def light(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite only, for rules that no database decides."""
    with shop_at(sqlite_url) as shop, site_over(shop) as site:
        yield site


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of sign-ups that were run, in their order."""
    words: list[str] = []
    for name in ("_run_on_sqlite", "_run_on_postgresql"):
        run = getattr(Sql, name)

        def noted(self: Sql, c: Any, params: dict[str, Any], run: Any = run) -> Any:
            words.append(str(self._sqlite))
            return run(self, c, params)

        monkeypatch.setattr(Sql, name, noted)
    return words


class Page:
    """A page of the shop, looked at by many clients."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.key = site.key(Scope.CREATE)

    def sign_up(
        self,
        email: str = JANE,
        item: str = "mug-1",
        *,
        client: str = "203.0.113.1",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Any:
        given = {"Authorization": self.key, "Origin": ORIGIN, **(headers or {})}
        return caller(self.site, client).post(URL, json=body(email, item, **more), headers=given)


def body(email: str, item: str = "mug-1", *, stockbell: Any = None, **request: Any) -> dict[str, Any]:
    wanted = {"email": email, "catalogReference": {"catalogItemId": item, "appId": APP}, **request}
    details = {"name": "WIN A CAR", "price": "0.01", "image": {"url": "https://evil.example/car.png"}}
    return {"request": wanted, "itemDetails": details, **({"stockbell": stockbell} if stockbell else {})}


def requests_of(shop: Shop) -> list[Any]:
    return shop.rows()


def wait(shop: Shop) -> None:
    shop.change("UPDATE contact SET signed_up_at = stockbell_now(-:ago)", ago=signups.EVERY_SECONDS + 1)


def seen(reply: Any) -> tuple[int, bytes, list[str]]:
    """Returns all that a client can tell from a reply, but for the id that each has."""
    named = {name: value for name, value in reply.headers.items() if name != "x-wix-request-id"}
    return reply.status_code, reply.content, sorted(f"{name}: {value}" for name, value in named.items())


# bombing one address


def test_any_number_of_clients_get_one_address_one_mail_and_one_request(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signups, "EVERY_SECONDS", 3600.0)  # a slow machine takes more than half a minute
    clients = 1000 if shop.database.dialect == "postgresql" else 100
    with site_over(shop, double_opt_in="on") as site:
        page = Page(site)
        replies = {
            page.sign_up(item=f"item-{number}", client=f"10.0.{number % 250}.{number // 250}").content
            for number in range(clients)
        }
        assert len(replies) == clients  # each names its item
        assert [row.status for row in requests_of(shop)] == [Status.RECEIVED]
        assert shop.count(Confirmation) == 1
        assert shop.write(confirmations.claim)
        assert shop.write(confirmations.claim) is None


def test_over_hours_an_address_gets_twenty_requests_and_one_mail(shop: Shop) -> None:
    with site_over(shop, double_opt_in="on") as site:
        page = Page(site)
        for number in range(signups.MOST_WAITING + 3):
            assert page.sign_up(item=f"item-{number}", client=f"10.0.{number}.1").status_code == 200
            wait(shop)
        assert len(requests_of(shop)) == signups.MOST_WAITING
        due = shop.write(confirmations.claim)
        assert due
        shop.write(confirmations.sent, due)
        page.sign_up(item="one-more", client="10.1.0.1")
        assert shop.write(confirmations.claim) is None


def test_several_processes_at_once_add_one_request(shop: Shop, alone: Site) -> None:
    with site_over(shop) as other:
        pages = [Page(alone), Page(other)]
        with ThreadPoolExecutor(6) as pool:
            replies = list(
                pool.map(
                    lambda number: pages[number % 2].sign_up(item=f"item-{number}", client=f"10.0.{number}.1"),
                    range(24),
                )
            )
    assert {reply.status_code for reply in replies} == {200}
    assert len(requests_of(shop)) == 1


# one client, many addresses


@pytest.mark.parametrize("has_redis", [True, False])
def test_one_client_gets_ten_an_hour(light: Site, redis_server: RedisServer, has_redis: bool) -> None:
    given: dict[str, Any] = {"redis_url": redis_server.url} if has_redis else {}
    with site_over(light.shop, **given) as site:
        page = Page(site)
        statuses = [page.sign_up(f"customer{number}@shop.example").status_code for number in range(PER_HOUR + 2)]
        assert statuses == [200] * PER_HOUR + [429] * 2
        refused = page.sign_up("one-more@shop.example")
        assert refused.json()["details"]["applicationError"]["code"] == "RATE_LIMITED"
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["access-control-allow-origin"] == "*"
        assert "retry-after" in refused.headers["access-control-expose-headers"].lower()
        assert page.sign_up("other@shop.example", client="203.0.113.2").status_code == 200
        assert Page(site).sign_up("third@shop.example").status_code == 200
        assert len(requests_of(light.shop)) == PER_HOUR + 2


def test_processes_share_the_count_of_a_client(light: Site, redis_server: RedisServer) -> None:
    with (
        site_over(light.shop, redis_url=redis_server.url) as one,
        site_over(light.shop, redis_url=redis_server.url) as other,
    ):
        first, second = Page(one), Page(other)
        second.key = first.key
        statuses = [
            page.sign_up(f"c{number}@shop.example").status_code for number in range(7) for page in (first, second)
        ]
    assert statuses.count(200) == PER_HOUR


def test_what_is_wrong_counts_for_nobody(light: Site) -> None:
    page = Page(light)
    assert {page.sign_up("no address").status_code for _ in range(PER_HOUR + 1)} == {400}
    assert page.sign_up().status_code == 200


def test_a_server_key_is_not_limited(light: Site) -> None:
    page = Page(light)
    page.key = light.key(Scope.ADMIN)
    replies = {page.sign_up(item=f"item-{number}").status_code for number in range(PER_HOUR + 2)}
    assert replies == {200}
    assert len(requests_of(light.shop)) == PER_HOUR + 2


def test_a_forged_forwarded_for_changes_nothing(light: Site) -> None:
    page = Page(light)
    statuses = [
        page.sign_up(f"c{number}@shop.example", headers={"X-Forwarded-For": f"198.51.100.{number}"}).status_code
        for number in range(PER_HOUR + 1)
    ]
    assert statuses[-1] == 429


def test_a_trusted_proxy_is_believed_about_the_last_hop_only(light: Site) -> None:
    with site_over(light.shop, trusted_proxies="10.0.0.0/8") as site:
        behind: Any = ProxyHeadersMiddleware(site.client.app, ["10.0.0.0/8"])  # type: ignore[arg-type]
        key = site.key(Scope.CREATE)

        def sign_up(number: int, forwarded: str) -> int:
            headers = {"Authorization": key, "X-Forwarded-For": forwarded}
            client = caller(site, "10.0.0.1", behind)
            return client.post(URL, json=body(f"c{number}@shop.example"), headers=headers).status_code

        forged = [sign_up(number, f"198.51.100.{number}, 203.0.113.9, 10.0.0.2") for number in range(PER_HOUR + 1)]
        assert forged == [200] * PER_HOUR + [429]
        assert sign_up(99, "203.0.113.10") == 200


# bots


def test_a_proof_of_work_is_asked_for_at_the_api_and_counts_once(light: Site, redis_server: RedisServer) -> None:
    with site_over(light.shop, captcha="altcha", redis_url=redis_server.url) as site:
        page = Page(site)
        asked = site.client.get("/widget/challenge", params={"key": page.key}, headers={"Origin": ORIGIN})
        answer = packed(solved(asked.json()))
        assert refusal(page.sign_up()) == "CAPTCHA_FAILED"
        assert refusal(page.sign_up(stockbell={"captcha": "x"})) == "CAPTCHA_FAILED"
        assert page.sign_up(stockbell={"captcha": answer}).status_code == 200
        assert refusal(page.sign_up(stockbell={"captcha": answer})) == "CAPTCHA_FAILED"
        assert refusal(page.sign_up(headers={"X-Stockbell-Captcha": answer}, client="203.0.113.7")) == "CAPTCHA_FAILED"
        with site_over(light.shop, captcha="altcha", redis_url=redis_server.url) as replica:
            other = Page(replica)
            assert refusal(other.sign_up(stockbell={"captcha": answer})) == "CAPTCHA_FAILED"
        again = packed(solved(altcha.challenge(Tokens([SECRET.encode()]), time.time())))
        assert page.sign_up("john@shop.example", headers={"X-Stockbell-Captcha": again}).status_code == 200
        page.key = site.key(Scope.ADMIN)
        assert page.sign_up("server@shop.example").status_code == 200


def refusal(reply: Any) -> str:
    assert reply.status_code == 403
    code: str = reply.json()["details"]["applicationError"]["code"]
    return code


def test_without_the_setting_there_is_no_challenge(light: Site) -> None:
    page = Page(light)
    asked = [(page.key, ORIGIN), (page.key, "https://evil.example"), ("sb_pub_nothing", ORIGIN)]
    replies = [
        light.client.get("/widget/challenge", params={"key": key}, headers={"Origin": origin}) for key, origin in asked
    ]
    assert [reply.status_code for reply in replies] == [404, 403, 401]


# enumeration


@pytest.mark.parametrize("opt_in", ["off", "first"])
def test_nobody_learns_who_waits(shop: Shop, opt_in: str) -> None:
    with site_over(shop, double_opt_in=opt_in) as site:
        page = Page(site)
        known = {
            each: f"{each}@shop.example" for each in ("waits", "gone", "bounced", "complained", "bombed", "confirmed")
        }
        for number, each in enumerate(("waits", "confirmed")):
            page.sign_up(known[each], client=f"10.0.0.{number}")
        wait(shop)
        for each, cause in (("gone", Cause.UNSUBSCRIBED), ("bounced", Cause.BOUNCED), ("complained", Cause.COMPLAINED)):
            contact = shop.write(contacts.add, [known[each]]).contacts[known[each]].id
            shop.write(suppression.suppress, [contact], cause, "test")
        page.sign_up(known["bombed"], item="other", client="10.0.0.9")
        shop.change("UPDATE contact SET confirmed_at = stockbell_now(0) WHERE address LIKE 'confirmed%'")
        replies = {}
        for number, (name, email) in enumerate({**known, "new": "new@shop.example"}.items()):
            reply = page.sign_up(email, client=f"10.0.1.{number}")
            text = reply.content.replace(email.encode(), b"X")
            status, _, headers = seen(reply)
            replies[name] = status, text, [each for each in headers if not each.startswith("content-length")]
        assert len({str(reply) for reply in replies.values()}) == 1
        assert replies["new"][0] == 200
        told = json.loads(replies["new"][1])["request"]
        assert not {"id", "contactId", "createdDate", "stockbell"} & set(told)


@pytest.mark.parametrize("opt_in", ["off", "on"])
@pytest.mark.parametrize("tells_others", [True, False])
def test_every_address_costs_the_same_statements(shop: Shop, opt_in: OptIn, tells_others: bool, ran: list[str]) -> None:
    """The API and the form both sign up so."""
    tokens = Tokens([SECRET.encode()])
    desk = Desk(shop.database, tokens, opt_in)
    people = {each: f"{each}@shop.example" for each in ("waits", "bombed", "gone", "complained", "erased")}

    def sign_up(email: str, item: str = "mug-1") -> None:
        desk.sign_up_many([SignUp(NewRequest(email, ref(item)), "k", is_public=True)])

    if tells_others:
        shop.write(endpoints.add, "https://x.example/", Format.STANDARD, is_full=False, allows_private=False)
    sign_up(people["waits"])
    wait(shop)
    found = shop.write(contacts.add, [people[each] for each in ("gone", "complained", "erased")]).contacts
    for each, cause in (("gone", Cause.UNSUBSCRIBED), ("complained", Cause.COMPLAINED), ("erased", Cause.BOUNCED)):
        shop.write(suppression.suppress, [found[people[each]].id], cause, "test")
    shop.write(erasure.erase, found[people["erased"]].id, tokens)
    sign_up(people["bombed"], "other")
    costs = {}
    for name, email in {**people, "new": "new@shop.example"}.items():
        ran.clear()
        sign_up(email)
        costs[name] = list(ran)
    assert costs == dict.fromkeys(costs, costs["new"])


def test_the_same_sign_up_twice_is_the_same_to_the_octet(alone: Site) -> None:
    page = Page(alone)
    assert seen(page.sign_up()) == seen(page.sign_up()) == seen(page.sign_up(client="10.0.0.1"))


def test_a_publishable_key_reads_and_changes_nothing(light: Site) -> None:
    page = Page(light)
    page.sign_up()
    request_id = requests_of(light.shop)[0].id
    headers = {"Authorization": page.key, "Origin": ORIGIN}
    calls = [
        ("GET", f"{URL}/{request_id}"),
        ("DELETE", f"{URL}/{request_id}"),
        ("PUT", f"{URL}/{request_id}/mark-as-notification-sent"),
        ("GET", URL),
        ("POST", f"{URL}/query"),
        ("GET", f"{URL}/count-by-catalog-reference"),
        ("POST", f"{URL}/report-items-back-in-stock"),
        ("PUT", f"{URL}/settings"),
        ("POST", f"{URL}/settings/start-collecting"),
        ("POST", f"{URL}/settings/stop-collecting"),
    ]
    assert {light.client.request(method, path, headers=headers).status_code for method, path in calls} == {403}
    assert requests_of(light.shop)[0].status is Status.RECEIVED


# a suppressed customer whose address somebody types


def test_a_page_lifts_no_suppression_and_asks_her_once(alone: Site) -> None:
    shop, page = alone.shop, Page(alone)
    contact = shop.write(contacts.add, [JANE]).contacts[JANE].id
    shop.write(suppression.suppress, [contact], Cause.UNSUBSCRIBED, "test")
    page.sign_up(stockbell={"confirmed": True})
    assert shop.read_one(Contact, contact).suppressed_at
    assert [row.failure_code for row in requests_of(shop)] == ["SUPPRESSED"]
    due = shop.write(confirmations.claim)
    assert due
    shop.write(confirmations.sent, due)
    wait(shop)
    page.sign_up(item="cup-1", client="10.0.0.1")
    assert shop.write(confirmations.claim) is None
    shop.write(confirmations.confirm, contact, Tokens([SECRET.encode()]))
    assert shop.read_one(Contact, contact).suppressed_at is None
    assert {row.status for row in requests_of(shop)} == {Status.RECEIVED}


def test_who_complained_is_never_asked(light: Site) -> None:
    shop, page = light.shop, Page(light)
    contact = shop.write(contacts.add, [JANE]).contacts[JANE].id
    shop.write(suppression.suppress, [contact], Cause.COMPLAINED, "test")
    page.sign_up()
    assert shop.write(confirmations.claim) is None


def test_a_server_lifts_it_only_if_she_has_confirmed(alone: Site) -> None:
    shop, page = alone.shop, Page(alone)
    page.key = alone.key(Scope.ADMIN)
    contact = shop.write(contacts.add, [JANE]).contacts[JANE].id
    shop.write(suppression.suppress, [contact], Cause.UNSUBSCRIBED, "test")
    assert page.sign_up().status_code == 200
    assert shop.read_one(Contact, contact).suppressed_at
    assert page.sign_up(item="cup-1", stockbell={"confirmed": True}).status_code == 200
    assert shop.read_one(Contact, contact).suppressed_at is None


# defacing and phishing


def test_what_a_page_says_of_an_item_is_dropped(light: Site) -> None:
    Page(light).sign_up()
    item = light.shop.ask("SELECT name, price, image_url, url FROM item")[0]
    assert tuple(item) == (None, None, None, None)


def test_a_foreign_link_is_dropped_and_not_echoed(light: Site) -> None:
    page = Page(light)
    reply = page.sign_up(itemUrl="https://shop.example.evil.example/p")
    assert "itemUrl" not in reply.json()["request"]
    own = page.sign_up("john@shop.example", itemUrl=f"{ORIGIN}/p/mug")
    assert own.json()["request"]["itemUrl"] == f"{ORIGIN}/p/mug"
    assert {row.email: row.item_url for row in requests_of(light.shop)} == {
        JANE: None,
        "john@shop.example": f"{ORIGIN}/p/mug",
    }


# keys and origins


def test_another_origin_is_refused_readably(light: Site) -> None:
    page = Page(light)
    for origin in (
        *("https://evil.example", "null", "", "http://shop.example", "https://shop.example:8443", "*"),
        *("https://shop.example/", "https://shop.example.evil.example", "https://shop.example, https://evil.example"),
    ):
        reply = page.sign_up(headers={"Origin": origin})
        assert refusal(reply) == "PERMISSION_DENIED", origin
        assert not origin or reply.headers["access-control-allow-origin"] == "*"
    assert not requests_of(light.shop)


def test_a_caller_without_an_origin_may_sign_up_and_is_limited(light: Site) -> None:
    headers = {"Authorization": Page(light).key}
    statuses = [
        light.client.post(URL, json=body(f"c{number}@shop.example"), headers=headers).status_code
        for number in range(PER_HOUR + 1)
    ]
    assert statuses == [200] * PER_HOUR + [429]


def test_every_method_may_be_asked_for_first(light: Site) -> None:
    wanted = "authorization,content-type,x-wix-bi-gateway,x-stockbell-captcha"
    for method in ("GET", "POST", "PUT", "DELETE"):
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
        reply = light.client.options(URL, headers=headers)
        assert reply.status_code == 200
        assert method in reply.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in reply.headers


def test_a_key_that_is_not_known_is_401_and_writes_nothing(light: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(light)
    revoked = light.key(Scope.CREATE)
    light.shop.write(keys.revoke, revoked[7:15])
    wrong = [revoked, page.key[:-1], f"{page.key}A", page.key[:-1] + ("A" if page.key[-1] != "A" else "B"), "sb_pub_"]
    wrong += [page.key.replace("sb_pub_", "sb_admin_"), "Bearer", "Basic abc", "é", "x" * 10_000]
    monkeypatch.setattr(light.context.database, "write", None)
    for key in wrong:
        page.key = key.encode() if not key.isascii() else key  # type: ignore[assignment]
        reply = page.sign_up()
        assert reply.status_code == 401, key
        assert reply.headers["access-control-allow-origin"] == "*"


def test_a_revoked_key_ends_with_the_next_look(light: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert access.KNOWN_SECONDS <= 1
    page = Page(light)
    monkeypatch.setattr(access, "KNOWN_SECONDS", 0.0)
    assert page.sign_up().status_code == 200
    light.shop.write(keys.revoke, page.key[7:15])
    assert page.sign_up("john@shop.example").status_code == 401


# what is kept


def test_the_proof_of_consent_is_kept_shown_and_erased(alone: Site) -> None:
    shop, page = alone.shop, Page(alone)
    page.sign_up(stockbell={"page": f"{ORIGIN}/p/mug?utm=jane#top", "consent": "2026-11"})
    proof = json.loads(requests_of(shop)[0].signup)
    client = proof.pop("client")
    assert proof == {"public": True, "key": page.key[7:15], "page": f"{ORIGIN}/p/mug", "consent": "2026-11"}
    assert len(client) == 32
    assert "203" not in client
    served = Contacts(shop.database, Tokens([SECRET.encode()]))
    exported: Any = served.known(JANE).as_json()
    assert exported["requests"][0]["signUp"] == {**proof, "client": client}
    served.erase([("1", JANE)], lambda *_: None)
    assert requests_of(shop)[0].signup is None


def test_without_a_secret_key_nothing_of_the_client_is_kept(light: Site) -> None:
    with site_over(light.shop, secret_key=()) as site:
        Page(site).sign_up(headers={"Referer": f"{ORIGIN}/p/mug?who=jane"})
    assert json.loads(requests_of(light.shop)[0].signup).keys() == {"public", "key", "page"}


def test_a_redis_that_hangs_holds_up_one_request(light: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, released = [], threading.Event()

    def hang(*_: object) -> int:
        asked.append(1)
        released.wait(20)
        return 0

    monkeypatch.setattr(limits, "PATIENCE_SECONDS", 0.05)
    with site_over(light.shop) as site:
        monkeypatch.setattr(site.context.limits._shared, "take", hang)
        page = Page(site)
        assert {page.sign_up(f"c{number}@shop.example").status_code for number in range(5)} == {200}
        released.set()
    assert len(asked) == 1
