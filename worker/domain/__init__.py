"""The values and rules of the program, without any outside library of ours: pure functions, with the clock passed in.

Events and their fields, catalog references, what counts as in stock, how a try to send can end, what becomes of the
request then, addresses of relays, the token bucket, and the errors that cross the program. Imports nothing of ours.
"""

__all__ = [
    "catalog",
    "errors",
    "event_fields",
    "events",
    "outcomes",
    "relays",
    "stock",
    "token_bucket",
    "verdicts",
]
