"""A shop's colour, logo and address: what is legible with any colour, and what is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain.brand import (
    MOST_LINES,
    Colour,
    contrast,
    palette,
    parse_address,
    parse_colour,
    parse_logo_url,
)

CARD, DARK_CARD = "#ffffff", "#1f221e"
parts = st.integers(0, 255).map(lambda part: part / 255)


@given(colour=st.builds(Colour, parts, parts, parts))
@example(colour=Colour(1, 1, 1))
@example(colour=Colour(0, 0, 0))
@example(colour=Colour(0.46, 0.46, 0.46))  # hardest between black and white
def test_everything_is_legible_in_any_colour(colour: Colour) -> None:
    made = palette(colour)
    assert made.button == str(colour)
    assert contrast(made.button, made.on_button) >= 4.5
    assert contrast(made.accent, CARD) >= 4.5
    assert contrast(made.edge, CARD) >= 3
    assert contrast(made.dark_button, DARK_CARD) >= 4.5
    assert contrast(made.dark_button, made.on_dark_button) >= 4.5


def test_a_colour_that_suits_is_left_as_it_is() -> None:
    made = palette(parse_colour("#1f6b4a"))
    assert made.button == made.accent == made.edge == "#1f6b4a"
    assert made.on_button == "#ffffff"
    assert made.dark_button != "#1f6b4a"


def test_others_keep_their_hue() -> None:
    made = palette(parse_colour("#ffee00"))
    assert (made.button, made.on_button, made.dark_button) == ("#ffee00", "#000000", "#ffee00")
    red, green, blue = parse_colour(made.accent)
    assert red > green > blue == 0


@pytest.mark.parametrize(
    ("one", "other", "ratio"), [("#000", "#fff", 21), ("#fff", "#fff", 1), ("#767676", "#ffffff", 4.54)]
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize(("text", "css"), [("#1F6B4A", "#1f6b4a"), ("#abc", "#aabbcc"), ("#000", "#000000")])
def test_a_colour_is_written_in_hexadecimal(text: str, css: str) -> None:
    assert str(parse_colour(text)) == css


@pytest.mark.parametrize(
    "text", ["", "red", "red;}", "1f6b4a", "#1f6b4", "#1f6b4ag", "#12345678", "rgb(1,2,3)", "#１23"]
)
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a colour like #1f6b4a"):
        parse_colour(text)


def test_a_logo_comes_by_https() -> None:
    assert parse_logo_url("https://shop.example/logo.png?v=2") == "https://shop.example/logo.png?v=2"
    for text, words in (
        ("http://shop.example/logo.png", "must be https"),
        ("data:image/png;base64,AAAA", "must begin with https"),
        ("https://shop.example/a b", "a space"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_logo_url(text)


@pytest.mark.parametrize("text", [r"Shop Ltd\n 1  High Street\n\nLondon\n", "Shop Ltd\r\n1 High Street\nLondon"])
def test_an_address_has_lines(text: str) -> None:
    assert parse_address(text) == ("Shop Ltd", "1 High Street", "London")


@pytest.mark.parametrize("text", ["", r"\n", "x" * 101, r"x\n" * (MOST_LINES + 1), "a\x07b", "a\u202eb"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1 to 8 lines"):
        parse_address(text)
