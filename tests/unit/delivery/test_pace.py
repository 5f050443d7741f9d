"""How many requests a claim asks for: as many as the last second's rate sends in the time that is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clock import Clock
from worker.delivery.slice_clock import Pace


def pace(clock: Clock | None = None) -> Pace:
    return Pace(least=10, most=500, clock=clock or Clock())


def test_where_nothing_was_measured_it_asks_for_one_mail_a_connection() -> None:
    assert pace().claim_size(0.5) == 10


@pytest.mark.parametrize(
    ("mails", "seconds", "left", "size"),
    [
        (400, 1.0, 0.5, 200),
        (200, 0.5, 0.5, 200),
        (200, 0.5, 0.25, 100),
        (1, 1.0, 0.5, 10),
        (0, 1.0, 0.5, 10),
        (100_000, 1.0, 0.5, 500),
        (400, 1.0, 0.0, 10),
        (400, 1.0, -0.1, 10),
    ],
)
def test_it_asks_for_what_the_measured_rate_sends_in_the_time_left(
    mails: int, seconds: float, left: float, size: int
) -> None:
    measured = pace()
    measured.measured(mails, seconds)
    assert measured.claim_size(left) == size


def test_a_rate_counts_for_a_second() -> None:
    clock = Clock()
    measured = pace(clock)
    measured.measured(400, 1.0)
    clock.now = 1.0
    assert measured.claim_size(0.5) == 200
    clock.now = 1.001
    assert measured.claim_size(0.5) == 10


def test_the_last_rate_counts() -> None:
    measured = pace()
    measured.measured(400, 1.0)
    measured.measured(100, 1.0)
    assert measured.claim_size(0.5) == 50


def test_no_time_measures_nothing() -> None:
    measured = pace()
    measured.measured(400, 1.0)
    measured.measured(0, 0.0)
    assert measured.claim_size(0.5) == 200


@given(
    st.integers(0, 10**6),
    st.just(0.0) | st.floats(1e-6, 1000),
    st.floats(-1, 10),
    st.floats(0, 5),
)
def test_it_never_leaves_its_bounds(mails: int, seconds: float, left: float, later: float) -> None:
    clock = Clock()
    measured = pace(clock)
    measured.measured(mails, seconds)
    clock.now = later
    assert 10 <= measured.claim_size(left) <= 500


def test_a_batch_smaller_than_the_connections_is_the_batch() -> None:
    assert Pace(least=10, most=4).claim_size(0.5) == 4


def test_what_the_measured_rate_sends_in_the_time_left_suffices() -> None:
    clock = Clock()
    measured = pace(clock)
    assert not measured.suffices(1000, 0.5)
    measured.measured(400, 1.0)
    assert [measured.suffices(ready, 0.25) for ready in (99, 100)] == [False, True]
    assert measured.claim_size(0.5, ready=150) == 50
    measured.measured(0, 1.0)
    assert [measured.suffices(ready, 0.25) for ready in (0, 1)] == [False, True]
    clock.now += 2.0
    assert not measured.suffices(100, 0.25)
