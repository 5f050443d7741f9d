"""Amounts as people write them, and what is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain import quantities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20ms", 0.02),
        (" 20 MS ", 0.02),
        ("0.5s", 0.5),
        ("0,5 s", 0.5),
        ("250µs", 0.00025),
        ("250us", 0.00025),
        ("10min", 600),
        ("2 minutes", 120),
        ("1h 30min", 5400),
        ("1h30m", 5400),
        ("1 day", 86_400),
        ("1,500 ms", 1.5),
        ("0,020s", 0.02),
        ("0ms", 0),
    ],
)
def test_a_time_is_read_with_its_units(text: str, expected: float) -> None:
    assert quantities.seconds(text) == pytest.approx(expected)


def test_a_lone_number_has_the_unit_that_the_option_names() -> None:
    assert quantities.seconds("10", bare="min") == 600
    assert quantities.seconds("1.5", bare="min") == 90
    with pytest.raises(ValueError, match=r"with its unit, like 20ms"):
        quantities.seconds("10")


@pytest.mark.parametrize(
    "text", ["", "ms", "-5ms", "20 parsecs", "30min 1h", "5s 5s", "1e3s", "nan s", "inf s", "20ms!"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        quantities.seconds(text, bare="min")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1000000", 1_000_000), ("1_000_000", 1_000_000), ("1,000,000", 1_000_000), ("1 000 000", 1_000_000)),
        *(("250k", 250_000), ("1M", 1_000_000), ("1.5 million", 1_500_000), ("1'000", 1000), ("1\u202f000", 1000)),
    ],
)
def test_a_count_is_read_with_its_separators(text: str, expected: int) -> None:
    assert quantities.count(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1.000", "ten", "1k 1k", "1G", "10,00,000", "10000000001"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number from 1 to"):
        quantities.count(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100", 100), ("100/s", 100), ("6000/min", 100), ("6,000 a minute", 100), ("86400 per day", 1), ("14/ s", 14)],
)
def test_a_rate_is_read_with_its_time(text: str, expected: float) -> None:
    assert quantities.rate(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "100/fortnight", "100/", "/s", "a lot a day"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be mails in a time"):
        quantities.rate(text)


@pytest.mark.parametrize(("text", "expected"), [("8000", 8000), ("20KB", 20_000), ("20 KiB", 20_480), ("1MB", 1e6)])
def test_a_size_is_read_with_its_unit(text: str, expected: float) -> None:
    assert quantities.size(text) == expected


@pytest.mark.parametrize("text", ["", "0", "20GB", "big", "-1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        quantities.size(text)


@given(st.text(), st.sampled_from([quantities.seconds, quantities.count, quantities.rate, quantities.size]))
def test_any_text_is_an_amount_or_refused_without_being_repeated(text: str, read: Callable[[str], float]) -> None:
    try:
        assert read(text) >= 0
    except ValueError as wrong:
        assert str(wrong).startswith("must be")  # noqa: PT017  # most texts raise, some do not
