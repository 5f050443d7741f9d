"""Outcomes are committed in groups: the first at once, the next ones when some have come together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import pytest

from worker.delivery import recorder as recorder_module
from worker.delivery.recorder import Recorder, Settled
from worker.domain.verdicts import TOLD, Tries
from worker.models import uuid7
from worker.store.claims import Claim
from worker.store.recording import Ends

ENOUGH = 5
LONG = 60.0


@pytest.fixture(autouse=True)
def collecting_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "COLLECT_SECONDS", LONG)


def told(*, mail_id: UUID | None = None) -> Settled:
    claim = Claim(uuid7(), 1, uuid7(), uuid7(), uuid7(), "ann@customer.example", None, None, Tries())
    return Settled(replace(claim, mail_id=mail_id), TOLD)


def groups_of(test: Callable[[Recorder, list[int]], Awaitable[None]]) -> list[int]:
    """Returns how many verdicts were in each commit."""
    groups = list[int]()

    async def write(ends: Ends) -> set[UUID]:
        groups.append(len(ends.told))
        await asyncio.sleep(0)
        return {claim.id for claim in ends.told}

    async def run() -> None:
        async with asyncio.timeout(LONG / 2):  # no group was waited for in vain
            recorder = Recorder(write, asyncio.Event(), enough=ENOUGH, on_commit=lambda: None)
            await test(recorder, groups)

    asyncio.run(run())
    return groups


async def idle() -> None:
    """Lets everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def first_then_one(recorder: Recorder, groups: list[int]) -> None:
    recorder.add(told())
    await asyncio.sleep(0)
    recorder.add(told())  # while the first one is being committed
    await idle()
    assert groups == [1]


def test_a_group_collects_until_there_are_enough() -> None:
    async def test(recorder: Recorder, groups: list[int]) -> None:
        await first_then_one(recorder, groups)
        for _ in range(ENOUGH - 2):
            recorder.add(told())
            await idle()
            assert groups == [1]
        recorder.add(told())
        await idle()
        assert recorder.uncommitted == 0

    assert groups_of(test) == [1, ENOUGH]


def test_a_group_that_stays_small_is_committed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(recorder: Recorder, groups: list[int]) -> None:
        await first_then_one(recorder, groups)
        recorder.add(told())
        await recorder.flushed()
        monkeypatch.setattr(recorder_module, "COLLECT_SECONDS", 0.0)
        recorder.add(told())
        await asyncio.sleep(0)
        recorder.add(told())
        await idle()
        assert recorder.uncommitted == 0

    assert groups_of(test) == [1, 2, 1, 1]


@pytest.mark.parametrize("is_amid", [True, False], ids=["while it commits", "while it collects"])
def test_who_waits_for_all_to_be_committed_does_not_wait_for_more(is_amid: bool) -> None:
    async def test(recorder: Recorder, groups: list[int]) -> None:
        if is_amid:
            recorder.add(told())
            await asyncio.sleep(0)
            recorder.add(told())
        else:
            await first_then_one(recorder, groups)
        await recorder.flushed()
        assert recorder.uncommitted == 0
        recorder.add(told())
        await asyncio.sleep(0)
        recorder.add(told())
        await idle()
        assert groups == [1, 1, 1]  # the next ones collect again

    assert groups_of(test) == [1, 1, 1]


def test_enough_are_mails_and_not_requests() -> None:
    async def test(recorder: Recorder, groups: list[int]) -> None:
        await first_then_one(recorder, groups)
        mail_id = uuid7()
        for _ in range(3 * ENOUGH):
            recorder.add(told(mail_id=mail_id))
        await idle()
        assert groups == [1]
        for _ in range(ENOUGH - 1):
            recorder.add(told())
        await idle()

    assert groups_of(test) == [1, 4 * ENOUGH]


def test_nothing_waits_after_a_commit_that_took_all() -> None:
    async def test(recorder: Recorder, groups: list[int]) -> None:
        for _ in range(3):
            recorder.add(told())
            await idle()

    assert groups_of(test) == [1, 1, 1]
