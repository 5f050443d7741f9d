"""The checker of seats finds the breaches that it should find."""

from dataclasses import replace

import pytest

from tests.faults.checker import Mail
from tests.faults.seat_checker import Book, Claim, Rules, State, Wave, check_seats

FIRST = Wave("mug", "{}", 1)
SECOND = FIRST.next
W = 60.0
RULES = Rules(per_wave=2, wave_seconds={"mug": W})

ANN = Claim(FIRST, "ann", place=2, at=10.0, ended=5, end="told")
BOB = Claim(FIRST, "bob", place=3, at=10.0, ended=6, end="told")
CAT = Claim(SECOND, "cat", place=7, at=75.0, ended=9, end="told")
STATES = [
    State(FIRST, place=1, at=0.0, seats=2, granted=2),
    State(FIRST, place=4, at=10.0, seats=0, granted=2, taken_at=10.0),
    State(SECOND, place=8, at=75.0, seats=1, granted=2, taken_at=75.0),
]
GOOD = Book([ANN, BOB, CAT], STATES, keepers={FIRST: 2, SECOND: 1})
MAILS = [Mail("ann", "1", at=11.0), Mail("bob", "2", at=12.0), Mail("cat", "3", at=76.0)]
UNKNOWN = replace(ANN, end="unknown")
BACK = replace(ANN, end="given back")
DEAD = replace(ANN, end="rescued")
EVE = Claim(FIRST, "eve", place=6, at=20.0, ended=6, end="told")
"""She was told with the seat that was given back when the process had died that had told Ann."""
DIED = Book(
    [DEAD, BOB, EVE, CAT],
    [*STATES[:2], State(FIRST, 5, 15.0, 1, 2, 10.0), State(FIRST, 6, 20.0, 0, 2, 14.0), STATES[2]],
    keepers={FIRST: 2, SECOND: 1},
)
EVES = [*MAILS, Mail("eve", "4", at=21.0)]


def test_a_run_without_trouble_breaks_nothing() -> None:
    assert check_seats(GOOD, MAILS, RULES) == []


def test_who_may_have_been_told_keeps_the_seat() -> None:
    book = replace(GOOD, claims=[UNKNOWN, BOB, CAT], keepers={FIRST: 1, SECOND: 1})
    assert check_seats(book, MAILS[1:], RULES) == []


def test_whose_mail_bounced_was_not_told() -> None:
    book = replace(DIED, claims=[replace(ANN, end="bounced"), BOB, EVE, CAT])
    assert check_seats(book, EVES, RULES) == []


def test_who_was_deleted_takes_the_seat_along() -> None:
    book = replace(GOOD, claims=[replace(ANN, end="deleted"), BOB, CAT], keepers={FIRST: 1, SECOND: 1})
    assert check_seats(book, MAILS, RULES) == []


def test_a_seat_that_comes_back_when_the_next_wave_has_begun_is_void() -> None:
    late = replace(BACK, ended=10)
    book = replace(GOOD, claims=[late, BOB, CAT], keepers={FIRST: 1, SECOND: 1})
    assert check_seats(book, MAILS[1:], RULES) == []


def test_who_was_ordered_needs_no_seat() -> None:
    ordered = Claim(None, "dan", place=5, at=20.0, ended=6, end="told")
    mails = [*MAILS, Mail("dan", "4", at=21.0)]
    assert check_seats(replace(GOOD, claims=[*GOOD.claims, ordered]), mails, RULES) == []


def test_events_may_change_the_seats_of_a_wave() -> None:
    more = replace(STATES[1], granted=3)
    book = replace(GOOD, claims=[*GOOD.claims, EVE], states=[STATES[0], more, STATES[2]])
    assert check_seats(book, EVES, Rules()) == []
    assert check_seats(replace(book, states=STATES), EVES, Rules()) != []


def test_a_process_that_died_may_have_told_more_than_there_were_seats() -> None:
    assert check_seats(DIED, EVES, replace(RULES, may_exceed=1)) == []


@pytest.mark.parametrize(
    ("book", "mails", "words"),
    [
        (replace(GOOD, seatless=["dan"]), MAILS, "claimed without a seat: dan"),
        (replace(GOOD, states=[replace(each, granted=3) for each in STATES]), MAILS, "3 seats in wave 1 of mug, and"),
        (replace(GOOD, claims=[*GOOD.claims, EVE]), EVES, "3 persons in wave 1 of mug, which has 2 seats: 0 explained"),
        (replace(GOOD, claims=[*GOOD.claims, replace(EVE, end="unknown")]), MAILS, "3 persons in wave 1"),
        (DIED, EVES, "1 more persons than seats in all waves, and at most 0 may be"),
        (replace(GOOD, claims=[BACK, BOB, CAT]), MAILS, "has ended as given back: ann"),
        (replace(GOOD, claims=[BACK, BOB, CAT]), MAILS[1:], "2 seats of wave 1 of mug are gone, but 1 are kept, and 0"),
        (replace(GOOD, claims=[BOB, CAT]), MAILS[1:], "2 seats of wave 1 of mug are gone, but 1 are kept"),
        (replace(GOOD, claims=[ANN, BOB]), MAILS[:2], "1 seats of wave 2 of mug are gone, but 0 are kept"),
        (replace(GOOD, states=[STATES[0], STATES[2]]), MAILS, "wave 2 of mug began though 2 seats of the last one"),
        (
            replace(GOOD, states=[*STATES[:2], replace(STATES[2], at=69.0)]),
            MAILS,
            "wave 2 of mug began too early: at 69.0, and the last seat was taken at 10.0",
        ),
        (replace(GOOD, keepers={FIRST: 1, SECOND: 1}), MAILS, "2 were told in wave 1 of mug, but 1 rows have"),
        (replace(GOOD, keepers={FIRST: 2, SECOND: 1, SECOND.next: 1}), MAILS, "0 were told in wave 3 of mug, but 1"),
    ],
)
def test_what_breaks_a_promise_is_found(book: Book, mails: list[Mail], words: str) -> None:
    assert any(words in breach for breach in check_seats(book, mails, RULES))
