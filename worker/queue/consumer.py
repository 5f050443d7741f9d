"""Celery's consumer. It logs once that Redis is away and once that it is back, and drops messages that are not bells.

Anyone who can write to the broker can send anything. So only the task's name and its arguments are used from a message:
no ETA that would keep it in memory, no time limit, no callbacks.
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
"""Seconds between attempts to reach Redis: the first pause, the increment, and the longest pause."""

_IN_PIPELINE = "of pipeline caused error: "
"""redis-py puts the whole command before what Redis said, and with it kombu's control characters."""

log = structlog.get_logger()


class BadBell(ValueError):
    """A message is not a bell. The text says why."""


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """See above. Celery itself logs several lines per attempt, so its logger is silenced (`processes.tasks`)."""

    _is_away = False
    _pause = 0
    """Seconds to wait before connecting anew to a Redis that accepts the connection and refuses commands."""
    _listens_since: float | None = None

    def ensure_connected(self, connection: Any) -> Any:
        """Retries until Redis can be reached."""
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
        """Logs that Redis was lost before a connection was ready."""
        self._away(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Redis was lost, or it refuses us, for example since it became a replica. In both cases we connect anew."""
        self._away(exc)
        super().on_connection_error_after_connected(exc)
        self._wait(is_refused=isinstance(exc, self.channel_errors))

    def on_ready(self) -> None:
        """Logs that Redis is back, if it was away."""
        super().on_ready()
        if self._is_away:
            log.info("redis.back")
        self._is_away = False
        self._listens_since = time.monotonic()

    def _wait(self, *, is_refused: bool) -> None:
        """Waits before the next attempt, longer after each refusal in a row. A lost connection is made anew at once.

        If Redis is really away, `ensure_connected` waits.
        """
        since, self._listens_since = self._listens_since, None
        if since is not None and (not is_refused or time.monotonic() - since > LONGEST_PAUSE):
            self._pause = 0
        for _ in range(self._pause):
            maybe_shutdown()
            time.sleep(1)
        self._pause = min(self._pause + LONGER_BY, LONGEST_PAUSE)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Returns the message handler. It drops and logs messages that are not bells."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_bell(message: Any) -> None:
            try:
                reduce_to_bell(message)
            except Exception as error:  # no message may stop the worker
                reason = str(error) if isinstance(error, BadBell) else f"not a message: {type(error).__name__}"
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
    """Removes all that a bell does not need from a kombu message. Raises BadBell, and kombu's decoding errors."""
    headers = message.headers
    if not isinstance(headers, Mapping) or headers.get("task") not in (DELIVER, PROBE):
        raise BadBell("not a task of Stockbell")
    if headers.get("eta") or headers.get("expires"):
        raise BadBell("a bell has no ETA or expiry")
    if not _is_plain(message.payload):
        raise BadBell("not the arguments of a task")
    message.headers = {"lang": "py", "task": headers["task"], "id": str(uuid4())}
    message.properties = {}
    message.delivery_info = {}


def _is_plain(payload: object) -> bool:
    """Whether a payload is a Celery call with positional arguments only, and without callbacks or chains."""
    match payload:
        case [list(), {**names}, {**then}]:
            return not names and not any(then.values())
    return False
