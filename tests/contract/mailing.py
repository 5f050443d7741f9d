"""Helpers that the tests of the mailer share."""

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final
from uuid import UUID

import pytest
import uvloop
from pydantic import SecretStr

from tests.relay import HOST, ScriptedRelay, trusting_context
from worker.domain.outcomes import Outcome, RelayDown
from worker.domain.relays import Relay
from worker.domain.return_path import ReturnPath
from worker.mail.message import dot_stuffed
from worker.smtp.mailer import Limits, Mail, Mailer, Run, Timeouts

SENDER: Final = "shop@shop.example"
PATIENT: Final = Timeouts(connect=60, command=60, final=60)
IMPATIENT: Final = Timeouts(connect=0.75, command=0.75, final=0.75)
NO_LIMITS: Final = Limits(mails=10**6, age=1e6, idle=1e6)

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


def on_both_loops(test: AsyncTest) -> Callable[..., None]:
    """Returns a test that runs the async function `test` on asyncio's loop and on uvloop."""

    @wraps(test)
    def run(*, new_loop: Callable[[], asyncio.AbstractEventLoop] | None, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**fixtures))

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined] # pytest reads it
        parameters=[*signature.parameters.values(), new_loop]
    )
    loops = [pytest.param(None, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]
    parametrized: Callable[..., None] = pytest.mark.parametrize("new_loop", loops)(run)
    return parametrized


class Box:
    """A source of mails, and a record of what was reported about them."""

    def __init__(self, mails: list[Mail]) -> None:
        self.waiting = list(reversed(mails))
        self.taken: list[Mail] = []
        self.reports: list[tuple[Mail, Outcome]] = []

    @property
    def available(self) -> int:
        return len(self.waiting)

    @property
    def is_over(self) -> bool:
        return not self.waiting

    def next_now(self) -> Mail | None:
        if not self.waiting:
            return None
        self.taken.append(self.waiting.pop())
        return self.taken[-1]

    def put_back(self, mail: Mail) -> None:
        self.taken.remove(mail)
        self.waiting.append(mail)

    def may_write(self) -> bool:
        return True

    def is_wanted(self, mail: Mail) -> bool:
        return True

    def report(self, mail: Mail, outcome: Outcome) -> None:
        self.reports.append((mail, outcome))

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for _, outcome in self.reports]

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome

    def assert_each_reported_once(self) -> None:
        assert sorted(mail.request_id for mail, _ in self.reports) == sorted(mail.request_id for mail in self.taken)


class OneByOne(Box):
    """A source that has its next mail only after the previous one was reported. It wakes `run` then."""

    run: Run

    @property
    def available(self) -> int:
        return min(1, len(self.waiting)) if len(self.reports) == len(self.taken) else 0

    def next_now(self) -> Mail | None:
        return super().next_now() if self.available else None

    def report(self, mail: Mail, outcome: Outcome) -> None:
        super().report(mail, outcome)
        asyncio.get_running_loop().call_later(0.002, self.run.wake)

    async def sent_with(self, mailer: Mailer) -> RelayDown | None:
        self.run = mailer.start(self, self.report)
        return await self.run.result()


def mails(count: int, start: int = 0) -> list[Mail]:
    """Returns numbered mails, to user0@example.com and so on."""
    return [
        Mail(
            request_id=UUID(int=number),
            recipient=f"user{number}@example.com",
            content=dot_stuffed(f"Message-ID: <{number}@shop.example>\r\n\r\nMail {number}\r\n.\r\n".encode()),
        )
        for number in range(start, start + count)
    ]


def as_taken(mail: Mail) -> bytes:
    """Returns a mail's content as the relay keeps it: without the final dot, and with doubled dots made single."""
    return mail.content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")


def relay_of(server: ScriptedRelay, user: str | None = None, password: str = "secret") -> Relay:
    """Returns the settings for that server."""
    secret = SecretStr(password) if user else None
    return Relay(HOST, server.port, server.security, user, secret)


@asynccontextmanager
async def mailer_for(
    server: ScriptedRelay,
    *others: ScriptedRelay,
    relay: Relay | None = None,
    connections: int = 1,
    timeouts: Timeouts = PATIENT,
    limits: Limits = NO_LIMITS,
    clock: Callable[[], float] = lambda: 0.0,
    tls_context: ssl.SSLContext | None = None,
    pipelining: bool = True,
    sender: str | ReturnPath = SENDER,
    provider: str = "none",
    sample: str = "",
) -> AsyncIterator[Mailer]:
    """Yields a mailer that trusts the servers, and closes it at the end. The server decides which session it uses."""
    mailer = Mailer(
        relay or relay_of(server),
        *map(relay_of, others),
        sender=sender,
        connections=connections,
        timeouts=timeouts,
        limits=limits,
        clock=clock,
        tls_context=tls_context or trusting_context(),
        pipelining=pipelining,
        provider=provider,
        sample=sample,
    )
    try:
        yield mailer
    finally:
        await mailer.close()


async def sent_with(mailer: Mailer, *letters: Mail) -> tuple[Box, RelayDown | None]:
    """Sends `letters` with the mailer. Asserts that each mail it took was reported once."""
    box = Box(list(letters))
    down = await mailer.run(box, box.report)
    box.assert_each_reported_once()
    return box, down


def assert_nobody_got_two(server: ScriptedRelay) -> None:
    recipients = server.recipients  # once: a mail whose connection was dropped may still come in
    assert len(set(recipients)) == len(recipients)


async def until(predicate: Callable[[], object]) -> None:
    """Waits for something that happens in the server's thread."""
    async with asyncio.timeout(60):
        while not predicate():  # noqa: ASYNC110 - an Event belongs to one thread
            await asyncio.sleep(0.002)
