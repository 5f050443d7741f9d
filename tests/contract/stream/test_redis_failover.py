"""A fail-over of Redis. The old primary is a replica now and refuses writes. New connections reach the new primary."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
import redis

from tests.polling import eventually
from tests.proxy import HOST, Proxy
from tests.redis_server import RedisServer
from worker.domain.errors import RedisAway
from worker.queue.bell import Bell, celery_app
from worker.stream.event_stream import Stream
from worker.stream.shared_bucket import SharedBucket


class Pair:
    """A primary and its replica behind one address."""

    def __init__(self, old: RedisServer, new: RedisServer, address: Proxy) -> None:
        self.url = f"redis://{HOST}:{address.port}/0"
        self._old, self._new, self._address = old, new, address

    def fail_over(self) -> None:
        with self._old.client() as old, self._new.client() as new:
            # Replication is asynchronous: these tests are not about what a fail-over loses.
            eventually(lambda: _offset(new) >= _offset(old), until="the replica has all that was written")
            self._address.lead_to(self._new.port)
            new.replicaof("NO", "ONE")
            old.replicaof(HOST, str(self._new.port))

    def new(self) -> redis.Redis:
        return self._new.client()


def _offset(client: redis.Redis) -> int:
    """Returns how much of the primary's stream of writes a server has."""
    replication: Any = client.info("replication")
    return int(replication["slave_repl_offset" if replication["role"] == "slave" else "master_repl_offset"])


@pytest.fixture
def pair() -> Iterator[Pair]:
    with closing(RedisServer({"repl-diskless-sync-delay": "0"})) as old, closing(RedisServer()) as new:
        old.skip_unless_ours()
        old.start()
        new.start()
        with new.client() as client:
            client.replicaof(HOST, str(old.port))
            eventually(lambda: client.info("replication")["master_link_status"] == "up", until="the replica is one")
        with Proxy(old.port) as address:
            yield Pair(old, new, address)


def works_at_the_second_try(work: Callable[[], Any]) -> None:
    """Asserts that the first try is refused and the second succeeds."""
    with pytest.raises(RedisAway, match="read only replica"):
        work()
    work()


def test_the_stream_goes_on_at_the_new_primary(pair: Pair) -> None:
    with closing(Stream(pair.url, "events", consumer="me")) as stream, pair.new() as new:
        stream.read(1, 0)
        pair.fail_over()
        works_at_the_second_try(lambda: stream.publish({"catalogItemId": "mug-1"}))
        assert new.xlen("events") == 1


def test_the_rate_is_asked_for_at_the_new_primary(pair: Pair) -> None:
    with closing(SharedBucket(pair.url, 1000.0)) as tokens:
        tokens.take(1)
        pair.fail_over()
        works_at_the_second_try(lambda: tokens.take(1))


def test_bells_ring_at_the_new_primary(pair: Pair) -> None:
    with celery_app(lambda: pair.url) as app:
        bell = Bell(app)
        bell.ring([UUID(int=1)])
        pair.fail_over()
        works_at_the_second_try(lambda: bell.ring([UUID(int=2)]))
        assert bell.queued() == 2
