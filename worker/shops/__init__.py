"""Shop systems that can't be changed: turns their own webhooks into inventory events.

In: one HTTP request of a shop system, and how its hook was set up. Out: events in our own form; `domain.events` still
decides what is readable. Pure, but for the libraries that verify signatures. May import domain.
"""

__all__ = ["calls", "systems"]
