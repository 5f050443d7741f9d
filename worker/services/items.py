"""One item for people: its facts and stock, who waits and why, past restocks, and what if N pieces come back."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import CatalogReference, Item, Options, compared_options, options_from_text
from worker.domain.errors import Refused
from worker.domain.policies import Own, Policies
from worker.services.demand import money, plain_price
from worker.services.dry_run import Outcome, outcome_of
from worker.services.outlook import Group, Wave, outlook_of
from worker.services.policy_words import Line, policies_json, policy_lines
from worker.services.wire import timestamp
from worker.store import clock, items, lists, quiet_hours, tally
from worker.store.database import Connection, Database
from worker.store.demand import MOST_TOLD
from worker.store.items import Restock
from worker.store.policies import own_of

REASONS: Final[Mapping[str, str]] = {
    "noStock": "no event has said that it is in stock since they signed up",
    "soldOut": "sold out",
    "settling": "it has just come in, and has to stay in stock for a while first",
    "wave": "all seats are taken, and the next wave is to come",
    "paused": "paused",
    "backoff": "waits for another try",
    "interval": "the customer had a mail a while ago",
    "quietHours": "quiet hours: no mails go out now",
    "relayDown": "the relay can't be used",
    "queued": "in line, and told soon",
    "unconfirmed": "the customer has not confirmed yet",
}
"""Why requests wait, by the words of `requests show`."""
_DAY: Final = timedelta(days=1)
LARGEST: Final = 10**9
"""More pieces come back nowhere."""


@dataclass(frozen=True, slots=True)
class Waiters:
    """The waiting list of one set of options."""

    id: UUID
    options: Options
    in_stock: bool
    reasons: Mapping[str, int]
    oldest: datetime | None
    sending: int
    told: int
    """at most `MOST_TOLD` are counted"""
    is_more: bool
    failed: int
    is_paused: bool
    opens_at: datetime | None = None
    """until then there is no seat for anybody here; None: the door is open"""
    settles_at: datetime | None = None
    """until then the item has to stay in stock first"""
    ordered: int = 0
    """how many of those who wait are told whatever the stock"""

    @property
    def waiting(self) -> int:
        """How many wait, without those who have not confirmed."""
        return sum(self.reasons.values()) - self.reasons.get("unconfirmed", 0)


@dataclass(frozen=True, slots=True)
class Shown:
    """An item as its page shows it."""

    id: UUID
    item: Item
    row: Any
    """its details"""
    stock: Sequence[Any]
    lists: Sequence[Waiters]
    pauses: Sequence[tuple[Options | None, datetime]]
    """what is stopped, and since when: None is everything, no options are the whole item"""
    restocks: Sequence[Restock]
    waves: Mapping[Options, Wave]
    """of the rows of `stock` that have seats, by the options as they are compared"""
    own: Own
    """the policies that it has of its own"""
    policies: Policies
    """those that hold"""
    next: Sequence[str]
    """what happens next, in sentences"""
    now: datetime

    def wave(self, row: Any) -> Wave | None:
        """The seats of a row of `stock`; None: there is no limit, or it is not in stock."""
        return self.waves.get(compared_options(row.options))

    def settles_at(self, row: Any) -> datetime | None:
        """Until when a row of `stock` has to stay in stock first."""
        return _ahead(row.settles_at, self.now)

    @property
    def policy_lines(self) -> Sequence[Line]:
        """The policies that hold, and whose each is."""
        return policy_lines(self.policies, self.own)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(each.waiting for each in self.lists)

    @property
    def reasons(self) -> Mapping[str, int]:
        """Why they wait."""
        return sum((Counter(each.reasons) for each in self.lists), Counter[str]())

    @property
    def money(self) -> str | None:
        """How much money waits."""
        price = plain_price(self.row.price)
        return None if price is None else money(price * self.waiting, self.row.currency)

    @property
    def is_paused(self) -> bool:
        """Whether the whole item is paused by itself."""
        return any(options == () for options, _ in self.pauses)

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON."""
        row = self.row
        details = {name: getattr(row, name) for name in ("name", "price", "currency")}
        return {
            "catalogItemId": self.item.catalog_item_id,
            "appId": self.item.app_id,
            **details,
            "imageUrl": row.image_url,
            "itemUrl": row.url,
            "waiting": self.waiting,
            "amount": self.money,
            "reasons": dict(self.reasons),
            "policies": policies_json(self.policies, self.own),
            "next": list(self.next),
            "stock": [
                {
                    "options": dict(options_from_text(each.options)),
                    "inStock": each.in_stock,
                    "quantity": each.quantity,
                    "occurredAt": timestamp(each.occurred_at),
                    "lastInStockAt": each.last_in_stock_at and timestamp(each.last_in_stock_at),
                    "seats": (wave := self.wave(each)) and wave.as_json(),
                    "settlesAt": (settles_at := self.settles_at(each)) and timestamp(settles_at),
                }
                for each in self.stock
            ],
            "lists": [
                {
                    "options": dict(each.options),
                    "inStock": each.in_stock,
                    "waiting": each.waiting,
                    "reasons": dict(each.reasons),
                    "opensAt": each.opens_at and timestamp(each.opens_at),
                    "settlesAt": each.settles_at and timestamp(each.settles_at),
                    "oldestDate": each.oldest and timestamp(each.oldest),
                    "processing": each.sending,
                    "told": each.told,
                    "toldIsMore": each.is_more,
                    "failed": each.failed,
                }
                for each in self.lists
            ],
            "paused": [
                {"options": None if options is None else dict(options), "since": timestamp(since)}
                for options, since in self.pauses
            ],
            "restocks": [
                {
                    "options": dict(each.options),
                    "at": timestamp(each.at),
                    "quantity": each.quantity,
                    "told": each.told,
                    "toldIsMore": each.is_more,
                    "firstSeconds": each.first_seconds,
                    "medianSeconds": each.median_seconds,
                    "lastSeconds": each.last_seconds,
                }
                for each in self.restocks
            ],
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would happen if so many pieces came back now."""

    pieces: int
    options: Options
    outcome: Outcome
    first: Sequence[Any]
    """who would be told first"""
    rate: float | None
    """mails a second; None: nothing was sent in the last day"""
    first_seconds: float | None
    """how long the first mail of a restock took on average in the last day"""

    @property
    def told(self) -> int:
        """How many would be told."""
        return self.outcome.told

    @property
    def seconds(self) -> float | None:
        """How long it would take until all are told; None: it is not known, or policies hold some back."""
        return self.told / self.rate if self.rate and self.told and not self.outcome.next else None

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON. It has no addresses."""
        return {
            "pieces": self.pieces,
            "options": dict(self.options),
            **self.outcome.as_json(),
            "first": [str(row.id) for row in self.first],
            "mailsPerSecond": self.rate,
            "seconds": self.seconds,
            "firstSeconds": self.first_seconds,
        }


def show(c: Connection, candidates: Sequence[Item], shop: Policies) -> Shown:
    """Returns the first of these items that is known, in a shop with these policies. Raises Refused if none is."""
    row = items.find(c, candidates)
    if row is None:
        name = candidates[0].catalog_item_id if candidates else ""
        raise Refused(f'no request and no event has named the item "{name}"')
    own = own_of(row)
    policies, at = shop.of(own), clock.now(c)
    due = items.QUIET if quiet_hours.quiet_until(c) else "relayDown" if items.is_relay_down(c) else "queued"
    waiters = [_waiters(each, due, at) for each in items.waiting(c, row.id)]
    groups = [Group(each.options, each.reasons, each.in_stock, each.settles_at, each.ordered) for each in waiters]
    outlook = outlook_of(lists.stored_levels(c, [row.id]), groups, policies, at)
    return Shown(
        row.id,
        Item(row.app_id, row.catalog_item_id),
        row,
        items.stock(c, row.id),
        waiters,
        [
            (None if each.item_id is None else options_from_text(each.options), each.since)
            for each in items.pauses(c, row.id)
        ],
        items.restocks(c, row.id),
        outlook.waves,
        own,
        policies,
        outlook.sentences(),
        at,
    )


def _waiters(row: Any, due: str, at: datetime) -> Waiters:
    oldest = min([at for at in (row.oldest, row.oldest_ordered, row.oldest_later) if at], default=None)
    return Waiters(
        row.id,
        options_from_text(row.options),
        row.in_stock,
        items.reasons(row, due, at),
        oldest,
        row.sending,
        min(row.told, MOST_TOLD),
        row.told > MOST_TOLD,
        row.failed,
        row.is_paused,
        _ahead(row.opens_at, at),
        _ahead(row.settles_at, at),
        row.ordered,
    )


def _ahead(until: datetime | None, at: datetime) -> datetime | None:
    """Returns a time if it is still to come."""
    return until if until and until > at else None


def what_if(database: Database, reference: CatalogReference, pieces: int, policies: Policies) -> WhatIf:
    """Returns what an event would do that says that so many pieces are there.

    Changes nothing. Raises DatabaseAway.
    """
    event = {
        "catalogItemId": reference.item.catalog_item_id,
        "appId": reference.item.app_id,
        "options": dict(reference.spelled),
        "quantity": pieces,
    }
    at = database.read(clock.now)
    outcome = outcome_of(database, json.dumps(event), policies, at)
    told = {each.options for each in outcome.waiting if each.told}
    first = database.read(_first, reference.item, told)
    return WhatIf(pieces, reference.spelled, outcome, first, *database.read(pace, at))


def _first(c: Connection, item: Item, told: set[Options]) -> Sequence[Any]:
    row = items.find(c, [item]) if told else None
    if row is None:
        return []
    return items.next_told(
        c, [each.id for each in items.lists_of(c, row.id) if options_from_text(each.options) in told]
    )


def pace(c: Connection, now: datetime) -> tuple[float | None, float | None]:
    """Returns mails a second in the best minute of the last day, and the average seconds to a restock's first mail.

    None for what is not known. In the best minute the relay was the limit, or there were no more to be told.
    """
    minutes = [each.n for each in tally.by_minute(c, now - _DAY, 1) if each.kind == "told"]
    totals = tally.totals(c, now - _DAY)
    first = totals.get("first", 0)
    return max(minutes) / 60 if minutes else None, totals.get("first_seconds", 0) / 1000 / first if first else None
