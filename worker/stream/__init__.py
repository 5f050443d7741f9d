"""The door to Redis for data: the stream of inventory events, its dead letters, and the rate that workers share.

In: entries that publishers added. Out: entries as bytes, to be decoded by `domain.events`, and acknowledged when they
are committed. Every error of redis becomes RedisAway here. May import domain.
"""

__all__ = [
    "dead_letter",
    "event_stream",
    "shared_bucket",
]
