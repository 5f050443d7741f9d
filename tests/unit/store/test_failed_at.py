"""Every statement that ends a request as FAILED says when, and every one that takes it out of that forgets it."""

import re

import pytest

from tests.unit.store.test_outbox import changes_of_state

TOUCHES_NO_FAILED = {
    "claims": "only what is RECEIVED is claimed",
    "seat_claims": "likewise",
}


@pytest.mark.parametrize(("module", "words"), changes_of_state())
def test_a_change_of_state_sets_the_time_of_the_failure(module: str, words: str) -> None:
    if module not in TOUCHES_NO_FAILED or "status = 'PROCESSING'" not in words:
        assert re.search(r"(?<![\w.])failed_at = ", words), words
