"""What mail programs need of the shipped pages: each line of the skeleton that some client would miss."""

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from tests.unit.mail.test_confirmation import Named, body, read, writer
from tests.unit.mail.test_render import TEMPLATES, context
from worker.domain.brand import Brand, palette, parse_colour
from worker.mail.details import columns
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources

WAY_OUT: Final = "https://notify.shop.example/u/x"


def about_one(locale: str = "en", **facts: str | None) -> str:
    return Renderer(Sources(TEMPLATES), "Shop").render(context(**facts), locale)[0].html  # type: ignore[arg-type]  # texts


def about_many(locale: str = "en", number: int = 3) -> str:
    return Renderer(Sources(TEMPLATES), "Shop").render_many([context(item_name="Red cup")] * number, locale)[0].html


def confirming(locale: str = "en", kind: str = "html") -> str:
    return body(read(writer(), Named(), locale=locale), kind).replace("\r\n", "\n")


PAGES: Final = {
    "one": about_one(),
    "one, German": about_one("de"),
    "one, long": about_one(item_name="Mug " * 20),
    "many": about_many(),
    "many, German": about_many("de"),
    "confirm": confirming(),
    "confirm, Arabic": confirming("ar"),
}
pages = pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)


class Tree(HTMLParser):
    """Yields each element with its attributes, and those of the elements around it, the nearest first."""

    _VOID: Final = frozenset({"meta", "img", "br", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self._open: list[tuple[str, Mapping[str, str]]] = []
        self.found: list[tuple[str, Mapping[str, str], list[tuple[str, Mapping[str, str]]]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.found.append((tag, attributes, self._open[::-1]))
        if tag not in self._VOID:
            self._open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def all(self, tag: str) -> Iterator[tuple[Mapping[str, str], list[tuple[str, Mapping[str, str]]]]]:
        return ((attributes, around) for name, attributes, around in self.found if name == tag)


def style(attributes: Mapping[str, str]) -> dict[str, str]:
    return dict(each.split(":", 1) for each in attributes.get("style", "").split(";") if each)


@pages
def test_no_link_has_padding_that_its_cell_lacks(html: str) -> None:
    """Word knows padding on cells only: the button would shrink to its text."""
    buttons = 0
    for link, around in Tree(html).all("a"):
        if padding := style(link).get("padding"):
            cell = next(style(attributes) for tag, attributes in around if tag == "td")
            assert cell["mso-padding-alt"] == padding
            assert cell["background"]
            buttons += 1
    assert buttons == html.count("mso-padding-alt") > 0


@pages
def test_the_body_says_what_html_and_title_say_since_webmail_drops_those(html: str) -> None:
    tree = Tree(html)
    [(root, _)] = tree.all("html")
    wrapper = next(attributes for tag, attributes, around in tree.found if around and around[0][0] == "body")
    assert (wrapper["role"], wrapper["aria-roledescription"]) == ("article", "email")
    assert (wrapper["lang"], wrapper["dir"]) == (root["lang"], root["dir"])
    title = re.search(r"<title>(.*?)</title>", html)
    assert title
    assert wrapper["aria-label"] == title[1] != ""


def test_the_title_is_the_subject() -> None:
    mail, _ = Renderer(Sources(TEMPLATES), "Shop").render(context(item_name="Salt & <Pepper>"), "en")
    assert mail.subject == "Back in stock: Salt & <Pepper>"
    assert "<title>Back in stock: Salt &amp; &lt;Pepper&gt;</title>" in mail.html


@pages
def test_dark_colours_are_announced_in_both_ways_and_repeated_for_outlooks_apps(html: str) -> None:
    for name in ("color-scheme", "supported-color-schemes"):
        assert f'<meta name="{name}" content="light dark">' in html
    [dark] = re.findall(r"prefers-color-scheme:dark\){\n(.*?)\n}\n", html, re.DOTALL)
    twins = [line for line in html.splitlines() if line.startswith("[data-ogsc]")]
    assert len(dark.splitlines()) == len(twins) > 5
    for rule, twin in zip(dark.splitlines(), twins, strict=True):
        assert twin.replace("[data-ogsc] ", "") == rule


@pages
def test_no_page_needs_its_style_to_be_read(html: str) -> None:
    """Gmail's apps with other accounts drop it."""
    for tag, attributes, around in Tree(html).found:
        if tag in ("h1", "h2", "p", "td", "a") and any(name == "body" for name, _ in around):
            assert "style" in attributes, (tag, attributes)
    assert len("".join(re.findall(r"<style>.*?</style>", html, re.DOTALL))) < 8 * 1024  # Gmail reads 16 kB


def test_every_class_of_the_templates_has_looks() -> None:
    css = (TEMPLATES / "_base" / "mail.css").read_text()
    sources = "".join(file.read_text() for file in TEMPLATES.rglob("*.html"))
    used = {
        name for names in re.findall(r'class="(.*?)"', re.sub(r"{[{%].*?[}%]}", " ", sources)) for name in names.split()
    }
    assert len(used) > 30
    assert [name for name in used if f".{name}" not in css] == []


@pages
def test_a_page_has_those_classes_alone_that_its_style_is_about(html: str) -> None:
    kept = "".join(re.findall(r"<style>.*?</style>", html, re.DOTALL))
    used = {name for _, attributes, _ in Tree(html).found for name in attributes.get("class", "").split()}
    assert used == set(re.findall(r"\.([\w-]+)", kept))


@pytest.mark.parametrize("html", [PAGES["one"], PAGES["one, German"]])
def test_there_is_one_link_for_each_purpose_and_the_picture_is_none(html: str) -> None:
    tree = Tree(html)
    links = [around[0][0] for link, around in tree.all("a") if link["href"].startswith("https://shop.example/p/")]
    assert links == ["h1", "td", "p"]  # the heading, the button, and the address written out
    [(_, around)] = tree.all("img")
    assert not [tag for tag, _ in around if tag == "a"]


def test_a_picture_has_a_limit_its_own_proportions_and_a_width_for_word() -> None:
    [(picture, around)] = Tree(PAGES["one"]).all("img")
    assert picture["width"] == "280"
    assert "height" not in picture
    looks = style(picture)
    assert (looks["width"], looks["height"], looks["max-width"], looks["max-height"]) == (
        "auto",
        "auto",
        "100%",
        "320px",
    )
    assert style(around[0][1])["max-width"] == "280px"
    assert "object-fit" not in looks  # not known to Yahoo and Outlook
    assert {"background", "color", "line-height"} <= looks.keys()  # of the patch with its description, if it is blocked


@pytest.mark.parametrize(
    ("name", "is_long"),
    [("n" * 59, False), ("n" * 60, True), ("青" * 29, False), ("青" * 30, True), ("é" * 59, False), (None, False)],
)
def test_a_headline_is_smaller_from_60_letters_on(name: str | None, is_long: bool) -> None:
    [(heading, _)] = Tree(about_one(item_name=name)).all("h1")
    assert style(heading)["font-size"] == ("20px" if is_long else "28px")


@pytest.mark.parametrize(
    ("text", "width"), [("", 0), ("abc", 3), ("青い", 4), ("e\u0301", 1), ("\u2068חולצה\u2069", 5), ("ｱ", 1), ("Ａ", 2)]
)
def test_columns_are_those_of_latin_letters(text: str, width: int) -> None:
    assert columns(text) == width


@pages
def test_tables_are_for_layout_alone_and_the_first_text_is_for_inboxes(html: str) -> None:
    tree = Tree(html)
    assert all(table["role"] == "presentation" for table, _ in tree.all("table"))
    [preheader] = [attributes for attributes, _ in tree.all("div") if attributes.get("aria-hidden") == "true"]
    assert {"display", "mso-hide"} <= style(preheader).keys()


@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_footer_of_each_text_is_below_a_signature_mark(locale: str) -> None:
    """Mail programs dim what is below `-- ` (RFC 3676, section 4.3), and leave it out of answers."""
    renderer = Renderer(Sources(TEMPLATES), "Shop")
    facts = MailContext("https://x/1", "1", {}, unsubscribe_url=WAY_OUT)
    texts = [renderer.render(facts, locale)[0].text, renderer.render_many([facts] * 2, locale)[0].text]
    for text in (*texts, confirming(locale, "plain")):
        _, mark, footer = text.partition("\n-- \n")
        assert mark
        assert re.search(r"https://\S+/u/|mailto:", footer)


def test_each_file_says_which_css_it_uses_and_that_can_be_changed_alone(tmp_path: Path) -> None:
    for folder in TEMPLATES.rglob("*"):
        if folder.is_file():
            copy = tmp_path / folder.relative_to(TEMPLATES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(folder.read_bytes())
    css = tmp_path / "_base" / "mail.css"
    css.write_text(css.read_text().replace("#1f6b4a", "#a0205a"))
    html = Renderer(Sources(tmp_path), "Shop").render(context(), "en")[0].html
    assert "#1f6b4a" not in html
    assert "background:#a0205a" in html


BRAND: Final = Brand(
    "https://shop.example/logo.png?a=1&b=2", palette(parse_colour("#ffee00")), ("Shop <Ltd>", "1 High Street", "חיפה 7")
)


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("many", [False, True])
def test_a_brand_is_in_every_mail(locale: str, many: bool) -> None:
    renderer, facts = Renderer(Sources(TEMPLATES), "Shop & Sons", brand=BRAND), context(image_url=None)
    mail, _ = renderer.render_many([facts] * 2, locale) if many else renderer.render(facts, locale)
    [(logo, around)] = Tree(mail.html).all("img")
    assert (logo["src"], logo["alt"]) == (BRAND.logo_url, "Shop & Sons")
    assert (around[0][0], around[0][1]["class"]) == ("td", "ink")
    assert logo["height"] == "56"  # Word shows it in its full size otherwise
    for cell, _ in Tree(mail.html).all("td"):
        if "button" in cell.get("class", "").split():
            assert (style(cell)["background"], style(cell)["border"]) == ("#ffee00", "1px solid #a19600")
    assert 'Shop &lt;Ltd&gt;<br>1 High Street<br><span dir="rtl">חיפה 7</span>' in mail.html
    assert mail.text.endswith("\n\nShop <Ltd>\n1 High Street\n\u2068חיפה 7\u2069\n")
    assert "#1f6b4a" not in mail.html


def test_without_a_brand_the_shop_is_named_and_nothing_is_missing() -> None:
    html = about_one(image_url=None)
    assert "<img" not in html
    assert re.search(r'<td class="ink"[^>]*>Shop</td>', html)
    assert "var(" not in html
