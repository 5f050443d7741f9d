"""CSS and pages that are too deep for their parsers are said in one line, and harm nothing else."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.mail.test_inspection import found
from tests.unit.mail.test_sources import put
from worker.mail.clients import in_word
from worker.mail.css_support import dropped_in
from worker.mail.nesting import MOST_BRACKETS, MOST_TAGS, deep_line, has_too_many_tags
from worker.mail.styles import styled

MANY = 1_500
BRACKETS = "its CSS has over 50 brackets within one another"
EVERY = [f"{mail}/body.html: {BRACKETS}" for mail in ("back_in_stock", "back_in_stock_many", "confirm")]
UNREAD = "over 50 brackets within one another can't be read"
DEEP = (
    "extends, includes, imports or calls itself (`shipped/` before a name means our file, not this one), "
    "or is nested too deep"
)
BODY = "back_in_stock/body.html"
LINKS = '<div lang="{{ locale }}"><a href="{{ item_url }}">{{ unsubscribe_url }} {{ _("View item") }}</a></div>'


@pytest.mark.parametrize(
    "css",
    [
        "a{b:c}" * MANY,
        "a{b:" + "(" * (MOST_BRACKETS - 1) + ")" * (MOST_BRACKETS - 1) + "}",
        "/*" + "(" * MANY + "*/ a{}",
        "/*" + "{" * MANY,
        'a{content:"' + "(" * MANY + '"}',
        "a{content:'\\'" + "[" * MANY + "'}",
        'a{content:"' + "{" * MANY,
        ".a" + "\\(" * MANY + "{}",
        "}" * MANY + "a{b:c}",
        "",
    ],
)
def test_css_with_many_brackets_is_not_deep(css: str) -> None:
    assert deep_line(css) is None


@pytest.mark.parametrize("bracket", "([{")
def test_brackets_within_one_another_are_too_deep_where_the_last_one_that_fits_was(bracket: str) -> None:
    assert deep_line("a{b:c}\n" + bracket * MOST_BRACKETS + "\n" + bracket) == 3
    assert deep_line(f'"it\'s"\n/* " */{bracket * MANY}') == 2


def test_a_page_that_is_let_through_has_room_in_any_thread() -> None:
    page = "<style>a{color:red}</style>" + "<div>" * (MOST_TAGS - 4) + "<a>x</a>"
    assert not has_too_many_tags(page)
    with ThreadPoolExecutor(1) as threads:
        assert '<a style="color:red">x</a>' in threads.submit(styled, page, str).result()
    assert has_too_many_tags(page + "<b>")


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("_base/mail.css", "\na{b:" + "(" * MANY, [*EVERY, "_base/mail.css: line 2: " + UNREAD]),
        ("_base/mail.css", "a{b:" + "(" * MANY + ")" * MANY, [*EVERY, "_base/mail.css: line 1: " + UNREAD]),
        ("_base/mail.css", "@media x{" * MANY, [*EVERY, "_base/mail.css: line 1: " + UNREAD]),
        ("_base/mail.css", "[" * MANY + "{}", [*EVERY, "_base/mail.css: line 1: " + UNREAD]),
        (BODY, LINKS + "<style>a{b:" + "(" * MANY + "</style>", [f"{BODY}: {BRACKETS}", f"{BODY}: line 1: {UNREAD}"]),
        (BODY, LINKS + '<p style="b:' + "(" * MANY + '">', [f"{BODY}: line 1: {UNREAD}"]),
        (BODY, LINKS + "<div>" * (MOST_TAGS - 2), [f"{BODY}: makes over 5,000 tags"]),
        (BODY, LINKS + "{{ " + "(" * MANY + "1" + ")" * MANY + " }}", [f"{BODY}: {DEEP}"]),
        (BODY, LINKS + "{{ 1" + " + 1" * MANY + " }}", [f"{BODY}: {DEEP}"]),
        (BODY, LINKS + "{{ price" + "|upper" * MANY + " }}", [f"{BODY}: {DEEP}"]),
        (BODY, LINKS + "{% if price %}" * MANY + "{% endif %}" * MANY, [f"{BODY}: {DEEP}"]),
    ],
    ids=["css", "closed", "conditions", "selector", "style", "attribute", "tags", "brackets", "sum", "filters", "ifs"],
)
def test_what_is_too_deep_is_one_line(tmp_path: Path, name: str, text: str, lines: list[str]) -> None:
    put(tmp_path, name, text)
    assert [line.removeprefix("FAIL ").removeprefix("warn ") for line in found(tmp_path)] == lines


def test_a_style_that_is_too_deep_says_nothing_to_who_looks_on() -> None:
    assert list(dropped_in(BODY, '<p style="float:left;b:' + "(" * MANY + '">')) == []
    assert "x" in in_word('<p style="b:' + "(" * MANY + '">x</p>')
