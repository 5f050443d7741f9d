"""What comes at the same time is done together, and what becomes of it when that fails."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from worker.domain.errors import DatabaseAway
from worker.web.context import Context
from worker.web.gathering import Gathering


class Work:
    """Work in place of a database's. It notes what it was called with."""

    def __init__(self, error: Exception, bad: int) -> None:
        self.calls: list[Sequence[int]] = []
        self._error = error
        self._bad = bad

    async def sql(self, _work: object, ones: Sequence[int]) -> Sequence[int]:
        self.calls.append(ones)
        await asyncio.sleep(0)
        if self._bad in ones:
            raise self._error
        return [one * 10 for one in ones]

    def done(self) -> list[Any]:
        """Gives it 1, and then 2, 3 and 4 together. Returns what they were answered."""

        async def all_() -> list[Any]:
            gathering = Gathering[int, int](cast("Context", self), lambda ones: ones)
            return await asyncio.gather(*map(gathering.do, [1, 2, 3, 4]), return_exceptions=True)

        return asyncio.run(all_())


def test_one_that_fails_stops_no_other() -> None:
    fault = ValueError("bad")
    work = Work(fault, 3)
    assert work.done() == [10, 20, fault, 40]


@pytest.mark.parametrize("bad", [1, 3])
def test_while_the_database_is_away_nobody_waits_for_it_one_after_the_other(bad: int) -> None:
    away = DatabaseAway("no answer within 75 s")
    work = Work(away, bad)
    answers = work.done()
    assert answers.count(away) == len(next(ones for ones in work.calls if bad in ones))
    assert len(work.calls) == len({tuple(ones) for ones in work.calls}) <= 2
