"""Mails in Chromium, by the rules of several mail programs: nothing is cut off, hidden, or without contrast."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright has no package for this C library")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FloatRect, Page

from config.settings import SHIPPED_TEMPLATES
from tests.pictures.browser import NARROW, WIDE, chromium, show
from tests.pictures.samples import COLOURS, brand
from tests.unit.mail.test_confirmation import Named, body, read, writer
from tests.web.tools import chromium as path_of_chromium
from worker.mail import clients
from worker.mail.render import MailContext, Renderer
from worker.mail.samples import PICTURES, TEXTS, USUAL, digest
from worker.mail.sources import Sources

RENDERER: Final = Renderer(Sources(SHIPPED_TEMPLATES), "Blue Door Pottery")
LIGHT_PATCH, DARK_PATCH = (0xF3, 0xF4, 0xF0), (0x2A, 0x2E, 0x28)
NO_LANDMARKS: Final = {"rules": {name: {"enabled": False} for name in ("landmark-one-main", "region")}}
"""A mail is a part of somebody's page: `main` and the other landmarks are that page's."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One Chromium, with one page, for all."""
    if not (path := path_of_chromium()):
        pytest.skip("there is no Chromium. On Debian: apt-get install chromium")
    with chromium(path) as opened:
        yield opened


def html_of(context: MailContext = USUAL, locale: str = "en") -> str:
    return RENDERER.render(context, locale)[0].html


def html_of_many(number: int = 20, locale: str = "en") -> str:
    return RENDERER.render_many(digest(number), locale)[0].html


def confirming(locale: str) -> str:
    return body(read(writer(), Named(), Named(), locale=locale), "html")


def box(page: Page, selector: str) -> FloatRect:
    found = page.locator(selector).first.bounding_box()
    assert found
    return found


def colour_at(page: Page, x: float, y: float) -> tuple[int, ...]:
    """Returns red, green and blue of a point of the page."""
    png = page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})
    data, start = b"", 8
    while start < len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        data += png[start + 8 : start + 8 + length] if png[start + 4 : start + 8] == b"IDAT" else b""
        start += length + 12
    return tuple(zlib.decompress(data)[1:4])


@pytest.mark.parametrize("client", [str, clients.without_style, clients.darkened])
def test_nothing_is_wider_than_a_small_phone(page: Page, client: clients.Client) -> None:
    pages = {name: html_of(context) for name, context in {**PICTURES, **TEXTS, "usual": USUAL}.items()}
    pages |= {language: html_of(USUAL, language) for language in RENDERER.languages}
    for name, html in (pages | {"digest": html_of_many(), "confirm": confirming("de")}).items():
        show(page, client(html), NARROW)
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW, name


def test_what_is_too_wide_would_be_found(page: Page) -> None:
    html = html_of(TEXTS["long word"]).replace("word-break:break-word", "")
    show(page, html, NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") > NARROW


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_picture_has_its_own_proportions_within_limits(page: Page, width: int) -> None:
    for name, (natural_width, natural_height) in {
        "usual": (600, 600),
        "tall picture": (300, 3000),
        "wide picture": (3000, 300),
        "tiny picture": (1, 1),
    }.items():
        show(page, html_of(PICTURES.get(name, USUAL)), width)
        picture = box(page, "img")
        assert picture["width"] <= 280
        assert picture["height"] <= 320
        assert picture["width"] / picture["height"] == pytest.approx(natural_width / natural_height, rel=0.05), name


def test_the_button_is_seen_without_scrolling_whatever_the_picture(page: Page) -> None:
    show(page, html_of(PICTURES["tall picture"]), NARROW)
    button = box(page, "td.button")
    assert button["y"] + button["height"] < 667  # a small phone


@pytest.mark.parametrize(("dark", "patch"), [(False, LIGHT_PATCH), (True, DARK_PATCH)])
def test_a_blocked_picture_is_a_calm_patch_with_its_description(page: Page, dark: bool, patch: tuple[int, ...]) -> None:
    show(page, clients.without_pictures(html_of()), NARROW, dark=dark)
    picture = box(page, "img")
    assert picture["height"] == 56
    assert colour_at(page, picture["x"] + picture["width"] - 20, picture["y"] + 28) == patch
    assert page.get_by_role("img", name="Picture of the item").count() == 1


@pytest.mark.parametrize("dark", [False, True])
def test_a_transparent_picture_stands_on_something_light(page: Page, dark: bool) -> None:
    show(page, html_of(PICTURES["transparent picture"]), NARROW, dark=dark)
    picture = box(page, "img")
    assert colour_at(page, picture["x"] + picture["width"] / 2, picture["y"] + 8) == LIGHT_PATCH


@pytest.mark.parametrize(("html", "buttons"), [(html_of(), 1), (html_of_many(2), 2), (confirming("de"), 1)])
def test_in_word_a_button_has_the_size_that_it_has_elsewhere(page: Page, html: str, buttons: int) -> None:
    def sizes(page_html: str) -> list[tuple[int, int]]:
        show(page, page_html, 700)
        boxes = [cell.bounding_box() for cell in page.locator("td.button").all()]
        return [(round(each["width"]), round(each["height"])) for each in boxes if each]

    usual, in_word = sizes(html), sizes(clients.in_word(html))
    assert len(usual) == buttons
    for (width, height), (word_width, word_height) in zip(usual, in_word, strict=True):
        assert abs(width - word_width) <= 4  # another font
        assert abs(height - word_height) <= 4
    shrunk = sizes(clients.in_word(re.sub(r";?mso-padding-alt:[^;\"]*", "", html)))
    assert all(height < 30 for _, height in shrunk)


@pytest.mark.parametrize("html", [html_of(), html_of_many(2), confirming("de")])
def test_on_a_phone_a_button_is_large_enough_for_a_thumb(page: Page, html: str) -> None:
    show(page, html, NARROW)
    button, link = box(page, "td.button"), box(page, "td.button a")
    assert link["height"] >= 44  # WCAG 2.5.5
    assert (link["width"] + 2, link["height"] + 2) == (button["width"], button["height"])  # all but its edge


def test_a_name_from_right_to_left_ends_at_the_left(page: Page) -> None:
    show(page, html_of(TEXTS["right to left"]), WIDE)
    first, last = page.evaluate(
        """() => {
            const text = document.querySelector("h1 span").firstChild
            return [0, text.length - 1].map(place => {
                const range = document.createRange()
                range.setStart(text, place)
                range.setEnd(text, place + 1)
                return range.getBoundingClientRect().x
            })
        }"""
    )
    assert last < first


def findings(page: Page) -> list[str]:
    response: dict[str, Any] = Axe().run(page, options=NO_LANDMARKS).response
    return [f"{each['id']}: {node['html'][:80]}" for each in response["violations"] for node in each["nodes"]]


LOOKS: Final[dict[str, tuple[clients.Client, bool]]] = {
    "light": (str, False),
    "dark": (str, True),
    "darkened": (clients.darkened, False),
    "blocked": (clients.without_pictures, True),
}
PAGES: Final[dict[str, Callable[[str], str]]] = {
    "one": lambda locale: html_of(USUAL, locale),
    "many": lambda locale: html_of_many(5, locale),
    "confirm": confirming,
}


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_axe_finds_nothing_whatever_the_brands_colour(page: Page, colour: str) -> None:
    html = Renderer(Sources(SHIPPED_TEMPLATES), "Blue Door Pottery", brand=brand(colour)).render(USUAL, "en")[0].html
    for dark in (False, True):
        show(page, html, WIDE, dark=dark)
        assert findings(page) == []


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(page: Page, look: str) -> None:
    client, dark = LOOKS[look]
    for name, html in PAGES.items():
        for locale in ("en", "ar") if look == "light" else ("en",):
            show(page, client(html(locale)), WIDE, dark=dark)
            assert findings(page) == [], (name, locale)


def test_what_axe_should_find_it_finds(page: Page) -> None:
    html = html_of().replace("color:#5c6158", "color:#c0c0c0").replace(' alt="Picture of the item"', "")
    show(page, html, WIDE)
    assert {each.partition(":")[0] for each in findings(page)} == {"color-contrast", "image-alt"}
