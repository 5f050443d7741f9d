"""The preview and the test mail, which need no customer: what the mail says, and how sending it ends."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.settings import SHIPPED_TEMPLATES
from tests.contract.mailing import SENDER, relay_of
from tests.contract.shop import MUG, Shop, ref
from tests.polling import eventually
from tests.relay import Do, ScriptedRelay
from worker.domain.errors import Refused
from worker.domain.outcomes import NotSent, Outcome, RelayDown, Sent, Unknown
from worker.domain.relays import Mailbox
from worker.domain.return_path import parse_return_path
from worker.mail.letter import LetterWriter
from worker.mail.render import Renderer
from worker.mail.samples import USUAL
from worker.mail.sources import Sources
from worker.services import mail_checks, trying
from worker.services.trying import (
    SAMPLE,
    Asked,
    Facts,
    asked_by,
    facts_of,
    header_lines,
    message,
    return_path,
    write,
    write_many,
    write_sample,
)
from worker.smtp.mailer import Mail, Mailer


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


def texts(mail: Mail) -> tuple[str, str]:
    opened = mail_checks.opened(message(mail))
    return opened.text, opened.html


def writer(templates: Path = SHIPPED_TEMPLATES) -> LetterWriter:
    return LetterWriter(Renderer(Sources(templates), "Shop"), Mailbox("Shop", SENDER), None)


def sent(server: ScriptedRelay) -> Outcome:
    mail = write(writer(), SAMPLE, "me@shop.example", item_url=None, locale=None)
    return trying.send(Mailer(relay_of(server), sender=SENDER, connections=3), mail)


def test_a_preview_says_what_events_told(shop: Shop) -> None:
    shop.tell(MUG, name="Blue mug", price="12.50", currency="EUR", url="https://shop.example/p/mug-1")
    facts = facts_of(shop.database, ref(size="L"))
    text, html = texts(write(writer(), facts, "me@shop.example", item_url=None, locale="de"))
    for body in (text, html):
        assert all(words in body for words in ("Blue mug", "12,50", "L", "https://shop.example/p/mug-1"))


def test_a_preview_is_the_message_as_it_arrives(shop: Shop, server: ScriptedRelay, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    shutil.copytree(SHIPPED_TEMPLATES, templates)
    (templates / "back_in_stock" / "body.txt").write_text("first\n.hidden\n..more\n")
    mail = write(writer(templates), SAMPLE, "me@shop.example", item_url=None, locale=None)
    trying.send(Mailer(relay_of(server), sender=SENDER, connections=1), mail)
    assert message(mail) == server.accepted[0].content
    assert texts(mail)[0].split() == ["first", ".hidden", "..more"]


def test_of_an_item_that_nobody_knows_there_is_only_its_id(shop: Shop) -> None:
    facts = facts_of(shop.database, ref("cup-1", size="L"))
    assert facts == Facts("cup-1", '{"size":"L"}')
    with pytest.raises(Refused, match="give --item-url"):
        write(writer(), facts, "me@shop.example", item_url=None, locale=None)


def test_a_preview_of_several_items_is_the_mail_about_all(shop: Shop) -> None:
    shop.tell(MUG, name="Blue mug", price="12.50", currency="EUR", url="https://shop.example/p/mug-1")
    about = [facts_of(shop.database, ref(size="L")), Facts("cup-1", "{}", name="Cup", url="https://shop.example/p/cup")]
    mail, number = write_many(writer(), [(each, Asked(locale="de")) for each in about], "me@shop.example")
    assert (number, mail.recipient) == (2, "me@shop.example")
    for body in texts(mail):
        assert all(words in body for words in ("Blue mug", "12,50", "https://shop.example/p/mug-1", "/p/cup"))
    with_url = [(each, Asked("https://shop.example/x")) for each in about]
    text, _ = texts(write_many(writer(), with_url, "me@shop.example")[0])
    assert text.count("https://shop.example/x") == 2


def test_a_preview_of_several_items_needs_a_link_for_each() -> None:
    nameless = Facts("cup-1", "{}")
    for about in ([SAMPLE, nameless], [nameless, SAMPLE], [nameless, nameless]):
        with pytest.raises(Refused, match="give --item-url"):
            write_many(writer(), [(each, Asked()) for each in about], "me@shop.example")
    with pytest.raises(Refused, match="INVALID_ADDRESS"):
        write_many(writer(), [(SAMPLE, Asked())] * 2, "me")


def test_of_a_mail_that_is_too_long_it_is_told_how_many_items_had_room() -> None:
    long = f"https://shop.example/{'a' * 1_000}"
    assert write_many(writer(), [(SAMPLE, Asked(long))] * 20, "me@shop.example")[1] == 20
    pictured = replace(SAMPLE, image_url=long * 2)
    assert write_many(writer(), [(pictured, Asked(long))] * 20, "me@shop.example")[1] == 10


def test_what_a_customer_asked_for_is_in_the_mail_as_they_get_it(shop: Shop) -> None:
    created = shop.sign_up(ref(size="L"), "jane@example.com", item_url="https://shop.example/p/own", locale="de-AT")
    known = asked_by(shop.database, "Jane@Example.com ", ref())
    assert known is not None
    options, asked = known
    assert options == '{"size":"L"}'
    assert asked == Asked("https://shop.example/p/own", "de-AT", shop.row(created).created_date)
    assert asked_by(shop.database, "jane@example.com", ref("cup-2")) is None
    assert asked_by(shop.database, "jane@example.com", ref(size="XL")) is None
    assert asked_by(shop.database, "joe@example.com", ref()) is None


def test_the_mail_about_a_sample_is_of_one_day_and_has_the_shops_way_out() -> None:
    mail, number = write_sample(writer(), [USUAL], "me@shop.example", "nl")
    text, html = texts(mail)
    assert number == 1
    assert "8 maart 2026" in text
    assert USUAL.item_url in text
    assert USUAL.unsubscribe_url not in text + html  # this shop has none
    text, _ = texts(write_sample(writer(), [USUAL, USUAL], "me@shop.example", None)[0])
    assert text.count(USUAL.item_url) == 2
    with pytest.raises(Refused, match="INVALID_ADDRESS"):
        write_sample(writer(), [USUAL], "me", None)
    long = replace(USUAL, image_url=f"https://shop.example/{'a' * 4_000}")
    assert write_sample(writer(), [long] * 20, "me@shop.example", None)[1] == 10  # as customers get it


def test_a_template_that_cant_be_rendered_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^template back_in_stock/"):
        write(writer(tmp_path), SAMPLE, "me@shop.example", item_url=None, locale=None)


def test_a_test_mail_ends_as_any_other(server: ScriptedRelay) -> None:
    assert isinstance(sent(server), Sent)
    server.script("dot", Do.DROP)
    assert isinstance(sent(server), Unknown)
    server.script("greeting", "554 go away")
    assert isinstance(sent(server), RelayDown)
    assert len(server.accepted) == 1
    eventually(lambda: server.open_connections == 0)


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("dsn", [True, False])
def test_after_a_test_mail_it_is_known_what_the_relay_offers_and_was_given(pipelining: bool, dsn: bool) -> None:
    mail = replace(write(writer(), SAMPLE, "me@shop.example", item_url=None, locale=None), token="a" * 46)
    with ScriptedRelay(pipelining=pipelining, dsn=dsn) as server:
        mailer = Mailer(relay_of(server), sender=SENDER, connections=1, provider="postmark")
        before = mailer.offers_dsn
        assert isinstance(trying.send(mailer, mail), Sent)
    assert (before, mailer.offers_dsn) == (None, dsn)
    as_sent = message(replace(mail, content=mailer.as_sent(mail)))
    assert as_sent == server.accepted[0].content
    assert header_lines(as_sent)[1] == f"X-PM-Metadata-stockbell: {'a' * 46}"


def test_the_return_path_has_the_mails_token() -> None:
    mail = replace(write(writer(), SAMPLE, "me@shop.example", item_url=None, locale=None), token="a1")
    shop = Mailbox("Shop", SENDER)
    assert return_path(None, shop, mail) == SENDER
    assert return_path(parse_return_path("bounces+{token}@shop.example"), shop, mail) == "bounces+a1@shop.example"


@pytest.mark.parametrize(("stage", "outcome"), [("dot", Unknown), ("greeting", NotSent)])
def test_a_relay_that_never_answers_is_not_waited_for_long(
    server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch, stage: str, outcome: type[Outcome]
) -> None:
    monkeypatch.setattr(trying, "SECONDS", 0.5)
    server.decide = lambda at, _recipient: Do.SILENCE if at == stage else None
    assert isinstance(sent(server), outcome)
