"""What became of the last events: how many were dead letters, and why.

The listener adds one note per batch to a short stream of its own. The event stream can't tell, since it is trimmed, and
the dead letters don't say how many events were well.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import NoPermissionError, ResponseError

KEPT_NOTES = 100
LAST_EVENTS = 20
"""How many events are looked at; more where one batch had more."""
RECENT_SECONDS = 3600
"""Events before that are not looked at, so that one bad event in a quiet shop does not alarm for ever."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The last events: how many there were, how many of them were dead letters, and the commonest reason of these."""

    events: int = 0
    dead: int = 0
    reason: str | None = None

    @property
    def mostly_dead(self) -> bool:
        """Whether more than half of them were dead letters."""
        return 2 * self.dead > self.events

    @property
    def dead_share(self) -> float | None:
        """The part of them that were dead letters, from 0 to 1. None without events."""
        return round(self.dead / self.events, 3) if self.events else None


def note(client: redis.Redis, events: str, taken: int, reasons: Sequence[str]) -> None:
    """Notes a batch: how many events were taken, and the reason of each dead letter.

    A Redis that is full or does not permit it keeps no note: nothing depends on it but figures.
    """
    fields: dict[Any, Any] = {"taken": taken, "dead": len(reasons)}
    if reasons:
        fields["reason"] = Counter(reasons).most_common(1)[0][0]
    try:
        client.xadd(_key(events), fields, maxlen=KEPT_NOTES)
    except ResponseError:
        return


def read(client: redis.Redis, events: str) -> Recent:
    """Returns what became of the last events. Without permission nothing is known."""
    since = int((time.time() - RECENT_SECONDS) * 1000)
    try:
        notes: Any = client.xrevrange(_key(events), min=since, count=LAST_EVENTS)
    except NoPermissionError:
        return Recent()
    return _summed([fields for _, fields in notes])


def _summed(newest_first: Sequence[dict[bytes, bytes]]) -> Recent:
    count = dead = 0
    reasons = Counter[str]()
    for fields in newest_first:
        if count >= LAST_EVENTS:
            break
        count += int(fields[b"taken"]) + int(fields[b"dead"])
        dead += int(fields[b"dead"])
        if b"reason" in fields:
            reasons[fields[b"reason"].decode()] += int(fields[b"dead"])
    return Recent(count, dead, reasons.most_common(1)[0][0] if reasons else None)


def _key(events: str) -> str:
    return f"stockbell:recent:{events}"
