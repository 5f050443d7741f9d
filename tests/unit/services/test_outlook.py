"""What happens next to those who wait for an item, as it is told to people."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from worker.domain.catalog import Options, compared_options, options_text
from worker.domain.ledger import NO_SEATS, Seats
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.stock import Level
from worker.services.outlook import MOST_WAVES, Group, Outlook, wave_of

NOON: Final = datetime(2026, 5, 3, 12, tzinfo=UTC)
TWO: Final = Policies(per_unit=2)
LARGE: Final[Options] = (("Size", "L"),)
MEDIUM: Final[Options] = (("Size", "M"),)
TIMES_TWO: Final = "with as many seats as pieces are then left, times 2."
LATER: Final = f"When all are taken, the next wave begins 1 h later, {TIMES_TWO}"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def level(quantity: int | None = 40, seats: Seats = NO_SEATS, *, in_stock: bool = True) -> Level:
    return Level(in_stock, (NOON, (1, 0)), quantity, NOON, seats=seats)


def taken(left: int, of: int, wave: int = 2, minutes_ago: float | None = None) -> Seats:
    return Seats(left, of, of, wave, None if minutes_ago is None else at(-minutes_ago))


def group(
    options: Options = (), *, out: bool = False, settles: float | None = None, ordered: int = 0, **n: int
) -> Group:
    return Group(options, n, not out, None if settles is None else at(settles), ordered)


def told(*groups: Group, rows: Any = None, policies: Policies = NO_POLICIES) -> list[str]:
    found = {(): level()} if rows is None else rows
    compared = {compared_options(options_text(about)): about for about in found}
    levels = {about: found[spelled] for about, spelled in compared.items()}
    return Outlook(groups, levels, compared, policies, NOON).sentences()


@pytest.mark.parametrize(
    ("sentence", "groups", "more"),
    [
        ("Nobody waits for this item.", [], {}),
        ("Nobody waits for this item.", [group(unconfirmed=3)], {}),
        ("Everybody who waits is told now: 412.", [group(queued=412)], {}),
        ("Everybody who waits is told now: 412.", [group(queued=412, unconfirmed=3)], {}),
        (
            "Everybody who waits: sending is paused, and nobody is told until it is resumed.",
            [group(paused=412)],
            {},
        ),
        (
            "Everybody who waits: no mail can be sent until the relay takes some again.",
            [group(relayDown=412)],
            {"policies": TWO},
        ),
        (
            "Everybody who waits: a try did not succeed, and the next one is made by itself.",
            [group(backoff=1)],
            {"policies": TWO},
        ),
        (
            "Everybody who waits: they had another mail a while ago, and are told when the contact interval is over.",
            [group(interval=1)],
            {"policies": TWO},
        ),
        (
            "Not in stock: nobody is told until an event says that it is in stock.",
            [group(soldOut=14, noStock=2, out=True)],
            {"rows": {}},
        ),
        (
            "Not in stock: nobody is told until an event says that it is in stock, with at least 3 pieces.",
            [group(noStock=2, out=True)],
            {"policies": Policies(min_quantity=3)},
        ),
        (
            "Everybody who waits: signed up after the last in-stock event, and are told after the next one.",
            [group(noStock=2)],
            {},
        ),
        (
            "Nobody before 12:05:00 UTC (in 5 min): the item has to be in stock for 10 min first. 412 wait.",
            [group(settling=412, settles=5)],
            {"policies": Policies(settle_seconds=600.0)},
        ),
        (
            "Nobody before 4 May 2026 12:00:00 UTC (in 1 d): it has just come in. 1 waits.",
            [group(settling=1, settles=24 * 60)],
            {},
        ),
        (
            f"30 of 80 seats of wave 2 are left; 412 wait. {LATER}",
            [group(queued=412)],
            {"rows": {(): level(40, taken(30, 80, minutes_ago=5))}, "policies": TWO},
        ),
        (
            "1 of 4 seats of wave 1 is left; 2 wait. When all are taken, the next wave begins at once, "
            "with as many seats as pieces are then left.",
            [group(queued=2)],
            {"rows": {(): level(4, taken(1, 4, 1, 5))}, "policies": Policies(per_unit=1, wave_seconds=0.0)},
        ),
        (
            "30 of 80 seats of wave 2 are left, enough for all: 30 are told now.",
            [group(queued=30)],
            {"rows": {(): level(40, taken(30, 80))}, "policies": TWO},
        ),
        (
            "All 80 seats of wave 2 are taken; 412 wait. "
            f"The next wave begins at 12:34:00 UTC (in 34 min), {TIMES_TWO}",
            [group(wave=412)],
            {"rows": {(): level(40, taken(0, 80, minutes_ago=26))}, "policies": TWO},
        ),
        (
            f"Wave 3 begins now, with 20 seats; 412 wait. {LATER}",
            [group(wave=400, queued=12)],
            {"rows": {(): level(10, taken(0, 80, minutes_ago=61))}, "policies": TWO},
        ),
        (
            "Wave 1 begins now, with 80 seats, enough for all: 1 is told now.",
            [group(queued=1)],
            {"policies": TWO},
        ),
        ("Everybody who waits is told now: 5.", [group(queued=5)], {"rows": {(): level(None)}, "policies": TWO}),
        ("Everybody who waits is told now: 5.", [group(queued=5)], {"rows": {(): level(0)}, "policies": TWO}),
    ],
)
def test_one_thing_is_one_sentence(sentence: str, groups: list[Group], more: dict[str, Any]) -> None:
    assert told(*groups, **more) == [sentence]


def test_who_is_ordered_needs_no_seat() -> None:
    rows = {(): level(1, taken(0, 2, minutes_ago=0))}
    assert told(group(queued=3, wave=9, ordered=3), rows=rows, policies=TWO) == [
        "3 of 12 who wait are told now.",
        f"All 2 seats of wave 2 are taken; 9 wait. The next wave begins at 13:00:00 UTC (in 1 h), {TIMES_TWO}",
    ]


def test_different_variants_are_told_apart() -> None:
    rows = {LARGE: level(40, taken(30, 80)), MEDIUM: level(in_stock=False)}
    assert told(group(LARGE, queued=50), group(MEDIUM, soldOut=7, out=True), rows=rows, policies=TWO) == [
        "7 of 57 who wait (Size: M): not in stock, and nobody is told until an event says that it is in stock.",
        f"Size: L: 30 of 80 seats of wave 2 are left; 50 wait. {LATER}",
    ]


def test_only_some_may_have_to_wait_until_it_has_settled() -> None:
    rows = {LARGE: level(), MEDIUM: level()}
    policies = Policies(settle_seconds=600.0)
    assert told(group(LARGE, queued=50), group(MEDIUM, settling=7, settles=3), rows=rows, policies=policies) == [
        "7 of 57 who wait (Size: M): nobody before 12:03:00 UTC (in 3 min), "
        "since the item has to be in stock for 10 min first.",
        "50 of 57 who wait are told now.",
    ]


def test_rows_that_the_same_people_wait_for_are_told_together() -> None:
    """Who wants any size takes a seat of either, so neither is told to be enough for those of its size."""
    rows = {LARGE: level(2, taken(4, 4)), MEDIUM: level(1, taken(1, 2))}
    [sentence] = told(group(LARGE, queued=3), group((), queued=5), group(MEDIUM, queued=1), rows=rows, policies=TWO)
    assert "5 of 6 seats are left; 9 wait." in sentence
    assert sentence.startswith(("Size: L; Size: M: ", "Size: M; Size: L: "))


def test_those_of_a_row_without_a_limit_need_no_seat() -> None:
    rows = {LARGE: level(2, taken(4, 4)), MEDIUM: level(None)}
    assert told(group((), queued=5), rows=rows, policies=TWO) == ["Everybody who waits is told now: 5."]


def test_of_many_waves_those_with_most_people_are_told() -> None:
    sizes = [(("Size", str(number)),) for number in range(MOST_WAVES + 2)]
    rows = {size: level(1, taken(1, 2)) for size in sizes}
    found = told(*(group(size, queued=100 + n) for n, size in enumerate(sizes)), rows=rows, policies=TWO)
    assert len(found) == MOST_WAVES + 1
    assert found[0].startswith(f"Size: {MOST_WAVES + 1}: ")
    assert found[-1] == "2 more variants have waves of their own."


def test_a_wave_is_told_as_the_next_claim_finds_it() -> None:
    assert wave_of(level(in_stock=False), TWO, NOON) is None
    assert wave_of(level(None), TWO, NOON) is None
    assert wave_of(level(), NO_POLICIES, NOON) is None
    running = wave_of(level(40, taken(0, 80, minutes_ago=10)), TWO, NOON)
    due = wave_of(level(4, taken(0, 80, minutes_ago=60)), TWO, NOON)
    open_ = wave_of(level(4, taken(7, 8, minutes_ago=1)), TWO, NOON)
    assert running
    assert due
    assert open_
    assert running.as_json() == {"left": 0, "granted": 80, "wave": 2, "nextWaveAt": "2026-05-03T12:50:00.000Z"}
    assert due.as_json() == {"left": 8, "granted": 8, "wave": 3, "nextWaveAt": None}
    assert [each.words(NOON) for each in (running, due, open_)] == [
        "wave 2: 0 of 80 seats left, the next wave at 12:50:00 UTC (in 50 min)",
        "wave 3 is due, with 8 seats",
        "wave 2: 7 of 8 seats left",
    ]
