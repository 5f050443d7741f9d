"""Gathers what comes at the same time into one transaction, so that one round trip and one commit serve them all."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from worker.domain.errors import DatabaseAway, SchemaOutdated
from worker.services.signing_up import SignedUp, SignUp
from worker.store import request_query
from worker.web.context import Context

MOST: Final = 100
"""in one transaction"""

T = TypeVar("T")
R = TypeVar("R")

SignUpAnswer = tuple[SignedUp, Any]
"""What became of a sign-up, and the new request as `request_query.by_ids` returns it, where its caller may see it."""


class Gathering(Generic[T, R]):
    """Does work in a database thread: for the first at once, and for those that come meanwhile together.

    `work` takes several and returns as many results. It is for one event loop.
    """

    def __init__(self, context: Context, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._context = context
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def do(self, one: T) -> R:
        """Returns what the work returns for this one, and raises the same errors."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            await self._do(batch)

    async def _do(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._context.sql(self._work, [one for one, _ in batch])
        except Exception as error:  # whatever it is, somebody waits for it
            # While the database is away each would wait for it as long again, one after the other.
            if len(batch) == 1 or isinstance(error, DatabaseAway | SchemaOutdated):
                for _, done in batch:
                    _fail(done, error)
            else:
                await self._one_by_one(batch)
            return
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():  # its caller may have gone
                done.set_result(result)

    async def _one_by_one(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        """Of a batch that failed, what can be done is done: one must not stop the others."""
        for each in batch:
            await self._do([each])


def _fail(done: "asyncio.Future[Any]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def sign_ups(context: Context) -> Gathering[SignUp, SignUpAnswer]:
    """Returns what signs up as `Desk.sign_up` does, and returns the new request, too."""
    return Gathering(context, partial(_signed_up, context))


def look_ups(context: Context) -> Gathering[UUID, Any]:
    """Returns what finds requests by their ids: rows of `request_query.by_ids`, or None."""
    return Gathering(context, partial(_looked_up, context))


def _signed_up(context: Context, many: Sequence[SignUp]) -> list[SignUpAnswer]:
    done = context.desk.sign_up_many(many)
    shown = [each.request_id for one, each in zip(many, done, strict=True) if each.request_id and not one.is_public]
    rows: Mapping[UUID, Any] = {}
    if shown:
        with suppress(DatabaseAway):  # they are signed up: nobody must be told otherwise
            rows = context.database.read(request_query.by_ids, shown)
    return [(each, rows.get(each.request_id) if each.request_id else None) for each in done]


def _looked_up(context: Context, ids: Sequence[UUID]) -> list[Any]:
    rows = context.database.read(request_query.by_ids, ids)
    return [rows.get(id_) for id_ in ids]
