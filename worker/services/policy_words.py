"""Sending policies in words and as JSON: those of the shop that are on, and those that hold for one item. Pure.

Quiet hours have words of their own: `services.status` tells whether it is in them.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from worker.domain.policies import ALL, MOST_ITEMS, NO_POLICIES, Own, Policies
from worker.services.story_words import count_words, span_words

_OWN: Final = tuple(each.name for each in fields(Own))


@dataclass(frozen=True, slots=True)
class Line:
    """One policy of an item for people."""

    name: str
    """as a field of `Own`"""
    label: str
    words: str
    is_own: bool
    plain: str
    """the item's own value as `item_policies.read` takes it; "" if it has none"""

    @property
    def whose(self) -> str:
        """Whether it is the item's own, or the shop's."""
        return "its own" if self.is_own else "the shop's"


def policy_lines(holding: Policies, own: Own) -> list[Line]:
    """Returns what holds for an item, for people."""
    words = {
        "min_quantity": ("in stock from", count_words(holding.min_quantity, "piece")),
        "per_unit": ("told for each piece", "everybody" if holding.per_unit is None else f"{holding.per_unit:,}"),
        "wave_seconds": ("between waves", _time_words(holding.wave_seconds)),
        "settle_seconds": ("settles for", _time_words(holding.settle_seconds)),
    }
    values = {name: getattr(own, name) for name in words}
    return [
        Line(name, label, text, values[name] is not None, "" if values[name] is None else plain(name, values[name]))
        for name, (label, text) in words.items()
    ]


def shop_lines(shop: Policies) -> list[str]:
    """Returns a sentence for each policy of the shop that is on."""
    lines = []
    if shop.min_quantity != NO_POLICIES.min_quantity:
        lines.append(f"From {count_words(shop.min_quantity, 'piece')} on an item is in stock.")
    if shop.per_unit is not None:
        then = span_words(shop.wave_seconds) + " later" if shop.wave_seconds else "at once"
        told = count_words(shop.per_unit, "customer is", "customers are")
        lines.append(f"{told} told for each piece, in waves: when all seats are taken, the next one begins {then}.")
        if shop.assumed_quantity is not None:
            pieces = count_words(shop.assumed_quantity, "piece")
            lines.append(f"Where an event says no quantity, {pieces} {_are(shop.assumed_quantity)} assumed.")
    if shop.settle_seconds:
        lines.append(f"Nobody is told before an item has been in stock for {span_words(shop.settle_seconds)}.")
    if shop.digest:
        lines.append(f"What a customer can be told of now goes in one mail, at most {MOST_ITEMS} items.")
    if shop.contact_interval is not None:
        lines.append(f"A customer gets at most one mail in {span_words(shop.contact_interval)}.")
    if shop.request_ttl_days:
        lines.append(f"Who has waited for {count_words(shop.request_ttl_days, 'day')} expires.")
    if shop.keep_told_days:
        lines.append(f"Who was told is deleted {count_words(shop.keep_told_days, 'day')} later.")
    if shop.keep_failed_days:
        lines.append(f"Who FAILED is deleted {count_words(shop.keep_failed_days, 'day')} later.")
    return lines


def shop_json(shop: Policies) -> dict[str, Any]:
    """Returns the policies of the shop as JSON, but for quiet hours. `perUnit` is null for everybody."""
    return {_camel(each.name): getattr(shop, each.name) for each in fields(Policies) if each.name != "window"}


def policies_json(holding: Policies, own: Own) -> dict[str, Any]:
    """Returns what holds for an item as JSON, and what of it is its own. `perUnit` is null for everybody."""
    return {_camel(name): {"value": getattr(holding, name), "own": getattr(own, name) is not None} for name in _OWN}


def own_json(own: Own) -> dict[str, float]:
    """Returns what an item has of its own as JSON. `perUnit` is 0 for everybody."""
    return {_camel(name): value for name in _OWN if (value := getattr(own, name)) is not None}


def plain(name: str, value: float) -> str:
    """Returns a value of an item's own as `item_policies.read` takes it. `name` is a field of `Own`."""
    if name == "per_unit" and value == ALL:
        return "all"
    return f"{value:.15g}" if name.endswith("seconds") else str(value)


def flag(name: str) -> str:
    """Returns the option of `items set` for a field of `Own`."""
    return f"--{name.replace('_', '-')}"


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _time_words(seconds: float) -> str:
    return span_words(seconds) if seconds else "no time"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
