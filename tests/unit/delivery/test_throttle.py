"""Holding mails back: which tokens are fetched when, and what happens to unused ones."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, cast
from uuid import UUID

from structlog.testing import capture_logs

from tests.clock import Clock
from worker.delivery.throttle import LOT_SECONDS, Throttle, Throttled
from worker.domain.errors import RedisAway
from worker.domain.outcomes import RelayDown, Scope
from worker.domain.replies import Reply, Stage
from worker.domain.reply_rules import Blame
from worker.domain.token_bucket import Grant
from worker.smtp.mailer import Mail
from worker.stream.shared_bucket import SharedBucket

TOO_FAST = RelayDown(Scope.RELAY, Stage.RCPT, "too fast", Reply(450, "4.7.28 too fast"), Blame.PACE)


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class GivenTokens:
    """A bucket that gives these grants one after the other. After them it gives whatever is asked for."""

    def __init__(self, *grants: Grant | RedisAway, rate: float = 100.0) -> None:
        self.rate = rate
        self.asked: list[tuple[int, int]] = []
        self._grants = list(grants)

    def take(self, wanted: int, back: int = 0) -> Grant:
        self.asked.append((wanted, back))
        grant = self._grants.pop(0) if self._grants else Grant(wanted, 0.0)
        if isinstance(grant, RedisAway):
            raise grant
        return grant

    def close(self) -> None:
        pass


class Box:
    """A source of a given number of mails."""

    is_over = False

    def __init__(self, mails: int) -> None:
        self.available = mails

    def next_now(self) -> Mail | None:
        if not self.available:
            return None
        self.available -= 1
        return Mail(UUID(int=self.available), "anne@example.com", b"")

    def put_back(self, mail: Mail) -> None:
        self.available += 1

    def may_write(self) -> bool:
        return True

    def is_wanted(self, mail: Mail) -> bool:
        return True


def throttle_of(tokens: GivenTokens, clock: Clock | None = None) -> Throttle:
    return Throttle(cast(SharedBucket, tokens), clock or Clock())


async def fetched(throttle: Throttle) -> None:
    """Waits until the throttle may ask for tokens again. It then calls `on_tokens`."""
    news = asyncio.Event()
    throttle.on_tokens = news.set
    async with asyncio.timeout(30):
        while throttle._fetching:
            await news.wait()
            news.clear()


def take_all(source: Throttled) -> list[Mail]:
    return list(iter(source.next_now, None))


@in_a_loop
async def test_a_mail_is_given_only_when_a_token_is_there() -> None:
    throttle = throttle_of(GivenTokens(Grant(2, 0.0)))
    source = Throttled(Box(5), throttle)
    assert source.available == 0
    assert source.next_now() is None
    await fetched(throttle)
    assert source.available == 2
    assert len(take_all(source)) == 2


@in_a_loop
async def test_no_more_is_asked_for_than_mails_are_there_nor_than_a_lot() -> None:
    tokens = GivenTokens(rate=100.0)
    throttle = throttle_of(tokens)
    few, many = Throttled(Box(3), throttle), Throttled(Box(500), throttle)
    assert few.available == 0
    await fetched(throttle)
    assert len(take_all(few)) == 3
    assert many.available == 0
    await fetched(throttle)
    assert tokens.asked == [(3, 0), (int(100 * LOT_SECONDS), 0)]


@in_a_loop
async def test_nothing_is_asked_for_where_there_is_no_mail_or_an_answer_is_due() -> None:
    tokens = GivenTokens(Grant(0, 3600.0))
    throttle = throttle_of(tokens)
    assert Throttled(Box(0), throttle).available == 0
    source = Throttled(Box(5), throttle)
    for _ in range(10):
        assert source.next_now() is None
        await asyncio.sleep(0.001)
    assert tokens.asked == [(5, 0)]


@in_a_loop
async def test_tokens_lapse_and_are_given_back_with_the_next_asking() -> None:
    tokens, clock = GivenTokens(), Clock()
    throttle = throttle_of(tokens, clock)
    source = Throttled(Box(5), throttle)
    assert source.available == 0
    await fetched(throttle)
    assert source.next_now()
    clock.now += LOT_SECONDS
    assert source.next_now() is None
    await fetched(throttle)
    assert tokens.asked == [(5, 0), (4, 4)]


@in_a_loop
async def test_a_mail_that_is_put_back_brings_its_token_back() -> None:
    throttle = throttle_of(GivenTokens(Grant(1, 0.0)))
    source = Throttled(Box(5), throttle)
    assert source.available == 0
    await fetched(throttle)
    mail = source.next_now()
    assert mail
    assert source.available == 0
    source.put_back(mail)
    assert source.available == 1


@in_a_loop
async def test_admitted_waits_for_a_token() -> None:
    throttle = throttle_of(GivenTokens(Grant(0, 0.0), Grant(0, 0.0), Grant(1, 0.0)))
    assert await throttle.admitted(asyncio.Event())
    assert throttle.allowed() == 1


@in_a_loop
async def test_admitted_ends_with_the_process() -> None:
    stopping = asyncio.Event()
    waiting = asyncio.create_task(throttle_of(GivenTokens(Grant(0, 3600.0))).admitted(stopping))
    await asyncio.sleep(0.001)
    stopping.set()
    assert not await waiting


@in_a_loop
async def test_redis_away_is_said_once_and_asked_again() -> None:
    away = RedisAway("Redis (rate): connection refused")
    throttle = throttle_of(GivenTokens(away, away))
    with capture_logs() as logs:
        assert await throttle.admitted(asyncio.Event())
    assert [entry["event"] for entry in logs] == ["rate.unknown"]


@in_a_loop
async def test_not_more_need_be_claimed_than_may_go_out() -> None:
    throttle = throttle_of(GivenTokens(rate=1.0))
    assert throttle.most(0.5, 0) == 1
    assert throttle_of(GivenTokens(rate=100.0)).most(0.5, 0) == 50
    assert throttle_of(GivenTokens(rate=100.0)).most(0.5, 30) == 20
    assert Throttle().most(0.5, 0) > 10**9


@in_a_loop
async def test_it_is_off_until_the_relay_finds_us_too_fast() -> None:
    throttle, clock = Throttle(), Clock()
    assert not throttle.is_on
    throttle = Throttle(clock=clock)
    with capture_logs() as logs:
        for number in range(3):
            assert throttle.too_fast(UUID(int=number), TOO_FAST, 100, 0) is TOO_FAST
    assert [(entry["event"], entry["rate"]) for entry in logs] == [("relay.too_fast", 50.0)]
    assert throttle.is_on
    assert throttle.most(0.5, 0) == 25
    clock.now += 3600
    assert not throttle.is_on


@in_a_loop
async def test_both_limits_hold() -> None:
    tokens, clock = GivenTokens(rate=1000.0), Clock()
    throttle = throttle_of(tokens, clock)
    throttle.too_fast(UUID(int=1), TOO_FAST, 40, 0)
    clock.now += 2
    source = Throttled(Box(500), throttle)
    assert source.available == 0
    await fetched(throttle)
    own = 1 + int(20 * 0.15)
    assert tokens.asked == [(own, 0)]
    assert len(take_all(source)) == own
