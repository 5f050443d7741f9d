"""How the options of an event differ from those that people wait for, in words."""

import pytest

from worker.domain.catalog import Options
from worker.domain.difference import difference, options_words

L: Options = (("Size", "L"),)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (L, ""),
        ((), "the event does not name Size"),
        ((("Size", "M"),), 'they want Size="L", the event says "M"'),
        ((("variantId", "7b3d"),), "the event does not name Size"),
        ((("size", "l "),), 'Size="L" is written size="l " in the event'),
        ((("size", "M"),), 'they want Size="L", the event says "M"'),
        ((("Color", "Red"), *L), ""),
    ],
)
def test_a_difference_is_named(about: Options, words: str) -> None:
    assert difference(L, about) == words


def test_case_and_blanks_are_told_only_if_nothing_else_differs() -> None:
    wanted = (("Color", "Red"), *L)
    assert difference(wanted, (("color", "red"),)) == "the event does not name Size"
    assert difference(wanted, (("color", "red"), ("size", "M"))) == 'they want Size="L", the event says "M"'
    assert difference(wanted, (("Color", "red"), *L)) == 'Color="Red" is written Color="red" in the event'


def test_nobody_waits_for_more_than_no_options() -> None:
    assert difference((), L) == ""


def test_options_are_shown_as_people_write_them() -> None:
    assert options_words(()) == "no options"
    assert options_words((("Color", "Red"), *L)) == 'Color="Red", Size="L"'
