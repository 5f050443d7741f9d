"""A worker's line for tests, with a bell that only takes notes and a database that fails when a test wants it."""

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import Connection

from config.settings import SHIPPED_TEMPLATES
from tests.contract.mailing import SENDER, relay_of
from tests.contract.shop import LEASE, MUG, Shop
from tests.polling import eventually
from tests.relay import ScriptedRelay
from worker.delivery import slice_clock
from worker.delivery.deliver import deliver
from worker.delivery.lease import Lease
from worker.delivery.line import Line
from worker.delivery.slice_clock import Pace
from worker.delivery.throttle import Throttle
from worker.domain.catalog import CatalogReference
from worker.domain.errors import DatabaseAway, RedisAway
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.relays import Mailbox
from worker.domain.verdicts import RetryPolicy
from worker.mail.letter import LetterWriter
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.queue.bell import Bell
from worker.smtp.mailer import Mailer, Timeouts
from worker.store import recording
from worker.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")

Work = Callable[..., Any]
MOST_SLICES: Final = 200


class NotedBell(Bell):
    """A bell that only remembers for which lists it was rung. `waiting` is the length of queue that it reports."""

    def __init__(self) -> None:
        self.rings: list[list[UUID]] = []
        self.probes = 0
        self.waiting = 0
        self.away = False

    def ring(self, lists: Sequence[UUID]) -> None:
        self._reach()
        self.rings.append(list(lists))

    def ring_probe(self) -> None:
        self._reach()
        self.probes += 1

    def queued(self) -> int:
        self._reach()
        return self.waiting

    def _reach(self) -> None:
        if self.away:
            raise RedisAway("Redis (broker): connection refused")


class FlakyDatabase(Database):
    """A database that goes away when a test wants it: before a transaction, or after a commit that nobody hears of."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._troubles: dict[Work, list[str | None]] = {}
        self._gates: dict[Work, threading.Event] = {}
        self._sequels: dict[Work, Callable[[], object]] = {}

    def fails(self, work: Work, *, times: int = 1, when: Literal["before", "after"] = "before", skip: int = 0) -> None:
        """Makes the next `times` transactions of this work fail, after `skip` good ones."""
        self._troubles.setdefault(work, []).extend([None] * skip + [when] * times)

    def recovers(self, work: Work) -> None:
        """Lets transactions of this work succeed again."""
        self._troubles.pop(work)

    def follows(self, work: Work, what: Callable[[], object]) -> None:
        """Calls `what` after the first transaction of this work."""
        self._sequels[work] = what

    def hangs(self, work: Work) -> threading.Event:
        """Makes transactions of this work wait until the returned event is set."""
        return self._gates.setdefault(work, threading.Event())

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        name: Work = recording.record if work is recording.record_told else work
        if name in self._gates:
            self._gates[name].wait(60)
        coming = self._troubles.get(name)
        trouble = coming.pop(0) if coming else None
        if trouble == "before":
            raise DatabaseAway("connection refused")
        result = super().write(work, *args, **kwargs)
        self._sequels.pop(name, lambda: None)()
        if trouble == "after":
            raise DatabaseAway("server closed the connection unexpectedly")
        return result

    write_at_once = write


def letters_of(template_dir: Path = SHIPPED_TEMPLATES, item_url_template: str | None = None) -> LetterWriter:
    return LetterWriter(Renderer(Sources(template_dir), "Shop"), Mailbox("Shop", SENDER), item_url_template)


@asynccontextmanager
async def line_of(
    shop: Shop,
    server: ScriptedRelay,
    *,
    others: Sequence[ScriptedRelay] = (),
    database: Database | None = None,
    bell: Bell | None = None,
    connections: int = 3,
    claim_size: int | None = None,
    on_unknown: Literal["resend", "fail"] = "resend",
    max_attempts: int = 10,
    template_dir: Path = SHIPPED_TEMPLATES,
    item_url_template: str | None = None,
    user: str | None = None,
    password: str = "secret",
    timeouts: Timeouts = Timeouts(connect=60, command=60, final=60),  # noqa: B008 - frozen
    throttle: Throttle | None = None,
    tls_context: ssl.SSLContext | None = None,
    letters: LetterWriter | None = None,
    clock: Callable[[], float] = time.monotonic,
    policies: Policies = NO_POLICIES,
) -> AsyncIterator[Line]:
    """Yields the line of one worker process.

    The worker claims `claim_size` requests at a time. The default is that of a real worker: it depends on the
    connections and the pace. `clock` tells the age of the connections.
    """
    database = database or shop.database
    relays = (relay_of(server, user, password), *map(relay_of, others))
    line = Line(
        database=database,
        lease=Lease(database, LEASE),
        mailer=Mailer(
            *relays,
            sender=SENDER,
            connections=connections,
            timeouts=timeouts,
            tls_context=tls_context,
            clock=clock,
        ),
        letters=letters or letters_of(template_dir, item_url_template),
        bell=bell or NotedBell(),
        policies=policies,
        policy=RetryPolicy(max_attempts, 60.0, on_unknown),
        connections=connections,
        pace=Pace(claim_size or connections, claim_size or 100),
        throttle=throttle or Throttle(),
    )
    try:
        yield line
    finally:
        await line.mailer.close()


def serve(
    shop: Shop, server: ScriptedRelay, *references: CatalogReference, slice_seconds: float = 60.0, **settings: Any
) -> NotedBell:
    """Runs one slice of a new worker on these lists (default: the mug's). Returns the bell, which it may have rung.

    It ends when its work does: on a busy machine, the usual half second may be over before the first mail.
    """
    bell = NotedBell()

    async def run() -> None:
        async with line_of(shop, server, bell=bell, **settings) as line:
            await deliver(line, [shop.list_id(reference) for reference in references or (MUG,)])

    with patch.object(slice_clock, "SLICE_SECONDS", slice_seconds):
        asyncio.run(run())
    return bell


async def deliver_until_held(line: Line, server: ScriptedRelay, list_ids: Sequence[UUID]) -> asyncio.Task[None]:
    """Runs slices until the relay holds a mail back. Returns the task that ends with the slice of that mail.

    On a busy machine, the first slices may end before a mail is made.
    """
    held = asyncio.Event()

    async def slices() -> None:
        while not held.is_set():
            await deliver(line, list_ids)

    work = asyncio.create_task(slices())
    await asyncio.to_thread(eventually, lambda: server.holding == 1)
    held.set()
    return work


async def serve_until_done(line: Line, shop: Shop) -> None:
    """Runs slices until no list has work."""
    for _ in range(MOST_SLICES):
        work = shop.with_work()
        if not work:
            return
        await deliver(line, sorted(work))
    raise AssertionError("there is always more to do")
