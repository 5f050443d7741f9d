"""The short form of the scenarios: things break at the n-th mail, and no test depends on time.

SEED=n chooses other places than usual.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults import table
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
