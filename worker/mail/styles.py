"""Puts the looks of a mail where mail programs find them: its CSS goes into the `style` of each element (css-inline).

Several mail programs drop all `<style>` (Gmail for accounts of others, Gmail's mobile page), so nothing that carries
meaning may depend on it. Templates have their CSS in a file, `<link rel="stylesheet" href="_base/mail.css">`, or in
`<style>`, and may begin it with another file, `@import "shipped/_base/mail.css";`. What no attribute can say stays in a
`<style>` at the end of the head: at-rules, and rules whose selectors have `:` or `[`. Those are `!important`, or the
attributes would win over them. Custom properties of `:root` (`--accent`) are put in where they are used: Gmail and
Outlook know none. Pure.

The rendered page is inlined, not the template: css-inline reads HTML, and would move tags of Jinja out of a table.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import css_inline
import tinycss2

from worker.mail.nesting import MOST_BRACKETS, TooDeep, deep_line

# Comments come first: what is in one is Outlook's own (`<!--[if mso]><style>`), or nobody's.
_SHEET: Final = re.compile(
    r"<!--.*?-->"
    r"|<style(?:\s+type=[\"']?text/css[\"']?)?\s*>(?P<css>.*?)</style\s*>\n?"
    r"|<link(?P<link>\s[^>]*)>\n?",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE: Final = re.compile(r"([a-z-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
_IMPORT: Final = re.compile(
    r"(?:\s|(?>/\*.*?\*/))*+@import\s+(?:url\(\s*)?[\"']?(?P<file>[^\"'()\s;]+)[\"']?\s*\)?\s*;",
    re.DOTALL | re.IGNORECASE,
)
_HEAD_END: Final = re.compile(r"</head\s*>", re.IGNORECASE)
_CLASS: Final = re.compile(r' class="([^"]*)"')
_OTHERS: Final = re.compile(r"<style\b.*?</style", re.DOTALL | re.IGNORECASE)  # Outlook's, and those with conditions
_CLASS_NAME: Final = re.compile(r"\.([\w-]+)")
_LINK: Final = re.compile(r"(<a\b[^>]*?) (href=\"[^\"]*\")([^>]*)>")
# No comment to Outlook for Windows, and to HTML a comment that is written wrongly: css-inline would write a right one.
_BARE_CONDITION: Final = re.compile(r"<!(\[(?:if\b[^\]<>]*|endif)\])>", re.IGNORECASE)
_KEPT_CONDITION: Final = re.compile("<!--\ufdd1(.*?)-->")
# What mail programs put around a mail, or make of its parts: Outlook.com, Gmail, Yahoo, Thunderbird, Samsung.
_ADDED: Final = re.compile(
    r"\.(?:ExternalClass|ReadMsgBody|yshortcuts|moz-text-html|gmail\S*)|#(?:outlook|MessageViewBody|MessageWebViewDiv)"
    r"|(?<![\w.#-])u\s*\+"
)
# Takes the place of `&`, so that character references stay as they were written. No text has it: it is no character.
_AMPERSAND: Final = "\ufdd0"
_UNENCODABLE: Final = re.compile(f"[\ud800-\udfff{_AMPERSAND}]")

_BLANKS: Final = re.compile(r"\s*([:,])\s*")
_VARIABLE: Final = re.compile(r"var\(\s*(--[\w-]+)\s*(?:,([^()]*))?\)")
_MOST_VARIABLES: Final = 8  # in one another
_KEPT: Final = 64  # a shop has few; a template could make another for each item
_NESTING: Final = frozenset({"media", "supports", "layer", "container"})
_IS_DARK: Final = re.compile(
    r"(?:(?:only\s+)?screen\s+and\s+)?\(\s*prefers-color-scheme\s*:\s*dark\s*\)", re.IGNORECASE
)


def styled(html: str, read: Callable[[str], str]) -> str:
    """Returns a rendered page with its CSS inlined; one without CSS as it is. `read` returns a file that it links to.

    The `href` of a link, and its text, begin lines of their own: those that are not personal are encoded once for all.
    Raises TooDeep, and what `read` raises.
    """
    sheets = list[str]()

    def taken(found: re.Match[str]) -> str:
        css = found["css"] if found["css"] is not None else _linked(found["link"], read)
        if css is None:
            return found[0]
        sheets.append(_with_imports(css, read))
        return ""

    bare = _SHEET.sub(taken, html)
    if not sheets:
        return html
    css = "\n".join(sheets)
    plain = _BARE_CONDITION.sub("<!--\ufdd1\\1-->", _UNENCODABLE.sub("\ufffd", bare).replace("&", _AMPERSAND))
    page = _KEPT_CONDITION.sub(r"<!\1>", _inliner(css).inline(plain).replace(_AMPERSAND, "&"))
    kept = _kept(css, frozenset(" ".join(_CLASS.findall(page)).split()))
    needed = kept.classes.union(*map(_CLASS_NAME.findall, _OTHERS.findall(page)))
    lines = _LINK.sub("\\1\n\\2\n\\3\n>", _CLASS.sub(lambda found: _with_classes(found[1], needed), page))
    return _HEAD_END.sub(lambda end: kept.css + end[0], lines, count=1)


def _linked(attributes: str | None, read: Callable[[str], str]) -> str | None:
    """Returns the CSS that a link with these attributes is to. None: it is none of ours."""
    if attributes is None:
        return None
    found = {name.lower(): "".join(values) for name, *values in _ATTRIBUTE.findall(attributes)}
    href = found.get("href", "")
    if found.get("rel", "").lower() != "stylesheet" or found.keys() - {"rel", "href", "type"}:
        return None
    return None if not href or _ELSEWHERE.match(href) else read(href)


def _with_imports(css: str, read: Callable[[str], str]) -> str:
    """Returns CSS with the files that it begins with, `@import "shipped/_base/mail.css";`, in their places."""
    imported = list[str]()
    while (found := _IMPORT.match(css)) and not _ELSEWHERE.match(found["file"]):
        imported.append(_with_imports(read(found["file"]), read))
        css = css[found.end() :]
    return "".join([*imported, css])


@lru_cache(maxsize=_KEPT)
def _inliner(css: str) -> css_inline.CSSInliner:
    if deep_line(css) is not None:
        raise TooDeep(f"its CSS has over {MOST_BRACKETS} brackets within one another")
    # What an attribute holds may differ from reader to reader (`a[href^=mailto]`). A letter is inlined once for all.
    plain = (rule for rule in _rules(css) if rule.type == "qualified-rule")
    inlined = (rule for rule in plain if "[" not in _selector(rule) and _selector(rule) != ":root")
    return css_inline.CSSInliner(
        extra_css="".join(_written(_selector(rule), rule) for rule in inlined),
        inline_style_tags=False,
        keep_style_tags=True,
        keep_link_tags=True,
        load_remote_stylesheets=False,
        minify_css=True,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What stays in a page. Each byte of it is sent to each customer."""

    css: str
    classes: frozenset[str]
    """Those that it is about."""


@lru_cache(maxsize=_KEPT)
def _kept(css: str, classes: frozenset[str]) -> _Kept:
    """Returns what stays in a page that has these classes."""
    rules = list(_about(_rules(css), classes))
    states = [_important(rule, classes) for rule in rules if rule.type == "qualified-rule" and _has_state(rule)]
    # Two, since some programs drop all of a `<style>` for one selector that they don't know.
    text = _style(_important(rule, classes) for rule in rules if rule.type == "at-rule") + _style(
        [*states, *map(_in_outlook, _about(_dark(rules), classes))]
    )
    return _Kept(text, classes if "[class" in text else frozenset(_CLASS_NAME.findall(text)))


def _with_classes(names: str, needed: Container[str]) -> str:
    """Returns the attribute with those of an element's classes that are needed."""
    left = " ".join(name for name in names.split() if name in needed)
    return f' class="{left}"' if left else ""


def _about(rules: Iterable[Any], classes: frozenset[str]) -> Iterator[Any]:
    """Yields the rules that may be about something in a page with these classes."""
    for rule in rules:
        selectors = _selector(rule).split(",") if rule.type == "qualified-rule" else ()
        if rule.type == "at-rule" or any(_is_about(each, classes) for each in selectors):
            yield rule


def _is_about(selector: str, classes: frozenset[str]) -> bool:
    return classes.issuperset(_CLASS_NAME.findall(_ADDED.sub("", selector)))


def _rules(css: str) -> Sequence[Any]:
    """Returns the rules, with the values of custom properties in their places. The last one of a name counts."""
    return _parsed(_with_variables(css))


def _parsed(css: str) -> Sequence[Any]:
    found: Sequence[Any] = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    return found


def _with_variables(css: str) -> str:
    values = {
        each.name: _shortened(each.value)
        for rule in _parsed(css)
        if rule.type == "qualified-rule" and _selector(rule) == ":root"
        for each in _declared(rule)
        if each.name.startswith("--")
    }
    for _ in range(_MOST_VARIABLES):
        css = _VARIABLE.sub(lambda found: values.get(found[1]) or found[2] or found[0], css)
    return css


def _style(rules: Iterable[str]) -> str:
    text = "\n".join(filter(None, rules))
    return f"<style>\n{text}\n</style>\n" if text else ""


def _has_state(rule: Any) -> bool:
    """Whether only the reader's program may know what a rule is about: `a:hover`, `[data-ogsc] a`, `.ExternalClass`."""
    selector = _selector(rule)
    return not {":", "["}.isdisjoint(selector) or _ADDED.search(selector) is not None


def _important(rule: Any, classes: frozenset[str]) -> str:
    """Returns a rule whose declarations win over the attributes that all other rules become; "" if it is empty."""
    if rule.type == "qualified-rule":
        return _written(_selector(rule), rule, always_important=True)
    head = f"@{rule.at_keyword} {_selector(rule)}"
    if rule.content is None:
        return f"{head};"
    if rule.lower_at_keyword not in _NESTING:
        return f"{head}{{{tinycss2.serialize(rule.content).strip()}}}"
    inside = [text for each in _about(_inside(rule), classes) if (text := _important(each, classes))]
    return "\n".join([f"{head}{{", *inside, "}"]) if inside else ""


def _inside(rule: Any) -> Sequence[Any]:
    found = tinycss2.parse_blocks_contents(rule.content, skip_comments=True, skip_whitespace=True)
    return [each for each in found if each.type in ("qualified-rule", "at-rule")]


def _selector(rule: Any) -> str:
    """Returns what a rule is about; of an at-rule, its condition."""
    return _shortened(rule.prelude)


def _shortened(tokens: Sequence[Any]) -> str:
    """Returns CSS without blanks around colons and commas."""
    return _BLANKS.sub(r"\1", tinycss2.serialize(tokens).strip())


def _written(selector: str, rule: Any, *, always_important: bool = False) -> str:
    """Returns a rule with this selector; "" if it says nothing but what custom properties are."""
    declarations = [
        f"{each.name}:{_shortened(each.value)}{'!important' if each.important or always_important else ''}"
        for each in _declared(rule)
        if not each.name.startswith("--")
    ]
    return f"{selector}{{{';'.join(declarations)}}}" if declarations else ""


def _declared(rule: Any) -> Sequence[Any]:
    found = tinycss2.parse_blocks_contents(rule.content, skip_comments=True, skip_whitespace=True)
    return [each for each in found if each.type == "declaration"]


def _dark(rules: Sequence[Any]) -> Iterator[Any]:
    """Yields the rules for readers who want dark colours."""
    for rule in rules:
        if rule.type == "at-rule" and rule.content is not None and _IS_DARK.fullmatch(_selector(rule)):
            yield from (each for each in _inside(rule) if each.type == "qualified-rule")


def _in_outlook(rule: Any) -> str:
    """Returns a dark rule for Outlook on the web and on phones.

    They darken a page by themselves, whatever it says, and mark it (`data-ogsc`).
    """
    twins = ",".join(f"[data-ogsc] {each}" for each in _selector(rule).split(","))
    return _written(twins, rule, always_important=True)
