"""The page of the preview."""

from html import unescape
from pathlib import Path

import pytest

from tests.unit.preview.galleries import gallery_of, parts_of
from worker.preview.gallery import Gallery
from worker.preview.page import ALL, LOOKS, MOST, Wish, findings, framed, page, wished
from worker.preview.page import shown as one
from worker.services.trying import Asked, Facts


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return gallery_of()


def shown(gallery: Gallery, query: str = "") -> str:
    return unescape(page(wished(query, gallery), gallery, "v1"))


def test_at_first_all_looks_of_the_first_sample_are_shown(gallery: Gallery) -> None:
    text = shown(gallery)
    assert text.count("<iframe") == 2 * len(LOOKS) - 1  # Word is wide alone
    for label in ("light, 320 px", "dark, 640 px", "forced dark, 320 px", "images off, 640 px", "Word's rules, 700 px"):
        assert f"<strong>{label}</strong>" in text
    assert "<bdi>Back in stock: Blue mug</bdi>" in text


@pytest.mark.parametrize(
    ("query", "wish"),
    [
        ("sample=emoji&locale=de&look=dark&width=640&view=text", Wish("emoji", "de", "dark", "640", "text")),
        ("sample=all&locale=all&look=all&width=all", Wish(ALL, ALL)),
        ("sample=none&locale=xx-Latn-!!&look=pink&width=1&view=all", Wish("usual", "en")),
        ("sample=emoji&sample=usual&%zz&=", Wish("usual", "en")),
        ("locale=DE-at", Wish("usual", "de")),
        ("", Wish("usual", "en")),
    ],
)
def test_the_address_says_what_is_shown(gallery: Gallery, query: str, wish: Wish) -> None:
    assert wished(query, gallery) == wish
    assert wished(wish.query, gallery) == wish


def test_one_look_of_all_samples_is_a_frame_each(gallery: Gallery) -> None:
    text = shown(gallery, "sample=all&look=light&width=320")
    assert text.count("<iframe") == len(gallery.names)
    assert 'id="mails" class="few"' in text
    assert "These are the first" not in text


def test_all_languages_are_shown_at_once(gallery: Gallery) -> None:
    text = shown(gallery, "locale=all&look=dark&width=640")
    assert text.count("<iframe") == 10
    assert "Wieder" in text
    assert text.count("<bdi>usual</bdi>") == 10


def test_word_is_wide_whatever_is_asked_for(gallery: Gallery) -> None:
    assert "<strong>Word's rules, 700 px</strong>" in shown(gallery, "look=word&width=320")


def test_what_is_too_much_for_a_page_is_cut_and_said(gallery: Gallery) -> None:
    text = shown(gallery, "sample=all&locale=all")
    assert MOST - 2 * len(LOOKS) < text.count("<iframe") <= MOST
    number = text.count('<section class="mail"')
    assert f"These are the first {number} of {10 * len(gallery.names)} mails" in text


def test_text_html_and_message_are_shown_as_they_are(gallery: Gallery) -> None:
    assert "Size: L\nColour: Cobalt\n" in shown(gallery, "view=text")
    assert '<div role="article"' in shown(gallery, "view=html")
    text = shown(gallery, "view=message&sample=emoji")
    assert "List-Unsubscribe: <https://" in text
    assert 'href="message.eml?sample=emoji&locale=en' in text


@pytest.mark.parametrize("view", ["mail", "text", "html", "message"])
def test_what_is_hostile_is_shown_as_text(view: str) -> None:
    hostile = Facts("<script>alert(2)</script>", "{}", name="<script>alert(1)</script>", url="https://shop.example/")
    gallery = Gallery(parts_of(), {"item <script>alert(2)</script>": [(hostile, Asked())]})
    text = page(wished(f"view={view}", gallery), gallery, "v1")
    assert "<script>alert" not in text
    assert "alert(2)" in text
    assert "<script>alert" not in framed(wished("", gallery), gallery)


def test_one_mail_of_all_is_the_first(gallery: Gallery) -> None:
    assert one(wished("sample=all&locale=all", gallery), gallery) == gallery.shown("usual", "en")
    assert framed(wished("sample=all&locale=all&look=all", gallery), gallery) == framed(
        Wish("usual", "en", "light"), gallery
    )


@pytest.mark.parametrize("look", LOOKS)
def test_each_look_differs(gallery: Gallery, look: str) -> None:
    html = gallery.shown("usual", "en").html
    looks = {framed(Wish("usual", "en", name), gallery) for name in LOOKS}
    assert len(looks) == len(LOOKS)
    assert framed(Wish("usual", "en", look), gallery) != html


def test_a_mail_that_cant_be_made_is_told_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "back_in_stock").mkdir()
    (tmp_path / "back_in_stock" / "body.txt").write_text("one\n{{ itm_name }}\n<b>")
    gallery = gallery_of(tmp_path)
    text = page(wished("", gallery), gallery, "v1")
    assert "<iframe" not in text
    assert "the nearest name is item_name" in text
    assert "<mark>   2  {{ itm_name }}</mark>" in text
    assert "   3  &lt;b&gt;" in text


def test_findings_are_counted(gallery: Gallery, tmp_path: Path) -> None:
    assert "The check finds nothing wrong: 150 mails in 10 languages" in findings(gallery)
    (tmp_path / "mail.css").touch()
    warned = findings(gallery_of(tmp_path))
    assert "The check finds 1 warning</summary>" in warned
    assert "<details>" in warned
    (tmp_path / "cup.css").touch()
    (tmp_path / "back_in_stock").mkdir()
    (tmp_path / "back_in_stock" / "body.txt").write_text("{{ itm_name }}")
    broken = findings(gallery_of(tmp_path))
    assert "The check finds 1 fault and 2 warnings</summary>" in broken
    assert "<details open>" in broken
    assert "<code>back_in_stock/body.txt</code> line 1: &#39;itm_name&#39; is undefined" in broken


def test_a_mail_that_lacks_a_part_says_so(tmp_path: Path) -> None:
    (tmp_path / "back_in_stock").mkdir()
    (tmp_path / "back_in_stock" / "body.html").touch()
    gallery = gallery_of(tmp_path)
    assert '<p class="note">there is no HTML</p>' in page(wished("", gallery), gallery, "v1")


def test_looks_and_widths_are_of_mails_alone(gallery: Gallery) -> None:
    assert '<select name="look">' in shown(gallery)
    text = shown(gallery, "view=text&look=dark&width=320")
    assert '<select name="look">' not in text
    assert '<input type="hidden" name="look" value="dark">' in text
