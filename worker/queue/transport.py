"""Kombu's Redis transport, adapted for bells: messages are not restored, and no message stops the worker.

The setting `broker_transport` names it by its path. Senders and workers use it.
"""

from queue import Empty
from typing import Any, ClassVar

import structlog
from kombu.transport import redis
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from worker.domain.redis_url import Sentinels
from worker.redis_servers import OPTIONS, Primary

log = structlog.get_logger()


class Channel(redis.Channel):
    """A channel that drops what is not a message."""

    # With restore, a closing channel requeues unacknowledged bells, or dumps them to a file if Redis is away.
    do_restore = False

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Returns the same connection options as `stream.redis_client`."""
        usual = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return {**usual, **OPTIONS}

    def _brpop_read(self, **options: Any) -> Any:
        """Takes one message. A message that can't be decoded is logged; it has already left the queue."""
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has few types
        except Exception as error:
            if self._closing or self._is_trouble(error):
                raise
            log.warning("bell.rejected", reason=f"not a message: {type(error).__name__}")
            return None

    def _is_trouble(self, error: Exception) -> bool:
        """Whether the error comes from Redis. Kombu lists KeyError too, but here it means a bad message."""
        known = (Empty, *self.connection.connection_errors, *self.connection.channel_errors)
        return isinstance(error, known) and not isinstance(error, KeyError)


class Transport(redis.Transport):
    """Kombu's transport with the channels above. A worker keeps only the newest transport in its event loop."""

    Channel = Channel
    _last: ClassVar["tuple[Any, Any, set[Any]] | None"] = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Removes the previous transport from the loop. Otherwise the loop would run its timers after a reconnect."""
        if Transport._last is not None:
            _let_go(*Transport._last)
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)  # type: ignore[no-untyped-call]
        Transport._last = (loop, self.cycle, set(loop.on_tick) - before)


class SentinelChannel(Channel):
    """A channel to the primary that sentinels name. Kombu's own would need one URL for each sentinel.

    The broker's URL names no more than a host here. The transport option `sentinels` has the rest.
    """

    connection_class = SentinelManagedConnection  # type: ignore[assignment]  # kombu does so, too
    connection_class_ssl = SentinelManagedSSLConnection  # type: ignore[assignment]
    from_transport_options = (  # type: ignore[assignment]  # Channel's has a fixed length
        *Channel.from_transport_options,
        "sentinels",
    )
    sentinels: Sentinels

    def _get_pool(self, asynchronous: bool = False) -> Primary:
        usual = super()._get_pool(asynchronous)  # type: ignore[no-untyped-call]  # it connects nowhere
        login = {"db", "host", "port", "username", "password"}
        options = {name: value for name, value in usual.connection_kwargs.items() if name not in login}
        return Primary(self.sentinels, connection_class=usual.connection_class, **options)


class SentinelTransport(Transport):
    """The same transport for a Redis behind Sentinel."""

    Channel = SentinelChannel


def _let_go(loop: Any, cycle: Any, ticks: set[Any]) -> None:
    """Removes a transport's callbacks and timers from the loop. This frees an epoll descriptor and 10 KB."""
    loop.on_tick.difference_update(ticks)
    for name, timer in vars(cycle).items():
        if name.endswith("_tref") and timer is not None:
            timer.cancel()
