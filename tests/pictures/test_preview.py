"""The page of the preview in Chromium: it shows mails whole, and each change of a file without losing the place."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright has no package for this C library")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.pictures.browser import chromium, open_whole, served
from tests.unit.preview.galleries import parts_of
from tests.web.tools import chromium as path_of_chromium
from worker.preview.shelf import Shelf

ON_PAGE = {"iframes": False}
"""The mails have tests of their own."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if not (path := path_of_chromium()):
        pytest.skip("there is no Chromium. On Debian: apt-get install chromium")
    with chromium(path, reaches_us=True) as page:
        yield page


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own" / "back_in_stock").mkdir(parents=True)
    return tmp_path / "own"


@pytest.fixture
def url(own: Path) -> Iterator[str]:
    with served(Shelf(parts_of(own), {})) as address:
        yield address


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    browser.set_viewport_size({"width": 1440, "height": 900})
    browser.emulate_media(color_scheme="light")
    yield browser
    browser.goto("about:blank")


def test_each_frame_is_as_high_as_its_mail(page: Page, url: str) -> None:
    open_whole(page, url)
    frames = page.locator("iframe").all()
    assert len(frames) == 13
    heights = page.evaluate(
        """() => [...document.querySelectorAll("iframe")].map(frame => {
            const root = frame.contentDocument.documentElement
            return [frame.clientHeight, root.scrollHeight, frame.clientWidth, root.scrollWidth]
        })"""
    )
    assert all(height == inside > 300 for height, inside, _, _ in heights)
    assert {(width, inside) for _, _, width, inside in heights} == {(320, 320), (640, 640), (700, 700)}


def test_a_mail_is_in_light_or_dark_whatever_the_browser_is_in(page: Page, url: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
        open_whole(page, f"{url}?look={scheme}&width=320")
        body = page.frame_locator("iframe").locator("body")
        colour = body.evaluate("body => getComputedStyle(body).backgroundColor")
        assert colour == {"light": "rgb(243, 244, 240)", "dark": "rgb(19, 21, 18)"}[scheme]


def test_a_change_is_shown_at_once_and_the_place_is_kept(page: Page, url: str, own: Path) -> None:
    open_whole(page, url)
    page.evaluate("scrollTo(0, 700)")
    (own / "_base").mkdir()
    (own / "_base" / "mail.css").write_text(
        '@import "shipped/_base/mail.css"; h1.ink { color: #012345; text-shadow: 0 0 red }'
    )
    headline = page.frame_locator("iframe >> nth=0").locator("h1")
    expect(headline).to_have_css("color", "rgb(1, 35, 69)")
    expect(page.locator("#state")).to_contain_text("Shown anew at")
    expect(page.locator("#findings summary")).to_have_text("The check finds 1 warning")
    assert page.evaluate("scrollY") == 700
    assert page.locator("iframe").count() == 13


def test_a_fault_is_shown_and_gone_once_it_is_mended(page: Page, url: str, own: Path) -> None:
    open_whole(page, f"{url}?look=light&width=320")
    expect(page.locator("#findings .good")).to_contain_text("nothing wrong")
    (own / "back_in_stock" / "body.txt").write_text("{{ itm_name }}")
    expect(page.locator(".trouble")).to_contain_text("the nearest name is item_name")
    expect(page.locator("mark")).to_have_text("1  {{ itm_name }}")
    expect(page.locator("#findings summary")).to_contain_text("1 fault")
    (own / "back_in_stock" / "body.txt").unlink()
    expect(page.locator("iframe")).to_have_count(1)
    expect(page.locator("#findings .good")).to_contain_text("nothing wrong")


def test_a_choice_is_shown_at_once(page: Page, url: str) -> None:
    open_whole(page, url)
    page.get_by_label("Language").select_option("ja")
    expect(page.locator("h2")).to_have_text("usual, ja")
    page.get_by_label("Sample").select_option("emoji")
    page.get_by_label("Look").select_option("all looks")
    expect(page.locator("h2")).to_have_text("emoji, ja")
    page.get_by_role("link", name="Text").click()
    expect(page.locator("pre")).to_contain_text("🫖")
    expect(page.get_by_role("link", name="Text")).to_have_attribute("aria-current", "page")


def test_a_choice_is_kept_by_back_and_by_the_keyboard(page: Page, url: str) -> None:
    open_whole(page, f"{url}?look=light&width=320")
    page.get_by_label("Sample").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(page.locator("h2")).to_have_text("long word, en")
    expect(page.get_by_label("Sample")).to_be_focused()
    page.get_by_label("Language").select_option("de")
    expect(page.locator("h2")).to_have_text("long word, de")
    page.go_back()
    expect(page.locator("h2")).to_have_text("long word, en")
    expect(page.get_by_label("Language")).to_have_value("en")
    page.get_by_label("Look").select_option("dark")
    expect(page.locator("figcaption")).to_contain_text("dark, 320 px")
    expect(page.locator("h2")).to_have_text("long word, en")


def test_the_place_is_kept_through_a_fault(page: Page, url: str, own: Path) -> None:
    open_whole(page, f"{url}?look=light&width=320")
    page.evaluate("scrollTo(0, 300)")
    (own / "back_in_stock" / "body.txt").write_text("{% if x %}")
    expect(page.locator(".trouble")).to_be_attached()
    (own / "back_in_stock" / "body.txt").unlink()
    expect(page.locator("iframe")).to_have_count(1)
    assert page.evaluate("scrollY") == 300


def test_a_mail_that_is_wider_than_its_frame_says_so(page: Page, url: str, own: Path) -> None:
    body = '<html><body style="margin:0"><table width="608"><tr><td lang="en">A</td></tr></table></body></html>'
    (own / "back_in_stock" / "body.html").write_text(body)
    open_whole(page, f"{url}?look=light")
    expect(page.locator("figcaption em")).to_have_text(["cut off: it is 608 px wide"])


def test_a_link_in_a_mail_opens_beside_the_page(page: Page, url: str) -> None:
    open_whole(page, f"{url}?look=light&width=320")
    with page.context.expect_page() as opened:
        page.frame_locator("iframe").get_by_role("link", name="View item").click()
    assert opened.value.evaluate("opener") is None
    opened.value.close()
    expect(page.frame_locator("iframe").locator("h1")).to_have_text("Blue mug")


def test_no_script_of_a_mail_runs(page: Page, url: str, own: Path) -> None:
    script = "<script>top.document.title = 'run'</script><img src=x onerror=\"top.document.title = 'run'\">"
    (own / "back_in_stock" / "body.html").write_text(f"<html><body><p lang=en>A</p>{script}</body></html>")
    open_whole(page, f"{url}?look=light&width=320")
    expect(page.frame_locator("iframe").locator("p")).to_have_text("A")
    assert page.title() == "Mails of Blue Door"


def test_a_preview_that_has_ended_is_told(page: Page, own: Path) -> None:
    with served(Shelf(parts_of(own), {})) as address:
        open_whole(page, f"{address}?look=light&width=320")
        expect(page.locator("#state")).to_contain_text("Shows each change")
    expect(page.locator("#state")).to_contain_text("The preview does not answer")


def test_of_changes_that_follow_each_other_the_last_one_is_shown(page: Page, url: str, own: Path) -> None:
    subject = own / "back_in_stock" / "subject.txt"
    open_whole(page, f"{url}?look=light&width=320")
    held = list[Route]()

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(re.compile(r"\?look="), hold)
    subject.write_text("The first")
    page.wait_for_timeout(700)  # the page asks for it, and gets no answer yet
    subject.write_text("The second")
    page.wait_for_timeout(700)
    held[0].fulfill(body="<p>broken", status=500)
    expect(page.locator(".subject bdi")).to_have_text("The second")
    expect(page.locator("#state")).to_contain_text("Shown anew")
    page.unroute_all()


def test_eight_tabs_at_once_are_no_trouble(page: Page, url: str) -> None:
    tabs = [page.context.new_page() for _ in range(8)]
    try:
        for tab in tabs:
            tab.goto(f"{url}?look=light")
            tab.wait_for_selector("#findings .good")
    finally:
        for tab in tabs:
            tab.close()


@pytest.mark.parametrize("query", ["", "sample=all&look=light&width=320", "view=text", "view=html", "view=message"])
@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1440, "dark")])
def test_the_page_is_for_everybody(page: Page, url: str, own: Path, query: str, width: int, scheme: str) -> None:
    (own / "mail.css").touch()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_whole(page, f"{url}?{query}")
    page.wait_for_selector("#findings summary")
    page.locator("#findings summary").click()
    found = Axe().run(page, options=ON_PAGE).response["violations"]
    assert [f"{each['id']}: {node['html'][:90]}" for each in found for node in each["nodes"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
