"""Plays on paper what `worker.domain.capacity` says in formulas. Pure: the clock is a number, the dice are seeded.

`mails_a_second` plays one worker child: its connections share one core, each waits for the relay's answer, and outcomes
are committed in groups, with a limit on what is written and not committed. `waits_beside_a_hot_item` plays children
that take bells in turn: one bell for a list that is too long to be told, and bells of others.
"""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random


@dataclass(frozen=True, slots=True)
class Child:
    """Seconds: `own` on the core for a mail, `answer` of the relay, `commit` of the database."""

    connections: int
    own: float
    answer: float
    commit: float
    room: int
    """mails that may be written or uncommitted at a time"""


def mails_a_second(child: Child, seconds: float = 5.0) -> float:
    """Returns the rate at which mails are committed, when there is always one more."""
    now = core_free_at = 0.0
    idle, held, uncommitted, committing, told = child.connections, 0, 0, 0, 0
    events: list[tuple[float, bool]] = []  # the time, and whether it is the end of a commit
    while now < seconds:
        while idle and held < child.room:
            core_free_at = max(now, core_free_at) + child.own
            idle, held = idle - 1, held + 1
            heappush(events, (core_free_at + child.answer, False))
        if uncommitted and not committing:
            uncommitted, committing = 0, uncommitted
            heappush(events, (now + child.commit, True))
        now, is_committed = heappop(events)
        if is_committed:
            told, held, committing = told + committing, held - committing, 0
        else:
            idle, uncommitted = idle + 1, uncommitted + 1
    return told / now


def waits_beside_a_hot_item(
    children: int, slice_seconds: float, every: float, service: float, bells: int = 2000, seed: int = 1
) -> list[float]:
    """Returns how long each of many other bells waits for a child, which then serves it for `service` seconds.

    They come at random, one `every` seconds on average. Whoever takes the bell of the hot list serves it for a slice,
    and rings for it again at the beginning of the slice, so one such bell is always queued.
    """
    chance = Random(seed)
    free = sorted(chance.uniform(0, slice_seconds) for _ in range(children))
    coming, queue, waits = chance.expovariate(1 / every), deque([(0.0, True)]), list[float]()
    while len(waits) < bells:
        now = heappop(free)
        while coming <= now:
            queue.append((coming, False))
            coming += chance.expovariate(1 / every)
        rung_at, is_hot = queue.popleft()
        if is_hot:
            queue.append((now, True))
        else:
            waits.append(now - rung_at)
        heappush(free, now + (slice_seconds if is_hot else service))
    return waits
