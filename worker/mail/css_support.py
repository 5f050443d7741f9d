"""CSS that Gmail on the web and Outlook for Windows drop, by a table, and CSS that nobody reads."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import tinycss2

from worker.mail.nesting import MOST_BRACKETS, deep_line

_TABLE: Final = Path(__file__).with_name("css_support.toml")
_NAMES: Final[Mapping[str, str]] = {"gmail": "Gmail", "outlook": "Outlook for Windows"}
_SAID: Final[Mapping[str, str]] = {"functions": "{}()", "units": "the unit {}", "rules": "@{}"}
_STYLE: Final = re.compile(
    r"<style[^>]*>(?P<sheet>.*?)</style|\sstyle=(?P<quote>[\"'])(?P<style>.*?)(?P=quote)", re.DOTALL | re.IGNORECASE
)
_WITH_RULES: Final = frozenset({"media", "supports", "layer", "container"})
_FAMILY: Final = re.compile(r"(overflow)-[xy]|border-[a-z-]+-radius")
_JINJA: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Dropped(NamedTuple):
    """Something that some mail programs drop."""

    line: int
    what: str
    by: str
    """the programs' names"""


def dropped_in(file: str, text: str) -> Iterator[Dropped]:
    """Yields what a sheet, or the styles in a template, has of it: each once, where it is first.

    What is in at-rules is for programs that know those. CSS that is too deep has nothing.
    """
    seen = set[str]()
    for line, css, is_sheet, _ in _sheets(file, text):
        if deep_line(css) is not None:
            continue
        for place, kind, name in _of_sheet(css) if is_sheet else _declared(tinycss2.parse_blocks_contents(css)):
            by, what = _table().get(kind, {}).get(name), _SAID.get(kind, "{}").format(name.replace(" ", ": "))
            if by and what not in seen:
                seen.add(what)
                yield Dropped(line + place - 1, what, " and ".join(_NAMES[each] for each in by))


def dropped_by_outlook(name: str, value: Sequence[Any]) -> bool:
    """Whether Outlook for Windows drops a declaration, by its name and the tokens of its value."""
    found = (_table().get(kind, {}).get(what, ()) for kind, what in _of_declaration(name, value))
    return any("outlook" in programs for programs in found)


def unread_in(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yields the line and what is wrong with CSS that no program can read. What templates put together is left out."""
    for line, css, is_sheet, is_whole in _sheets(file, text):
        if (place := deep_line(css)) is not None:
            yield line + place - 1, f"over {MOST_BRACKETS} brackets within one another can't be read"
        elif is_whole:
            contents = tinycss2.parse_stylesheet(css) if is_sheet else tinycss2.parse_blocks_contents(css)
            for place, words in _unread(contents, in_rule=not is_sheet):
                yield line + place - 1, words


def _unread(contents: Sequence[Any], *, in_rule: bool) -> Iterator[tuple[int, str]]:
    for each in contents:
        if each.type == "error":
            yield each.source_line, "CSS that can't be read ends here: write property: value;"
        elif each.type == "at-rule":
            if each.content is not None and each.lower_at_keyword in _WITH_RULES:
                yield from _unread(tinycss2.parse_blocks_contents(each.content), in_rule=False)
        elif each.type == "qualified-rule":
            if any(token.type == "error" for token in each.prelude):
                yield each.source_line, "has a } too many before this rule, which is lost"
            elif in_rule:
                begins = [token.source_line for token in each.prelude if token.type != "whitespace"]
                yield (
                    max(begins, default=each.source_line),
                    "has a rule within a rule, which is lost: is a } missing before it?",
                )
            else:
                yield from _unread(tinycss2.parse_blocks_contents(each.content), in_rule=True)


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Mapping[str, Sequence[str]]]:
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


class _Sheet(NamedTuple):
    line: int
    """that it begins in"""
    css: str
    is_sheet: bool
    """whether it has rules"""
    is_whole: bool


def _sheets(file: str, text: str) -> Iterator[_Sheet]:
    """Yields the CSS in a file.

    Expressions of templates become blanks: then it is not whole.
    """
    if file.endswith(".css"):
        yield _Sheet(1, text, is_sheet=True, is_whole=True)
        return
    plain = _JINJA.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in _STYLE.finditer(plain):
        part = "style" if found["sheet"] is None else "sheet"
        is_whole = found[part] == text[found.start(part) : found.end(part)]
        yield _Sheet(plain.count("\n", 0, found.start(part)) + 1, found[part], part == "sheet", is_whole)


def _of_sheet(css: str) -> Iterator[tuple[int, str, str]]:
    """Yields line, kind and name of what may be in the table."""
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        if rule.type == "at-rule":
            yield rule.source_line, "rules", rule.lower_at_keyword
        elif rule.type == "qualified-rule":
            yield from _declared(tinycss2.parse_blocks_contents(rule.content))


def _declared(contents: Sequence[Any]) -> Iterator[tuple[int, str, str]]:
    for each in contents:
        if each.type == "declaration":
            yield from ((each.source_line, *found) for found in _of_declaration(each.lower_name, each.value))


def _of_declaration(name: str, value: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yields kind and name of what may be in the table."""
    yield "properties", _FAMILY.sub(lambda found: "overflow" if found[1] else "border-radius", name)
    yield "values", f"{name} {tinycss2.serialize(value).strip().lower()}"
    for token in _tokens(value):
        if token.type == "function":
            yield "functions", token.lower_name
        elif token.type == "dimension":
            yield "units", token.lower_unit


def _tokens(tokens: Sequence[Any]) -> Iterator[Any]:
    for token in tokens:
        yield token
        yield from _tokens(getattr(token, "arguments", None) or ())
