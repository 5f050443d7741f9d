"""What makes a mail a shop's own: its logo, its colour with the colours that go with it, and its postal address.

Pure. Contrast is that of WCAG 2.2 (1.4.3): at least 4.5:1 for text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from worker.domain.catalog import checked_url
from worker.domain.errors import BadUrl

MOST_LINES: Final = 8
_LONGEST_LINE: Final = 100
_LEGIBLE: Final = 4.5
_VISIBLE: Final = 3.0
"""for the edge of a button (WCAG 1.4.11)"""
_HEX: Final = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)


class Colour(NamedTuple):
    """A colour of sRGB. Each part is 0 to 1."""

    red: float
    green: float
    blue: float

    def __str__(self) -> str:
        """Returns it as CSS: #rrggbb."""
        return "#" + "".join(f"{round(part * 255):02x}" for part in self)


_BLACK: Final = Colour(0, 0, 0)
_WHITE: Final = Colour(1, 1, 1)
_DARK_CARD: Final = Colour(0x1F / 255, 0x22 / 255, 0x1E / 255)
"""What a mail is on in the dark (`templates/_base/mail.css`)."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours that one colour makes, as CSS."""

    button: str
    """the colour itself"""
    on_button: str
    """black or white, whichever is easier to read on it"""
    edge: str
    """around a button: the colour, or a darker one if that can't be seen on white"""
    accent: str
    """for text on white: the colour, or a darker one"""
    dark_button: str
    """for the dark: a lighter one, also for text"""
    on_dark_button: str


@dataclass(frozen=True, slots=True)
class Brand:
    """What a shop has set. Nothing set: a mail as it is shipped."""

    logo_url: str | None = None
    palette: Palette | None = None
    address: Sequence[str] = ()
    """its lines"""


NO_BRAND: Final = Brand()


def parse_colour(text: str) -> Colour:
    """Returns the colour that `#rrggbb` or `#rgb` names. Raises ValueError."""
    if not _HEX.fullmatch(text):
        raise ValueError("must be a colour like #1f6b4a")
    digits = text[1:] if len(text) == 7 else "".join(digit * 2 for digit in text[1:])
    return Colour(*(int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)))


def parse_logo_url(text: str) -> str:
    """Returns the URL of a picture. Raises ValueError unless it is https, which mail programs load pictures by."""
    try:
        url = checked_url(text)
    except BadUrl as error:
        raise ValueError(str(error)) from None
    if not url.startswith("https://"):
        raise ValueError("must be https://: many mail programs load no other pictures")
    return url


def parse_address(text: str) -> tuple[str, ...]:
    r"""Returns the lines of a postal address. A line ends with `\n`, written out or as it is. Raises ValueError."""
    lines = tuple(" ".join(line.split()) for line in text.replace("\\n", "\n").splitlines())
    found = tuple(filter(None, lines))
    if not 1 <= len(found) <= MOST_LINES or any(len(line) > _LONGEST_LINE or not line.isprintable() for line in found):
        raise ValueError(f"must have 1 to {MOST_LINES} lines of at most {_LONGEST_LINE} characters, separated by \\n")
    return found


def palette(colour: Colour) -> Palette:
    """Returns all colours for a mail in this one. Black or white can be read on any."""
    lighter = _shifted(colour, lambda found: _contrast(found, _DARK_CARD) >= _LEGIBLE, towards=1)
    return Palette(
        button=str(colour),
        on_button=str(_readable_on(colour)),
        edge=str(_shifted(colour, lambda found: _contrast(found, _WHITE) >= _VISIBLE, towards=0)),
        accent=str(_shifted(colour, lambda found: _contrast(found, _WHITE) >= _LEGIBLE, towards=0)),
        dark_button=str(lighter),
        on_dark_button=str(_readable_on(lighter)),
    )


def contrast(one: str, other: str) -> float:
    """Returns the contrast of two colours, 1 to 21. Raises ValueError."""
    return _contrast(parse_colour(one), parse_colour(other))


def _readable_on(colour: Colour) -> Colour:
    return max((_WHITE, _BLACK), key=lambda text: _contrast(text, colour))


def _shifted(colour: Colour, suits: Callable[[Colour], bool], *, towards: int) -> Colour:
    """Returns the colour, or else that with the least black (0) or white (1) mixed in that suits."""
    mixed = (
        # Rounded to what CSS can name.
        Colour(*(round(255 * (part + (towards - part) * step / 100)) / 255 for part in colour))
        for step in range(100)
    )
    return next(filter(suits, mixed), Colour(*[float(towards)] * 3))


def _contrast(one: Colour, other: Colour) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
