"""Brands that are hard on a mail, and a shop's own files. The other samples are those of the product,
`worker.mail.samples`.
"""

import base64
from typing import Final

from worker.domain.brand import Brand, palette, parse_colour


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

OWN: Final = {
    "_base/mail.css": (
        '@import "shipped/_base/mail.css";\n'
        "h1.ink { font-family: Georgia, serif; font-weight: 400; letter-spacing: 0 }\n"
        ".news { text-transform: none; font-style: italic }\n"
        "td.button, td.button a { border-radius: 0 }\n"
    ),
    "back_in_stock/body.html": (
        '{% extends "shipped/back_in_stock/body.html" %}\n'
        "{% block action %}{{ _('View item') }} \u2192{% endblock %}\n"
        "{% block footer %}<p>Fired in Whitechapel since 1987.</p>{{ super() }}{% endblock %}\n"
    ),
    "locales/en.po": 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    'msgid "Back in stock"\nmsgstr "Out of the kiln again"\n',
}
"""A shop's own files, by name: looks, blocks and a sentence."""
