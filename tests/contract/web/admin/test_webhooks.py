"""The page "Webhooks". On PostgreSQL."""

from uuid import UUID, uuid4

import pytest

from tests.contract.shop import Shop
from tests.contract.web.admin.trail import trail
from tests.contract.web.receiver import Reply, receiver
from tests.contract.web.site import Site
from tests.polling import eventually
from worker.domain.admins import Role
from worker.domain.webhooks import Format
from worker.store import deliveries, endpoints, hooks, outbox
from worker.store.endpoints import Endpoint

PAGE = "/admin/webhooks"
URL = "https://shop.example/secret-path"
HOSTILE = "<script>alert(1)</script>"


def added(shop: Shop, url: str = URL) -> Endpoint:
    return shop.write(endpoints.add, url, Format.STANDARD, is_full=False, allows_private=True)


def body(text: str) -> str:
    return text.partition("<main")[2].partition("</main>")[0]


def test_endpoints_are_listed_with_their_last_deliveries_and_hooks_below(site: Site, shop: Shop) -> None:
    endpoint = added(shop, f"{URL}?token=zzz")
    request = shop.sign_up()
    shop.write(outbox.tell_again, endpoint.id, [request])
    [delivery] = shop.write(deliveries.take, endpoint, 10)
    ended = deliveries.Ended(delivery, 1, 60.0, 500, f"it said {HOSTILE}")
    shop.write(deliveries.settle, [ended])
    hook = shop.write(hooks.create, "shopify", HOSTILE, "shhh-a-secret-of-the-hook")
    site.log_in(Role.VIEWER)
    page = body(site.client.get(PAGE).text)
    assert f"{URL}?…" in page
    assert "zzz" not in page
    assert f"{request}." in page
    assert "500" in page
    assert "next try" in page
    assert "shopify" in page
    assert hook not in page
    assert "shhh" not in page
    assert endpoint.secrets[0] not in page
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 2
    assert "<form" not in page


def test_an_endpoint_is_added_and_its_secret_shown_once(site: Site, shop: Shop) -> None:
    site.log_in()
    with receiver(lambda _call: Reply(200)) as got:
        made = site.client.post(f"{PAGE}/add", data={"url": got.url, "format": "standard", "private": "1"})
    [row] = shop.ask("SELECT secrets FROM webhook_endpoint")
    secret = row.secrets.strip('["]')
    assert secret in made.text
    assert secret not in site.client.get(PAGE).text
    [done] = trail(shop)
    assert (done.who, done.verb, done.changed) == ("ada", "webhooks add", 1)
    assert secret not in done.everything
    assert done.about["host"].startswith("127.0.0.1")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"url": "", "format": "standard"}, "must be"),
        ({"url": "ftp://shop.example", "format": "standard"}, "must be https"),
        ({"url": "https://127.0.0.1/x", "format": "standard"}, "not a public one (tick"),
        ({"url": "redis://127.0.0.1:6379/0", "format": "wix"}, "gets the format standard"),
        ({"url": "https://shop.example", "format": HOSTILE}, "Choose one of the two"),
        ({"url": f"https://{HOSTILE}", "format": "standard"}, "URL"),
    ],
)
def test_a_url_that_can_not_be_used_is_shown_back_with_the_reason(
    site: Site, shop: Shop, form: dict[str, str], words: str
) -> None:
    site.log_in()
    answer = site.client.post(f"{PAGE}/add", data=form)
    assert answer.status_code == 400
    assert words in answer.text
    assert 'aria-invalid="true"' in answer.text or "format-about" in answer.text
    assert HOSTILE not in answer.text
    assert not trail(shop)


def test_an_endpoint_is_tried_and_its_answer_shown(site: Site, shop: Shop) -> None:
    site.log_in()
    with receiver(lambda _call: Reply(500, {}, HOSTILE.encode())) as got:
        endpoint = added(shop, got.url)
        answer = site.client.post(f"{PAGE}/{endpoint.id}/test").text
    assert "did not take the test" in answer
    assert HOSTILE not in answer
    [done] = trail(shop)
    assert (done.verb, done.result and done.result["status"], done.refused) == ("webhooks test", 500, 1)


def test_verbs_change_an_endpoint_and_the_trail_names_it(site: Site, shop: Shop) -> None:
    endpoint = added(shop)
    site.log_in()

    def posted(verb: str) -> str:
        return site.client.post(f"{PAGE}/{endpoint.id}/{verb}").text

    rotated = posted("rotate")
    found = shop.database.read(endpoints.find, endpoint.id)
    assert found is not None
    assert found.secrets[0] in rotated
    assert "told nothing more" in posted("disable")
    assert "Nothing was changed" in posted("disable")
    assert "ada has disabled it" in body(site.client.get(PAGE).text)
    assert "is told again" in posted("enable")
    assert "was removed" in posted("remove")
    assert shop.database.read(endpoints.find, endpoint.id) is None
    verbs = [done.verb for done in trail(shop)]
    assert verbs == ["webhooks rotate", "webhooks disable", "webhooks enable", "webhooks remove"]
    assert {done.about["endpoint"] for done in trail(shop)} == {str(endpoint.id)}
    assert all("whsec_" not in done.everything and "secret-path" not in done.everything for done in trail(shop))


def test_what_changed_since_a_time_is_told_again_in_the_background(site: Site, shop: Shop) -> None:
    shop.sign_up_many(3)
    endpoint = added(shop)
    site.log_in()
    answer = site.client.post(f"{PAGE}/{endpoint.id}/resync", data={"since": "2020-01-01"})
    assert "told again what may have changed" in answer.text
    eventually(lambda: trail(shop)[0].changed == 3)
    assert trail(shop)[0].result == {"requests": 3}
    assert shop.database.read(endpoints.backlog, endpoint.id) == 3
    wrong = site.client.post(f"{PAGE}/{endpoint.id}/resync", data={"since": "yesterday"})
    assert wrong.status_code == 400
    assert "must look like" in wrong.text
    shop.write(endpoints.disable, endpoint.id, "for a test")
    late = site.client.post(f"{PAGE}/{endpoint.id}/resync", data={"since": "2020-01-01"})
    assert (late.status_code, "enable it first" in late.text) == (400, True)
    assert len(trail(shop)) == 1


@pytest.mark.parametrize("verb", ["test", "rotate", "enable", "disable", "remove", "resync"])
def test_viewers_change_nothing_and_unknown_endpoints_are_named(site: Site, shop: Shop, verb: str) -> None:
    endpoint: UUID = added(shop).id
    site.log_in(Role.VIEWER)
    assert site.client.post(f"{PAGE}/{endpoint}/{verb}", data={"since": "2020-01-01"}).status_code == 403
    assert site.client.post(f"{PAGE}/add", data={"url": URL, "format": "standard"}).status_code == 403
    site.log_in(Role.ADMIN, "bob")
    for nonsense in (str(uuid4()), "nonsense", "%00"):
        assert site.client.post(f"{PAGE}/{nonsense}/{verb}").status_code == 404
    assert not trail(shop)


def test_an_empty_page_says_what_will_appear(site: Site) -> None:
    site.log_in()
    page = site.client.get(PAGE).text
    assert "No endpoint yet" in page
    assert "No hooks" in page
