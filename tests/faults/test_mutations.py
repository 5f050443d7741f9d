"""The list of mutations keeps up with the program. `make mutations` itself takes too long for every change."""

import pytest

from tests.bench.processes import ROOT
from tests.faults.mutations import MUTATIONS, Mutation
from tests.faults.scenarios import SCENARIOS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_safeguard_is_still_where_the_list_says(mutation: Mutation) -> None:
    assert mutation.scenario in SCENARIOS
    assert mutation.words
    assert [edit.places(ROOT) for edit in mutation.edits] == [1] * len(mutation.edits)


def test_each_scenario_is_shown_able_to_fail() -> None:
    assert {mutation.scenario for mutation in MUTATIONS} == set(SCENARIOS)
