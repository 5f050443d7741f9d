"""Kombu's transport over Redis without what a doorbell doesn't need: nothing is restored, and nothing stops it.

Used by its path (`broker_transport`), by those who ring and by those who listen.
"""

from queue import Empty
from typing import Any, ClassVar

import structlog
from kombu.transport import redis

log = structlog.get_logger()


class Channel(redis.Channel):
    """One that drops what is no message."""

    # Else a closing channel puts bells back that nobody answered, or dumps them into a file where Redis is gone.
    do_restore = False

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Connections as those of `stream`."""
        usual = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return {**usual, "client_name": "stockbell", "driver_info": None, "protocol": 2}

    def _brpop_read(self, **options: Any) -> Any:
        """Takes one message; what can't be decoded is gone from the queue already."""
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has few types
        except Exception as error:
            if self._closing or self._is_trouble(error):
                raise
            log.warning("bell.rejected", reason=f"no message: {type(error).__name__}")
            return None

    def _is_trouble(self, error: Exception) -> bool:
        """Whether it comes from Redis. To kombu a KeyError does too, but a message may lack a key."""
        known = (Empty, *self.connection.connection_errors, *self.connection.channel_errors)
        return isinstance(error, known) and not isinstance(error, KeyError)


class Transport(redis.Transport):
    """Kombu's, with such channels, of which a worker keeps one."""

    Channel = Channel
    _last: ClassVar["tuple[Any, Any, set[Any]] | None"] = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """A worker that lost Redis comes with a new transport: the loop would run the old one's timers for ever."""
        if Transport._last is not None:
            _let_go(*Transport._last)
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)  # type: ignore[no-untyped-call]
        Transport._last = (loop, self.cycle, set(loop.on_tick) - before)


def _let_go(loop: Any, cycle: Any, ticks: set[Any]) -> None:
    """Takes back what a transport gave to the loop, and with it an epoll and 10 KB."""
    loop.on_tick.difference_update(ticks)
    for name, timer in vars(cycle).items():
        if name.endswith("_tref") and timer is not None:
            timer.cancel()
