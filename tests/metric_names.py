"""The names of all series that `/metrics` has, as rules and dashboards write them."""

from typing import Final

_GAUGES: Final = (
    *("requests", "requests_due", "requests_held", "requests_unconfirmed"),
    *("oldest_due_seconds", "overdue_claims", "workers", "last_sweep_seconds", "breaker_open", "paused"),
    *("events_lag", "events_pending", "dead_letters", "bells"),
    *("webhook_backlog", "webhook_oldest_seconds", "up", "build_info"),
)
_COUNTERS: Final = ("mails", "signups", "unsubscribes", "http_requests")
_HISTOGRAMS: Final = ("restock_to_mail_seconds", "restock_to_first_mail_seconds", "http_seconds")

NAMES: Final = frozenset(
    f"stockbell_{name}"
    for name in (
        *_GAUGES,
        *(f"{name}_total" for name in _COUNTERS),
        *(f"{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum", "count")),
    )
)
