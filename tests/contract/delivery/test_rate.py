"""Mails held back by the rate that all workers share, or for a relay that says "too fast"."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing

import pytest

from tests.clock import Clock
from tests.contract.lines import line_of, serve, serve_until_done
from tests.contract.shop import Shop
from tests.redis_server import RedisServer
from tests.relay import Answer, Do, ScriptedRelay, StageName
from worker.delivery import breaker as circuit
from worker.delivery import pacing as pacing
from worker.delivery.deliver import deliver
from worker.delivery.slice_clock import SLICE_SECONDS
from worker.delivery.throttle import Throttle
from worker.models import Status
from worker.store import breaker
from worker.stream.shared_bucket import SharedBucket

SENT, RECEIVED = Status.NOTIFICATION_SENT, Status.RECEIVED
TOO_FAST = "450 4.7.28 you send too fast"
SLOW = 0.001
"""Mails per second. While a test runs, only the first mail gets a token."""


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "CUT_SECONDS", 0.1)
    monkeypatch.setattr(circuit, "PAUSE_SECONDS", 0.1)


def status_counts(shop: Shop) -> dict[str, int]:
    return dict(Counter(row.status for row in shop.rows()))


def assert_all_told_at_the_first_try(shop: Shop, server: ScriptedRelay, mails: int) -> None:
    assert status_counts(shop) == {SENT: mails}
    assert all(row.attempts == 0 and row.not_before is None for row in shop.rows())
    assert shop.count() == 0
    assert len(server.accepted) == len(set(server.recipients)) == mails
    assert shop.breaker().state == "closed"


# The rate


def test_a_slice_sends_what_the_rate_allows_and_releases_the_rest(
    shop: Shop, server: ScriptedRelay, redis_server: RedisServer
) -> None:
    shop.waiting(5)
    with closing(SharedBucket(redis_server.url, SLOW)) as tokens:
        serve(shop, server, throttle=Throttle(tokens), slice_seconds=SLICE_SECONDS)
    assert status_counts(shop) == {SENT: 1, RECEIVED: 4}
    assert all(row.claimed_at is None and row.attempts == 0 for row in shop.rows() if row.status == RECEIVED)


def test_no_more_is_claimed_than_the_rate_sends(shop: Shop, server: ScriptedRelay, redis_server: RedisServer) -> None:
    shop.waiting(50)
    with closing(SharedBucket(redis_server.url, 4.0)) as tokens:
        serve(shop, server, throttle=Throttle(tokens), claim_size=50, slice_seconds=SLICE_SECONDS)
    assert sum(row.claim_no > 0 for row in shop.rows()) <= 8


def test_who_may_not_send_claims_nothing(shop: Shop, server: ScriptedRelay, redis_server: RedisServer) -> None:
    shop.waiting(5)

    async def run(tokens: SharedBucket) -> None:
        async with line_of(shop, server, throttle=Throttle(tokens)) as line:
            waiting = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            line.stopping.set()
            await waiting

    with closing(SharedBucket(redis_server.url, SLOW)) as tokens:
        assert tokens.take(1).mails == 1
        asyncio.run(run(tokens))
    assert {row.claim_no for row in shop.rows()} == {0}
    assert server.connections == 0


def test_while_redis_is_away_nothing_is_claimed_and_then_it_goes_on(
    shop: Shop, server: ScriptedRelay, redis_server: RedisServer
) -> None:
    shop.waiting(5)
    redis_server.kill()

    async def run(tokens: SharedBucket) -> None:
        async with line_of(shop, server, throttle=Throttle(tokens)) as line:
            waiting = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.sleep(0.1)
            assert {row.claim_no for row in shop.rows()} == {0}
            redis_server.start()
            await waiting
            await serve_until_done(line, shop)

    with closing(SharedBucket(redis_server.url, 1000.0)) as tokens:
        asyncio.run(run(tokens))
    assert_all_told_at_the_first_try(shop, server, 5)


@pytest.mark.parametrize("workers", [1, 4])
def test_all_workers_together_keep_to_the_rate(
    shop: Shop, server: ScriptedRelay, redis_server: RedisServer, workers: int
) -> None:
    mails, rate = 80, 80.0
    shop.waiting(mails)
    taken_at: list[float] = []
    server.on_accept = lambda _: taken_at.append(time.monotonic())

    async def work(stack: AsyncExitStack, tokens: SharedBucket) -> None:
        line = await stack.enter_async_context(line_of(shop, server, throttle=Throttle(tokens)))
        await serve_until_done(line, shop)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            everybody = [stack.enter_context(closing(SharedBucket(redis_server.url, rate))) for _ in range(workers)]
            await asyncio.gather(*(work(stack, tokens) for tokens in everybody))

    asyncio.run(run())
    assert_all_told_at_the_first_try(shop, server, mails)
    assert taken_at[-1] - taken_at[0] > 0.5 * mails / rate  # however busy the machine is between token and relay


# A relay that says "too fast"


class Limited:
    """A relay that refuses mails at one stage, if it gets more than `most` of them in `seconds`."""

    def __init__(self, server: ScriptedRelay, stage: StageName, most: int, seconds: float) -> None:
        self.refusals = 0
        self._stage = stage
        self._most = most
        self._seconds = seconds
        self._taken: deque[float] = deque()
        server.decide = self.decide

    def decide(self, stage: str, _recipient: str | None) -> Answer | None:
        if stage != self._stage:
            return None
        now = time.monotonic()
        while self._taken and self._taken[0] < now - self._seconds:
            self._taken.popleft()
        if len(self._taken) >= self._most:
            self.refusals += 1
            return TOO_FAST
        self._taken.append(now)
        return None


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
def test_a_relay_that_finds_us_too_fast_is_sent_less(shop: Shop, server: ScriptedRelay, stage: StageName) -> None:
    shop.waiting(30)
    limited = Limited(server, stage, most=10, seconds=0.25)

    async def run() -> None:
        async with line_of(shop, server, claim_size=100) as line:
            await serve_until_done(line, shop)

    asyncio.run(run())
    assert_all_told_at_the_first_try(shop, server, 30)
    assert 1 <= limited.refusals < 30


@pytest.mark.usefixtures("short_pauses")
def test_each_of_several_workers_finds_its_share(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(40)
    Limited(server, "rcpt", most=10, seconds=0.25)

    async def work() -> None:
        async with line_of(shop, server) as line:
            await serve_until_done(line, shop)

    async def run() -> None:
        await asyncio.gather(work(), work(), work())

    asyncio.run(run())
    assert_all_told_at_the_first_try(shop, server, 40)


def test_whoever_was_refused_is_rung_for(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(2)
    server.script("rcpt", Do.USUAL, TOO_FAST)
    bell = serve(shop, server, connections=1)
    assert status_counts(shop) == {SENT: 1, RECEIVED: 1}
    assert bell.rings == [[shop.list_id()]]


@pytest.mark.usefixtures("short_pauses")
def test_a_relay_that_allows_few_connections_is_not_pressed(shop: Shop, server: ScriptedRelay) -> None:
    refused = []

    def decide(stage: str, _recipient: str | None) -> Answer | None:
        if stage == "greeting" and server.open_connections > 2:
            refused.append(stage)
            return "421 4.7.0 too many connections from you"
        return None

    server.decide = decide

    async def run() -> None:
        # The clock stands still, so the mailer does not try whether the relay allows more connections by now.
        async with line_of(shop, server, connections=10, claim_size=20, clock=Clock()) as line:
            shop.waiting(20)
            await serve_until_done(line, shop)
            refused.clear()
            shop.waiting(200)
            await serve_until_done(line, shop)

    asyncio.run(run())
    assert_all_told_at_the_first_try(shop, server, 220)
    assert refused == []


@pytest.mark.usefixtures("short_pauses")
def test_a_worker_that_gets_no_connection_beside_others_tries_again(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(5)
    shop.write(breaker.note_sign_of_life)
    server.script("greeting", "421 4.7.0 too many connections from you", always=True)
    bell = serve(shop, server)
    assert shop.breaker().state == "closed"
    assert bell.rings[-1] == [shop.list_id()]
    assert status_counts(shop) == {RECEIVED: 5}


@pytest.mark.usefixtures("short_pauses")
def test_one_recipient_who_is_always_too_fast_is_deferred_and_stops_nobody(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(10)
    unlucky = shop.rows()[0]
    server.script("rcpt", TOO_FAST, recipient=unlucky.email, always=True)

    async def run() -> list[int]:
        attempts = []
        async with line_of(shop, server, connections=1) as line:
            for _ in range(2):
                await serve_until_done(line, shop)
                assert status_counts(shop) == {SENT: 9, RECEIVED: 1}
                assert shop.waiting_for(unlucky.id) == "backoff"
                attempts.append(shop.row(unlucky.id).attempts)
                shop.change("UPDATE request SET not_before = NULL")
        return attempts

    # This mail was the first. Until the relay had taken another mail, the reason might have been us.
    assert asyncio.run(run()) == [0, 1]
    assert shop.breaker().state == "closed"


@pytest.mark.usefixtures("short_pauses")
def test_a_relay_that_takes_nothing_is_down_whatever_it_says(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(5)
    server.script("mail", TOO_FAST, always=True)
    serve(shop, server)
    assert shop.breaker().state == "open"
    assert {shop.row(request).attempts for request in waiting} == {0}
    assert status_counts(shop) == {RECEIVED: 5}
