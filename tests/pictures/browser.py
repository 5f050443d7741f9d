"""Chromium, driven by Playwright: shows a page at a width, in light or in the dark."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Page, expect, sync_playwright

from worker.preview.server import Server
from worker.preview.shelf import Shelf

NARROW: Final = 320
WIDE: Final = 640


@contextmanager
def chromium(path: str, *, reaches_us: bool = False) -> Iterator[Page]:
    """Starts Chromium with one page, which reaches no network: pictures from outside are missing, as if blocked.

    With `reaches_us` it reaches this machine.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # it may run as root
        try:
            page = browser.new_context().new_page()
            outside = re.compile(r"^(?!http://127\.0\.0\.1:)") if reaches_us else "**/*"
            page.context.route(outside, lambda route: route.abort())
            yield page
        finally:
            browser.close()


def show(page: Page, html: str, width: int, *, dark: bool = False) -> None:
    """Shows a mail in the page. A page of its own for each would take ten times as long."""
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.set_viewport_size({"width": width, "height": 600})
    page.goto("about:blank")  # the policy of a page stays with what is written into it
    page.set_content(html)
    page.wait_for_function("[...document.images].every(image => image.complete)")


@contextmanager
def served(shelf: Shelf) -> Iterator[str]:
    """Serves a preview, and yields its address."""
    with Server(shelf, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def open_whole(page: Page, url: str) -> None:
    """Opens a preview, and waits until all of its mails are there, also those far below."""
    page.goto(url)
    for frame in page.locator("iframe").all():
        frame.scroll_into_view_if_needed()
        expect(frame).to_have_attribute("style", re.compile("height: [1-9]"), timeout=30_000)
    page.evaluate("scrollTo(0, 0)")
