"""Rings bells for the waiting lists that have requests to send."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from worker.domain.errors import RedisAway
from worker.domain.policies import NO_POLICIES, Policies
from worker.store import lists
from worker.store.database import Connection, Database
from worker.store.lists import BELL_SECONDS

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process seldom needs

log = structlog.get_logger()


def ring_waiting(
    database: Database,
    bell: "Bell",
    list_ids: Iterable[UUID] | None = None,
    *,
    recent: float = BELL_SECONDS,
    policies: Policies = NO_POLICIES,
) -> int:
    """Rings for those of these lists (None: of all) that have requests to send. Returns how many lists were rung for.

    A bell that was rung less than `recent` seconds ago counts as queued. In the quiet hours of `policies` nothing is
    rung. Raises DatabaseAway, and RedisAway; the next sweep rings the lost bells again.
    """
    rung = database.write(_mark_rung, None if list_ids is None else list(list_ids), recent, policies)
    if rung:
        bell.ring(rung)
    return len(rung)


def try_to_ring(
    database: Database, bell: "Bell", list_ids: Iterable[UUID] | None = None, policies: Policies = NO_POLICIES
) -> int:
    """Like `ring_waiting`, but only logs that Redis is away. Raises DatabaseAway."""
    try:
        return ring_waiting(database, bell, list_ids, policies=policies)
    except RedisAway as away:
        log.warning("bells.lost", reason=str(away))
        return 0


def _mark_rung(c: Connection, list_ids: Sequence[UUID] | None, recent: float, policies: Policies) -> list[UUID]:
    waiting = lists.with_work(c, list_ids, policies)
    return lists.ring(c, waiting, recent=recent) if waiting else []
