"""What all readers of the event stream share: its entries, its consumer group, and its errors as ours."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterError, ResponseError

from worker.domain.errors import BadSetting
from worker.redis_servers import NO_CLUSTER
from worker.stream.dead_letter import Fields
from worker.stream.redis_client import translated

GROUP = "stockbell"
URL = "the Redis URL of the event stream"
"""How errors call the setting: it may be either of two."""
PAGE = 500
"""The number of entries that are read at once when all are read or counted."""

_CLUSTER_ERRORS = (ClusterError, ClusterCrossSlotError, AskError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry, as it was published."""

    id: str
    fields: Fields


def entries(pairs: Iterable[tuple[bytes | None, Fields]]) -> list[Entry]:
    """Returns the entries of a reply, without those that were deleted."""
    return [Entry(str(entry_id, "ascii"), fields) for entry_id, fields in pairs if entry_id]


def groups(client: redis.Redis, stream: str) -> list[dict[str, Any]]:
    """Returns what Redis knows of the stream's groups; nothing if there is no stream."""
    try:
        return list(client.xinfo_groups(stream))
    except ResponseError as error:
        if "no such key" in str(error):
            return []
        raise


@contextmanager
def translated_events(client: redis.Redis) -> Iterator[None]:
    """Raises RedisAway for every error of redis-py, but BadSetting on a Redis Cluster."""
    with translated(client, "events"):
        try:
            yield
        except _CLUSTER_ERRORS:
            raise BadSetting(f"{URL} {NO_CLUSTER}") from None
