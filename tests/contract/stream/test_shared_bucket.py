"""The rate that all workers share, on a real Redis: one bucket for all, which goes by the server's clock."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis

from tests.polling import eventually
from tests.redis_server import RedisServer
from worker.domain.errors import BadSetting, RedisAway
from worker.domain.token_bucket import BURST_SECONDS
from worker.stream.shared_bucket import KEY, SharedBucket

SLOW = 0.001
"""Mails per second. No new token comes while a test runs."""


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


def server_time(client: redis.Redis) -> float:
    seconds, microseconds = client.time()
    return float(seconds) + microseconds / 1e6


def filled(client: redis.Redis, tokens: float) -> None:
    client.hset(KEY, mapping={"tokens": tokens, "at": server_time(client)})


def test_the_first_mail_goes_at_once_and_the_next_after_its_time(redis_server: RedisServer) -> None:
    with closing(SharedBucket(redis_server.url, SLOW)) as tokens:
        assert tokens.take(5).mails == 1
        mails, wait = tokens.take(5)
        assert mails == 0
        assert 0 < wait <= 1 / SLOW


def test_what_was_not_used_is_given_back(redis_server: RedisServer, client: redis.Redis) -> None:
    with closing(SharedBucket(redis_server.url, 10_000.0)) as tokens:
        filled(client, 1000)
        assert tokens.take(800) == (800, 0.0)
        assert tokens.take(0, 700) == (0, 0.0)
        assert tokens.take(900) == (900, 0.0)


def test_no_more_is_kept_than_a_burst(redis_server: RedisServer, client: redis.Redis) -> None:
    with closing(SharedBucket(redis_server.url, 100.0)) as tokens:
        client.hset(KEY, mapping={"tokens": 0, "at": server_time(client) - 3600})
        assert tokens.take(1000, 1000).mails == 1 + 100 * BURST_SECONDS


def test_a_clock_that_was_set_back_stops_nobody(redis_server: RedisServer, client: redis.Redis) -> None:
    with closing(SharedBucket(redis_server.url, 1000.0)) as tokens:
        client.hset(KEY, mapping={"tokens": 0, "at": server_time(client) + 3600})
        assert tokens.take(1).mails == 0
        assert eventually(lambda: tokens.take(1).mails) == 1


def test_many_at_once_get_no_more_than_there_is(redis_server: RedisServer, client: redis.Redis) -> None:
    most = int(1 + 10_000 * BURST_SECONDS)
    filled(client, most)
    taken: list[int] = []
    barrier = threading.Barrier(8)

    def work(tokens: SharedBucket) -> None:
        barrier.wait()
        taken.extend(tokens.take(7).mails for _ in range(100))

    began = server_time(client)
    with ExitStack() as stack:
        everybody = [stack.enter_context(closing(SharedBucket(redis_server.url, 10_000.0))) for _ in range(8)]
        threads = [threading.Thread(target=work, args=(tokens,)) for tokens in everybody]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    passed = server_time(client) - began
    assert most <= sum(taken) <= most + 10_000 * passed + 1


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_all_together_get_the_rate(redis_server: RedisServer, client: redis.Redis, workers: int) -> None:
    """Each worker asks when the bucket told it to. However late it asks, all get no more than the rate and a burst."""
    rate, goal = 500.0, 400
    taken, began, ended = 0, 0.0, threading.Event()
    lock = threading.Lock()

    def work(tokens: SharedBucket) -> None:
        nonlocal taken
        while not ended.is_set():
            mails, wait = tokens.take(50)
            with lock:
                taken += mails
                if taken >= goal:
                    ended.set()
            ended.wait(wait)

    with ExitStack() as stack:
        everybody = [stack.enter_context(closing(SharedBucket(redis_server.url, rate))) for _ in range(workers)]
        began = server_time(client)
        threads = [threading.Thread(target=work, args=(tokens,)) for tokens in everybody]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert goal <= taken <= 1 + rate * (server_time(client) - began + BURST_SECONDS)


def test_an_emptied_redis_begins_with_one_mail(redis_server: RedisServer) -> None:
    with closing(SharedBucket(redis_server.url, SLOW)) as tokens:
        assert tokens.take(1).mails == 1
        redis_server.flush()
        assert tokens.take(5).mails == 1


def test_the_key_goes_when_nobody_needs_it(redis_server: RedisServer, client: redis.Redis) -> None:
    with closing(SharedBucket(redis_server.url, 10.0)) as tokens:
        tokens.take(1)
    left: Any = client.ttl(KEY)
    assert 0 < left <= 61


def test_redis_away_is_said_so_and_come_back_it_works(redis_server: RedisServer) -> None:
    with closing(SharedBucket(redis_server.url, 1000.0)) as tokens:
        tokens.take(1)
        redis_server.kill()
        with pytest.raises(RedisAway, match=r"Redis \(rate\)"):
            tokens.take(1)
        redis_server.start()
        assert eventually(lambda: tokens.take(1).mails) == 1


def test_a_url_that_cannot_be_understood_is_not_shown() -> None:
    with pytest.raises(BadSetting) as caught:
        SharedBucket("redis://u:hunter2@localhost:port", 1.0)
    assert "hunter2" not in str(caught.value)
