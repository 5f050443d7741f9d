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
    unquoted = "<meta content='light dark' name=color-scheme><source media='(Prefers-Color-Scheme:DARK)' src=a.png>"
    assert in_scheme(unquoted, "light") == (
        '<meta content="light" name="color-scheme"><source media="(max-width:0)" src="a.png">'
    )


@pytest.mark.parametrize(
    "page",
    [
        "<p>color-scheme: light dark</p>",
        '<a href="https://shop.example/?q=(prefers-color-scheme:dark)">a</a>',
        '<meta name="color-scheme" content="light"><meta charset=utf-8>',
        "<!doctype html><!-- a --><br/>&amp;&#160;&nbsp;<![if !mso]>b<![endif]><?c?><script>1 < 2 && '<p>'</script>",
        "<STYLE type='text/css'>a{b:c}</style>",
    ],
)
def test_what_says_nothing_of_a_scheme_stays_as_it_is(page: str) -> None:
    assert in_scheme(page, "dark") == page


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
        ("vml", True),
        ("!vml", False),
        ("gte vml 1", True),
        ("!(IE|mso)", False),
        ("((mso)&(gt mso 14))|(IE 9)", True),
        ("mso mso", False),
        ("(mso", False),
        ("&|!)", False),
    ],
)
def test_outlook_for_windows_reads_its_comments(condition: str, is_met: bool) -> None:
    alone = f"<p>a</p><!--[if {condition}]><p>b</p><![endif]-->"
    for_all = f"<p>a</p><!--[if {condition}]><!--><p>b</p><!--<![endif]-->"
    spaced = f"<p>a</p><!--[if {condition}]><!-- --><p>b</p><!-- <![endif]-->"
    dashed = f"<p>a</p><!--[if {condition}]><!----><p>b</p><!--<![endif]-->"
    bare = f"<p>a</p><![if {condition}]><p>b</p><![endif]>"
    assert {in_word(page) for page in (alone, for_all, spaced, dashed, bare)} == {"<p>a</p>" + "<p>b</p>" * is_met}


def test_word_has_padding_and_sizes_on_cells_alone() -> None:
    page = '<a href="x" style="padding:9px;color:red;mso-padding-alt:1px">b</a><td style="padding:9px;width:10px">'
    assert in_word(page) == ('<a href="x" style="color:red;padding:1px">b</a><td style="padding:9px;width:10px">')
    assert in_word('<div style="max-width:9px"></div><table style="max-width:9px">') == (
        '<div></div><table style="max-width:9px">'
    )


def test_word_gives_a_picture_the_width_of_its_attribute() -> None:
    page = '<img src="a.png" width="280" alt="x > y" style="max-height:320px;border-radius:8px">'
    assert in_word(page) == '<img src="a.png" width="280" alt="x &gt; y" style="width:280px;height:auto">'
    assert in_word('<img src="a.png" width="100%">') == '<img src="a.png" width="100%">'


def test_word_draws_shapes_in_their_colour() -> None:
    page = "<v:roundrect fillcolor='#336699' style='width:200px;height:40px'><b>Shop</b></v:roundrect>"
    assert 'style="width:200px;height:40px;display:inline-block;background-color:#336699"' in in_word(page)
    assert in_word('<td background="a.png">') == "<td>"


def test_word_shows_no_settings_and_no_style_with_conditions() -> None:
    settings = "<!--[if mso]><xml><o:PixelsPerInch>96</o:PixelsPerInch></xml><![endif]-->"
    assert in_word(f"{settings}<style>@media print{{p{{}}}}</style><p>a</p>") == "<p>a</p>"
    assert in_word("<!--[if mso]><style>td{color:red}</style><![endif]-->") == "<style>td{color:red}</style>"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("width:600px;height:9px", "width:600px;height:9px"),
        ("background:url(x.png) #fff no-repeat", "background-color:#fff"),
        ("background:linear-gradient(red,blue)", ""),
        ("background-image:linear-gradient(red,blue);color:red", "color:red"),
        ("mso-hide:all", "display:none"),
        ("mso-hide:none;display:none", ""),
        ("display:inline-block", ""),
        ("text-shadow:1px 1px red;font-size:2rem;overflow-x:auto;border-top-left-radius:8px", ""),
        ("font-size:20px;font-size:2rem", "font-size:20px"),
        ("color:rgba(0,0,0,.5)", ""),
    ],
)
def test_word_drops_what_the_check_says_that_it_drops(style: str, expected: str) -> None:
    assert in_word(f'<table style="{style}">') == (f'<table style="{expected}">' if expected else "<table>")


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("color:#000", "color:#f2f2f2"),
        ("color:#fff", "color:#1a1a1a"),
        ("COLOR: White", "color:#1a1a1a"),
        ("background:yellow;color:blue", "background:#646400;color:#b4b4ff"),
        ("color:hsl(0 0% 100%) !important", "color:#1a1a1a"),
        ("color:rgb(0 0 0 / 90%)", "color:rgba(242,242,242,0.9)"),
        ("color:oklch(0.5 0.1 20);color:currentcolor", "color:currentcolor"),
        ("border-inline-start:1px solid #000", "border-inline-start:1px solid #f2f2f2"),
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
    page = '<body bgcolor=ffffff text="#000000" link=red title="color=red"><font color=black><hr color="black">'
    assert darkened(page) == (
        f'{clients.DARK_PAGE}<body bgcolor="#1a1a1a" text="#f2f2f2" link="#ff6464" title="color=red">'
        '<font color="#f2f2f2"><hr color="black">'
    )


def test_a_page_that_says_no_colour_is_dark() -> None:
    assert darkened("<body><p>a</p>") == f'{clients.DARK_PAGE}<body style="background-color:#1a1a1a"><p>a</p>'
    assert "background" not in darkened('<body bgcolor="#ffffff">')
    assert darkened('<body style="background:#fff url(a.png)">').count("background") == 1


def test_gmail_knows_widths_and_no_dark_rules() -> None:
    page = (
        '<meta name="supported-color-schemes" content="light dark"><style>:root{color-scheme:light dark}'
        "@media (max-width:480px){p{}}@media (prefers-color-scheme:dark){p{}}@media (prefers-color-scheme:light){p{}}"
        "</style>"
    )
    assert darkened(page).removeprefix(clients.DARK_PAGE) == (
        '<meta name="supported-color-schemes" content="light"><style>:root{color-scheme:light}'
        "@media (max-width:480px){p{}}@media (max-width:0){p{}}@media (max-width:0){p{}}</style>"
    )


@pytest.mark.parametrize(
    "page",
    [
        '<!doctype html><!-- <p style="color:#000"> --><p title="style=\'color:#000\'">style="color:#000"</p>',
        "<!doctype html><p title='a style=\"color:#000\"' class=b>a</p>",
        '<!doctype html><a href=https://shop.example/>a</a><img src="a.png" alt="a > b"/>',
    ],
)
def test_what_has_no_style_stays_as_it_is(page: str) -> None:
    assert darkened(page).replace(clients.DARK_PAGE, "") == page
    assert in_word(page) == page


def test_styles_are_found_however_they_are_written() -> None:
    for page in ("<p style=color:#000>", "<p class='x'style='color:#000'>", '<P STYLE="color:#000" style="color:red">'):
        assert 'style="color:#f2f2f2"' in darkened(page)


@pytest.mark.parametrize(
    "beginning",
    [
        '<!doctype html>\n<html lang="en">\n<head>',
        '<?xml version="1.0"?>\n<!-- a -->\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "x"><html>\n  <head>',
        "<html>",
        "",
    ],
)
def test_pictures_are_blocked_by_the_page_itself(beginning: str) -> None:
    page = f'{beginning}<title>a</title><body background="a.png">'
    blocked = '<meta http-equiv="Content-Security-Policy" content="img-src \'none\'">'
    assert without_pictures(page) == page.replace("<title>", f"{blocked}<title>")


def test_gmail_drops_every_style() -> None:
    assert without_style('<style>a{}</style><STYLE media="x">\nb{}\n</STYLE ><p style="c:d">') == '<p style="c:d">'
    assert without_style("<style>a{}") == ""


@pytest.mark.parametrize("part", ["<style ", "<html ", " \n<html", "<a ", '<a"', "<!-- ", "&", "<!DOCTYPE "])
def test_what_is_never_closed_ends_all_the_same(part: str) -> None:
    page = part * 400
    for client in (darkened, without_style, without_pictures, in_word, lambda html: in_scheme(html, "dark")):
        client(page)
