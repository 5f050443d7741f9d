"""The arithmetic of a rate limit, and of slowing down when a relay asks for it."""

from itertools import accumulate
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.pacing import CUT_SECONDS, FREE_REFUSALS, LIFTED_AT, RECOVERY_SECONDS, SLOWEST, Pacing
from worker.domain.outcomes import Deferred, RelayDown, Scope
from worker.domain.replies import Reply, Stage
from worker.domain.reply_rules import Blame
from worker.domain.token_bucket import BURST_SECONDS, Bucket
from worker.domain.verdicts import Later, RetryPolicy, Tries, settle

RATES = st.floats(0.01, 10_000)
PAUSES = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 500)), min_size=1, max_size=50)
WANTED = 1000


def refused(stage: Stage = Stage.RCPT) -> RelayDown:
    return RelayDown(Scope.RELAY, stage, "too fast", Reply(450, "4.7.28 too fast"), Blame.PACE)


# The bucket


@given(RATES, PAUSES)
def test_no_time_sees_more_than_its_rate_and_a_burst(rate: float, asked: list[tuple[float, int]]) -> None:
    bucket, times = Bucket(at=0.0), list(accumulate(pause for pause, _ in asked))
    taken = [bucket.take(wanted, rate, now).mails for now, (_, wanted) in zip(times, asked, strict=True)]
    for first in range(len(times)):
        for last in range(first, len(times)):
            most = 1 + rate * (times[last] - times[first] + BURST_SECONDS)
            assert sum(taken[first : last + 1]) <= most * (1 + 1e-9)


@given(st.floats(0.01, 1000), st.integers(1, WANTED))
def test_who_asks_again_when_told_to_gets_the_whole_rate(rate: float, wanted: int) -> None:
    bucket, now, taken = Bucket(at=0.0), 0.0, 0
    for _ in range(100):
        grant = bucket.take(wanted, rate, now)
        assert grant.mails == wanted or grant.wait > 0
        taken += grant.mails
        now += grant.wait
    assert taken + bucket.tokens == pytest.approx(1 + rate * bucket.at)


@given(RATES)
def test_in_the_long_run_it_is_the_rate(rate: float) -> None:
    bucket, now, taken = Bucket(at=0.0), 0.0, 0
    while now < max(10.0, 100 / rate):
        grant = bucket.take(WANTED, rate, now)
        taken += grant.mails
        now += max(grant.wait, 0.01)
    assert taken == pytest.approx(rate * now, rel=0.05)


def test_what_is_given_back_may_be_had_again_but_is_not_hoarded() -> None:
    bucket = Bucket(at=0.0, tokens=10.0)
    assert bucket.take(10, 100.0, 0.0).mails == 10
    assert bucket.take(10, 100.0, 0.0, back=7).mails == 7
    assert bucket.take(500, 100.0, 0.0, back=500).mails == 1 + 100 * BURST_SECONDS


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(at=10.0)
    assert bucket.take(1, 1.0, 10.0).mails == 1
    assert bucket.take(1, 1.0, 5.0).mails == 0


# Slowing down


def test_there_is_no_limit_until_the_relay_asks_for_one() -> None:
    pacing = Pacing()
    assert pacing.limit(0.0) is None
    assert pacing.take(500, 0.0) == (500, 0.0)


def test_the_first_cut_is_to_half_of_what_the_last_second_sent() -> None:
    pacing = Pacing()
    pacing.note(1000, now=0.0)
    pacing.note(40, now=5.0)
    pacing.note(40, now=5.5)
    assert pacing.cut(20, now=5.9) == 50
    assert pacing.limit(6.0) == 50


def test_what_is_said_right_after_a_cut_changes_nothing() -> None:
    pacing = Pacing()
    assert pacing.cut(100, now=0.0) == 50
    assert pacing.cut(100, now=CUT_SECONDS / 2) is None
    assert pacing.cut(100, now=CUT_SECONDS) == 25


def test_nothing_goes_out_for_a_second_after_a_cut() -> None:
    pacing = Pacing()
    pacing.cut(100, now=0.0)
    grant = pacing.take(1, now=0.0)
    assert grant.mails == 0
    assert grant.wait == pytest.approx(CUT_SECONDS + 1 / 50)
    assert pacing.take(1, now=grant.wait + 1e-6).mails == 1


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1000)), max_size=50))
def test_it_never_falls_below_the_slowest(cuts: list[tuple[float, int]]) -> None:
    pacing, now = Pacing(), 0.0
    for pause, mails in cuts:
        now += pause
        pacing.cut(mails, now)
        assert (pacing.limit(now) or SLOWEST) >= SLOWEST


def test_it_recovers_by_and_by_and_is_lifted_where_nothing_is_said_any_more() -> None:
    pacing = Pacing()
    pacing.cut(100, now=0.0)
    began = CUT_SECONDS
    assert pacing.limit(began + RECOVERY_SECONDS) == pytest.approx(100)
    assert pacing.limit(began + 2 * RECOVERY_SECONDS) == pytest.approx(150)
    assert pacing.limit(began + LIFTED_AT * RECOVERY_SECONDS) is None


def test_the_slowest_recovers_too() -> None:
    pacing = Pacing()
    pacing.cut(0, now=0.0)
    assert pacing.limit(0.0) == SLOWEST
    assert pacing.limit(60.0) is None


def test_what_was_not_used_is_not_lost() -> None:
    pacing = Pacing()
    pacing.cut(100, now=0.0)
    taken = pacing.take(100, now=2.0).mails
    assert taken == 1 + int(55 * BURST_SECONDS)
    pacing.give_back(taken)
    assert pacing.take(100, now=2.0).mails == taken


# Who causes the trouble


def test_a_recipient_that_is_always_too_fast_is_deferred_as_any_other() -> None:
    pacing, down = Pacing(), refused()
    for taken in range(FREE_REFUSALS):
        assert pacing.judged(UUID(int=1), down, taken) is down
    assert pacing.judged(UUID(int=1), down, 9) == Deferred(Stage.RCPT, Reply(450, "4.7.28 too fast"))
    assert pacing.judged(UUID(int=2), down, 9) is down


def test_where_the_relay_takes_nobody_the_next_one_is_tried_and_no_try_is_spent() -> None:
    pacing, down = Pacing(), refused()
    for _ in range(FREE_REFUSALS):
        assert pacing.judged(UUID(int=1), down, 7) is down
    for _ in range(100):
        again = pacing.judged(UUID(int=1), down, 7)
        assert isinstance(settle(again, Tries(), RetryPolicy(10, 60, "resend"), 0.0), Later)
        assert isinstance(again, RelayDown)
    assert isinstance(pacing.judged(UUID(int=1), down, 8), Deferred), "it takes others"


def test_before_a_recipient_is_named_none_is_to_blame() -> None:
    pacing, down = Pacing(), refused(Stage.MAIL)
    assert all(pacing.judged(UUID(int=1), down, taken) is down for taken in range(2 * FREE_REFUSALS))


def test_not_more_are_remembered_than_fit() -> None:
    pacing, down = Pacing(), refused()
    for number in range(20_000):
        pacing.judged(UUID(int=number), down, 0)
    assert len(pacing._refused) == 10_000
