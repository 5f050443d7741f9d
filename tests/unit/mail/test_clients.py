"""What mail programs make of a page."""

import pytest

from worker.mail import clients
from worker.mail.clients import darkened, in_scheme, in_word, without_pictures, without_style


def test_a_mail_is_shown_in_the_scheme_that_is_asked_for() -> None:
    mail = (
        '<meta name="color-scheme" content="light dark"><style>:root{color-scheme:light dark}'
        "@media (prefers-color-scheme: dark) and (min-width:1px){p{}}@media (prefers-color-scheme:light){}</style>"
    )
    assert in_scheme(mail, "dark") == (
        '<meta name="color-scheme" content="dark"><style>:root{color-scheme:dark}'
        "@media (min-width:0) and (min-width:1px){p{}}@media (max-width:0){}</style>"
    )
    assert in_scheme("<p>color-scheme: light</p>", "dark") == "<p>color-scheme: light</p>"


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ("mso", True),
        ("!mso", False),
        ("IE", False),
        ("!IE", True),
        ("gte mso 9", True),
        ("(gte mso 9)|(IE)", True),
        ("lt mso 12", False),
        ("mso 16", True),
        ("mso 15", False),
        ("!(mso)", False),
        ("(mso)&(!IE)", True),
        ("true", True),
        ("", False),
    ],
)
def test_outlook_for_windows_reads_its_comments(condition: str, is_met: bool) -> None:
    alone = f"<p>a</p><!--[if {condition}]><p>b</p><![endif]-->"
    for_all = f"<p>a</p><!--[if {condition}]><!--><p>b</p><!--<![endif]-->"
    spaced = f"<p>a</p><!--[if {condition}]><!-- --><p>b</p><!-- <![endif]-->"
    bare = f"<p>a</p><![if {condition}]><p>b</p><![endif]>"
    assert {in_word(page) for page in (alone, for_all, spaced, bare)} == {"<p>a</p>" + "<p>b</p>" * is_met}


def test_word_has_padding_and_sizes_on_cells_alone() -> None:
    page = '<a href="x" style="padding:9px;color:red;mso-padding-alt:1px">b</a><td style="padding:9px;width:10px">'
    assert in_word(page) == ('<a href="x" style="color:red;padding:1px">b</a><td style="padding:9px;width:10px">')
    assert in_word('<div style="max-width:9px"></div><table style="max-width:9px">') == (
        '<div></div><table style="max-width:9px">'
    )


def test_word_gives_a_picture_the_width_of_its_attribute() -> None:
    page = '<img src="a.png" width="280" alt="x > y" style="max-height:320px;border-radius:8px">'
    assert in_word(page) == '<img src="a.png" width="280" alt="x > y" style="width:280px;height:auto">'


def test_word_shows_no_settings_and_no_style() -> None:
    page = (
        "<!--[if mso]><xml><o:PixelsPerInch>96</o:PixelsPerInch></xml><![endif]--><style>p{color:red}</style><p>a</p>"
    )
    assert in_word(page) == "<p>a</p>"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("color:#000", "color:#f2f2f2"),
        ("color:#fff", "color:#1a1a1a"),
        ("COLOR: White", "color: #1a1a1a"),
        ("background:#ffffff url(white.png) no-repeat", "background:#1a1a1a url(white.png) no-repeat"),
        ("border-top:1px solid black", "border-top:1px solid #f2f2f2"),
        ("border-left-color:rgb(255, 255, 255)", "border-left-color:#1a1a1a"),
        ("background-color:rgba(0,0,0,.5)", "background-color:rgba(242,242,242,0.5)"),
        ("font-family:Black, &quot;White&quot;", "font-family:Black, &quot;White&quot;"),
        ("background-color:transparent;color:inherit", "background-color:rgba(242,242,242,0);color:inherit"),
        ("background:linear-gradient(#fff,#000)", "background:linear-gradient(#fff,#000)"),
    ],
)
def test_gmail_turns_light_and_dark_round(style: str, expected: str) -> None:
    assert darkened(f'<p style="{style}">') == f'{clients.DARK_PAGE}<p style="{expected}">'


def test_gmail_turns_the_colours_of_attributes_round() -> None:
    page = '<td bgcolor="#ffffff"><font color=black>'
    assert darkened(page) == f'{clients.DARK_PAGE}<td bgcolor="#1a1a1a"><font color=#f2f2f2>'


def test_what_is_in_a_comment_or_in_text_stays_as_it_is() -> None:
    page = '<!-- <p style="color:#000"> --><p title="style=\'color:#000\'">style="color:#000"</p>'
    assert darkened(page) == clients.DARK_PAGE + page
    assert in_word(page) == page


def test_pictures_are_blocked_by_the_page_itself() -> None:
    page = '<!doctype html>\n<html lang="en">\n<head>\n<title>a</title></head><body background="a.png">'
    blocked = without_pictures(page)
    assert blocked.startswith('<!doctype html>\n<html lang="en">\n<head><meta http-equiv="Content-Security-Policy"')
    assert without_pictures("<p>a</p>").endswith("\"img-src 'none'\"><p>a</p>")


def test_gmail_drops_every_style() -> None:
    assert without_style('<style>a{}</style><STYLE media="x">\nb{}\n</STYLE >\n<p style="c:d">') == '<p style="c:d">'
