"""The mail that asks a customer to confirm: its languages, its link, and what others may not write into it."""

from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from shutil import copytree
from uuid import UUID, uuid4

import pytest

from config.settings import SHIPPED_TEMPLATES
from worker.domain.brand import NO_BRAND, Brand, palette, parse_colour
from worker.domain.errors import BadAddress, TemplateBroken
from worker.domain.relays import parse_mailbox
from worker.domain.return_path import ReturnPath
from worker.domain.tokens import Tokens
from worker.mail.confirmation import ConfirmationWriter
from worker.mail.sources import Sources
from worker.mail.ways_out import ways_out

TOKENS = Tokens([b"k" * 32])
JANE = UUID("0198f3a0-0000-7000-8000-000000000001")
LANGUAGES = ["en", *(file.stem for file in (SHIPPED_TEMPLATES / "locales").glob("*.po"))]


@dataclass
class Named:
    name: str | None = "Blue mug"
    options: str = "{}"


def writer(
    templates: Path = SHIPPED_TEMPLATES, shop: str = "Shop", *, links: bool = True, brand: Brand = NO_BRAND
) -> ConfirmationWriter:
    url = "https://notify.shop.example"
    return ConfirmationWriter(
        Sources(templates, SHIPPED_TEMPLATES),
        shop,
        sender=parse_mailbox("Shop <shop@shop.example>"),
        tokens=TOKENS,
        public_url=url,
        ways=ways_out(TOKENS, ReturnPath("bounces+", "@shop.example"), url if links else None),
        brand=brand,
    )


def read(mail_writer: ConfirmationWriter, *items: Named, locale: str | None = "en") -> EmailMessage:
    content = mail_writer.write(uuid4(), JANE, "jane@example.com", items, locale).content
    message = message_from_bytes(content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found
    return str(found.get_content())


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_is_complete_and_has_link_items_and_direction(language: str) -> None:
    mail = read(writer(), Named(), locale=language)
    assert mail["Content-Language"] == language
    link = f"https://notify.shop.example/confirm/{TOKENS.for_confirming(JANE)}"
    for kind in ("plain", "html"):
        assert link in body(mail, kind)
        assert "Blue mug" in body(mail, kind)
        assert "%" not in body(mail, kind).replace("%3D", "").partition("<style")[0]
        assert f"https://notify.shop.example/u/{TOKENS.for_link(JANE)}" in body(mail, kind)
    assert ('dir="rtl"' in body(mail, "html").partition(">")[0] + body(mail, "html")[:100]) == (language == "ar")
    assert "7" in body(mail, "plain")


@pytest.mark.parametrize(
    ("locale", "used"), [("de-AT", "de"), ("pt", "pt-BR"), ("sv", "en"), (None, "en"), ("x" * 99, "en")]
)
def test_the_nearest_language_is_used(locale: str | None, used: str) -> None:
    assert read(writer(), locale=locale)["Content-Language"] == used


def test_all_languages_render_with_and_without_items() -> None:
    writer().check()
    mail = read(writer(), *[Named()] * 8)
    assert body(mail, "plain").count("Blue mug") == 5
    assert "and 3 more" in body(mail, "plain")
    assert "an item is back in stock" in body(read(writer(), Named(None)), "plain")


def test_names_are_texts_in_html_and_on_one_line() -> None:
    mail = read(
        writer(shop="Shop <b>\N{RIGHT-TO-LEFT OVERRIDE}"), Named("<script>alert(1)</script>\r\nBcc: x@example.com")
    )
    assert "<script" not in body(mail, "html")
    assert "<b>" not in body(mail, "html").partition("</title>")[2]
    assert mail["Bcc"] is None


def test_its_return_path_names_nobody_and_its_envelope_no_customer() -> None:
    mail = writer().write(uuid4(), JANE, "jane@example.com", (), None)
    sender = TOKENS.sender(mail.token)
    assert sender
    assert (sender.request_id, mail.contact_token) == (UUID(int=0), "")


def test_an_address_that_smtp_cannot_say_is_refused() -> None:
    with pytest.raises(BadAddress):
        writer().write(uuid4(), JANE, "jane@example.com\r\nDATA", (), None)


def test_own_templates_without_this_mail_get_ours(tmp_path: Path) -> None:
    copytree(SHIPPED_TEMPLATES / "back_in_stock", tmp_path / "back_in_stock")
    assert "Blue mug" in body(read(writer(tmp_path), Named()), "html")


def test_own_words_are_used_and_what_they_lack_is_ours_in_english_if_there(tmp_path: Path) -> None:
    copytree(SHIPPED_TEMPLATES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "locales" / "sv.po").write_text(
        'msgid "Please confirm your request to %(shop)s"\nmsgstr "Bekräfta (%(shop)s)"\n'
    )
    mail = read(writer(tmp_path), locale="sv-SE")
    assert (mail["Subject"], mail["Content-Language"]) == ("Bekräfta (Shop)", "sv")
    assert "Yes, tell me" in body(mail, "html")


def test_it_is_in_the_shops_brand() -> None:
    brand = Brand("https://shop.example/logo.png", palette(parse_colour("#ffee00")), ("1 High Street",))
    mail = read(writer(brand=brand), Named())
    assert 'src="https://shop.example/logo.png"' in body(mail, "html")
    assert "background:#ffee00" in body(mail, "html")
    for kind in ("plain", "html"):
        assert "1 High Street" in body(mail, kind)


def test_broken_templates_and_words_are_told_with_their_file(tmp_path: Path) -> None:
    copytree(SHIPPED_TEMPLATES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "confirm" / "body.txt").write_text("{{ price }}")
    with pytest.raises(TemplateBroken, match=r"confirm/body\.txt"):
        writer(tmp_path).check()
    copytree(SHIPPED_TEMPLATES / "confirm", tmp_path / "confirm", dirs_exist_ok=True)
    writer(tmp_path).check()
    (tmp_path / "locales" / "sv.po").write_text('msgid "a"\nmsgstr "b\n')
    with pytest.raises(TemplateBroken, match=r"locales/sv\.po: line 2"):
        writer(tmp_path).check()
