"""The page "Mail". On PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import SHIPPED_TEMPLATES
from tests.contract.mailing import SENDER
from tests.contract.shop import MUG, Shop
from tests.contract.web.admin.trail import trail
from tests.contract.web.site import Site, pages_over
from tests.relay import ScriptedRelay
from worker.domain.admins import Role
from worker.web.admin.mail import PER_MINUTE

PAGE = "/admin/mail"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


@pytest.fixture
def sending(shop: Shop, relay: ScriptedRelay) -> Iterator[Site]:
    with pages_over(shop, smtp=f"smtp://127.0.0.1:{relay.port}", mail_from=f"Shop <{SENDER}>") as site:
        site.log_in()
        yield site


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    copied = tmp_path / "templates"
    shutil.copytree(SHIPPED_TEMPLATES, copied)
    return copied


def test_the_mail_is_shown_in_a_frame_that_can_do_nothing(site: Site, shop: Shop) -> None:
    shop.tell(MUG, name=f"Mug {HOSTILE}", price="12.50", currency="EUR", url="https://shop.example/p/mug-1")
    site.log_in(Role.VIEWER)
    page = site.client.get(PAGE, params={"item": "mug-1", "locale": "de", "option": "size=L"})
    assert page.status_code == 200
    assert 'sandbox src="/admin/mail/frame?item=mug-1&amp;locale=de&amp;option=size%3DL"' in page.text
    assert HOSTILE not in page.text
    assert "Send a test" not in page.text
    assert "stockbell preview mug-1 --option size=L --locale de" in page.text
    framed = site.client.get(f"{PAGE}/frame", params={"item": "mug-1", "locale": "de", "option": "size=L"})
    assert "12,50" in framed.text
    assert HOSTILE not in framed.text
    policy = framed.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert "img-src https:" in policy
    assert "@media (max-width:0)" in framed.text  # light, whatever the browser prefers
    dark = site.client.get(f"{PAGE}/frame?scheme=dark").text
    assert "@media (min-width:0)" in dark
    assert ":root{color-scheme:dark!important" in dark
    assert 'name="color-scheme" content="dark"' in dark
    assert "img-src 'none'" in site.client.get(f"{PAGE}/frame?images=off").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_text_source_and_checks_are_there(site: Site) -> None:
    site.log_in()
    assert "Stockbell&#39;s test mail" in site.client.get(PAGE, params={"view": "text"}).text
    assert "MIME-Version: 1.0" in site.client.get(PAGE, params={"view": "source"}).text
    source = site.client.get(f"{PAGE}/source")
    assert source.headers["Content-Type"].startswith("message/rfc822")
    assert source.content.count(b"\r\n\r\n") > 1
    page = site.client.get(PAGE).text
    for rule in ("parts", "subject", "link", "unsubscribe", "one-click", "size"):
        assert f'<th scope="row">{rule}</th>' in page
    assert "plain text and HTML are there" in page


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"item": "x" * 99}, "36"),
        ({"option": "size=L"}, "belong to an item"),
        ({"item": "mug-1", "option": "size"}, "name=value"),
        ({"url": "javascript:alert(1)"}, "The link"),
        ({"locale": HOSTILE}, "ocale"),
        ({"item": "\x00"}, "tem"),
    ],
)
def test_nonsense_is_shown_back_with_what_is_wrong(site: Site, params: dict[str, str], words: str) -> None:
    site.log_in()
    answer = site.client.get(PAGE, params=params)
    assert answer.status_code == 400
    assert words in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert HOSTILE not in answer.text
    assert "<iframe" not in answer.text
    assert site.client.get(f"{PAGE}/frame", params=params).status_code == 404


def test_an_item_without_a_link_says_what_is_missing(site: Site) -> None:
    site.log_in()
    assert "give a link" in site.client.get(PAGE, params={"item": "unknown"}).text
    assert "<iframe" in site.client.get(PAGE, params={"item": "unknown", "url": "https://shop.example/u"}).text


def test_a_template_that_is_broken_is_shown_with_its_line_and_read_anew_when_it_is_mended(
    shop: Shop, templates: Path
) -> None:
    body = templates / "back_in_stock" / "body.txt"
    good = body.read_text()
    body.write_text(f"one\n{HOSTILE} {{{{ no_such }}}}\nthree\n")
    with pages_over(shop, template_dir=templates) as site:
        site.log_in()
        page = site.client.get(PAGE).text
        assert "body.txt: line 2:" in page
        assert "<mark>   2  &lt;script&gt;" in page
        assert HOSTILE not in page
        shop.sign_up()
        shop.change(
            """UPDATE request SET not_before = stockbell_now(60), failure_code = 'TEMPLATE_ERROR',
            failure_reason = 'template x: line 1'"""
        )
        assert "1 request is held" in site.client.get(PAGE).text
        body.write_text(good)
        assert "<iframe" in site.client.get(PAGE).text
        (templates / "back_in_stock" / "de").mkdir()
        (templates / "back_in_stock" / "de" / "body.html").write_text("{% if %}")
        assert "another template can’t" in site.client.get(PAGE).text


def test_a_test_mail_is_sent_and_the_trail_has_no_address(sending: Site, shop: Shop, relay: ScriptedRelay) -> None:
    page = sending.client.post(f"{PAGE}/send", data={"address": "me@shop.example", "locale": "de"})
    assert "has taken the test mail" in page.text
    assert [each.recipient for each in relay.accepted] == ["me@shop.example"]
    [done] = trail(shop)
    assert (done.verb, done.who, done.changed, done.refused) == ("send-test", "ada", 1, 0)
    assert done.result is not None
    assert done.result["sent"] is True
    assert "@" not in done.everything


def test_only_a_few_test_mails_are_sent_in_a_minute(sending: Site, shop: Shop, relay: ScriptedRelay) -> None:
    for _ in range(PER_MINUTE):
        assert sending.client.post(f"{PAGE}/send", data={"address": "me@shop.example"}).status_code == 200
    answer = sending.client.post(f"{PAGE}/send", data={"address": "me@shop.example"})
    assert (answer.status_code, "Try again in a minute" in answer.text) == (429, True)
    assert len(relay.accepted) == len(trail(shop)) == PER_MINUTE
    shop.change("UPDATE action SET at = stockbell_now(-61)")
    assert sending.client.post(f"{PAGE}/send", data={"address": "me@shop.example"}).status_code == 200


def test_a_test_mail_that_can_not_be_sent_says_why(site: Site, shop: Shop) -> None:
    site.log_in()
    bad = site.client.post(f"{PAGE}/send", data={"address": HOSTILE})
    assert (bad.status_code, "Email has no @" in bad.text, HOSTILE in bad.text) == (400, True, False)
    assert not trail(shop)
    answer = site.client.post(f"{PAGE}/send", data={"address": "me@shop.example"})
    assert "SMTP_URL is not set" in answer.text
    assert trail(shop)[0].refused == 1


def test_viewers_send_nothing(site: Site, shop: Shop) -> None:
    site.log_in(Role.VIEWER)
    assert site.client.post(f"{PAGE}/send", data={"address": "me@shop.example"}).status_code == 403
    assert not trail(shop)
