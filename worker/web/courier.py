"""Brings changes to one endpoint: signs each in the endpoint's format, sends it, and judges the answer."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import structlog

from worker.domain import webhooks
from worker.domain.errors import RedisAway, StockbellError
from worker.domain.webhooks import Format, News
from worker.store.deliveries import Answers, Delivery, Ended
from worker.store.endpoints import Endpoint
from worker.stream.sink import Sink
from worker.web import signing
from worker.web.posting import AT_ONCE, Answer, Poster
from worker.web.signing import JwtKey

GONE: Final = 410
SLOW: Final = frozenset({429, 502, 504})
TOO_MANY: Final = 429
UNAVAILABLE: Final = 503
NO_KEY: Final = "there is no key for Wix's format: run `stockbell webhooks keygen`"
REDIS_THREADS: Final = 2
_TYPES: Final = {Format.STANDARD: "application/json", Format.WIX: "text/plain"}

log = structlog.get_logger()

Keys = Callable[[], JwtKey | None]
"""returns the key that signs JWTs now"""


class Door(Protocol):
    """A way to an endpoint: HTTP or Redis."""

    async def send(self, endpoint: Endpoint, news: News) -> Answer:
        """Sends one change. Never raises."""

    async def close(self) -> None:
        """Closes the connections."""


@dataclass(slots=True)
class Http:
    """Posts to a URL."""

    poster: Poster
    keys: Keys

    async def send(self, endpoint: Endpoint, news: News) -> Answer:
        """Signs at each try: signatures have the time, and JWTs end soon."""
        now = datetime.now(UTC)
        key = self.keys() if endpoint.format is Format.WIX else None
        if endpoint.format is Format.WIX and key is None:
            return Answer(why=NO_KEY)
        body = key.sign(webhooks.wix_claim(news, endpoint.id), now) if key else webhooks.standard_body(news)
        return await self.poster.post(body, _headers(endpoint, news, body, now))

    async def close(self) -> None:
        """Closes the connections."""
        await self.poster.close()


@dataclass(slots=True)
class RedisStream:
    """Adds to a stream in Redis."""

    sink: Sink
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(REDIS_THREADS, "redis"))

    async def send(self, endpoint: Endpoint, news: News) -> Answer:
        """Adds one entry, in a thread."""
        run = asyncio.get_running_loop().run_in_executor
        try:
            await run(self.threads, self.sink.add, news.id, webhooks.standard_body(news))
        except RedisAway as away:
            return Answer(why=str(away))
        return Answer()

    async def close(self) -> None:
        """Closes the connections."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.sink.close()


def door_to(endpoint: Endpoint, keys: Keys) -> Door:
    """Returns the way to an endpoint. Connects to nothing. Raises StockbellError if its URL can't be understood."""
    if endpoint.is_stream:
        return RedisStream(Sink(endpoint.url))
    return Http(Poster(endpoint.url, allows_private=endpoint.allows_private), keys)


async def send_test(endpoint: Endpoint, key: JwtKey | None) -> Answer:
    """Sends one event about no request now, in the endpoint's own form."""
    at = datetime.now(UTC)
    facts: dict[str, object] = {
        "catalogReference": {"catalogItemId": "test", "appId": str(webhooks.APP_ID)},
        "contactId": str(UUID(int=0)),
        "status": "RECEIVED",
        "createdDate": webhooks.timestamp(at),
    }
    door = door_to(endpoint, lambda: key)
    try:
        return await door.send(endpoint, News(UUID(int=0), int(at.timestamp()), webhooks.Kind.UPDATED, at, facts))
    finally:
        await door.close()


class Courier:
    """What one process has under way to one endpoint: up to 16 at once, fewer while it is asked to slow down."""

    def __init__(self, endpoint: Endpoint, keys: Keys, wake: asyncio.Event) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self._wake = wake
        self._door: Door | None = None
        self._width = AT_ONCE
        self._under_way: dict[UUID, tuple[Delivery, asyncio.Task[None]]] = {}
        self._ended: list[Ended] = []
        self._answers = Answers()

    @property
    def free(self) -> int:
        """How many more it can take."""
        return max(0, self._width - len(self._under_way))

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing under way and nothing to tell."""
        return not self._under_way and not self._ended

    def start(self, delivery: Delivery) -> None:
        """Sends a delivery, beside others."""
        self._under_way[delivery.id] = delivery, asyncio.create_task(self._bring(delivery))

    def results(self) -> tuple[list[Ended], Answers]:
        """Returns what has ended since the last call."""
        found = self._ended, self._answers
        self._ended, self._answers = [], Answers()
        return found

    def put_back(self, ended: Sequence[Ended], answers: Answers) -> None:
        """Keeps results that could not be recorded, for the next call of `results`."""
        self._ended[:0] = ended
        self._answers = _both(answers, self._answers)

    async def stop(self) -> list[Ended]:
        """Ends what is under way, so that others may try it at once. Returns what has to be recorded."""
        cut_off = list(self._under_way.values())
        self._under_way.clear()
        for _, task in cut_off:
            task.cancel()
        await asyncio.gather(*(task for _, task in cut_off), return_exceptions=True)
        if self._door:
            await self._door.close()
        ended = [*self._ended, *(Ended(each, each.tries, 0.0) for each, _ in cut_off)]
        self._ended = []
        return ended

    async def _bring(self, delivery: Delivery) -> None:
        try:
            self._door = self._door or door_to(self.endpoint, self._keys)
            answer = await self._door.send(self.endpoint, delivery.news)
        except StockbellError as bad:
            answer = Answer(why=str(bad))
        except Exception as fault:  # ours: the delivery waits for the next try, and no other one is held up
            log.error("webhooks.fault", endpoint_id=str(self.endpoint.id), error=type(fault).__name__)
            answer = Answer(why=f"a fault of Stockbell: {type(fault).__name__}")
        self._judge(delivery, answer)

    def _judge(self, delivery: Delivery, answer: Answer) -> None:
        slow = webhooks.slow_seconds(answer.retry_after) if _asks_for_a_pause(answer) else None
        is_success = answer.why is None
        self._width = min(AT_ONCE, self._width + 1) if is_success else self._width
        if slow is not None:
            self._width = max(1, self._width // 2)
        self._answers = _both(self._answers, Answers(is_success, slow, answer.status == GONE))
        self._ended.append(_ended(delivery, answer, slow))
        self._under_way.pop(delivery.id, None)
        self._wake.set()


def _asks_for_a_pause(answer: Answer) -> bool:
    return answer.status in SLOW or (answer.status == UNAVAILABLE and answer.retry_after is not None)


def _both(one: Answers, other: Answers) -> Answers:
    slow = max((each.slow for each in (one, other) if each.slow is not None), default=None)
    return Answers(one.is_success or other.is_success, slow, one.is_gone or other.is_gone)


def _ended(delivery: Delivery, answer: Answer, slow: float | None) -> Ended:
    if answer.why is None:
        return Ended(delivery, delivery.tries + 1, None, answer.status)
    is_old = (datetime.now(UTC) - delivery.news.at).total_seconds() > sum(webhooks.DELAYS)
    if answer.status == TOO_MANY and not is_old:  # it says nothing about this one, so that costs it no try
        return Ended(delivery, delivery.tries, slow, answer.status, answer.why)
    tries = delivery.tries + 1
    delay = webhooks.delay_after(tries, random.random())
    later = None if delay is None else max(delay, slow or 0.0)
    return Ended(delivery, tries, later, answer.status, answer.why)


def _headers(endpoint: Endpoint, news: News, body: str, now: datetime) -> Mapping[str, str]:
    return {
        "content-type": _TYPES[endpoint.format],
        "user-agent": "Stockbell",
        **signing.headers(news.id, body, endpoint.secrets, now),
    }
