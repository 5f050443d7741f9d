"""The short form of the scenarios: things break at the n-th mail, and no test depends on time.

SEED=n chooses other places than usual.
"""

import os
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, text

from tests.faults import seat_log, table
from tests.faults.__main__ import world
from tests.faults.scenarios import ONLY_FAULTS, SCENARIOS
from tests.faults.trial import Result, Unavailable, World

SEED = int(os.environ.get("SEED", "1"))
HERE = {name: scenario for name, scenario in SCENARIOS.items() if name not in ONLY_FAULTS}


@pytest.fixture(scope="session")
def short_world() -> Iterator[World]:
    """A database server for all scenarios of this process."""
    with world(seed=SEED, short=True) as made:
        yield made


@pytest.mark.parametrize("scenario", HERE.values(), ids=HERE)
def test_nobody_is_lost_and_nobody_is_told_twice_without_a_reason(
    short_world: World, scenario: Callable[[World], Result]
) -> None:
    try:
        result = scenario(short_world)
    except Unavailable as unavailable:
        pytest.skip(str(unavailable))
    assert not result.findings.breaches, f"SEED={SEED}\n{table.table([result])}{table.breaches([result])}"
    assert result.broken


_CLAIM = text("UPDATE request SET status = 'PROCESSING', claim_no = claim_no + 1, seat = '{}', seat_wave = 1")
_LOST = text("UPDATE request SET status = 'RECEIVED', seat = NULL, unknowns = 1, failure_code = 'OUTCOME_UNKNOWN'")
_RELEASED = text("UPDATE request SET status = 'RECEIVED', seat = NULL")
_FAILED = text("UPDATE request SET status = 'FAILED', failure_code = 'OUTCOME_UNKNOWN'")


def test_a_claim_is_not_booked_as_unknown_because_the_one_before_it_was(short_world: World) -> None:
    """The code stays until the request is told. A seat of such a claim that is released is given back."""
    with short_world.trial("the book of seats") as trial:
        trial.waiting("mug", 1)
        seat_log.begin(trial.system.url)
        for each in (_CLAIM, _LOST, _CLAIM, _RELEASED, _CLAIM, _FAILED):
            trial.system.write(Connection.execute, each)
        assert [claim.end for claim in seat_log.read(trial.system.url).claims] == ["unknown", "given back", "unknown"]
