"""The sending policies: how much stock wakes, how many are told of it and when, and how long it is remembered. Pure.

They are settings of the shop, and an item may have some of its own. `docs/policies.md` explains each with an example.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from worker.domain.send_window import SendWindow

ALL: Final = 0
"""An item's own `per_unit` that means: everybody, whatever the shop says."""
MOST_PER_UNIT: Final = 1_000_000
MOST_ITEMS: Final = 20
"""A mail tells of no more items than that."""
LONGEST_SECONDS: Final = 10 * 366 * 86_400.0
"""No interval is longer: ten years."""


@dataclass(frozen=True, slots=True)
class Own:
    """What one item has of its own. None: as the shop has it."""

    min_quantity: int | None = None
    per_unit: int | None = None
    """`ALL`, or how many"""
    wave_seconds: float | None = None
    settle_seconds: float | None = None


NOTHING_OWN: Final = Own()


@dataclass(frozen=True, slots=True)
class Policies:
    """The sending policies of the shop, or those that hold for one item (`of`)."""

    min_quantity: int = 1
    """From so many pieces on an item is in stock."""
    per_unit: int | None = None
    """How many customers are told for each piece. None: all of them."""
    wave_seconds: float = 3600.0
    """How long after the last seat of a wave was taken the next one begins."""
    settle_seconds: float = 0.0
    """For so long an item has to be in stock before anybody is told."""
    assumed_quantity: int | None = None
    """How many pieces there are where an event says "in stock" without a number. None: that is not known."""
    window: SendWindow | None = None
    """When mails go out. None: at any time."""
    digest: bool = False
    """Whether what a customer can be told of now goes in one mail."""
    contact_interval: float | None = None
    """At most one mail in so many seconds to one customer. None: as many as there are."""
    request_ttl_days: int | None = None
    """After so many days in line a request expires. None: never, as for the next two."""
    keep_told_days: int | None = None
    """So long a request is kept that was told."""
    keep_failed_days: int | None = None
    """So long a request is kept that FAILED."""

    def is_open(self, now: datetime) -> bool:
        """Whether mails go out now: it is not in quiet hours."""
        return self.window is None or self.window.is_open(now)

    def of(self, own: Own) -> "Policies":
        """Returns what holds for an item with policies of its own."""
        if own is NOTHING_OWN:
            return self
        per_unit = self.per_unit if own.per_unit is None else own.per_unit or None
        return replace(
            self,
            min_quantity=self.min_quantity if own.min_quantity is None else own.min_quantity,
            per_unit=per_unit,
            wave_seconds=self.wave_seconds if own.wave_seconds is None else own.wave_seconds,
            settle_seconds=self.settle_seconds if own.settle_seconds is None else own.settle_seconds,
        )


NO_POLICIES: Final = Policies()
"""The defaults: everybody is told at once."""
