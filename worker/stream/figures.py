"""The state of the event stream in numbers, as `status` and `doctor` say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.exceptions import NoPermissionError

from worker.stream.entries import GROUP, PAGE, groups

LISTENER_QUIET_MS = 90_000
"""A living listener that has something to read is heard of within this time.

It reads every second. With a batch in hand it first waits for the database: up to 60 s for a statement, and 10 s until
the next try. After a longer silence nobody reads, whatever the reason is.
"""

MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of the stream. `lag` is the number of unread entries, or None if there are too many to count.

    `unattended`: entries wait, and no listener was heard of for 90 s.
    """

    length: int
    lag: int | None
    pending: int
    dead_letters: int
    unattended: bool = field(default=False, compare=False)


def read(client: redis.Redis, events: str, dead_letters: str) -> Figures:
    """Returns the numbers of all, unread, pending and dead entries of these two streams; errors are redis-py's."""
    group = next((group for group in groups(client, events) if group["name"] == GROUP.encode()), None)
    length, dead = int(client.xlen(events)), int(client.xlen(dead_letters))
    if group is None:  # no listener has ever been there
        return Figures(length, lag=length, pending=0, dead_letters=dead, unattended=length > 0)
    return Figures(
        length,
        lag=_lag(client, events, group),
        pending=group["pending"],
        dead_letters=dead,
        unattended=_is_unattended(client, events, group),
    )


def _is_unattended(client: redis.Redis, events: str, group: Mapping[str, Any]) -> bool:
    # Up to 7.0 a read that finds nothing leaves `idle` as it was, so it tells only where something waits. Nor can
    # the lag be believed there: after a foreign trim it never goes away.
    if not (group["pending"] or client.xrange(events, min=b"(" + group["last-delivered-id"], count=1)):
        return False
    try:
        consumers = client.xinfo_consumers(events, GROUP)
    except NoPermissionError:  # a user from before this was asked
        return False
    return all(consumer["idle"] > LISTENER_QUIET_MS for consumer in consumers)


def _lag(client: redis.Redis, events: str, group: Mapping[str, Any]) -> int | None:
    known: int | None = group.get("lag")  # missing before Redis 7.0; null after entries were deleted
    return _counted(client, events, group["last-delivered-id"]) if known is None else known


def _counted(client: redis.Redis, events: str, after: bytes) -> int | None:
    counted = 0
    while counted < MAX_COUNTED:
        page: Any = client.xrange(events, min=b"(" + after, count=PAGE)
        counted += len(page)
        if len(page) < PAGE:
            return counted
        after = page[-1][0]
    return None
