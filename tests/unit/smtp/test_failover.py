"""Which relay is used, and when one that was down is asked again, by the clock of the test."""

from collections.abc import Sequence

import pytest

from tests.clock import Clock
from worker.domain.outcomes import RelayDown, Scope
from worker.domain.replies import Stage
from worker.smtp.failover import HOLD_SECONDS, LATELY_SECONDS, PAUSES, Failover, together

REFUSED = RelayDown(Scope.RELAY, Stage.CONNECT, "connection refused")
WRONG = RelayDown(Scope.CONFIGURATION, Stage.AUTH, "535 5.7.8 wrong password")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def let_in(choice: Failover, place: int) -> bool:
    return choice.answered(place, choice.failures(place))


def test_the_first_is_used_as_long_as_it_is_not_down(clock: Clock) -> None:
    choice = Failover(3, clock)
    assert list(choice.order) == [0, 1, 2]
    assert not let_in(choice, 0)
    assert choice.take_question() is None


@pytest.mark.parametrize(
    ("down", "order"),
    [([0], [1, 2, 0]), ([1], [0, 2, 1]), ([0, 1], [2, 0, 1]), ([1, 0], [2, 0, 1]), ([2, 0, 1], [0, 1, 2])],
)
def test_those_that_are_down_are_the_last_resort_in_their_order(
    down: Sequence[int], order: Sequence[int], clock: Clock
) -> None:
    choice = Failover(3, clock)
    for place in down:
        choice.failed(place, REFUSED)
    assert list(choice.order) == order


def test_a_change_is_told_once_and_when_the_relay_has_answered(clock: Clock) -> None:
    choice = Failover(2, clock)
    choice.failed(0, REFUSED)
    assert choice.current == 0
    assert [let_in(choice, 1), let_in(choice, 1)] == [True, False]
    assert choice.current == 1
    assert [let_in(choice, 0), let_in(choice, 0)] == [True, False]
    assert choice.current == 0


def test_an_answer_of_a_later_relay_changes_nothing_while_a_better_one_is_up(clock: Clock) -> None:
    choice = Failover(2, clock)
    assert not let_in(choice, 1)
    assert choice.current == 0


def test_who_was_let_in_before_it_failed_does_not_make_it_well(clock: Clock) -> None:
    choice = Failover(2, clock)
    asked = choice.failures(0)
    choice.failed(0, WRONG)
    assert not choice.answered(0, asked)
    assert list(choice.order) == [1, 0]


def test_one_that_was_down_is_asked_by_one_at_a_time_after_a_pause(clock: Clock) -> None:
    choice = Failover(2, clock)
    choice.failed(0, REFUSED)
    assert choice.take_question() is None
    clock.now += PAUSES[0]
    assert choice.take_question() == 0
    assert choice.take_question() is None
    clock.now += HOLD_SECONDS  # the first question never got an answer
    assert choice.take_question() == 0


def test_the_pause_grows_with_the_time_of_trouble(clock: Clock) -> None:
    choice = Failover(2, clock)
    pauses = []
    for _ in range(30):
        choice.failed(0, REFUSED)
        asked = clock.now
        while choice.take_question() is None:
            clock.now += 0.25
        pauses.append(clock.now - asked)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == PAUSES


def test_to_be_let_in_does_not_end_a_trouble_but_to_get_a_mail_through_does(clock: Clock) -> None:
    choice = Failover(2, clock)
    choice.failed(0, REFUSED)
    clock.now += 400
    let_in(choice, 0)
    choice.failed(0, REFUSED)
    clock.now += PAUSES[1] - 1
    assert choice.take_question() is None
    let_in(choice, 0)
    choice.took_mail(0)
    choice.failed(0, REFUSED)
    clock.now += PAUSES[0]
    assert choice.take_question() == 0


def test_mails_of_before_its_trouble_do_not_end_it(clock: Clock) -> None:
    choice = Failover(2, clock)
    choice.failed(0, REFUSED)
    choice.took_mail(0)
    clock.now += 400
    choice.failed(0, REFUSED)
    clock.now += PAUSES[1] - 1
    assert choice.take_question() is None


def test_only_better_relays_are_asked_again(clock: Clock) -> None:
    choice = Failover(3, clock)
    choice.failed(0, REFUSED)
    choice.failed(2, REFUSED)
    clock.now += 100
    assert [choice.take_question(), choice.take_question()] == [0, None]


def test_where_all_are_down_nobody_is_asked_but_by_those_with_mails(clock: Clock) -> None:
    choice = Failover(2, clock)
    choice.failed(0, REFUSED)
    choice.failed(1, REFUSED)
    clock.now += 100
    assert choice.take_question() is None


def test_a_trouble_is_news_if_it_is_another_one(clock: Clock) -> None:
    choice = Failover(2, clock)
    assert [choice.failed(0, trouble) for trouble in (REFUSED, REFUSED, WRONG, WRONG)] == [True, False, True, False]
    assert choice.trouble(0) is WRONG


def test_a_relay_that_took_mail_is_remembered_for_a_moment(clock: Clock) -> None:
    choice = Failover(2, clock)
    assert not choice.took_mail_lately(0)
    choice.took_mail(0)
    clock.now += LATELY_SECONDS - 0.1
    assert (choice.took_mail_lately(0), choice.took_mail_lately(1)) == (True, False)
    clock.now += 0.2
    assert not choice.took_mail_lately(0)


def test_the_one_in_use_is_asked_how_it_is_by_one_at_a_time_too(clock: Clock) -> None:
    choice = Failover(2, clock)
    assert [choice.may_ask(0), choice.may_ask(0)] == [True, False]
    clock.now += HOLD_SECONDS
    assert choice.may_ask(0)


def test_one_trouble_is_told_as_it_is_and_several_by_their_numbers() -> None:
    assert together({1: REFUSED}) is REFUSED
    both = together({0: REFUSED, 1: WRONG})
    assert both.reason == "relay 1: connection refused; relay 2: 535 5.7.8 wrong password"
    assert (both.scope, both.stage) == (WRONG.scope, WRONG.stage)
