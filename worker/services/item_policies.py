"""The sending policies that one item has of its own: read as people write them, changed, and shown.

A change takes effect at once, in the transaction that makes it: see `docs/policies.md`.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from worker.domain import quantities
from worker.domain.catalog import Item, reference_arguments
from worker.domain.event_facts import MAX_QUANTITY
from worker.domain.policies import ALL, LONGEST_SECONDS, MOST_PER_UNIT, Own, Policies
from worker.services.ringing import try_to_ring
from worker.services.story_words import count_words, span_words
from worker.store import actions, lists, policies, requests, stock
from worker.store.database import Connection, Database

if TYPE_CHECKING:
    from worker.queue.bell import Bell  # it brings Celery, 6 MB, which the web process seldom needs

VERB: Final = "items set"
_NAMES: Final = {each.name: each.name.replace("_", "-") for each in fields(Own)}
"""What each policy of an item is called as an option of the command."""
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
        values = [word for name, value in self.values.items() for word in (f"--{_NAMES[name]}", _plain(name, value))]
        named = [*reset, *values, *app, "--", id_] if id_.startswith("-") else [id_, *app, *reset, *values]
        return shlex.join(["stockbell", *VERB.split(), *named])


@dataclass(frozen=True, slots=True)
class Done:
    """What a change did."""

    is_changed: bool
    own: Own
    policies: Policies
    """what holds now"""

    @property
    def lines(self) -> Sequence["Line"]:
        """What holds now, for people."""
        return policy_lines(self.policies, self.own)

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON, as the verbs for admins have it."""
        return {"changed": int(self.is_changed), "refused": [], "policies": policies_json(self.policies, self.own)}


@dataclass(frozen=True, slots=True)
class Line:
    """One policy of an item for people."""

    name: str
    """as a field of `Own`"""
    label: str
    words: str
    is_own: bool
    plain: str
    """the item's own value as `read` takes it; "" if it has none"""

    @property
    def whose(self) -> str:
        """Whether it is the item's own, or the shop's."""
        return "its own" if self.is_own else "the shop's"


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
        try_to_ring(database, bell, list_ids)
    return done


def _change(c: Connection, item: Item, wish: Wish, shop: Policies, who: str) -> tuple[Done, list[UUID]]:
    item_id = lists.lock_items(c, [item])[item]
    before = policies.own(c, item_id)
    after = wish.on(before)
    if after == before:
        return Done(False, before, shop.of(before)), []
    policies.set_own(c, item_id, after)
    _follow(c, item, item_id, shop.of(before), shop.of(after))
    about = {"item": item.catalog_item_id, "app": item.app_id}
    result = {"before": _own_json(before), "after": _own_json(after)}
    actions.note(c, who, VERB, about, command=wish.command(item), result=result, changed=1)
    return Done(True, after, shop.of(after)), requests.lists_of(c, item)


def _follow(c: Connection, item: Item, item_id: UUID, was: Policies, now: Policies) -> None:
    """Does what follows at once from other policies of a locked item."""
    if (was.per_unit, was.wave_seconds) != (now.per_unit, now.wave_seconds):
        policies.open_doors(c, item_id)
    if now.settle_seconds < was.settle_seconds:
        policies.settle_sooner(c, item_id, now.settle_seconds)
    if now.min_quantity != was.min_quantity:
        stock.judge_again(c, item, now)


def policies_json(holding: Policies, own: Own) -> dict[str, Any]:
    """Returns what holds for an item as JSON, and what of it is its own. `perUnit` is null for everybody."""
    return {_camel(name): {"value": getattr(holding, name), "own": getattr(own, name) is not None} for name in _NAMES}


def policy_lines(holding: Policies, own: Own) -> list[Line]:
    """Returns what holds for an item, for people."""
    words = {
        "min_quantity": ("in stock from", count_words(holding.min_quantity, "piece")),
        "per_unit": ("told for each piece", "everybody" if holding.per_unit is None else f"{holding.per_unit:,}"),
        "wave_seconds": ("between waves", _time_words(holding.wave_seconds)),
        "settle_seconds": ("has to be in stock for", _time_words(holding.settle_seconds)),
    }
    return [
        Line(name, label, text, (value := getattr(own, name)) is not None, "" if value is None else _plain(name, value))
        for name, (label, text) in words.items()
    ]


def _own_json(own: Own) -> dict[str, float]:
    return {_camel(name): value for name in _NAMES if (value := getattr(own, name)) is not None}


def _camel(name: str) -> str:
    first, second = name.split("_")
    return f"{first}{second.capitalize()}"


def _time_words(seconds: float) -> str:
    return span_words(seconds) if seconds else "no time"


def _plain(name: str, value: float) -> str:
    """Returns a value as `read` takes it."""
    if name == "per_unit" and value == ALL:
        return "all"
    return f"{value:.15g}" if name.endswith("seconds") else str(value)


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
