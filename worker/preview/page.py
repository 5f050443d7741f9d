"""The page of the preview: what it is asked for, and what is in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.mail import clients
from worker.preview.gallery import Gallery, Shown

ALL: Final = "all"
NARROW, WIDE = "320", "640"
WIDTHS: Final = (NARROW, WIDE)
WIDEST: Final = "700"
"""Outlook for Windows is on no phone, and makes our mail 648 pixels wide."""
VIEWS: Final = {"mail": "Mail", "text": "Text", "html": "HTML", "message": "Message"}
MOST: Final = 120
"""Frames of one page."""

_FILES: Final = Path(__file__).parent
_PAGES: Final = Environment(
    loader=FileSystemLoader(_FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a reader sees a mail."""

    label: str
    about: str
    client: clients.Client
    is_dark: bool = False
    widths: Sequence[str] = WIDTHS


def _after(scheme: str, client: clients.Client) -> clients.Client:
    return lambda html: client(clients.in_scheme(html, scheme))


LOOKS: Final[Mapping[str, Look]] = {
    "light": Look("light", "browsers, Apple's Mail", partial(clients.in_scheme, scheme="light")),
    "dark": Look("dark", "the mail's own dark rules", partial(clients.in_scheme, scheme="dark"), is_dark=True),
    "forced": Look("forced dark", "Gmail's apps turn colours round", clients.darkened, is_dark=True),
    "blocked": Look("images off", "before they are allowed", _after("light", clients.without_pictures)),
    "blocked-dark": Look(
        "images off, dark", "before they are allowed", _after("dark", clients.without_pictures), is_dark=True
    ),
    "no-style": Look("no <style>", "Gmail's apps, other accounts", _after("light", clients.without_style)),
    "word": Look("Word's rules", "Outlook for Windows", _after("light", clients.in_word), widths=(WIDEST,)),
}
"""By their names in URLs."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What of the mails is to be seen. ALL: each of a kind."""

    sample: str
    locale: str
    look: str = ALL
    width: str = ALL
    view: str = "mail"

    @property
    def query(self) -> str:
        """The query of its URL."""
        return urlencode([(each.name, getattr(self, each.name)) for each in fields(self)])

    def having(self, **changed: str) -> "Wish":
        """Returns it with some of it changed."""
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class Frame:
    """One mail as one reader sees it."""

    wish: Wish
    look: Look

    @property
    def label(self) -> str:
        """Its look and its width."""
        return f"{self.look.label}, {self.wish.width} px"


@dataclass(frozen=True, slots=True)
class Section:
    """One mail, in all the looks that are asked for."""

    wish: Wish
    shown: Shown
    frames: Sequence[Frame]


def wished(query: str, gallery: Gallery) -> Wish:
    """Reads the query of a URL. What is not known is as at first: the first sample in all looks."""
    given = dict(parse_qsl(query))

    def one_of(name: str, known: Sequence[str], usual: str) -> str:
        return given[name] if given.get(name) in known else usual

    return Wish(
        one_of("sample", [*gallery.names, ALL], gallery.names[0]),
        ALL if given.get("locale") == ALL else gallery.nearest(given.get("locale")),
        one_of("look", list(LOOKS), ALL),
        one_of("width", WIDTHS, ALL),
        one_of("view", list(VIEWS), "mail"),
    )


def page(wish: Wish, gallery: Gallery, version: str) -> str:
    """Returns the page, in HTML."""
    sections = list(_sections(wish, gallery))
    return _PAGES.get_template("page.html").render(
        wish=wish,
        gallery=gallery,
        version=version,
        languages={each: each for each in gallery.languages},
        labels={name: look.label for name, look in LOOKS.items()},
        widths={each: f"{each} px" for each in WIDTHS},
        views=VIEWS,
        all=ALL,
        sections=sections,
        number=len(_each(wish.sample, gallery.names)) * len(_each(wish.locale, gallery.languages)),
    )


def findings(gallery: Gallery) -> str:
    """Returns what is wrong with the templates, in HTML."""
    inspection = gallery.inspection()
    faults = len(inspection.faults)
    kinds = {"fault": faults, "warning": len(inspection.findings) - faults}
    numbers = " and ".join(f"{number} {kind}{'s' * (number != 1)}" for kind, number in kinds.items() if number)
    return _PAGES.get_template("findings.html").render(inspection=inspection, numbers=numbers)


def shown(wish: Wish, gallery: Gallery) -> Shown:
    """Returns one mail: of all the first."""
    return gallery.shown(_each(wish.sample, gallery.names)[0], _each(wish.locale, gallery.languages)[0])


def framed(wish: Wish, gallery: Gallery) -> str:
    """Returns one mail as one reader sees it."""
    return LOOKS[_each(wish.look, list(LOOKS))[0]].client(shown(wish, gallery).html)


def _sections(wish: Wish, gallery: Gallery) -> Iterator[Section]:
    """Yields what is asked for, as far as MOST frames reach."""
    number = 0
    for sample, locale in product(_each(wish.sample, gallery.names), _each(wish.locale, gallery.languages)):
        one = wish.having(sample=sample, locale=locale)
        frames = list(_frames(one)) if wish.view == "mail" else []
        number += len(frames) or 1
        if number > MOST:
            return
        yield Section(one, gallery.shown(sample, locale), frames)


def _frames(wish: Wish) -> Iterator[Frame]:
    """Yields the narrow ones first: more of them have room beside each other."""
    names, asked = _each(wish.look, list(LOOKS)), _each(wish.width, WIDTHS)
    for width, name in product((*WIDTHS, WIDEST), names):
        widths = LOOKS[name].widths
        if width in widths and (width in asked or not set(asked) & set(widths)):
            yield Frame(wish.having(look=name, width=width), LOOKS[name])


def _each(asked: str, known: Sequence[str]) -> Sequence[str]:
    return known if asked == ALL else [asked]
