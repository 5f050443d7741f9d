"""Gathers sign-ups that come at the same time into one transaction, so that one wait for the disk serves them all."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from worker.domain.errors import DatabaseAway
from worker.services.signing_up import SignedUp, SignUp
from worker.store import request_query
from worker.web.context import Context

MOST: Final = 100
"""in one transaction"""

Answer = tuple[SignedUp, Any]
"""What became of a sign-up, and the new request as `request_query.by_ids` returns it, where its caller may see it."""
_Waiting = tuple[SignUp, "asyncio.Future[Answer]"]


class Gathering:
    """Hands sign-ups to the desk: the first at once, and those that come meanwhile together."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def sign_up(self, one: SignUp) -> Answer:
        """Does what `Desk.sign_up` does, and raises the same errors. Returns the new request, too."""
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            await self._sign_up(batch)

    async def _sign_up(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self._context.sql(self._signed_up, [one for one, _ in batch])
        except Exception as error:  # whatever it is, somebody waits for it
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:
                await self._one_by_one(batch)
            return
        for (_, done), answer in zip(batch, answers, strict=True):
            if not done.done():
                done.set_result(answer)

    def _signed_up(self, many: list[SignUp]) -> list[Answer]:
        done = self._context.desk.sign_up_many(many)
        shown = [each.request_id for one, each in zip(many, done, strict=True) if each.request_id and not one.is_public]
        rows: Mapping[UUID, Any] = {}
        if shown:
            with suppress(DatabaseAway):  # they are signed up: nobody must be told otherwise
                rows = self._context.database.read(request_query.by_ids, shown)
        return [(each, rows.get(each.request_id) if each.request_id else None) for each in done]

    async def _one_by_one(self, batch: list[_Waiting]) -> None:
        """Of a batch that failed, those that can be signed up are: one must not stop the others."""
        for each in batch:
            await self._sign_up([each])


def _fail(done: "asyncio.Future[Answer]", error: Exception) -> None:
    if not done.done():  # its caller may have gone
        done.set_exception(error)
