"""Rendering: three good texts from the known facts of an item, and no surprise from templates."""

import re
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from worker.domain.errors import TemplateBroken
from worker.mail.folders import SIZE_LIMIT
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources

TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
URL = "https://shop.example/p/mug-1?a=1&b=2"
NASTY = "<b>&'\""


def context(
    *,
    item_url: str = URL,
    options: Mapping[str, str] | None = None,
    item_name: str | None = "Blue mug",
    price: str | None = "12.50",
    currency: str | None = "EUR",
    image_url: str | None = "https://shop.example/mug.jpg",
) -> MailContext:
    options = {"Size": "Large"} if options is None else options
    return MailContext(item_url, "mug-1-id", options, item_name, price, currency, image_url)


BARE = context(options={}, item_name=None, price=None, currency=None, image_url=None)


@pytest.fixture
def renderer() -> Renderer:
    return Renderer(Sources(TEMPLATES), "Shop & Sons")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the shipped templates, which the test may change."""
    return Path(shutil.copytree(TEMPLATES, tmp_path / "own"))


def broken(own: Path, given: MailContext | None = None, locale: str | None = None) -> TemplateBroken:
    with pytest.raises(TemplateBroken) as caught:
        Renderer(Sources(own), "Shop").render(given or context(), locale)
    assert str(caught.value).isprintable()
    return caught.value


class Seen(HTMLParser):
    """The links, images and text that a mail program sees in the HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("locale", ["en", "de"])
def test_a_mail_says_what_is_back_where_and_why(renderer: Renderer, locale: str) -> None:
    mail, used = renderer.render(context(), locale)
    seen = Seen(mail.html)
    assert used == locale
    assert "Blue mug" in mail.subject
    assert set(seen.links) == {URL}
    assert seen.images[0]["src"] == "https://shop.example/mug.jpg"
    assert seen.images[0]["alt"] == {"en": "Picture of the item", "de": "Bild des Artikels"}[locale]
    assert URL in mail.text.splitlines()
    for text in (mail.text, seen.text):
        assert "Blue mug" in text
        assert "Size: Large" in text
        assert {"en": "€12.50", "de": "12,50\N{NO-BREAK SPACE}€"}[locale] in text
        assert {"en": "because you asked Shop & Sons", "de": "weil Sie Shop & Sons"}[locale] in text
        assert {"en": "the only one", "de": "bei dieser einen"}[locale] in text


def test_the_subject_is_short(renderer: Renderer) -> None:
    assert renderer.render(context(), None)[0].subject == "Back in stock: Blue mug"
    long = renderer.render(context(item_name="Very long name " * 50), None)[0].subject
    assert len(long) < 100
    assert long.startswith("Back in stock: Very long")
    assert long.endswith("…")


@pytest.mark.parametrize("locale", ["en", "de"])
def test_a_mail_needs_nothing_but_a_link(renderer: Renderer, locale: str) -> None:
    mail, _ = renderer.render(BARE, locale)
    seen = Seen(mail.html)
    assert {"en": "the item you asked about", "de": "der gewünschte Artikel"}[locale] in mail.subject
    assert set(seen.links) == {URL}
    assert not seen.images
    for text in (mail.subject, mail.text, mail.html):
        assert "None" not in text
        assert "mug-1-id" not in text
        assert "Price" not in text
    assert "\n\n\n" not in mail.text


def test_blank_facts_are_as_good_as_none(renderer: Renderer) -> None:
    blank = context(options={}, item_name=" \x00", price="", currency="", image_url=None)
    assert renderer.render(blank, None) == renderer.render(BARE, None)


@pytest.mark.parametrize("field", ["item_name", "price", "currency", "image_url", "item_url"])
def test_every_fact_is_escaped_in_html(renderer: Renderer, field: str) -> None:
    mail, _ = renderer.render(context(**{field: f"https://x/1{NASTY}"}), None)  # type: ignore[arg-type]  # all are texts
    assert "<b>" not in mail.html
    assert "&lt;b&gt;&amp;&#39;&#34;" in mail.html
    assert "&lt;b&gt;" not in mail.text


def test_options_and_the_shop_are_escaped_in_html() -> None:
    mail, _ = Renderer(Sources(TEMPLATES), NASTY).render(context(options={NASTY: NASTY}), None)
    assert "<b>" not in mail.html
    assert f"{NASTY}: {NASTY}" in mail.text
    assert f"See it at {NASTY}:" in mail.text
    assert Seen(mail.html).text.count(NASTY) == 4  # in the header, in the reason for the mail, and twice in the option


def test_options_are_shown_in_order_but_for_what_means_nothing(renderer: Renderer) -> None:
    options = {"Colour": "Blue", "Size": "L", "variantId": "0ac3-77"}
    mail, _ = renderer.render(context(options=options), None)
    assert "Colour: Blue\nSize: L\nPrice" in mail.text
    assert mail.html.index("Colour: Blue") < mail.html.index("Size: L")
    assert "0ac3-77" not in mail.text + mail.html


def test_long_words_do_not_widen_the_mail(renderer: Renderer) -> None:
    """Without a place to break they would push the button out of a narrow window."""
    html = renderer.render(context(item_name="n" * 300, options={"o" * 300: "v" * 300}, price=f"1 {'p' * 300}"), None)[
        0
    ].html
    [cell] = re.findall(r"<td[^>]*word-break:break-word[^>]*>(.*?)</td>", html, re.DOTALL)
    assert all(letter * 300 in cell for letter in "novp")


def test_facts_stay_on_their_line(renderer: Renderer) -> None:
    given = context(item_name="Blue\r\nBcc: x\u2028mug\ud800", options={"a\nb": "c\nd"})
    mail, _ = renderer.render(given, None)
    assert mail.subject == "Back in stock: Blue Bcc: x mug"
    assert "a b: c d" in mail.text
    mail.html.encode()


@pytest.mark.parametrize(
    ("locale", "line"),
    [
        (None, "Price: €1,234.50"),
        ("en-XX", "Price: €1,234.50"),
        ("en-AU", "Price: EUR_1,234.50"),
        ("sv-SE", "Price: €1,234.50"),  # its language is not the mail's, so he gets the mail's prices
        ("fr-CH", "Prix : 1’234,50_€"),
        ("de", "Preis: 1.234,50_€"),
        ("de_AT", "Preis: €_1.234,50"),
        ("de-Latn-CH-1996", "Preis: EUR_1’234.50"),
    ],
)
def test_a_price_is_written_as_in_its_readers_country(renderer: Renderer, locale: str | None, line: str) -> None:
    text = renderer.render(context(price="1234.5"), locale)[0].text
    assert line.replace("_", "\N{NO-BREAK SPACE}") in text.splitlines()


@pytest.mark.parametrize("price", ["0", "-5", "free", "NaN"])
def test_a_price_that_says_nothing_is_left_out(renderer: Renderer, price: str) -> None:
    assert renderer.render(context(price=price), None) == renderer.render(context(price=None), None)


def test_a_name_of_another_direction_does_not_turn_round_what_follows(renderer: Renderer) -> None:
    mail, _ = renderer.render(context(item_name="חולצה (M)", options={"מידה": "38"}), None)
    assert mail.subject == "Back in stock: \u2068חולצה (M)\u2069"
    assert "\u2068חולצה (M)\u2069 is back in stock." in mail.text
    assert "\u2068מידה\u2069: 38" in mail.text
    assert mail.html.count('<span dir="rtl">חולצה (M)</span>') == 1
    assert '<span dir="rtl">מידה</span>: 38' in mail.html
    assert 'aria-label="Back in stock: \u2068חולצה (M)\u2069"' in mail.html


def test_a_name_of_the_mails_direction_needs_no_isolation(renderer: Renderer) -> None:
    mail, _ = renderer.render(context(item_name="Käsemesser 日本"), None)
    assert "\u2068" not in mail.subject + mail.text + mail.html
    assert "<span" not in mail.html


def test_a_mail_in_a_language_from_right_to_left_says_so(own: Path) -> None:
    shutil.copy(own / "locales" / "de.po", own / "locales" / "he.po")
    mail, _ = Renderer(Sources(own), "חנות").render(context(item_name="Mug", price="12"), "he-IL")
    assert mail.html.count('lang="he" dir="rtl"') == 2
    assert '<span dir="ltr">Mug</span>' in mail.html
    assert "\u2068Mug\u2069" in mail.subject
    assert "Preis: \u200f12.00\N{NO-BREAK SPACE}\u200f€" in mail.text


def test_the_shops_name_is_isolated_like_an_items(own: Path) -> None:
    mail, _ = Renderer(Sources(own), "חנות").render(context(), None)
    assert mail.html.count('<span dir="rtl">חנות</span>') == 2
    assert "See it at \u2068חנות\u2069:" in mail.text


def test_soft_hyphens_help_in_html_and_are_gone_from_the_text(renderer: Renderer) -> None:
    mail, _ = renderer.render(context(item_name="Donau&shy;dampf\u00adschiff"), None)
    assert mail.subject == "Back in stock: Donaudampfschiff"
    assert "\u00ad" not in mail.text
    assert "Donau\u00addampf\u00adschiff</a></h1>" in mail.html


def test_older_templates_of_a_shop_cut_between_graphemes_too(own: Path) -> None:
    family = "👨‍👩‍👧‍👦"
    (own / "back_in_stock" / "subject.txt").write_text("{{ item_name|truncate(20, true, '…') }}", encoding="utf-8")
    renderer = Renderer(Sources(own), "Shop")
    assert renderer.render(context(item_name=f"{family * 9}"), None)[0].subject == f"{family * 2}…"


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (None, "en"),
        ("", "en"),
        ("en-GB", "en"),
        ("sv", "en"),
        ("fr", "fr"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("de", "de"),
        ("DE_at", "de"),
        ("de-Latn-CH-1996", "de"),
        ("deutsch", "en"),
        ("../../../etc", "en"),
        ("_base", "en"),
        ("-" * 100_000, "en"),
    ],
)
def test_the_nearest_language_is_used(renderer: Renderer, asked: str | None, used: str) -> None:
    mail, locale = renderer.render(context(), asked)
    assert locale == used
    assert f'<html lang="{used}"' in mail.html


def test_a_language_falls_back_file_by_file(own: Path) -> None:
    austrian = own / "back_in_stock" / "de_AT"
    austrian.mkdir()
    (austrian / "subject.txt").write_text("Griaß di: {{ item_name }}", encoding="utf-8")
    german = own / "back_in_stock" / "de"
    german.mkdir()
    (german / "body.txt").write_text("Schon wieder: {{ item_name }}", encoding="utf-8")
    mail, locale = Renderer(Sources(own), "Shop").render(context(), "de-at")
    assert locale == "de_AT"
    assert mail.subject == "Griaß di: Blue mug"
    assert mail.text == "Schon wieder: Blue mug"
    assert "Wieder verfügbar" in mail.html


def test_a_folder_for_the_language_of_the_templates_is_for_all_who_read_it(own: Path) -> None:
    english = own / "back_in_stock" / "en"
    english.mkdir()
    (english / "subject.txt").write_text("It's back: {{ item_name }}")
    renderer = Renderer(Sources(own), "Shop")
    assert {renderer.render(context(), locale)[0].subject for locale in (None, "en", "sv")} == {"It's back: Blue mug"}
    assert renderer.render(context(), "de")[0].subject == "Wieder da: Blue mug"


@pytest.mark.parametrize(
    ("asked", "used", "price"),
    [(None, "de", "€_12,50"), ("sv", "de", "€_12,50"), ("en-GB", "en", "€12.50"), ("de", "de", "12,50_€")],
)
def test_who_has_no_language_or_one_that_there_is_not_gets_the_default_one(
    asked: str | None, used: str, price: str
) -> None:
    renderer = Renderer(Sources(TEMPLATES), "Shop", default_locale="de-AT")
    mail, locale = renderer.render(context(), asked)
    assert locale == used
    assert price.replace("_", "\N{NO-BREAK SPACE}") in mail.text
    assert renderer.render(context(), renderer.variant(asked)) == (mail, locale)
    assert renderer.render_many([context()] * 2, asked)[1] == used


def test_a_default_language_that_there_is_not_is_english() -> None:
    renderer = Renderer(Sources(TEMPLATES), "Shop", default_locale="sv")
    assert renderer.render(context(), None)[1] == "en"
    assert renderer.problems() == ["STOCKBELL_DEFAULT_LOCALE: no mail is in sv, so English takes its place"]
    assert Renderer(Sources(TEMPLATES), "Shop", default_locale="de-AT").problems() == []


def test_the_same_facts_make_the_same_mail_and_others_another(renderer: Renderer) -> None:
    first = renderer.render(context(), "de")
    assert renderer.render(context(), "de") == first
    assert renderer.render(context(), "en") != first
    assert renderer.render(context(item_url="https://shop.example/other"), "de") != first
    assert renderer.render(context(), "de") == first


@pytest.mark.parametrize("file", ["subject.txt", "body.txt", "body.html"])
@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("\n{{ itm_name }}", "line 2: 'itm_name' is undefined"),
        ("{{ lipsum }}", "line 1: 'lipsum' is undefined"),
        ("\n\n{% if %}", "line 3: Expected an expression"),
        ("{{ 1 / 0 }}", "line 1: ZeroDivisionError: division by zero"),
        ("{% extends 'no.html' %}", "line 1: there is no file no.html"),
        ("{{ 'a' * 300000 }}", f"makes over {SIZE_LIMIT} bytes"),
        ("{{ 'ä' * 200000 }}", f"makes over {SIZE_LIMIT} bytes"),
    ],
)
def test_a_broken_template_is_named_with_line_and_reason(own: Path, file: str, template: str, reason: str) -> None:
    (own / "back_in_stock" / file).write_text(template, encoding="utf-8")
    error = broken(own)
    assert error.template == f"back_in_stock/{file}"
    assert error.reason.startswith(reason)


def test_an_error_in_a_layout_names_the_layout(own: Path) -> None:
    layout = own / "_base" / "layout.html"
    layout.write_text("\n" + layout.read_text().replace("store_name", "shop_name"))
    error = broken(own)
    assert error.template == "_base/layout.html"
    assert re.match(r"line \d+: 'shop_name' is undefined", error.reason)
    layout.write_text("{% if %}")
    assert broken(own).template == "_base/layout.html"


@pytest.mark.parametrize("file", ["subject.txt", "body.txt", "body.html"])
def test_a_missing_template_is_named(own: Path, file: str) -> None:
    (own / "back_in_stock" / file).unlink()
    assert file in str(broken(own))
    shutil.rmtree(own)
    assert broken(own).template == str(own)


def test_a_template_that_is_not_utf8_is_named(own: Path) -> None:
    (own / "back_in_stock" / "body.txt").write_bytes(b"K\xe4the")
    error = broken(own)
    assert error.template == "back_in_stock/body.txt"
    assert error.reason == "is not UTF-8: byte 2 can't be read. Save it as UTF-8"


def test_an_empty_subject_is_an_error(own: Path) -> None:
    (own / "back_in_stock" / "subject.txt").write_text(" \n ")
    assert broken(own).reason == "makes an empty subject"


def test_a_subject_of_several_lines_becomes_one(own: Path) -> None:
    (own / "back_in_stock" / "subject.txt").write_text("a\r\nb\n\n c\u2028d\x85e\n", newline="")
    assert Renderer(Sources(own), "Shop").render(context(), None)[0].subject == "a b c d e"


def test_a_broken_language_harms_no_other_and_a_repaired_one_works(own: Path) -> None:
    subject = own / "back_in_stock" / "de" / "subject.txt"
    subject.parent.mkdir()
    subject.write_text("{% if %}")
    renderer = Renderer(Sources(own), "Shop")
    with pytest.raises(TemplateBroken, match=r"back_in_stock/de/subject\.txt"):
        renderer.render(context(), "de")
    assert renderer.render(context(), "en")[1] == "en"
    subject.write_text("{{ item_name }}", encoding="utf-8")
    assert renderer.render(context(), "de")[1] == "de"


def test_check_finds_what_is_wrong_where_an_order_gives_an_extra(own: Path) -> None:
    for wrong in ("{% if extra.rare %}{{ no_such }}{% endif %}", "{% for name in extra %}{{ no_such }}{% endfor %}"):
        (own / "back_in_stock" / "body.txt").write_text(wrong)
        with pytest.raises(TemplateBroken, match="no_such"):
            Renderer(Sources(own), "Shop").check()
    (own / "back_in_stock" / "body.txt").write_text("{% for name in extra %}{{ name }}: {{ extra[name] }}{% endfor %}")
    Renderer(Sources(own), "Shop").check()


def test_check_names_all_files_and_finds_what_is_seldom_used(own: Path) -> None:
    assert Renderer(Sources(TEMPLATES), "Shop").check() == [
        "back_in_stock/body.html",
        "back_in_stock/body.txt",
        "back_in_stock/subject.txt",
        "back_in_stock_many/body.html",
        "back_in_stock_many/body.txt",
        "back_in_stock_many/subject.txt",
    ]
    body = own / "back_in_stock" / "de" / "body.txt"
    body.parent.mkdir()
    body.write_text("{% if not item_name %}{{ oops }}{% endif %}")
    with pytest.raises(TemplateBroken, match=r"de/body\.txt: line 1: 'oops' is undefined"):
        Renderer(Sources(own), "Shop").check()


@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_html_is_fit_for_mail_programs(renderer: Renderer, locale: str) -> None:
    html = renderer.render(context(), locale)[0].html
    assert len(html.encode()) < 8 * 1024
    assert max(len(line) for line in html.splitlines()) < 998
    for needed in ("color-scheme", "prefers-color-scheme:dark", "max-width:600px", "viewport"):
        assert needed in html
    for forbidden in ("<script", "<link", "@import", "http://"):
        assert forbidden not in html
    assert html.count("<table") == html.count('role="presentation"')
    assert html.count("<table") == html.count("</table>")
