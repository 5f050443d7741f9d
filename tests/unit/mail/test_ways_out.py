"""How a customer leaves: every mail has the ways out that are set up, each with the customer's own token."""

import email
import re
import shutil
from email.message import EmailMessage
from email.policy import default
from html import unescape
from pathlib import Path
from typing import cast
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.unit.mail.test_letter import ASKED_AT, CONSTANT, DATE, NOON, TEMPLATES, Item, claim
from tests.unit.mail.test_message import ATTACKS, assert_well_formed, undone
from worker.domain.errors import BadSetting
from worker.domain.relays import Mailbox
from worker.domain.return_path import ReturnPath, parse_return_path
from worker.domain.tokens import Tokens
from worker.mail.letter import LetterWriter
from worker.mail.letterhead import letterhead
from worker.mail.message import dot_stuffed, envelope_address, head, remainder, with_tokens
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources
from worker.mail.ways_out import LINK_MARK, MAIL_MARK, NO_WAY_OUT, WaysOut, ways_out
from worker.smtp.mailer import Mail

SHOP = Mailbox("Shop", "shop@shop.example")
TOKENS = Tokens([b"k" * 32])
PLUS, PLAIN = parse_return_path("bounces+{token}@shop.example"), ReturnPath("bounces@shop.example")
PUBLIC = "https://notify.shop.example"
MAIL = ways_out(TOKENS, PLUS, None)
BOTH = ways_out(TOKENS, PLUS, PUBLIC)
LINK = ways_out(TOKENS, None, PUBLIC)
ALL = [MAIL, ways_out(TOKENS, PLAIN, None), LINK, BOTH]
IDS = ["mail", "plain address", "link", "both"]


def writer_of(
    ways: WaysOut, templates: Path = TEMPLATES, *, name: str = "Shop", reply_to: Mailbox | None = None
) -> LetterWriter:
    renderer = Renderer(Sources(templates), name)
    return LetterWriter(renderer, SHOP, None, lambda: NOON, tokens=TOKENS, ways=ways, reply_to=reply_to)


def written(writer: LetterWriter, number: int = 1, url: str | None = None, locale: str | None = None) -> Mail:
    mail = writer.write(claim(number, url=url, locale=locale), Item())
    assert isinstance(mail, Mail)
    return mail


def parsed(mail: Mail) -> EmailMessage:
    return email.message_from_bytes(undone(mail.content), policy=default)


def uris(message: EmailMessage) -> list[str]:
    return re.findall(r"<([^<>]*)>", str(message["List-Unsubscribe"] or ""))


def bodies(message: EmailMessage) -> list[str]:
    return [str(cast("EmailMessage", part).get_content()) for part in message.iter_parts()]


def in_full(ways: WaysOut, templates: Path, number: int, url: str, locale: str | None) -> bytes:
    """Returns the mail as it is without any short cut."""
    to, item = claim(number), Item()
    tokens = ways.naming(TOKENS)(to.contact_id)
    shown = with_tokens(ways.shown, ways.marks, tokens)
    renderer = Renderer(Sources(templates), "Shop")
    facts = item.name, item.price, item.currency, item.image_url
    day = renderer.shown_day(ASKED_AT.date(), locale)
    context = MailContext(url, item.catalog_item_id, {"Size": "L"}, *facts, shown, asked_on=day)
    rendered, used = renderer.render(context, locale)
    lines = with_tokens(letterhead(SHOP, "Shop", reply_to=None, ways=ways), ways.marks, tokens)
    own = head(envelope_address(to.email), to.id, "shop.example", DATE)
    return dot_stuffed(own + remainder(rendered, sender=SHOP, locale=used, letterhead=lines))


USES = [
    "nothing",
    "{{ unsubscribe_url }}",
    "{{ item_url }}{{ unsubscribe_url }}",
    "{% if unsubscribe_url %}{{ unsubscribe_url }} {{ item_url }}{% endif %}",
    "{{ unsubscribe_url|upper }}",
    "{{ unsubscribe_url ~ item_url }}",
    *("x" * before + "{{ unsubscribe_url }}" for before in range(0, 76, 7)),
    *("." * before + "{{ unsubscribe_url }}\n." for before in (1, 59, 60, 61)),
]


@pytest.mark.parametrize("ways", ALL, ids=IDS)
def test_every_mail_is_as_rendered_in_full(ways: WaysOut) -> None:
    writer = writer_of(ways)
    for number, (url, locale) in enumerate(
        [("https://x/1", None), ("https://x/1", "de"), ("https://x/1", None), ("https://x/2", None)]
    ):
        assert written(writer, number, url, locale).content == in_full(ways, TEMPLATES, number, url, locale)


@pytest.mark.parametrize("ways", [MAIL, BOTH], ids=["mail", "both"])
@pytest.mark.parametrize("subject", ["It is back", "{{ unsubscribe_url }}"])
def test_also_if_the_templates_are_the_shops_own(tmp_path: Path, ways: WaysOut, subject: str) -> None:
    for place, source in enumerate(USES):
        folder = tmp_path / f"{place}"
        (folder / "back_in_stock").mkdir(parents=True)
        for file, text in {"subject.txt": subject, "body.txt": source, "body.html": source}.items():
            (folder / "back_in_stock" / file).write_text(text)
        writer = writer_of(ways, folder)
        for number, url in enumerate(["https://x/1", "https://x/1", "https://x/2"]):
            assert written(writer, number, url).content == in_full(ways, folder, number, url, None), source


def test_a_way_out_does_not_cost_a_rendering_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    render, seen = Renderer.render, list[MailContext]()

    def counted(self: Renderer, context: MailContext, locale: str | None) -> object:
        seen.append(context)
        return render(self, context, locale)

    monkeypatch.setattr(Renderer, "render", counted)
    writer = writer_of(BOTH)
    assert len({written(writer, number).content for number in range(20)}) == 20
    assert len(seen) == 1


@pytest.mark.parametrize("ways", ALL, ids=IDS)
@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_header_and_both_bodies_lead_out(ways: WaysOut, locale: str) -> None:
    message = parsed(written(writer_of(ways), 7, locale=locale))
    assert uris(message)[0] in bodies(message)[0]
    assert uris(message)[0] in unescape(bodies(message)[1])
    assert message["List-Unsubscribe-Post"] == ("List-Unsubscribe=One-Click" if ways.link else None)


def test_a_mailto_is_an_address_that_names_the_customer_or_a_subject_that_does() -> None:
    token = TOKENS.for_mail(UUID(int=7))
    assert uris(parsed(written(writer_of(MAIL), 7))) == [f"mailto:bounces+{token}@shop.example?subject=unsubscribe"]
    (url,) = uris(parsed(written(writer_of(ALL[1]), 7)))
    assert unquote(url) == f"mailto:bounces@shop.example?subject=unsubscribe {token}"
    assert TOKENS.contact(token) == UUID(int=7)


def test_a_link_is_the_first_and_names_the_customer() -> None:
    link, mailto = uris(parsed(written(writer_of(BOTH), 7)))
    assert TOKENS.contact_of_link(link.removeprefix(f"{PUBLIC}/u/")) == UUID(int=7)
    assert mailto.startswith("mailto:bounces+")


def test_a_link_needs_https() -> None:
    assert ways_out(TOKENS, None, "http://notify.shop.example") == NO_WAY_OUT
    assert ways_out(TOKENS, None, PUBLIC).link == f"{PUBLIC}/u/{LINK_MARK}"


def test_without_a_key_or_an_address_there_is_no_way_out_and_the_footer_is_silent() -> None:
    assert ways_out(None, PLAIN, PUBLIC) == NO_WAY_OUT
    message = parsed(written(writer_of(ways_out(TOKENS, None, None))))
    assert message["List-Unsubscribe"] is None
    assert not any("no more mails" in body for body in bodies(message))


def test_templates_that_know_no_way_out_still_work(tmp_path: Path) -> None:
    own = Path(shutil.copytree(TEMPLATES, tmp_path / "own"))
    (own / "back_in_stock" / "body.txt").write_text("{{ item_url }}")
    assert uris(parsed(written(writer_of(MAIL, own))))


@pytest.mark.parametrize("ways", [NO_WAY_OUT, *ALL], ids=["none", *IDS])
def test_a_mail_is_named_by_its_request_and_its_customer(ways: WaysOut) -> None:
    mail = written(writer_of(ways), 7)
    assert mail.token == TOKENS.for_return(UUID(int=7), 1)
    assert mail.contact_token == TOKENS.for_mail(UUID(int=7))


def test_tokens_are_as_long_as_their_marks_and_need_no_encoding() -> None:
    for _ in range(50):
        mail, link = TOKENS.for_contact(contact := uuid4())
        assert (mail, link) == (TOKENS.for_mail(contact), TOKENS.for_link(contact))
        assert (len(mail), len(link)) == (len(MAIL_MARK), len(LINK_MARK))
        assert re.fullmatch(r"[\w-]+", mail + link, re.ASCII)


# Injection

local_parts = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`|~-]{1,17}", fullmatch=True)
paths = st.from_regex(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,60}){0,6}", fullmatch=True)
names = st.sampled_from(ATTACKS) | st.text(st.characters(codec="utf-8"), max_size=100)


@hypothesis_settings(deadline=None, max_examples=20)
@given(local=local_parts, path=paths, name=names, has_token=st.booleans())
def test_whatever_is_set_the_header_is_what_was_meant(local: str, path: str, name: str, has_token: bool) -> None:
    bounces = ReturnPath(f"{local}+", "@shop.example") if has_token else ReturnPath(f"{local}@shop.example")
    ways = ways_out(TOKENS, bounces, f"{PUBLIC}{path}")
    reply_to = Mailbox(name, "help@shop.example")
    mail = written(writer_of(ways, name=name, reply_to=reply_to), 7)
    message = parsed(mail)
    ours = ["Reply-To", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", *CONSTANT[1:]]
    assert_well_formed(undone(mail.content), ours)
    token, link_token = TOKENS.for_contact(UUID(int=7))
    link, mailto = (
        cast("str", re.fullmatch(r"<(.*)>", each.strip(), re.DOTALL))[1] for each in raw(mail).split(",\r\n")
    )
    assert link == f"{PUBLIC}{path}/u/{link_token}"
    address, _, subject = mailto.removeprefix("mailto:").partition("?subject=")
    assert unquote(address) == bounces.with_token(token)
    assert unquote(subject) == ("unsubscribe" if has_token else f"unsubscribe {token}")
    assert [each.addr_spec for each in message["Reply-To"].addresses] == ["help@shop.example"]
    assert str(message["List-Id"]).endswith("<back-in-stock.shop.example>")
    assert re.fullmatch(r"back-in-stock:[a-z0-9-]{1,40}:stockbell", message["Feedback-ID"])


def raw(mail: Mail) -> str:
    """Returns the value of List-Unsubscribe as it is written."""
    found = re.search(rb"\r\nList-Unsubscribe: (.*?)\r\n(?! )", mail.content, re.DOTALL)
    assert found
    return found[1].decode("ascii")


@pytest.mark.parametrize("name", ["Shop", "S" * 66, "S" * 100, "Käthe & Söhne " * 7, '"', "\\" * 66])
def test_lines_are_folded(name: str) -> None:
    lines = letterhead(SHOP, name, reply_to=Mailbox(name, f"{'help' * 8}@shop.example"), ways=NO_WAY_OUT)
    assert max(map(len, lines.split("\r\n"))) <= 78 + name.count("\\") + name.count('"')


def test_an_answer_that_can_go_nowhere_is_found_at_the_start() -> None:
    with pytest.raises(BadSetting, match="STOCKBELL_REPLY_TO"):
        writer_of(MAIL, reply_to=Mailbox("", "=?x@shop.example"))
