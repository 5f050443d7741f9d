"""Redis connections and the translation of their errors.

No command is retried here: a retried XADD whose reply was lost would add a second entry, and the caller knows better
how long to wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.domain.errors import BadSetting, RedisAway
from worker.domain.redis_url import sentinels_of
from worker.redis_servers import OPTIONS, Primary


def connect(url: str, *, of: str, timeout: float, connect_timeout: float) -> redis.Redis:
    """Returns a client that connects with its first command, to one server or to the primary that sentinels name.

    Timeouts are in seconds. Raises BadSetting for an invalid URL; `of` names the setting in the error text.
    """
    options: dict[str, Any] = {
        **OPTIONS,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "health_check_interval": 30,
    }
    try:
        sentinels = sentinels_of(url)
        if sentinels is None:
            return redis.Redis.from_url(url, **options)
        return redis.Redis.from_pool(Primary(sentinels, **options))
    except ValueError:  # its text may contain the password
        raise BadSetting(f"{of} can't be understood") from None


@contextmanager
def translated(client: redis.Redis, what: str) -> Iterator[None]:
    """Raises RedisAway for every error of redis-py. `what` names the use of Redis in the error text."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        # A primary that became a replica keeps the connection but refuses writes. The next command must reconnect.
        client.connection_pool.disconnect(inuse_connections=False)
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise RedisAway(f"Redis ({what}): {text or type(error).__name__}") from error
