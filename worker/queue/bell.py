"""The door to Celery for those who ring: a message is a doorbell, it carries ids of waiting lists and nothing else.

Losing every message loses nothing (`sweep` rings again), so there are no retries, results, countdowns or late
acknowledgements. `ack_emulation` is off because with it a worker was seen to leave for good when Redis died under load
(kombu restores what a closed channel had not acknowledged, and stumbles).
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

QUEUE = "bells"
DELIVER = "stockbell.deliver"
PROBE = "stockbell.probe"
LISTS_PER_BELL = 100


def celery_app(broker_url: Callable[[], str]) -> Celery:
    """The Celery app. The broker's URL is asked for when something first connects, not before."""
    app = Celery("stockbell", set_as_current=False)
    app.add_defaults(lambda: _configuration(broker_url()))
    return app


def _configuration(broker_url: str) -> dict[str, Any]:
    return {
        "broker_url": broker_url,
        "broker_transport": "worker.queue.transport:Transport",
        # Without it kombu takes any certificate.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if broker_url.startswith("rediss://") else None,
        "broker_transport_options": {
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
        # A bell is taken when a child is free for it: meanwhile it is there for other workers.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # Nothing is acknowledged late, so nothing is cancelled. False is warned about whenever Redis goes away.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_send_task_events": False,
        # Else whoever can publish in Redis could shut workers down, or have them listen to nobody any more.
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_log_color": False,
    }


class Bell:
    """Rings for waiting lists, and looks how many bells nobody has answered yet."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, lists: Sequence[UUID]) -> None:
        """Puts bells into the queue for lists that `store.lists.ring` let through; raises RedisAway."""
        for start in range(0, len(lists), LISTS_PER_BELL):
            self._send(DELIVER, [str(list_id) for list_id in lists[start : start + LISTS_PER_BELL]])

    def ring_probe(self) -> None:
        """Asks a worker to look whether the relay is back; raises RedisAway."""
        self._send(PROBE)

    def queued(self) -> int:
        """How many bells are in the queue; raises RedisAway."""
        with self._connection() as connection:
            channel = connection.default_channel
            return int(channel._size(QUEUE))  # queue_declare would make a queue to count it

    def warm_up(self) -> None:
        """Connects, so that the first bell need not wait for it. A Redis that is away will be found out then."""
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
