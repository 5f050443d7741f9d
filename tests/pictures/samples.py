"""Mails to look at: what shops send, from the usual to what a layout is afraid of."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from worker.domain.brand import Brand, palette, parse_colour
from worker.mail.render import MailContext
from worker.mail.samples import ONE

_WAY_OUT: Final = "https://notify.shop.example/u/AYCxVbq7cT6H0mJ4sample-token-of-a-customer"
_WORD: Final = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
_LONG: Final = (
    "Handmade stoneware breakfast mug with a wide handle, glazed in deep cobalt blue, dishwasher safe, "
    "350 ml, with a matching saucer and a small wooden spoon"
)


def photo(width: int, height: int, background: str = "#d9c7a8") -> str:
    """Returns a picture of this size: something blue, before `background` (which may be "none")."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" fill="{background}"/>'
        '<ellipse cx="50%" cy="55%" rx="30%" ry="35%" fill="#21406b"/>'
        '<ellipse cx="50%" cy="32%" rx="30%" ry="9%" fill="#101820"/></svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


USUAL: Final = replace(ONE["all known"], image_url=photo(600, 600), unsubscribe_url=_WAY_OUT, asked_on="March 8, 2026")
_PLAIN: Final = replace(USUAL, image_url=None, options={})

PICTURES: Final = {
    "square": USUAL,
    "transparent": replace(USUAL, image_url=photo(600, 600, "none")),
    "tall": replace(USUAL, image_url=photo(300, 3000)),
    "wide": replace(USUAL, image_url=photo(3000, 300)),
    "one pixel": replace(USUAL, image_url=photo(1, 1)),
    "none": replace(USUAL, image_url=None),
}
"""By what is special about their picture."""

TEXTS: Final = {
    "long": replace(_PLAIN, item_name=_LONG),
    "long word": replace(_PLAIN, item_name=_WORD, options={_WORD: _WORD}),
    "nothing known": MailContext(USUAL.item_url, "mug-1", {}),
    "huge price": replace(_PLAIN, price="123456789012345678901234567890.50"),
    "options": replace(_PLAIN, options={f"Option {each}": f"value {each}" for each in range(1, 9)}),
    "emoji": replace(_PLAIN, item_name="🫖 Tea 👨‍👩‍👧‍👦 set 🇪🇺 ✨"),
    "right to left": replace(_PLAIN, item_name="חולצה כחולה (M)!", options={"מידה": "38"}),
    "Arabic": replace(_PLAIN, item_name="كوب أزرق كبير جدا مع مقبض"),
    "Japanese": replace(_PLAIN, item_name="青いマグカップ 大（取っ手付き・食洗機対応）", price="1200", currency="JPY"),
    "hostile": replace(_PLAIN, item_name="<script>alert(1)</script>\u202egpj.exe", options={"</td>": "<b>'\"&"}),
    "long address": replace(_PLAIN, item_url="https://shop.example/p/" + "a1b2-" * 400),
}
"""By what is special about their texts."""


def brand(colour: str) -> Brand:
    """Returns a brand in this colour. The logo is dark letters on nothing, which is hardest in the dark."""
    letters = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="360" height="90" viewBox="0 0 360 90">'
        '<text x="4" y="64" font-size="56" font-family="sans-serif" fill="#101820">Blue Door</text></svg>'
    )
    url = f"data:image/svg+xml;base64,{base64.b64encode(letters.encode()).decode()}"
    address = ("Blue Door Pottery Ltd", "1 High Street, London E1 6AN", "Company 01234567")
    return Brand(url, palette(parse_colour(colour)), address)


COLOURS: Final = {"near white": "#fdfdf5", "near black": "#0a0a12", "saturated": "#ff0055", "yellow": "#ffe100"}
"""Brands' colours, by what is hard about them."""


def digest(number: int) -> Sequence[MailContext]:
    """Returns so many items, of all kinds."""
    kinds = [*PICTURES.values(), *TEXTS.values()]
    return [kinds[each % len(kinds)] for each in range(number)]
