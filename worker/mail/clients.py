"""What mail programs make of a page before they show it, by the rules that are known of them (caniemail, June 2026).

A browser then shows about what their readers see. Pure.
"""

import colorsys
import re
from collections.abc import Callable
from html import escape, unescape
from typing import Any, Final

import tinycss2
from tinycss2.color3 import RGBA, parse_color

Client = Callable[[str], str]

_TAG: Final = re.compile(
    r"<!--.*?-->|<style\b.*?</style\s*>"
    r"|<(?P<name>[a-z][\w:-]*)(?P<attributes>(?:\"[^\"]*\"|'[^']*'|[^\"'>])*+)>",
    re.DOTALL | re.IGNORECASE,
)
_STYLE_ATTRIBUTE: Final = re.compile(r"\sstyle\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_COLOUR_ATTRIBUTE: Final = re.compile(r"(\s(?:bgcolor|color)\s*=\s*[\"']?)(#?\w+)", re.IGNORECASE)
_WIDTH: Final = re.compile(r"\swidth\s*=\s*[\"']?(\d+)", re.IGNORECASE)
_STYLE: Final = re.compile(r"<style\b[^>]*>.*?</style\s*>\n?", re.DOTALL | re.IGNORECASE)
_BEGINNING: Final = re.compile(r"(?:\s*<(?:!doctype|html|head)\b[^>]*>)*", re.IGNORECASE)
_PREFERS: Final = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)", re.IGNORECASE)
_META: Final = re.compile(r"""(<meta\s+name=["']color-scheme["']\s+content=["'])([a-z ]+)(["'])""", re.IGNORECASE)
_DECLARED: Final = re.compile(r"((?<![\w-])color-scheme\s*:\s*)([a-z ]+)", re.IGNORECASE)

# Comments that Outlook for Windows reads: shown to it alone, hidden from it alone, and the form that is no comment.
_CONDITIONAL: Final = re.compile(
    r"<!--\[if (?P<revealed>[^\]]*)\]>\s*<!(?:-- )?-->(?P<shown>.*?)<!--\s*<!\[endif\]-->"
    r"|<!--\[if (?P<hidden>[^\]]*)\]>(?P<office>.*?)<!\[endif\]-->"
    r"|<!\[if (?P<bare>[^\]]*)\]>(?P<plain>.*?)<!\[endif\]>",
    re.DOTALL | re.IGNORECASE,
)
_TERM: Final = re.compile(r"(?P<no>!?)[\s(]*(?:(?P<than>[lg]te?)\s+)?(?P<what>\w+)\s*(?P<version>\d*)", re.IGNORECASE)
_OFFICE: Final = re.compile(r"<xml\b.*?</xml\s*>", re.DOTALL | re.IGNORECASE)  # settings, which are not shown
_OFFICE_VERSION: Final = 16
_THAN: Final[dict[str, Callable[[int, int], bool]]] = {
    "lt": int.__lt__,
    "lte": int.__le__,
    "gt": int.__gt__,
    "gte": int.__ge__,
}
_UNKNOWN_TO_WORD: Final = {
    "background-image",
    "border-radius",
    "box-shadow",
    "display",
    "float",
    "max-height",
    "min-height",
    "min-width",
    "object-fit",
    "opacity",
    "overflow",
    "position",
}
_ONLY_ON_CELLS: Final = ("padding", "width", "height")

_HAS_COLOUR: Final = re.compile(
    r"(?:.*-)?color|background|border(?:-(?:top|right|bottom|left))?|outline", re.IGNORECASE
)
DARK_PAGE: Final = "<style>html{background-color:#1a1a1a;color:#e6e6e6}</style>"
_NO_PICTURES: Final = '<meta http-equiv="Content-Security-Policy" content="img-src \'none\'">'


def in_scheme(html: str, scheme: str) -> str:
    """Returns the HTML as a program for mail in light or dark mode shows it, whatever mode a browser is in.

    Browsers let a frame see their own mode only. So the conditions on the mode are decided here: those on this one
    always hold, those on the other never. A mail that declares no dark mode stays as it is.
    """
    decided = _PREFERS.sub(lambda found: "(min-width:0)" if found[1].lower() == scheme else "(max-width:0)", html)
    decided = _META.sub(lambda found: f"{found[1]}{scheme}{found[3]}" if "dark" in found[2] else found[0], decided)
    return _DECLARED.sub(lambda found: f"{found[1]}{scheme}" if "dark" in found[2] else found[0], decided)


def in_browser(html: str) -> str:
    """As a browser shows it, and Apple's Mail."""
    return html


def without_style(html: str) -> str:
    """Gmail's apps with an account elsewhere, and its page on phones: they drop every `<style>`."""
    return _STYLE.sub("", html)


def darkened(html: str) -> str:
    """Gmail's apps in the dark: they know no dark rules, and turn light and dark round where a colour is set."""

    def turned(_name: str, attributes: str, style: str) -> tuple[str, str]:
        return _COLOUR_ATTRIBUTE.sub(lambda found: found[1] + _turned(found[2]), attributes), _darkened(style)

    return _in_head(_retagged(without_style(html), turned), DARK_PAGE)


def without_pictures(html: str) -> str:
    """Anybody before he allows pictures."""
    return _in_head(html, _NO_PICTURES)


def in_word(html: str) -> str:
    """Outlook for Windows: it renders with Word, reads what is in its own comments, and no `<style>` with `@media`.

    What is drawn with VML is not shown.
    """
    page = _OFFICE.sub("", without_style(_CONDITIONAL.sub(_in_office, html)))
    return _retagged(page, lambda name, attributes, style: (attributes, _in_word(name, attributes, style)))


def _in_head(html: str, markup: str) -> str:
    return _BEGINNING.sub(lambda found: found[0] + markup, html, count=1)


def _retagged(html: str, change: Callable[[str, str, str], tuple[str, str]]) -> str:
    """Returns a page with what `change` makes of each tag's attributes and style. It gets the tag's name, too."""

    def changed(tag: re.Match[str]) -> str:
        if tag["name"] is None:
            return tag[0]
        found = _STYLE_ATTRIBUTE.search(tag["attributes"])
        others = _STYLE_ATTRIBUTE.sub("", tag["attributes"], count=1)
        style = unescape("".join(filter(None, found.groups()))) if found else ""
        attributes, new = change(tag["name"].lower(), others, style)
        end = "/" if attributes.endswith("/") else ""
        styled = f' style="{escape(new)}"' if new else ""
        return f"<{tag['name']}{attributes.removesuffix('/')}{styled}{end}>"

    return _TAG.sub(changed, html)


def _in_office(found: re.Match[str]) -> str:
    """Returns what Outlook for Windows makes of a conditional comment."""
    condition = found["revealed"] or found["hidden"] or found["bare"] or ""
    inside = found["shown"] or found["office"] or found["plain"] or ""
    holds = any(all(map(_is_met, terms.split("&"))) for terms in condition.split("|"))
    return inside if holds else ""


def _is_met(term: str) -> bool:
    found = _TERM.search(term)
    if found is None:
        return False
    is_met = found["what"].lower() in ("mso", "true")
    if is_met and found["version"]:
        compare = _THAN.get((found["than"] or "").lower(), int.__eq__)
        is_met = compare(_OFFICE_VERSION, int(found["version"]))
    return is_met != bool(found["no"])


def _in_word(name: str, attributes: str, style: str) -> str:
    kept = list[str]()
    for what, declaration in _declarations(style):
        value = tinycss2.serialize(declaration.value).strip()
        if what == "mso-padding-alt":
            kept.append(f"padding:{value}")
        elif what == "mso-hide":
            kept.append("display:none")
        elif what.startswith("max-width"):
            kept += [f"max-width:{value}"] if name == "table" else []
        elif what.startswith(_ONLY_ON_CELLS):
            kept += [f"{what}:{value}"] if name in ("td", "th") else []
        elif what not in _UNKNOWN_TO_WORD and "gradient" not in value:
            kept.append(f"{what}:{value}")
    if name == "img" and (width := _WIDTH.search(attributes)):
        kept.append(f"width:{width[1]}px;height:auto")
    return ";".join(kept)


def _darkened(style: str) -> str:
    return ";".join(
        f"{what}:{''.join(map(_turned_token, each.value)) if _HAS_COLOUR.fullmatch(what) else _value(each)}"
        for what, each in _declarations(style)
    )


def _declarations(style: str) -> list[tuple[str, Any]]:
    found = tinycss2.parse_blocks_contents(style, skip_comments=True, skip_whitespace=True)
    return [(each.lower_name, each) for each in found if each.type == "declaration"]


def _value(declaration: Any) -> str:
    return str(tinycss2.serialize(declaration.value)).strip()


def _turned_token(token: Any) -> str:
    """Returns a part of a value, turned round if it is a colour. Gmail leaves gradients as they are."""
    return _turned(tinycss2.serialize([token]))


def _turned(colour: str) -> str:
    """Returns a light colour for a dark one and the reverse, and what is no colour as it is."""
    found = parse_color(colour)
    if not isinstance(found, RGBA):
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(found.red, found.green, found.blue)
    # Not to the very end: black becomes a light grey, white a dark one.
    red, green, blue = (
        round(each * 255) for each in colorsys.hls_to_rgb(hue, 0.1 + 0.85 * (1 - lightness), saturation)
    )
    return f"#{red:02x}{green:02x}{blue:02x}" if found.alpha == 1 else f"rgba({red},{green},{blue},{found.alpha:g})"
