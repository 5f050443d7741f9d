"""The data in Redis: the stream of inventory events, its dead letters, the limits that processes share.

Input: entries from publishers. Output: entries as bytes. `domain.events` decodes them; they are acknowledged after the
commit. Errors of redis-py become RedisAway here. May import domain.
"""

__all__ = [
    "dead_letter",
    "entries",
    "event_stream",
    "figures",
    "shared_bucket",
    "shared_window",
    "sink",
]
