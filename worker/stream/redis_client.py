"""What the doors to Redis share: how they connect, and what an error means.

No command is retried here: an XADD whose reply was lost would make a second entry, and who calls knows better how long
to wait.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.domain.errors import BadSetting, RedisAway

_OPTIONS: Mapping[str, Any] = {
    # Something has to be asked for at once: with TLS the server's session tickets come before the answer, and redis-py
    # gives a connection up that has something to read before the first question.
    "client_name": "stockbell",
    "driver_info": None,  # a user with few rights may not tell more of itself (CLIENT SETINFO)
    "protocol": 2,  # one shape of replies from every server and version
    "health_check_interval": 30,
}


def connect(url: str, *, of: str, timeout: float, connect_timeout: float) -> redis.Redis:
    """A client that connects with its first command. Timeouts in seconds; `of` says whose URL it is in BadSetting."""
    try:
        return redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=connect_timeout,
            **_OPTIONS,
        )
    except ValueError:  # its text may repeat the password
        raise BadSetting(f"{of} can't be understood") from None


@contextmanager
def translated(client: redis.Redis, what: str) -> Iterator[None]:
    """Every error of redis is a RedisAway outside; `what` it was used for."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        # A primary that has become a replica answers for ever, and refuses: the next command connects anew.
        client.connection_pool.disconnect(inuse_connections=False)
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise RedisAway(f"Redis ({what}): {text or type(error).__name__}") from error
