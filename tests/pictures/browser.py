"""Chromium, driven by Playwright: shows a page at a width, in light or in the dark."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

NARROW: Final = 320
WIDE: Final = 640


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Starts Chromium, which reaches no network."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # it may run as root
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def shown(browser: Browser, html: str, width: int, *, dark: bool = False) -> Iterator[Page]:
    """Yields a page with the mail. Pictures from outside are missing, as if they were blocked."""
    page = browser.new_page(viewport={"width": width, "height": 600}, color_scheme="dark" if dark else "light")
    try:
        page.route("**/*", lambda route: route.abort())
        page.set_content(html)
        page.wait_for_function("[...document.images].every(image => image.complete)")
        yield page
    finally:
        page.close()
