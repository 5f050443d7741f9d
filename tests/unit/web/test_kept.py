"""Values that are kept because they were slow to read."""

import asyncio

from worker.web.admin.kept import Costly


def test_what_was_slow_is_kept_for_a_while_and_what_was_quick_is_not() -> None:
    now, reads = 0.0, 0

    async def read(seconds: float) -> int:
        nonlocal now, reads
        now, reads = now + seconds, reads + 1
        return reads

    async def test() -> None:
        nonlocal now
        costly = Costly[str, int](10.0, 0.1, lambda: now)
        assert await costly.get("a", lambda: read(0.01)) == (1, 0.0)
        assert await costly.get("a", lambda: read(1.0)) == (2, 0.0)
        now += 4.0
        assert await costly.get("a", lambda: read(1.0)) == (2, 4.0)
        assert await costly.get("b", lambda: read(0.01)) == (3, 0.0)
        now += 6.0
        assert await costly.get("a", lambda: read(0.01)) == (4, 0.0)
        assert await costly.get("a", lambda: read(0.01)) == (5, 0.0)

    asyncio.run(test())
