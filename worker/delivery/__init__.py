"""From a claim to a recorded outcome: the heart of the line. Start reading at `deliver`.

In: a bell, that is ids of waiting lists. Out: rows that are NOTIFICATION_SENT, FAILED or RECEIVED again. A task serves
a bell for one `slice`: claims made ahead (`prefetch`), mails with the connections (`in_flight`), outcomes committed in
groups (`recorder`). `line` is the worker process that slices run in. May import mail, the doors, domain.
"""

__all__ = [
    "breaker",
    "deliver",
    "lease",
    "line",
    "slice_clock",
    "throttle",
]
