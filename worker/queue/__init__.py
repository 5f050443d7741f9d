"""The Celery queue: bells for waiting lists, and the consumer side of the worker.

Input: ids of waiting lists. Output: Celery messages that contain only these ids. A message may be lost, because the
sweep rings again. `bell` sends messages; `consumer` and `transport` adapt Celery and kombu. May import domain.
"""

__all__ = [
    "bell",
    "consumer",
]
