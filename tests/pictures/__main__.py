"""Makes sheets of all mails side by side, to be looked at: `make pictures`, into `pictures-out/`."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import chain
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

from config.settings import SHIPPED_TEMPLATES
from tests.pictures.browser import NARROW, WIDE, chromium, open_whole, served, show
from tests.pictures.samples import COLOURS, OWN, brand
from tests.unit.preview.galleries import parts_of
from tests.web.tools import chromium as path_of_chromium
from worker.domain.relays import Mailbox
from worker.mail import clients
from worker.mail.render import MailContext, Renderer
from worker.mail.samples import PICTURES, TEXTS, USUAL, digest
from worker.mail.sources import Sources
from worker.preview.shelf import Shelf
from worker.services.trying import SAMPLE_DAY

OUT: Final = Path("pictures-out")
FONTS: Final = {
    "Arabic": (":lang=ar", "fonts-noto-core"),
    "Hebrew": (":lang=he", "fonts-noto-core"),
    "Japanese": (":lang=ja", "fonts-noto-cjk"),
    "emoji": (":charset=1f6d2", "fonts-noto-color-emoji"),
}
"""What each pattern of fontconfig finds, and Debian's package."""

PREVIEWS: Final = (
    ("preview", "sample=usual", 1440, False),
    ("preview-dark", "sample=usual", 1440, True),
    ("preview-all-looks", "sample=usual", 1440, False),
    ("preview-all-samples-dark", "sample=all&look=dark&width=320", 1440, True),
    ("preview-narrow", "sample=usual&look=light", 320, False),
    ("preview-narrow-text-dark", "sample=usual&view=text", 320, True),
)
"""Pages of the preview: name, query, width, and whether in the dark."""
SETTINGS: Final = {
    "store_name": "Blue Door Pottery",
    "mail_from": Mailbox("", "hello@bluedoor.example"),
    "secret_key": "a sample key of thirty-two letters",
    "public_url": "https://notify.bluedoor.example",
}
OF_DOCS: Final = ("preview", "preview-dark")
"""Those in docs/pictures: what is seen without scrolling."""

IN_WORD: Final = {"usual": USUAL, "long word": TEXTS["long word"]}

_SHEET: Final = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 24px; background: #fff; color: #1c1f1a; font: 14px/20px sans-serif }}
main {{ display: flex; flex-wrap: wrap; align-items: flex-start; gap: 24px }}
figure {{ margin: 0 }} img {{ display: block; border: 1px solid #999 }} figcaption {{ padding: 4px 0 }}
</style><h1>{title}</h1><main>{figures}</main>"""


@dataclass(frozen=True, slots=True)
class Look:
    """One mail as one reader sees it."""

    name: str
    html: str
    width: int = NARROW
    dark: bool = False


def html_of(renderer: Renderer, context: MailContext, locale: str) -> str:
    """Returns the mail about an item, with its day as the language writes it."""
    day = renderer.shown_day(SAMPLE_DAY, locale) if context.asked_on else None
    return renderer.render(replace(context, asked_on=day), locale)[0].html


def sheets(renderer: Renderer) -> Iterator[tuple[str, Sequence[Look]]]:
    """Yields the title of each sheet, with its mails."""

    def html(context: MailContext, locale: str = "en") -> str:
        return html_of(renderer, context, locale)

    def both(name: str, page: str, client: clients.Client = str) -> list[Look]:
        return [Look(f"{name}, {tone}", client(page), dark=tone == "dark") for tone in ("light", "dark")]

    yield (
        "languages",
        [
            look
            for language in renderer.languages
            for look in (
                Look(language, html(USUAL, language)),
                Look(f"{language}, dark", html(USUAL, language), WIDE, dark=True),
            )
        ],
    )
    for title, many in (("right to left", "ar"), ("Japanese", "ja")):
        page = renderer.render_many(digest(3), many)[0].html
        yield (
            title,
            [
                *(
                    Look(name, html(TEXTS[name], many))
                    for name in ("long name", "right to left", "Japanese", "nothing known")
                ),
                Look("3 items", page),
                Look("3 items, dark", page, WIDE, dark=True),
            ],
        )
    yield (
        "brands",
        [
            Look(f"{name}, {tone}", client(shop.render(USUAL, "en")[0].html), dark=tone == "dark")
            for name, colour in COLOURS.items()
            for shop in [Renderer(Sources(SHIPPED_TEMPLATES), "Blue Door Pottery", brand=brand(colour))]
            for tone, client in (
                ("light", str),
                ("dark", str),
                ("blocked", clients.without_pictures),
                ("darkened", clients.darkened),
            )
        ],
    )
    yield "hard texts", [Look(name, html(context)) for name, context in TEXTS.items()]
    yield "pictures", [look for name, context in PICTURES.items() for look in both(name, html(context))]
    yield "blocked pictures", both("blocked", html(USUAL), clients.without_pictures)
    yield (
        "mail programs",
        [
            *(
                Look(f"{client.__name__}, {width}", client(html(USUAL)), width)
                for client in (clients.without_style, clients.darkened)
                for width in (NARROW, WIDE)
            ),
            *(Look(f"in Word, {name}", clients.in_word(html(context)), 700) for name, context in IN_WORD.items()),
            Look("in Word, 5 items", clients.in_word(renderer.render_many(digest(5), "en")[0].html), 700),
        ],
    )
    yield (
        "digests",
        [
            Look(f"{number} items", renderer.render_many(digest(number), "en")[0].html, width, dark=width == WIDE)
            for number in (2, 5, 20)
            for width in (NARROW, WIDE)
        ],
    )


def beside(own: Path) -> Iterator[tuple[str, Sequence[Look]]]:
    """Yields the sheet of a shop's own files, written to `own`, beside ours."""
    for name, text in OWN.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text, encoding="utf-8")
    both = {
        who: Renderer(Sources(files, SHIPPED_TEMPLATES), "Blue Door Pottery")
        for who, files in (("ours", SHIPPED_TEMPLATES), ("the shop's", own))
    }
    yield (
        "a shop's own files",
        [
            Look(f"{who}, {locale}{', dark' * dark}", html_of(renderer, USUAL, locale), dark=dark)
            for locale, dark in (("en", False), ("en", True), ("de", False))
            for who, renderer in both.items()
        ],
    )


def previews(page: Page, own: Path) -> Iterator[Path]:
    """Yields pictures of the page of the preview, with a fault in one of the files at last.

    The first ones are those of the docs.
    """
    with served(Shelf(parts_of(own, **SETTINGS), {})) as url:
        for name, query, width, dark in PREVIEWS:
            page.emulate_media(color_scheme="dark" if dark else "light")
            page.set_viewport_size({"width": width, "height": 900})
            open_whole(page, f"{url}?{query}")
            page.wait_for_selector("#findings .good")
            page.screenshot(path=OUT / f"{name}.png", full_page=name not in OF_DOCS)
            yield OUT / f"{name}.png"
        (own / "back_in_stock" / "body.txt").write_text("It is back:\n{{ itm_name }}\n", encoding="utf-8")
        page.wait_for_selector(".trouble")
        page.wait_for_selector("#findings summary")
        page.screenshot(path=OUT / "preview-fault.png", full_page=True)
        yield OUT / "preview-fault.png"


def drawn(page: Page, title: str, looks: Sequence[Look]) -> Path:
    """Returns the path of a sheet with these mails."""
    figures = list[str]()
    for look in looks:
        show(page, look.html, look.width, dark=look.dark)
        picture = base64.b64encode(page.screenshot(full_page=True)).decode()
        figures.append(
            f'<figure><figcaption>{escape(look.name)}</figcaption><img src="data:image/png;base64,{picture}"></figure>'
        )
    path = OUT / f"{re.sub(r'[^a-z]+', '-', title.lower())}.png"
    show(page, _SHEET.format(title=escape(title), figures="".join(figures)), 1440)
    page.screenshot(path=path, full_page=True)
    return path


def missing_fonts() -> Mapping[str, str]:
    """Returns the scripts that there is no font for, with Debian's package that has one. Boxes would prove nothing."""
    if not shutil.which("fc-list"):
        return {}
    return {
        script: package
        for script, (pattern, package) in FONTS.items()
        if not subprocess.run(["fc-list", pattern], capture_output=True, check=True).stdout.strip()
    }


def main() -> int:
    """Returns 0, or 1 without Chromium."""
    if not (path := path_of_chromium()):
        sys.stderr.write("There is no Chromium. On Debian: apt-get install chromium\n")
        return 1
    for script, package in missing_fonts().items():
        sys.stdout.write(f"There is no font for {script}: pictures show boxes. On Debian: apt-get install {package}\n")
    OUT.mkdir(exist_ok=True)
    own = OUT / "own"
    shutil.rmtree(own, ignore_errors=True)
    with chromium(path, reaches_us=True) as page:
        shown = chain(sheets(Renderer(Sources(SHIPPED_TEMPLATES), "Blue Door Pottery")), beside(own))
        for picture in chain((drawn(page, *each) for each in shown), previews(page, own)):
            sys.stdout.write(f"{picture}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
