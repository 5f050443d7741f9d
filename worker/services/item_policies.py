"""The sending policies that one item has of its own: read as people write them, and changed.

A change takes effect at once, in the transaction that makes it: see `docs/policies.md`.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from worker.domain import quantities
from worker.domain.catalog import Item, reference_arguments
from worker.domain.event_facts import MAX_QUANTITY
from worker.domain.policies import ALL, LONGEST_SECONDS, MOST_PER_UNIT, Own, Policies
from worker.services.policy_words import Line, flag, own_json, plain, policies_json, policy_lines
from worker.services.ringing import try_to_ring
from worker.store import actions, lists, policies, requests, seats, stock
from worker.store.database import Connection, Database

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process seldom needs

VERB: Final = "items set"
_MOST_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Wish:
    """How an item's own policies are to change."""

    is_reset: bool = False
    """All that it has of its own is removed first."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """what it gets of its own, by the fields of `Own`"""

    def on(self, own: Own) -> Own:
        """Returns what an item has of its own after the change."""
        return replace(Own() if self.is_reset else own, **self.values)

    def command(self, item: Item) -> str:
        """Returns the command line that does the same."""
        id_, *app = reference_arguments(item, ())
        reset = ["--reset"] if self.is_reset else []
        values = [word for name, value in self.values.items() for word in (flag(name), plain(name, value))]
        named = [*reset, *values, *app, "--", id_] if id_.startswith("-") else [id_, *app, *reset, *values]
        return shlex.join(["stockbell", *VERB.split(), *named])


@dataclass(frozen=True, slots=True)
class Holding:
    """What holds for an item now."""

    own: Own
    policies: Policies

    @property
    def lines(self) -> Sequence[Line]:
        """It for people."""
        return policy_lines(self.policies, self.own)

    def policies_json(self) -> dict[str, Any]:
        """Returns it as JSON."""
        return {"policies": policies_json(self.policies, self.own)}


@dataclass(frozen=True, slots=True)
class Done(Holding):
    """What a change did, and what holds since."""

    is_changed: bool

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON, as the verbs for admins have it."""
        return {"changed": int(self.is_changed), "refused": [], **self.policies_json()}


def with_own(database: Database, shop: Policies) -> Sequence[tuple[Item, Holding]]:
    """Returns the items that have policies of their own, and what holds for each. Raises DatabaseAway."""
    rows = [(Item(row.app_id, row.catalog_item_id), policies.own_of(row)) for row in database.read(policies.with_own)]
    return [(item, Holding(own, shop.of(own))) for item, own in rows]


def read(given: Mapping[str, str], *, is_reset: bool) -> tuple[Wish, Mapping[str, str]]:
    """Returns the change that texts mean, by the fields of `Own`, and what is wrong with each text that can't be read.

    An empty text leaves a policy alone.
    """
    values: dict[str, float] = {}
    errors: dict[str, str] = {}
    for name, text in given.items():
        try:
            if text.strip():
                values[name] = _READ[name](text.strip())
        except ValueError as bad:
            errors[name] = str(bad)
    return Wish(is_reset, values), errors


def change(database: Database, bell: "Bell", item: Item, wish: Wish, shop: Policies, who: str) -> Done:
    """Changes what an item has of its own, and notes who did so. The item may be unknown. Raises DatabaseAway.

    Bells ring for whoever may be told by the new policies; if Redis is away the next sweep rings them.
    """
    done, list_ids = database.write(_change, item, wish, shop, who)
    if list_ids:
        try_to_ring(database, bell, list_ids, shop)
    return done


def _change(c: Connection, item: Item, wish: Wish, shop: Policies, who: str) -> tuple[Done, list[UUID]]:
    item_id = lists.lock_items(c, [item])[item]
    before = policies.own(c, item_id)
    after = wish.on(before)
    if after == before:
        return Done(before, shop.of(before), is_changed=False), []
    policies.set_own(c, item_id, after)
    _follow(c, item, item_id, shop.of(before), shop.of(after), shop)
    about = {"item": item.catalog_item_id, "app": item.app_id}
    result = {"before": own_json(before), "after": own_json(after)}
    actions.note(c, who, VERB, about, command=wish.command(item), result=result, changed=1)
    return Done(after, shop.of(after), is_changed=True), requests.lists_of(c, item)


def _follow(c: Connection, item: Item, item_id: UUID, was: Policies, now: Policies, shop: Policies) -> None:
    """Does what follows at once from other policies of a locked item."""
    if (was.per_unit, was.wave_seconds) != (now.per_unit, now.wave_seconds):
        seats.open_doors(c, [item_id])
    if now.settle_seconds < was.settle_seconds:
        policies.settle_sooner(c, item_id, now.settle_seconds)
    if now.min_quantity != was.min_quantity:
        stock.judge_again(c, item, shop)


def _pieces(text: str) -> int:
    return _whole(text, MAX_QUANTITY, "it must be a whole number of pieces, at least 1")


def _per_unit(text: str) -> int:
    if text.lower() == "all":
        return ALL
    return _whole(text, MOST_PER_UNIT, f"it must be a whole number from 1 to {MOST_PER_UNIT}, or all")


def _whole(text: str, most: int, must: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else 0
    if not 1 <= number <= most:
        raise ValueError(must)
    return number


def _seconds(text: str) -> float:
    must = "it must be a time of at most ten years, like 90 (seconds), 10min or 1h 30min; 0 is none"
    try:
        seconds = quantities.seconds(text, bare="s")
    except ValueError:
        raise ValueError(must) from None
    if seconds > LONGEST_SECONDS:
        raise ValueError(must)
    return seconds


_READ: Final[Mapping[str, Callable[[str], float]]] = {
    "min_quantity": _pieces,
    "per_unit": _per_unit,
    "wave_seconds": _seconds,
    "settle_seconds": _seconds,
}
