import pytest

from tests.clock import Clock
from worker.delivery.slice_clock import LONGEST_SECONDS, LOOK_SECONDS, SLICE_SECONDS, Stint


def test_it_is_half_a_second_from_its_beginning() -> None:
    clock = Clock()
    stint = Stint(clock)
    clock.now += 10
    stint.begin()
    assert stint.left == SLICE_SECONDS
    clock.now += SLICE_SECONDS / 4
    assert stint.left == pytest.approx(SLICE_SECONDS * 3 / 4)
    assert stint.seconds == SLICE_SECONDS / 4


def test_it_is_prolonged_from_now_on() -> None:
    clock = Clock()
    stint = Stint(clock)
    clock.now += LOOK_SECONDS
    stint.prolong()
    assert stint.left == SLICE_SECONDS


def test_what_went_out_before_the_last_look_but_one_counts_no_more() -> None:
    clock = Clock()
    stint = Stint(clock)
    past = []
    for mails in (10, 20, 40):
        clock.now += LOOK_SECONDS
        stint.mails += mails
        past.append(stint.prolong())
    assert past == [0, 10, 20]
    assert (stint.mails, stint.seconds) == (40, LOOK_SECONDS)


def test_it_may_not_go_on_for_ever() -> None:
    clock = Clock()
    stint = Stint(clock)
    while stint.may_go_on:
        clock.now += LOOK_SECONDS
        stint.prolong()
    assert LONGEST_SECONDS - SLICE_SECONDS < clock.now <= LONGEST_SECONDS
