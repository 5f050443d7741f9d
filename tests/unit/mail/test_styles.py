"""CSS goes into the elements that it is about. What no attribute can say stays in the head, and the rest as it was."""

import re
from collections.abc import Mapping
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.mail.render import fit_blanks, in_html
from worker.mail.styles import styled


def read_nothing(name: str) -> NoReturn:
    raise AssertionError(f"read {name}")


def page(css: str, body: str = '<p class="a">Hi</p>', head: str = "") -> str:
    return f"<!doctype html><html><head>{head}<style>{css}</style></head><body>{body}</body></html>"


def looks(css: str, body: str = '<p class="a">Hi</p>', head: str = "") -> str:
    return styled(page(css, body, head), read_nothing)


def kept(html: str) -> list[str]:
    """Returns what is in each `<style>`, without line ends."""
    return ["".join(css.split("\n")) for css in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)]


def test_a_rule_becomes_the_style_of_its_elements_and_is_not_sent_twice() -> None:
    html = looks("p{color:red} .a{margin:0} .b{top:0}", '<p class="a">x<p>y')
    assert '<p style="color:red;margin:0">x</p><p style="color:red">y</p>' in html
    assert "<style" not in html
    assert ".b" not in html


def test_the_style_that_an_element_has_wins() -> None:
    assert 'style="margin:0;color:blue"' in looks("p{color:red;margin:0}", '<p style="color: blue">')


def test_rules_of_files_and_of_the_page_count_in_their_order() -> None:
    files = {"a.css": "p{color:red}", "b.css": "p{color:blue}"}
    links = ['<link rel="stylesheet" href="a.css">', "<link href='b.css' rel=stylesheet type=text/css>"]
    for order, colour in ((links, "blue"), (links[::-1], "red"), ([*links, "<style>p{color:lime}</style>"], "lime")):
        html = styled(f"<head>{''.join(order)}</head><p>", files.__getitem__)
        assert f'<p style="color:{colour}">' in html
        assert "<link" not in html


@pytest.mark.parametrize(
    "link",
    [
        '<link rel="stylesheet" href="https://fonts.example/x.css">',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<link rel="stylesheet" media="print" href="x.css">',
        '<link rel="icon" href="x.png">',
        '<link rel="stylesheet">',
    ],
)
def test_a_link_elsewhere_or_to_anything_else_stays(link: str) -> None:
    assert re.search(r"<link[^>]*>", looks("p{top:0}", head=link))
    assert styled(f"<head>{link}</head>", read_nothing) == f"<head>{link}</head>"


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        styled('<link rel="stylesheet" href="none.css">', dict[str, str]().__getitem__)


def test_what_is_for_outlook_alone_stays_and_styles_nothing() -> None:
    own = "<!--[if mso]><style>p{color:red}</style><![endif]-->"
    html = looks("p{margin:0}", head=own)
    assert own in html
    assert '<p style="margin:0">' in html


@pytest.mark.parametrize("tag", ['<style media="print">', '<style data-embed="">'])
def test_a_style_with_conditions_stays(tag: str) -> None:
    html = looks("p{margin:0}", head=f"{tag}p{{color:red}}</style>")
    assert f"{tag}p{{color:red}}</style>" in html
    assert 'style="margin:0"' in html


def test_at_rules_stay_in_the_head_and_win_over_the_attributes() -> None:
    html = looks(
        "@font-face{font-family:A;src:url(https://x/a.woff2)}"
        "@media (max-width:480px){/* phones */ p{margin:0;color:red!important} @supports (top:0){b{top:0}}}"
        "@keyframes k{to{top:0}} @import url(https://x/y.css);"
    )
    assert kept(html.partition("</head>")[0]) == [
        "@font-face {font-family:A;src:url(https://x/a.woff2)}"
        "@media (max-width:480px){p{margin:0!important;color:red!important}@supports (top:0){b{top:0!important}}}"
        "@keyframes k{to{top:0}}"
        "@import url(https://x/y.css);"
    ]


def test_states_stay_beside_what_can_be_inlined_of_them() -> None:
    html = looks("a:hover{color:red} td:first-child{top:0}", "<table><tr><td><a>x</a><td></table>")
    assert kept(html) == ["a:hover{color:red!important}td:first-child{top:0!important}"]
    assert '<td style="top:0"><a>x</a></td><td></td>' in html


def test_attributes_are_asked_by_the_reader_alone_since_a_letter_has_many() -> None:
    html = looks("a[href^=mailto]{color:red}", '<a href="mailto:x">')
    assert kept(html) == ["a[href^=mailto]{color:red!important}"]
    assert "<a\nhref" in html
    assert "style=" not in html.partition("<body>")[2]


@pytest.mark.parametrize("query", ["(prefers-color-scheme:dark)", "only screen and (Prefers-Color-Scheme : DARK)"])
def test_dark_rules_have_a_twin_for_outlooks_marks(query: str) -> None:
    light, marks = kept(looks(f"@media {query}{{.a,.b c{{color:red}}}}@media print{{p{{top:0}}}}"))
    assert light.endswith("{.a,.b c{color:red!important}}@media print{p{top:0!important}}")
    assert marks == "[data-ogsc] .a,[data-ogsc] .b c{color:red!important}"


def test_dark_rules_with_a_further_condition_have_none_since_it_would_be_lost() -> None:
    assert len(kept(looks("@media (prefers-color-scheme:dark) and (max-width:480px){p{top:0}}"))) == 1


@pytest.mark.parametrize(
    "css",
    ["", "p{", "}p{margin:0}", "@media{", "p{color}", "{}", "<!-- p{margin:0} -->", "p{a:b;;c}", "@", ":{}", "[{"],
)
def test_css_that_says_nothing_costs_no_mail(css: str) -> None:
    assert "Hi" in looks(css)
    assert "Hi" in looks(f"@media (prefers-color-scheme:dark){{{css}}}")


def test_a_rule_after_a_broken_one_counts() -> None:
    assert 'style="top:0"' in looks("p{color:;$x} :{ .a{left:0} p{top:0}") + looks("q{$;} p{top:0}")


def test_a_page_without_css_is_left_alone() -> None:
    for html in ("<p>a&nbsp;b", "", "plain & <unclosed", '<p class="x">\r\n</p>\ud800'):
        assert styled(html, read_nothing) is html


REFERENCES = "&lt;b&gt; &amp;amp; &#39; &#34; &nbsp;&zwnj; & &x &copy é"


def test_character_references_stay_as_they_were_written() -> None:
    html = looks("p{top:0}", f'<p title="{REFERENCES}">{REFERENCES}</p>')
    assert html.count(REFERENCES) == 2


def test_no_text_can_stand_for_a_reference_and_all_of_it_can_be_encoded() -> None:
    html = looks("p{top:0}", "<p>\ufdd0lt;b\ud800</p>")
    assert '<p style="top:0">\ufffdlt;b\ufffd</p>' in html
    html.encode()


@given(value=st.text(min_size=1).filter(fit_blanks))
def test_pages_that_differ_in_an_escaped_value_differ_in_that_alone(value: str) -> None:
    """So a letter may be inlined once, with a blank in its place."""

    def with_value(escaped: str) -> str:
        return looks("a{top:0}", f'<a title="x" href="{escaped}">{escaped}</a>')

    assert with_value(in_html(value)) == with_value("BLANK").replace("BLANK", in_html(value))


def test_what_is_personal_of_a_link_has_lines_of_its_own() -> None:
    html = looks("a{top:0}", '<a class="b" href="https://x/1" title="t">https://x/1</a><a href="https://x/2">y</a>')
    lines = [line for line in html.splitlines() if "https" in line]
    assert lines == ['href="https://x/1"', ">https://x/1</a><a", 'href="https://x/2"']
    assert "https" not in "".join(line for line in html.splitlines() if "style=" in line)


def test_the_same_css_is_read_once_per_text_and_other_css_counts_at_once() -> None:
    sheets: Mapping[str, str] = {"1": "p{top:0}", "2": "p{left:0}"}
    for name, style in (("1", "top:0"), ("2", "left:0"), ("1", "top:0")):
        html = styled(f'<link rel="stylesheet" href="{name}"><p>', sheets.__getitem__)
        assert f'<p style="{style}">' in html


def test_custom_properties_are_put_in_and_not_sent() -> None:
    """Gmail and Outlook know none."""
    html = looks(
        ":root{--a:#111;--b:var(--a);top:0} .a{color:var(--b);margin:var(--none, 2px) var( --none )}"
        "@media print{p{color:var(--a)}} a:hover{color:var(--b)} :root{--a:#222}"
    )
    assert '<p style="color:#222;margin:2px var( --none )">' in html
    assert kept(html) == [
        "@media print{p{color:#222!important}}",
        ":root{top:0!important}a:hover{color:#222!important}",
    ]
    assert "--a" not in html


@pytest.mark.parametrize("css", [":root{--a:var(--a)}", ":root{--a:var(--b);--b:var(--a)}", ":root{--a:}"])
def test_custom_properties_in_a_circle_end(css: str) -> None:
    assert "Hi" in looks(f"{css} p{{color:var(--a)}}")


def test_what_stays_is_about_the_page_and_so_are_its_classes() -> None:
    """Each byte is sent to each customer."""
    css = "@media print{.a,.no{top:0} .no{top:1px} .b .no{top:2px} p{top:3px}} @media screen{.no{top:0}} .c{left:0}"
    html = looks(css, '<p class="a c">x</p><p class="c">y</p><p class="b">z</p>')
    assert kept(html) == ["@media print{.a,.no{top:0!important}p{top:3px!important}}"]
    assert '<p class="a" style="left:0">x</p><p style="left:0">y</p><p>z</p>' in html
    assert 'class="x y"' in looks("[class~=x]{top:0}", '<p class="x y">')


@pytest.mark.parametrize(
    "other", ["<!--[if mso]><style>.x{top:0}</style><![endif]-->", '<style media="print">.x{top:0}</style>']
)
def test_classes_of_styles_that_are_not_ours_stay(other: str) -> None:
    assert '<p class="x" style="left:0">' in looks(".y{left:0}", '<p class="x y">', head=other)


def test_what_is_important_stays_so() -> None:
    assert 'style="color:red !important"' in looks("p{color:red!important} .a{color:blue}").replace("red!", "red !")


def test_what_outlook_alone_does_not_see_stays_so() -> None:
    html = (
        "<html><head><style>p{color:red}</style></head><body><![if !mso]><p>a</p><![endif]>"
        "<!--[if mso]><p>b</p><![endif]--><!--[if !mso]><!--><p>c</p><!--<![endif]--></body></html>"
    )
    made = styled(html, read_nothing)
    assert '<![if !mso]><p style="color:red">a</p><![endif]>' in made
    assert "<!--[if mso]><p>b</p><![endif]-->" in made
    assert '<!--[if !mso]><!--><p style="color:red">c</p><!--<![endif]-->' in made


@pytest.mark.parametrize(
    "selector",
    [
        ".ExternalClass",
        "#outlook a",
        "u+.body .gmail",
        ".ExternalClass .body",
        "#MessageViewBody a",
        ".moz-text-html p",
    ],
)
def test_rules_about_what_mail_programs_add_stay_in_the_head(selector: str) -> None:
    html = f'<html><head><style>{selector}{{width:100%}}</style></head><body class="body"><p>a</p></body></html>'
    made = styled(html, read_nothing)
    assert f"{selector}{{width:100%!important}}" in made
    assert ('<body class="body"' in made) == (".body" in selector)
