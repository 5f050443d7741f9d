"""Which language suits a reader, and which way it is written."""

import pytest

from worker.domain.languages import direction, pick

OFFERED = ("en", "de", "pt-BR", "ar")


@pytest.mark.parametrize(
    ("wanted", "suits"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("de_AT", "de"),
        ("DE", "de"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("pt-BR", "pt-BR"),
        ("fi, de;q=0.5, ar;q=0.9", "ar"),
        ("de;q=0, en", "en"),
        ("*", "en"),
        ("de;q=high, ar;q=0.1", "ar"),
        ("zh-Hans-CN", "en"),
        (",;;-,", "en"),
    ],
)
def test_the_language_that_suits_best(wanted: str | None, suits: str) -> None:
    assert pick(wanted, OFFERED) == suits


def test_arabic_is_written_from_right_to_left() -> None:
    assert (direction("ar"), direction("ar-EG"), direction("de"), direction("arn")) == ("rtl", "rtl", "ltr", "ltr")
