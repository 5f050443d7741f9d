"""Rings for the waiting lists on which somebody may be told now."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import structlog

from worker.domain.errors import RedisAway
from worker.queue.bell import Bell
from worker.store import lists
from worker.store.database import Connection, Database
from worker.store.lists import BELL_SECONDS

log = structlog.get_logger()


def ring_waiting(
    database: Database,
    bell: Bell,
    list_ids: Iterable[UUID] | None = None,
    *,
    recent: float = BELL_SECONDS,
) -> int:
    """Rings for those of these lists (None: of all) that have somebody to tell; returns how many bells went out.

    A bell rung less than `recent` seconds ago is still on its way. Raises DatabaseAway, RedisAway; bells that are
    lost to Redis are rung again by the next sweep.
    """
    rung = database.write(_let_through, None if list_ids is None else list(list_ids), recent)
    if rung:
        bell.ring(rung)
    return len(rung)


def try_to_ring(database: Database, bell: Bell, list_ids: Iterable[UUID] | None = None) -> int:
    """`ring_waiting`, for those who need not know whether Redis is there. Raises DatabaseAway."""
    try:
        return ring_waiting(database, bell, list_ids)
    except RedisAway as away:
        log.warning("bells.lost", reason=str(away))
        return 0


def _let_through(c: Connection, list_ids: Sequence[UUID] | None, recent: float) -> list[UUID]:
    waiting = lists.with_work(c, list_ids)
    return lists.ring(c, waiting, recent=recent) if waiting else []
