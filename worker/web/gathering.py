"""Gathers sign-ups that come at the same time into one transaction, so that one wait for the disk serves them all."""

import asyncio
from typing import Final

from worker.services.signing_up import SignedUp, SignUp
from worker.web.context import Context

MOST: Final = 100
"""in one transaction"""

_Waiting = tuple[SignUp, "asyncio.Future[SignedUp]"]


class Gathering:
    """Hands sign-ups to the desk: the first at once, and those that come meanwhile together."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def sign_up(self, one: SignUp) -> SignedUp:
        """Does what `Desk.sign_up` does, and raises the same errors."""
        done: asyncio.Future[SignedUp] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            await self._sign_up(batch)

    async def _sign_up(self, batch: list[_Waiting]) -> None:
        desk = self._context.desk
        try:
            answers = await self._context.sql(desk.sign_up_many, [one for one, _ in batch])
        except Exception as error:  # whatever it is, somebody waits for it
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:
                await self._one_by_one(batch)
            return
        for (_, done), answer in zip(batch, answers, strict=True):
            if not done.done():
                done.set_result(answer)

    async def _one_by_one(self, batch: list[_Waiting]) -> None:
        """Of a batch that failed, those that can be signed up are: one must not stop the others."""
        for each in batch:
            await self._sign_up([each])


def _fail(done: "asyncio.Future[SignedUp]", error: Exception) -> None:
    if not done.done():  # its caller may have gone
        done.set_exception(error)
