"""What mail programs make of a page before they show it: rules that are known of them (caniemail, June 2026)."""

import colorsys
import re
from collections.abc import Callable
from typing import Final

_STYLE: Final = re.compile(r"<style\b[^>]*>.*?</style>\n?", re.DOTALL)
_TAG: Final = re.compile(r"<(?P<name>[a-z][a-z0-9]*)\b(?P<rest>[^>]*?) style=\"(?P<style>[^\"]*)\"", re.IGNORECASE)
_OFFICE: Final = re.compile(r"<xml>.*?</xml>", re.DOTALL)  # settings, which are not shown
_MSO: Final = re.compile(r"<!--\[if mso\]>(.*?)<!\[endif\]-->", re.DOTALL)
_PICTURE: Final = re.compile(r"(<img\b[^>]* src=\")[^\"]*")
# Gmail leaves gradients as they are.
_COLOUR: Final = re.compile(r"linear-gradient\([^()]*\)|#(?:[0-9a-f]{6}|[0-9a-f]{3})\b", re.IGNORECASE)

# Not known to Word at all.
_UNKNOWN_TO_WORD: Final = {
    "border-radius",
    "max-height",
    "min-height",
    "display",
    "object-fit",
    "overflow",
    "box-shadow",
}
_ONLY_ON_CELLS: Final = ("padding", "width", "height")

Client = Callable[[str], str]


def in_browser(html: str) -> str:
    """As a browser shows it, and Apple's Mail."""
    return html


def without_style(html: str) -> str:
    """Gmail's apps with an account elsewhere, and its page on phones: they drop every `<style>`."""
    return _STYLE.sub("", html)


def darkened(html: str) -> str:
    """Gmail's apps in the dark: they know no dark rules, and turn light and dark round where one is set."""
    return _TAG.sub(lambda tag: _restyled(tag, _COLOUR.sub(_turned, tag["style"])), without_style(html))


def without_pictures(html: str) -> str:
    """Anybody before he allows pictures."""
    return _PICTURE.sub(r"\1https://blocked.invalid/x.png", html)


def in_word(html: str) -> str:
    """Outlook for Windows: it renders with Word, reads what is in its own comments, and no `<style>` with `@media`."""
    page = _MSO.sub(r"\1", _OFFICE.sub("", without_style(html)))
    return _TAG.sub(lambda tag: _restyled(tag, _in_word(tag["name"].lower(), tag["rest"], tag["style"])), page)


def _restyled(tag: re.Match[str], style: str) -> str:
    return f'<{tag["name"]}{tag["rest"]} style="{style}"'


def _in_word(name: str, attributes: str, style: str) -> str:
    kept = list[str]()
    for declaration in filter(None, style.split(";")):
        what, _, value = (part.strip() for part in declaration.partition(":"))
        if what == "mso-padding-alt":
            kept.append(f"padding:{value}")
        elif what == "mso-hide":
            kept.append("display:none")
        elif what == "max-width" and name == "table":
            kept.append(declaration)
        elif what.startswith(_ONLY_ON_CELLS):
            kept += [declaration] if name in ("td", "th") else []
        elif what not in _UNKNOWN_TO_WORD and what != "max-width" and "gradient" not in value:
            kept.append(declaration)
    if name == "img" and (width := re.search(r' width="(\d+)"', attributes)):
        kept.append(f"width:{width[1]}px;height:auto")
    return ";".join(kept)


def _turned(found: re.Match[str]) -> str:
    if not found[0].startswith("#"):
        return found[0]
    digits = found[0][1:]
    pairs = [each * 2 for each in digits] if len(digits) == 3 else re.findall("..", digits)
    hue, lightness, saturation = colorsys.rgb_to_hls(*(int(each, 16) / 255 for each in pairs))
    # Not to the very end: black becomes a light grey, white a dark one.
    turned = colorsys.hls_to_rgb(hue, 0.1 + 0.85 * (1 - lightness), saturation)
    return "#" + "".join(f"{round(each * 255):02x}" for each in turned)
