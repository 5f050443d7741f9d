"""The door to Celery: bells that ring for waiting lists, and the worker's side that hears them.

In: ids of waiting lists. Out: Celery messages that carry these ids and nothing else. A message may be lost: the sweep
rings again. `bell` is for those who ring, `consumer` and `transport` adapt Celery and kombu. May import domain.
"""

__all__ = [
    "bell",
    "consumer",
]
