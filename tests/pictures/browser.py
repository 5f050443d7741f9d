"""Chromium, driven by Playwright: shows a page at a width, in light or in the dark."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Page, sync_playwright

NARROW: Final = 320
WIDE: Final = 640


@contextmanager
def chromium(path: str) -> Iterator[Page]:
    """Starts Chromium with one page, which reaches no network: pictures from outside are missing, as if blocked."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # it may run as root
        try:
            page = browser.new_page()
            page.route("**/*", lambda route: route.abort())
            yield page
        finally:
            browser.close()


def show(page: Page, html: str, width: int, *, dark: bool = False) -> None:
    """Shows a mail in the page. A page of its own for each would take ten times as long."""
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.set_viewport_size({"width": width, "height": 600})
    page.set_content(html)
    page.wait_for_function("[...document.images].every(image => image.complete)")
