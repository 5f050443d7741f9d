"""CSS that Gmail on the web and Outlook for Windows drop: a table, and what of it a file has."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import tinycss2

_TABLE: Final = Path(__file__).with_name("css_support.toml")
_NAMES: Final[Mapping[str, str]] = {"gmail": "Gmail", "outlook": "Outlook for Windows"}
_SAID: Final[Mapping[str, str]] = {"functions": "{}()", "units": "the unit {}", "rules": "@{}"}
_STYLE: Final = re.compile(
    r"<style[^>]*>(?P<sheet>.*?)</style|\sstyle=(?P<quote>[\"'])(?P<style>.*?)(?P=quote)", re.DOTALL | re.IGNORECASE
)
_JINJA: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Dropped(NamedTuple):
    """Something that some mail programs drop."""

    line: int
    what: str
    by: str
    """the programs' names"""


def dropped_in(file: str, text: str) -> Iterator[Dropped]:
    """Yields what a sheet, or the styles in a template, has of it: each once, where it is first.

    What is in at-rules is for programs that know those.
    """
    seen = set[str]()
    for line, css, is_sheet in _sheets(file, text):
        for place, kind, name in _of_sheet(css) if is_sheet else _declared(tinycss2.parse_blocks_contents(css)):
            by, what = _table().get(kind, {}).get(name), _SAID.get(kind, "{}").format(name.replace(" ", ": "))
            if by and what not in seen:
                seen.add(what)
                yield Dropped(line + place - 1, what, " and ".join(_NAMES[each] for each in by))


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Mapping[str, Sequence[str]]]:
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def _sheets(file: str, text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields the CSS in a file, with the line that it begins in, and whether it is a sheet, with rules.

    Expressions of templates become blanks.
    """
    if file.endswith(".css"):
        yield 1, text, True
        return
    plain = _JINJA.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in _STYLE.finditer(plain):
        part = "style" if found["sheet"] is None else "sheet"
        yield plain.count("\n", 0, found.start(part)) + 1, found[part], part == "sheet"


def _of_sheet(css: str) -> Iterator[tuple[int, str, str]]:
    """Yields line, kind and name of what may be in the table."""
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        if rule.type == "at-rule":
            yield rule.source_line, "rules", rule.lower_at_keyword
        elif rule.type == "qualified-rule":
            yield from _declared(tinycss2.parse_blocks_contents(rule.content))


def _declared(contents: Sequence[Any]) -> Iterator[tuple[int, str, str]]:
    for each in contents:
        if each.type != "declaration":
            continue
        value = tinycss2.serialize(each.value).strip().lower()
        yield each.source_line, "properties", each.lower_name
        yield each.source_line, "values", f"{each.lower_name} {value}"
        for token in _tokens(each.value):
            if token.type == "function":
                yield each.source_line, "functions", token.lower_name
            elif token.type == "dimension":
                yield each.source_line, "units", token.lower_unit


def _tokens(tokens: Sequence[Any]) -> Iterator[Any]:
    for token in tokens:
        yield token
        yield from _tokens(getattr(token, "arguments", None) or ())
