"""CSS that Gmail or Outlook for Windows drop is named with its line, once."""

import re
from pathlib import Path

import pytest

from tests.caniemail import SECTIONS, TABLE
from tests.unit.mail.test_inspection import found
from tests.unit.mail.test_render import TEMPLATES
from tests.unit.mail.test_sources import put
from worker.mail.css_support import dropped_in, unread_in
from worker.mail.exports import exported
from worker.mail.sources import Sources

BOTH, OUTLOOK, GMAIL = "Gmail and Outlook for Windows", "Outlook for Windows", "Gmail"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with nothing in it."""
    directory = tmp_path / "own"
    directory.mkdir()
    return directory


def test_the_table_says_where_it_is_from_and_of_when() -> None:
    text = TABLE.read_text(encoding="utf-8")
    assert re.search(r"caniemail\.com \(MIT\), as of \d{4}-\d\d-\d\d\.", text)
    assert tuple(re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)) == SECTIONS
    assert len(text.splitlines()) > 140


@pytest.mark.parametrize(
    ("css", "what"),
    [
        ("p { box-shadow: 0 0 1px red }", [(1, "box-shadow", BOTH)]),
        ("p {\n\n  Object-Fit: cover }", [(3, "object-fit", OUTLOOK)]),
        ("p { display: FLEX !important }", [(1, "display: flex", OUTLOOK)]),
        ("p { display: block }", []),
        (
            "p { width: calc(100% - clamp(1px, 2vw, 3px)) }",
            [(1, "calc()", OUTLOOK), (1, "clamp()", OUTLOOK), (1, "the unit vw", OUTLOOK)],
        ),
        ("/* box-shadow: 0 */ p { color: oklch(1 0 0) }\ni { color: oklch(0 0 0) }", [(1, "oklch()", BOTH)]),
        ("@font-face { src: url(x) }", [(1, "@font-face", GMAIL)]),
        ("@media (min-width: 1px) { p { position: fixed } }", []),  # for programs that know it
        ("p { box-shadow", []),
        ("}{ p {{ position", []),
        ("", []),
    ],
)
def test_what_is_dropped_is_found_in_a_sheet(css: str, what: list[tuple[int, str, str]]) -> None:
    assert list(dropped_in("mail.css", css)) == what
    assert list(dropped_in("body.html", f"<style type='text/css'>{css}</style>")) == what


@pytest.mark.parametrize(
    ("css", "found"),
    [
        ("a { color: red }\nb { color: blue }", []),
        ("@media (max-width: 1px) { a { b: c } }\n@font-face { src: url(x) }", []),
        ("a { color: red\nb { color: blue }", [(2, "a rule within a rule")]),
        ("@media print { a { color: red\nb { c: d } }", [(2, "a rule within a rule")]),
        ("a { color: red }\n} b { color: blue }", [(2, "a } too many")]),
        ("a { color red;\n b: c }", [(1, "can't be read")]),
        ("a { color: red; // green\n}", [(1, "can't be read")]),
        ("a", [(1, "can't be read")]),
        ("a { ; b: c;; }", []),
        ("", []),
    ],
)
def test_css_that_nobody_reads_is_found(css: str, found: list[tuple[int, str]]) -> None:
    for file, text in (("mail.css", css), ("body.html", f"<style>{css}</style>")):
        said = list(unread_in(file, text))
        assert [line for line, _ in said] == [line for line, _ in found]
        assert all(words in text for (_, words), (_, text) in zip(found, said, strict=True))


def test_css_that_a_template_puts_together_is_not_judged() -> None:
    assert list(unread_in("body.html", '<p style="{{ name }}: 1px">\n<p style="color red">')) == [
        (2, "CSS that can't be read ends here: write property: value;")
    ]
    assert list(unread_in("body.html", "<style>a { {% if x %}b: c{% endif %} d }</style>")) == []


def test_ours_is_read_as_a_whole() -> None:
    sources = Sources(TEMPLATES)
    assert [found for name in sources.names() for found in unread_in(name, sources.text(name))] == []


def test_what_is_dropped_is_found_in_a_template() -> None:
    html = """{# <i style="top: 0"> #}<p
    style="color: {{ colour }}; float: left; width: {% if x %}1rem{% else %}2px{% endif %}">
    <b style='position: fixed'>z-index: 1</b> {{ '<i style="left: 0">' }}"""
    assert list(dropped_in("body.html", html)) == [
        (2, "float", OUTLOOK),
        (2, "the unit rem", OUTLOOK),
        (3, "position", BOTH),
    ]


def test_what_ours_has_as_well_is_known_to_do_without(own: Path) -> None:
    ours = Sources(TEMPLATES)
    sheet = exported(ours, "_base/mail.css", "1")
    assert {"max-height", "border-radius"} <= {each.what for each in dropped_in("_base/mail.css", sheet)}
    put(own, "_base/mail.css", f"{sheet}\n.card {{ border-radius: 3px; box-shadow: none }}")
    (line,) = found(own)
    assert line.startswith("warn _base/mail.css: line ")
    assert line.endswith(": Gmail and Outlook for Windows drop box-shadow: see that the mail is good without it")
