"""Celery's consumer, which says once that Redis is away and once that it is back, and drops what is no bell.

Whoever can write to the broker can send anything. So of a message nothing is taken but the task's name and its
arguments: no ETA that would keep it in memory, no time limit, no callbacks.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import structlog
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from worker.queue.bell import DELIVER, PROBE

FIRST_PAUSE, LONGER_BY, LONGEST_PAUSE = 1, 1, 5
"""Seconds between tries to reach Redis."""

_IN_PIPELINE = "of pipeline caused error: "
"""redis-py puts the whole command before what Redis said, and with it kombu's control characters."""

log = structlog.get_logger()


class BadBell(ValueError):
    """A message that is not one of ours; the text says why."""


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """See above. Celery's own lines are several for each try, so its logger is silenced (`processes.tasks`)."""

    _is_away = False
    _pause = 0
    """Seconds before the next try, where Redis lets us in and refuses us: that is no trouble of `ensure_connected`."""
    _listens_since: float | None = None

    def ensure_connected(self, connection: Any) -> Any:
        """Tries for as long as it takes."""
        connected = connection.ensure_connection(
            lambda error, _pause: self._away(error),
            interval_start=FIRST_PAUSE,
            interval_step=LONGER_BY,
            interval_max=LONGEST_PAUSE,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return connected

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Redis was lost before a connection was ready."""
        self._away(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Redis was lost, or refuses us: a primary has become a replica, say. Both end with a new connection."""
        self._away(exc)
        super().on_connection_error_after_connected(exc)
        self._wait()

    def on_ready(self) -> None:
        """Listens, for the first time or again."""
        super().on_ready()
        if self._is_away:
            log.info("redis.back")
        self._is_away = False
        self._listens_since = time.monotonic()

    def _wait(self) -> None:
        """Connects at once after it has listened for some time, later and later where it is refused again and again."""
        since, self._listens_since = self._listens_since, None
        if since is not None and time.monotonic() - since > LONGEST_PAUSE:
            self._pause = 0
        for _ in range(self._pause):
            maybe_shutdown()
            time.sleep(1)
        self._pause = min(self._pause + LONGER_BY, LONGEST_PAUSE)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is done with a message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_bell(message: Any) -> None:
            try:
                reduce_to_bell(message)
            except Exception as error:  # nothing that somebody sends may stop the worker
                reason = str(error) if isinstance(error, BadBell) else f"no message: {type(error).__name__}"
                log.warning("bell.rejected", reason=reason)
                message.ack()
            else:
                handle(message)

        return handle_bell

    def _away(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("redis.away", reason=str(error).rpartition(_IN_PIPELINE)[2])
        self._is_away = True


def reduce_to_bell(message: Any) -> None:
    """Leaves of a kombu message's headers only what a bell has; raises BadBell, and whatever kombu does at decoding."""
    headers = message.headers
    if not isinstance(headers, Mapping) or headers.get("task") not in (DELIVER, PROBE):
        raise BadBell("not one of our tasks")
    if headers.get("eta") or headers.get("expires"):
        raise BadBell("a bell is for now")
    if not _is_plain(message.payload):
        raise BadBell("not a task's arguments")
    message.headers = {"lang": "py", "task": headers["task"], "id": str(uuid4())}
    message.properties = {}
    message.delivery_info = {}


def _is_plain(payload: object) -> bool:
    """Whether it is what Celery makes of a call with positional arguments, and nothing that shall follow."""
    match payload:
        case [list(), {**names}, {**then}]:
            return not names and not any(then.values())
    return False
