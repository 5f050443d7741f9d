"""Which connections are kept when the relay wants fewer."""

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.clock import Clock
from worker.smtp.pool import Kept, Limits, Pool


def test_idle_connections_beyond_what_the_relay_allows_are_closed() -> None:
    """It counts them too: with five of them open, it would refuse each mail of the only one in use."""
    closed: list[int] = []

    def a_session(number: int) -> Any:
        async def quit_() -> None:
            closed.append(number)

        return SimpleNamespace(is_open=True, mails=0, quit=quit_)

    async def never() -> Any:
        raise AssertionError("there is an idle connection")

    async def run() -> Kept:
        clock = Clock()
        pool = Pool(never, 5, Limits(), clock)
        for number in range(5):
            pool.put_back(Kept(a_session(number), opened_at=clock(), used_at=clock()))
        pool.narrow(2)
        pool.in_use = 1
        kept = await pool.take()
        assert isinstance(kept, Kept)
        assert pool.size == 2
        return kept

    assert asyncio.run(run()).session.is_open
    assert closed == [0, 1, 2]
