"""Sends bells: Celery messages that contain ids of waiting lists and nothing else.

Losing every message loses nothing (`sweep` rings again), so there are no retries, results, countdowns or late
acknowledgements. `ack_emulation` is off: with it, a worker exited for good when Redis died under load, because kombu
failed while it restored unacknowledged messages of a closed channel. See *bell* in `docs/glossary.md`.
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from celery import Celery
from kombu import Connection
from kombu.exceptions import KombuError

from worker.domain.errors import RedisAway
from worker.domain.redis_url import sentinels_of

QUEUE = "bells"
DELIVER = "stockbell.deliver"
PROBE = "stockbell.probe"
LISTS_PER_BELL = 100


def celery_app(broker_url: Callable[[], str]) -> Celery:
    """Returns the Celery app. It calls `broker_url` at the first connection, not before."""
    app = Celery("stockbell", set_as_current=False)
    app.add_defaults(lambda: _configuration(broker_url()))
    return app


def _configuration(broker_url: str) -> dict[str, Any]:
    sentinels = sentinels_of(broker_url)
    return {
        # Celery takes a + or a comma in a URL for something else. The sentinels are asked by the transport.
        "broker_url": "redis://sentinel" if sentinels else broker_url,
        "broker_transport": f"worker.queue.transport:{'SentinelTransport' if sentinels else 'Transport'}",
        # Without this, kombu accepts any certificate.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if broker_url.startswith("rediss") else None,
        "broker_transport_options": {
            "sentinels": sentinels,
            "ack_emulation": False,
            "global_keyprefix": "stockbell:",
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # What Redis refuses ends no worker: after a fail-over the old primary lets us in, and only reads.
        "broker_channel_error_retry": True,
        "task_default_queue": QUEUE,
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "result_backend": None,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "worker_consumer": "worker.queue.consumer:Consumer",
        # A bell is taken only when a child is free. Until then other workers can take it.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # This cancels only tasks with late acknowledgement, and there are none. With False, Celery logs a warning
        # whenever Redis goes away.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_send_task_events": False,
        # With remote control, anyone who can publish in Redis could shut workers down or stop them consuming.
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_log_color": False,
    }


class Bell:
    """Sends bells for waiting lists, and counts the queued ones."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, lists: Sequence[UUID]) -> None:
        """Queues bells for lists that `store.lists.ring` returned. Raises RedisAway."""
        for start in range(0, len(lists), LISTS_PER_BELL):
            self._send(DELIVER, [str(list_id) for list_id in lists[start : start + LISTS_PER_BELL]])

    def ring_probe(self) -> None:
        """Asks a worker to probe the relay. Raises RedisAway."""
        self._send(PROBE)

    def queued(self) -> int:
        """Returns the number of bells in the queue. Raises RedisAway."""
        with self._connection() as connection:
            channel = connection.default_channel
            return int(channel._size(QUEUE))  # queue_declare would also create the queue

    def warm_up(self) -> None:
        """Connects, so that the first bell is not delayed. Ignores RedisAway: the first bell will raise it."""
        with suppress(RedisAway):
            self.queued()

    def _send(self, task: str, *args: object) -> None:
        with self._connection() as connection:
            self._app.send_task(task, args=args, queue=QUEUE, connection=connection, retry=False, ignore_result=True)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._app.connection_or_acquire(pool=True) as connection:
            try:
                yield connection
            except (KombuError, *connection.connection_errors, *connection.channel_errors) as error:
                raise RedisAway(f"Redis (broker): {error}") from error
