import pytest

from tests.clock import Clock
from worker.delivery.slice_clock import LONGEST_SECONDS, LOOK_SECONDS, SLICE_SECONDS, SliceClock


def test_it_is_half_a_second_from_its_beginning() -> None:
    clock = Clock()
    slice_clock = SliceClock(clock)
    clock.now += 10
    slice_clock.begin()
    assert slice_clock.left == SLICE_SECONDS
    clock.now += SLICE_SECONDS / 4
    assert slice_clock.left == pytest.approx(SLICE_SECONDS * 3 / 4)
    assert slice_clock.seconds == SLICE_SECONDS / 4


def test_it_is_prolonged_from_now_on() -> None:
    clock = Clock()
    slice_clock = SliceClock(clock)
    clock.now += LOOK_SECONDS
    slice_clock.prolong()
    assert slice_clock.left == SLICE_SECONDS


def test_what_went_out_before_the_last_look_but_one_counts_no_more() -> None:
    clock = Clock()
    slice_clock = SliceClock(clock)
    past = []
    for mails in (10, 20, 40):
        clock.now += LOOK_SECONDS
        slice_clock.mails += mails
        past.append(slice_clock.prolong())
    assert past == [0, 10, 20]
    assert (slice_clock.mails, slice_clock.seconds) == (40, LOOK_SECONDS)


def test_it_may_not_go_on_for_ever() -> None:
    clock = Clock()
    slice_clock = SliceClock(clock)
    while slice_clock.may_go_on:
        clock.now += LOOK_SECONDS
        slice_clock.prolong()
    assert LONGEST_SECONDS - SLICE_SECONDS < clock.now <= LONGEST_SECONDS


def test_it_ends_when_the_send_window_closes() -> None:
    clock = Clock()
    slice_clock = SliceClock(clock)
    slice_clock.close_at(SLICE_SECONDS / 4)
    assert slice_clock.ends_at == SLICE_SECONDS / 4
    slice_clock.begin()
    slice_clock.prolong()
    assert slice_clock.ends_at == SLICE_SECONDS / 4, "nothing makes it longer"
    assert not slice_clock.is_closed
    clock.now = SLICE_SECONDS / 4
    assert slice_clock.left == 0
    assert slice_clock.is_closed


def test_a_window_that_closes_later_changes_nothing() -> None:
    clock = Clock()
    slice_clock = SliceClock(clock)
    slice_clock.close_at(10.0)
    assert slice_clock.ends_at == SLICE_SECONDS
    slice_clock.close_at(20.0)
    clock.now = 12.0
    assert not slice_clock.is_closed, "the latest claim knows best"
