"""What mail programs make of a page before they show it, by the rules that are known of them (caniemail, June 2026).

A browser then shows about what their readers see. Pure.
"""

import colorsys
import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from html.parser import HTMLParser
from typing import Any, Final, NamedTuple

import tinycss2
from tinycss2.color4 import Color, parse_color

from worker.mail.conditional_comments import as_outlook_reads
from worker.mail.css_support import dropped_by_outlook
from worker.mail.nesting import deep_line

Client = Callable[[str], str]
Attributes = Mapping[str, str | None]

DARK_PAGE: Final = "<style>:where(html){color:#e6e6e6}:where(a){color:#8ab4f8}</style>"
"""The colours of what says none, in the dark."""

_NO_PICTURES: Final = '<meta http-equiv="Content-Security-Policy" content="img-src \'none\'">'
_BEGINNING: Final = re.compile(r"(?:\s*+(?:<(?:!doctype|html|head)\b[^<>]*+>|<!--.*?-->|<\?[^<>]*+>))*+", re.I | re.S)
_PREFERS: Final = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)", re.IGNORECASE)
_DECLARED: Final = re.compile(r"((?<![\w-])color-scheme\s*:\s*)([a-z ]*dark[a-z ]*)", re.IGNORECASE)

_OFFICE: Final = re.compile(r"<xml\b.*?</xml\s*>", re.DOTALL | re.IGNORECASE)  # settings, which are not shown
_CELLS: Final = ("td", "th")
_WITHOUT_SIZE: Final = ("a", "body", "div", "img", "p", "span")

_HAS_COLOUR: Final = re.compile(
    r"(?:.*-)?color|background|border(?:-(?:top|right|bottom|left|block|inline)(?:-(?:start|end))?)?|outline"
)
_LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601
_COLOUR_ATTRIBUTES: Final = ("alink", "bgcolor", "link", "text", "vlink")
_BARE_COLOUR: Final = re.compile(r"[0-9a-f]{6}", re.IGNORECASE)


def in_scheme(html: str, scheme: str) -> str:
    """Returns the HTML as a program for mail in light or dark mode shows it, whatever mode a browser is in.

    Browsers let a frame see their own mode only. So the conditions on the mode are decided here: those on this one
    always hold, those on the other never. A mail that declares no dark mode stays as it is.
    """
    return _decided(html, scheme, holds=scheme)


def without_style(html: str) -> str:
    """Gmail's apps with an account elsewhere, and its page on phones: they drop every `<style>`."""
    return _rewritten(html, lambda _, attributes: attributes, lambda _: "")


def darkened(html: str) -> str:
    """Gmail's apps in the dark: no dark rule holds, and colours that elements have turn light and dark round."""
    return _in_head(_rewritten(_decided(html, "light", holds=None), _darkened), DARK_PAGE)


def without_pictures(html: str) -> str:
    """Anybody before he allows pictures."""
    return _in_head(html, _NO_PICTURES)


def in_word(html: str) -> str:
    """Outlook for Windows: it renders with Word, reads what is in its own comments, and no `<style>` with `@media`.

    Of what is drawn with VML, places and plain colours are shown.
    """
    page = _OFFICE.sub("", as_outlook_reads(html))
    return _rewritten(page, _in_word, lambda css: "" if "@media" in css.lower() else css)


def _in_head(html: str, markup: str) -> str:
    return _BEGINNING.sub(lambda found: found[0] + markup, html, count=1)


class _Rewriter(HTMLParser):
    """Writes a page again, with what `change` makes of each tag's attributes, and `sheet` of the CSS in a `<style>`.

    What they leave as it is, is written as it was.
    """

    def __init__(self, change: Callable[[str, Attributes], Attributes], sheet: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=False)
        self.written: list[str] = []
        self._change = change
        self._sheet = sheet
        self._css: list[str] | None = None
        """the parts of the `<style>` that it is in"""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "style":
            self._css = [self.get_starttag_text() or ""]
            return
        given: dict[str, str | None] = {}
        for name, value in attrs:
            given.setdefault(name, value)  # of two of a name browsers take the first
        changed = self._change(tag, given)
        if changed == given:
            self.written.append(self.get_starttag_text() or "")
        else:
            self.written.append(f"<{' '.join([tag, *_quoted(changed)])}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "style" and self._css is not None:
            self._end_style()
        else:
            self.written.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        (self.written if self._css is None else self._css).append(data)

    def handle_entityref(self, name: str) -> None:
        self.written.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.written.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.written.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.written.append(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        self.written.append(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        self.written.append(f"<![{data}]>")

    def close(self) -> None:
        super().close()
        if self._css is not None:
            self._end_style()

    def _end_style(self) -> None:
        begin, *css = self._css or [""]
        self._css = None
        text = self._sheet("".join(css))
        self.written.append(f"{begin}{text}</style>" if text else "")


def _rewritten(
    html: str, change: Callable[[str, Attributes], Attributes], sheet: Callable[[str], str] = lambda css: css
) -> str:
    page = _Rewriter(change, sheet)
    page.feed(html)
    page.close()
    return "".join(page.written)


def _quoted(attributes: Attributes) -> Iterator[str]:
    for name, value in attributes.items():
        yield name if value is None else f'{name}="{escape(value)}"'


def _decided(html: str, scheme: str, *, holds: str | None) -> str:
    """Returns a page that is in this scheme, with the conditions on the mode decided: those on `holds` always hold."""

    def css(text: str) -> str:
        decided = _PREFERS.sub(lambda found: "(min-width:0)" if found[1].lower() == holds else "(max-width:0)", text)
        return _DECLARED.sub(lambda found: f"{found[1]}{scheme}", decided)

    def change(tag: str, attributes: Attributes) -> Attributes:
        name, content = (str(attributes.get(each) or "").lower() for each in ("name", "content"))
        if tag == "meta" and name in ("color-scheme", "supported-color-schemes") and "dark" in content:
            return {**attributes, "content": scheme}
        changed = {each: css(value) for each in ("style", "media") if (value := attributes.get(each))}
        return {**attributes, **changed}

    return _rewritten(html, change, css)


class _Said(NamedTuple):
    """A declaration."""

    name: str
    value: str
    tokens: Any


def _said(style: str | None) -> Iterator[_Said]:
    """Yields what a `style` says; of one that is too deep nothing.

    Which of it is important is lost: that it was, is no matter in an attribute.
    """
    if deep_line(style or "") is not None:
        return
    for each in tinycss2.parse_blocks_contents(style or "", skip_comments=True, skip_whitespace=True):
        if each.type == "declaration":
            yield _Said(each.lower_name, tinycss2.serialize(each.value).strip(), each.value)


def _styled(attributes: Attributes, says: Mapping[str, str]) -> Attributes:
    others = {name: value for name, value in attributes.items() if name != "style"}
    return others | {"style": ";".join(f"{name}:{value}" for name, value in says.items())} if says else others


def _in_word(tag: str, attributes: Attributes) -> Attributes:
    says = dict(pair for each in _said(attributes.get("style")) for pair in _word_says(tag, each))
    width, height = (str(attributes.get(name) or "") for name in ("width", "height"))
    if tag == "img" and width.isdecimal():
        says |= {"width": f"{width}px", "height": f"{height}px" if height.isdecimal() else "auto"}
    if tag.startswith("v:") and attributes.get("fillcolor"):  # a shape, of which a browser knows nothing
        says |= {"display": "inline-block", "background-color": str(attributes["fillcolor"])}
    return _styled({name: value for name, value in attributes.items() if name != "background"}, says)


def _word_says(tag: str, said: _Said) -> Iterator[tuple[str, str]]:
    match said.name:
        case _ if tag.startswith("v:"):
            yield said.name, said.value
        case "mso-padding-alt":
            yield "padding", said.value
        case "mso-hide":
            yield from [("display", "none")] if said.value == "all" else ()
        case "background":  # of it Word knows the colour alone
            colours = [text for each in said.tokens if _colour(text := tinycss2.serialize([each]))]
            yield from [("background-color", colours[-1])] if colours else ()
        case "display":
            return
        case "max-width":
            yield from [(said.name, said.value)] if tag == "table" else ()
        case "width" | "height":
            yield from [(said.name, said.value)] if tag not in _WITHOUT_SIZE else ()
        case name if name.startswith("padding"):
            yield from [(name, said.value)] if tag in _CELLS else ()
        case name if not dropped_by_outlook(name, said.tokens):
            yield name, said.value


def _darkened(tag: str, attributes: Attributes) -> Attributes:
    turned = {
        name: _turned(f"#{value}" if _BARE_COLOUR.fullmatch(value) else value)
        for name, value in attributes.items()
        if value and (name in _COLOUR_ATTRIBUTES or (tag, name) == ("font", "color"))
    }
    says = {
        each.name: "".join(_turned(tinycss2.serialize([token])) for token in each.tokens).strip()
        if _HAS_COLOUR.fullmatch(each.name)
        else each.value
        for each in _said(attributes.get("style"))
    }
    if tag == "body" and "bgcolor" not in attributes and not any(name.startswith("background") for name in says):
        says["background-color"] = _turned("#fff")
    return _styled({**attributes, **turned}, says)


def _colour(text: str) -> Color | None:
    found = parse_color(text)
    return found if isinstance(found, Color) else None


def _turned(text: str) -> str:
    """Returns a light colour for a dark one and the reverse, and what is no colour (a gradient, a word) as it is."""
    colour = _colour(text)
    if colour is None:
        return text
    try:
        plain = colour.to("srgb").coordinates
    except NotImplementedError:  # the newest spaces, which Gmail does not know
        return text
    hue, _, saturation = colorsys.rgb_to_hls(*plain)
    # By how light it looks: yellow is light, and blue is dark. Black becomes a light grey, white a dark one.
    lightness = 0.1 + 0.85 * (1 - sum(part * each for part, each in zip(_LUMA, plain, strict=True)))
    red, green, blue = (round(each * 255) for each in colorsys.hls_to_rgb(hue, lightness, saturation))
    return f"#{red:02x}{green:02x}{blue:02x}" if colour.alpha == 1 else f"rgba({red},{green},{blue},{colour.alpha:g})"
