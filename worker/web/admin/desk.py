"""Verifies passwords: a few at a time, in threads, and not more often than the limit for guesses lets.

A hash takes 64 MiB. So only some are made at a time, and only some wait for that; the others are told to come back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
from fastapi import Request

from worker.domain.admins import Visitor, browser_of, digest
from worker.services import logging_in
from worker.services.logging_in import Attempt
from worker.store import guesses
from worker.web import passwords
from worker.web.admin.gate import secret_of
from worker.web.context import Context
from worker.web.limits import network_of

HASHES: Final = 2
"""So many passwords are verified at a time in this process."""
MOST_WAITING: Final = 16
BUSY_SECONDS: Final = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class In:
    """The password was right. `secret` is that of the new session."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wrong:
    """The name or the password is wrong. Nobody is told which."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing was verified: too many log-ins have failed, or too many are going on."""

    seconds: float
    is_busy: bool = False


class Desk:
    """Verifies passwords for one web process. It belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = asyncio.Semaphore(HASHES)
        self._waiting = 0

    async def log_in(self, request: Request, name: str, password: str) -> In | Wrong | Wait:
        """Begins a session if the password is right."""
        found = await self._verified(request, name, password)
        if not isinstance(found, Attempt):
            return found
        renewed = None
        if found.stored and passwords.is_old(found.stored):
            renewed = await self._hash(password)
        old = secret_of(request)
        secret = await self._context.write(
            logging_in.enter, found, browser(request), renewed, old=digest(old) if old else None
        )
        return In(secret) if secret else Wrong()

    async def change_password(self, request: Request, visitor: Visitor, old: str, new: str) -> In | Wrong | Wait:
        """Sets one's own password, if the old one is right."""
        found = await self._verified(request, visitor.name, old)
        if not isinstance(found, Attempt):
            return found
        hashed = await self._hash(new)
        secret = await self._context.write(logging_in.change_password, visitor, found, hashed, browser(request))
        return In(secret) if secret else Wrong()

    async def _verified(self, request: Request, name: str, password: str) -> Attempt | Wrong | Wait:
        tokens = self._context.parts.tokens
        client = network_of(request.client.host) if request.client else ""
        subjects = [logging_in.subject_of(tokens, "name", name), logging_in.subject_of(tokens, "address", client)]
        # On SQLite one transaction writes at a time. Whoever has to wait shall not hold it up.
        if wait := await self._context.read(guesses.wait, subjects):
            return self._refused(wait)
        if self._waiting >= MOST_WAITING:
            return Wait(BUSY_SECONDS, is_busy=True)
        async with self._slot():
            attempt = await self._context.write(logging_in.begin, name, subjects)
            if attempt.guess.wait:
                return self._refused(attempt.guess.wait)
            is_right = await self._context.run(passwords.is_right, attempt.stored, password)
        if not is_right:
            log.info("admin.login_failed", user=str(attempt.user.id) if attempt.user else None)
        return attempt if is_right else Wrong()

    def _refused(self, seconds: float) -> Wait:
        log.warning("admin.login_limited", seconds=round(seconds))
        return Wait(seconds)

    async def _hash(self, password: str) -> str:
        async with self._slot():
            return await self._context.run(passwords.hash_of, password)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1


def browser(request: Request) -> str | None:
    """Returns what the browser says it is."""
    return browser_of(request.headers.get("user-agent", ""))
