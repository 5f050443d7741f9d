"""The state of the event stream in numbers, as `status` and `doctor` say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.exceptions import NoPermissionError

from worker.stream import recent
from worker.stream.entries import GROUP, PAGE, groups
from worker.stream.recent import Recent

LISTENER_QUIET_MS = 90_000
"""A living listener that has something to read is heard of within this time.

It reads every second. With a batch in hand it first waits for the database: up to 60 s for a statement, and 10 s until
the next try. After a longer silence nobody reads, whatever the reason is.
"""

MAX_COUNTED = 10_000
"""How many entries before, and how many after the last delivered one are counted at most."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of the stream. `lag` is the number of unread entries, or None if there are too many to count.

    `unattended`: entries wait, and no listener was heard of for 90 s. `recent`: what became of the last events.
    """

    length: int
    lag: int | None
    pending: int
    dead_letters: int
    unattended: bool = field(default=False, compare=False)
    recent: Recent = field(default=Recent(), compare=False)


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of the event stream: a listener."""

    name: str
    pending: int
    quiet_seconds: float
    """how long it was not heard of; up to Redis 7.0 a read that found nothing does not count"""


def readers(client: redis.Redis, events: str) -> list[Reader]:
    """Returns the readers of our group, those who were heard of last first; errors are redis-py's."""
    if not any(group["name"] == GROUP.encode() for group in groups(client, events)):
        return []
    found = [
        Reader(each["name"].decode(errors="replace"), each["pending"], each["idle"] / 1000)
        for each in client.xinfo_consumers(events, GROUP)
    ]
    return sorted(found, key=lambda each: each.quiet_seconds)


def read(client: redis.Redis, events: str, dead_letters: str) -> Figures:
    """Returns the numbers of all, unread, pending and dead entries of these two streams; errors are redis-py's."""
    group = next((group for group in groups(client, events) if group["name"] == GROUP.encode()), None)
    length, dead = int(client.xlen(events)), int(client.xlen(dead_letters))
    last = recent.read(client, events)
    if group is None:  # no listener has ever been there
        return Figures(length, lag=length, pending=0, dead_letters=dead, unattended=length > 0, recent=last)
    return Figures(
        length,
        lag=_lag(client, events, group),
        pending=group["pending"],
        dead_letters=dead,
        unattended=_is_unattended(client, events, group),
        recent=last,
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
    """Returns the number of entries after the last delivered one. Redis itself is wrong here after trims and deletes.

    What Redis tells is taken if both ends of the stream are too far away to count, and if it can be right.
    """
    told: int | None = group.get("lag")  # missing before Redis 7.0; null after entries were deleted
    try:
        least, most = _counted(client, events, group["last-delivered-id"])
    except NoPermissionError:  # a user from before this was asked
        return told
    if least == most:
        return least
    return told if told is not None and least <= told <= most else None


def _counted(client: redis.Redis, events: str, delivered: bytes) -> tuple[int, int]:
    """Returns how many entries there are at least, and at most, after the last delivered one.

    It counts from that entry to both ends of the stream, a page each in turn, until one end is reached: mostly one of
    them is near.
    """
    read, unread = 0, 0
    length: int = 0  # read with each page, since the listener trims meanwhile
    after = before = delivered
    while max(read, unread) < MAX_COUNTED:
        with client.pipeline(transaction=True) as pipe:
            pipe.xlen(events)
            pipe.xrange(events, min=b"(" + after, count=PAGE)
            pipe.xrevrange(events, max=before, count=PAGE)
            reply: list[Any] = pipe.execute()
        length, later, earlier = reply
        unread += len(later)
        read += len(earlier)
        if len(later) < PAGE:
            return unread, unread
        if len(earlier) < PAGE:
            unread = max(0, length - read)
            return unread, unread
        after, before = later[-1][0], b"(" + earlier[-1][0]
    return unread, length - read
