"""What happens next to those who wait for an item, in sentences: who is told now, and what the others wait for. Pure.

The seats are those that a claim would find now (`domain.ledger`), so what is said here is what the line does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import Options, compared_options, options_from_text, options_text
from worker.domain.ledger import Seats, at_claim, next_turn
from worker.domain.policies import Policies
from worker.domain.stock import Level, Levels
from worker.services.story_words import count_words, later_words, options_words, span_words
from worker.services.wire import timestamp

MOST_NAMED: Final = 3
MOST_WAVES: Final = 5
"""An item may have thousands of variants with seats of their own. Those with most people are told of."""


@dataclass(frozen=True, slots=True)
class Wave:
    """The seats of one stock row, as the next claim finds them."""

    seats: Seats
    is_new: bool
    """It begins with the next claim."""
    turns_at: datetime | None
    """When the next wave begins. None: seats are left, and it begins an interval after the last one was taken."""

    @property
    def is_whole(self) -> bool:
        """Whether nobody has taken a seat of it yet."""
        return self.is_new or (self.seats.taken_at is None and self.left == self.granted)

    @property
    def left(self) -> int:
        """How many seats are free."""
        return self.seats.left or 0

    @property
    def granted(self) -> int:
        """How many seats this wave has had."""
        return self.seats.granted or 0

    def words(self, now: datetime) -> str:
        """Returns it for people."""
        if self.is_new:
            return f"wave {self.seats.wave} is due, with {count_words(self.granted, 'seat')}"
        left = f"wave {self.seats.wave}: {self.left:,} of {count_words(self.granted, 'seat')} left"
        if self.turns_at is None:
            return left
        return f"{left}, the next wave at {utc_words(self.turns_at, now)}"

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON."""
        return {
            "left": self.left,
            "granted": self.granted,
            "wave": self.seats.wave,
            "nextWaveAt": self.turns_at and timestamp(self.turns_at),
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Those who wait in one list: under which options, and how many for which reason."""

    options: Options
    reasons: Mapping[str, int]
    in_stock: bool
    settles_at: datetime | None
    ordered: int = 0
    """how many of them are told whatever the stock: they need no seat"""

    @property
    def going(self) -> int:
        """How many of them need no seat, and are told now."""
        return min(self.ordered, self.reasons.get("queued", 0))

    @property
    def seated(self) -> int:
        """How many of them are told now if there is a seat."""
        return self.reasons.get("queued", 0) - self.going + self.reasons.get("wave", 0)


def wave_of(level: Level, policies: Policies, now: datetime) -> Wave | None:
    """Returns the seats of a stock row. None: there is no limit to how many are told of it, or it is not in stock."""
    if not level.in_stock:
        return None
    seats = at_claim(level.seats, level.quantity, policies, now)
    if seats.left is None:
        return None
    return Wave(seats, seats.wave != level.seats.wave, next_turn(seats, policies))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an item, and what follows from it."""

    groups: Sequence[Group]
    levels: Mapping[Options, Level]
    """by the options as they are compared"""
    spelled: Mapping[Options, Options]
    """the options of each level as events have them"""
    policies: Policies
    now: datetime

    @property
    def waves(self) -> Mapping[Options, Wave]:
        """The rows that have seats."""
        found = ((about, wave_of(level, self.policies, self.now)) for about, level in self.levels.items())
        return {about: wave for about, wave in found if wave}

    def sentences(self) -> list[str]:
        """Returns what happens next."""
        if not self._waiting:
            return ["Nobody waits for this item."]
        found = [*self._held("paused"), *self._out(), *self._too_late(), *self._settling(), *self._told()]
        return [
            *found,
            *self._held("quietHours"),
            *self._held("relayDown"),
            *self._held("backoff"),
            *self._held("interval"),
        ]

    @property
    def _waiting(self) -> int:
        return sum(sum(each.reasons.values()) - each.reasons.get("unconfirmed", 0) for each in self.groups)

    def _sum(self, *reasons: str) -> int:
        return sum(each.reasons.get(reason, 0) for each in self.groups for reason in reasons)

    def _who(self, number: int) -> str:
        """Those of whom a sentence is: all, or how many."""
        return "Everybody who waits" if number == self._waiting else f"{number:,} of {self._waiting:,} who wait"

    def _held(self, reason: str) -> Iterator[str]:
        until = {
            "paused": "sending is paused, and nobody is told until it is resumed",
            "quietHours": "quiet hours, and mails go out when they are over",
            "relayDown": "no mail can be sent until the relay takes some again",
            "backoff": "a try did not succeed, and the next one is made by itself",
            "interval": "they had another mail a while ago, and are told when the contact interval is over",
        }
        if number := self._sum(reason):
            yield f"{self._who(number)}: {until[reason]}."

    def _out(self) -> Iterator[str]:
        groups = [each for each in self.groups if not each.in_stock]
        number = sum(each.reasons.get(reason, 0) for each in groups for reason in ("soldOut", "noStock"))
        if not number:
            return
        least = self.policies.min_quantity
        pieces = f", with at least {count_words(least, 'piece')}" if least > 1 else ""
        then = f"until an event says that it is in stock{pieces}"
        if number == self._waiting:
            yield f"Not in stock: nobody is told {then}."
        else:
            named = self._named([each.options for each in groups if each.reasons])
            yield f"{self._who(number)} ({named}): not in stock, and nobody is told {then}."

    def _too_late(self) -> Iterator[str]:
        number = sum(each.reasons.get("noStock", 0) for each in self.groups if each.in_stock)
        if number:
            yield f"{self._who(number)}: signed up after the last in-stock event, and are told after the next one."

    def _settling(self) -> Iterator[str]:
        groups = [each for each in self.groups if each.reasons.get("settling")]
        until = sorted(each.settles_at for each in groups if each.settles_at)
        if not until:
            return
        seconds = self.policies.settle_seconds
        first = f"the item has to be in stock for {span_words(seconds)} first" if seconds else "it has just come in"
        number = self._sum("settling")
        if number == self._waiting:
            yield f"Nobody before {utc_words(until[0], self.now)}: {first}. {count_words(number, 'waits', 'wait')}."
        else:
            named = self._named([each.options for each in groups])
            yield f"{self._who(number)} ({named}): nobody before {utc_words(until[0], self.now)}, since {first}."

    def _told(self) -> Iterator[str]:
        """Who is told now, and who waits for a seat."""
        free, shares = self._shares()
        if free:
            yield f"{self._who(free)} {'is' if free == self._waiting else 'are'} told now" + (
                f": {free:,}." if free == self._waiting else "."
            )
        for waves, number in shares[:MOST_WAVES]:
            yield self._wave_words(waves, number)
        if (more := len(shares) - MOST_WAVES) > 0:
            yield f"{count_words(more, 'more variant has', 'more variants have')} waves of their own."

    def _shares(self) -> tuple[int, list[tuple[Mapping[Options, Wave], int]]]:
        """Returns how many need no seat; and the rows whose seats are for the same people, and for how many."""
        index, free = Levels(self.levels), 0
        waves = self.waves
        shares: list[tuple[set[Options], int]] = []
        for group in self.groups:
            free += group.going
            rows = set(index.deciding(compared_options(options_text(group.options)))) if group.seated else set()
            if rows - waves.keys():
                free += group.seated
            elif rows:
                same = [share for share in shares if share[0] & rows]
                shares = [share for share in shares if not share[0] & rows]
                shares.append((rows.union(*(rows for rows, _ in same)), group.seated + sum(n for _, n in same)))
        shares.sort(key=lambda share: -share[1])
        return free, [({about: waves[about] for about in rows}, n) for rows, n in shares]

    def _wave_words(self, waves: Mapping[Options, Wave], number: int) -> str:
        each = list(waves.values())
        left, granted = sum(wave.left for wave in each), sum(wave.granted for wave in each)
        prefix = "" if list(waves) == [()] else f"{self._named([self.spelled.get(about, about) for about in waves])}: "
        of_wave = f" of wave {each[0].seats.wave}" if len(each) == 1 else ""
        wait = f"{number:,} {'waits' if number == 1 else 'wait'}"
        seats = f"{count_words(granted, 'seat')}{of_wave}"
        if not left:
            turns_at = min((wave.turns_at for wave in each if wave.turns_at), default=self.now)
            then = f"at {utc_words(turns_at, self.now)}, {self._seats}"
            return f"{prefix}All {seats} {'is' if granted == 1 else 'are'} taken; {wait}. The next wave begins {then}."
        free = f"{left:,} of {seats} {'is' if left == 1 else 'are'} left"
        if all(wave.is_whole for wave in each):
            which = f"wave {each[0].seats.wave} begins" if len(each) == 1 else "waves begin"
            free = f"{which if prefix else which.capitalize()} now, with {count_words(left, 'seat')}"
        if min(wave.left for wave in each) >= number:
            return f"{prefix}{free}, enough for all: {number:,} {'is' if number == 1 else 'are'} told now."
        after = f"{span_words(self.policies.wave_seconds)} later" if self.policies.wave_seconds else "at once"
        return f"{prefix}{free}; {wait}. When all are taken, the next wave begins {after}, {self._seats}."

    @property
    def _seats(self) -> str:
        """How many seats the next wave has."""
        times = self.policies.per_unit or 1
        return f"with as many seats as pieces are then left{f', times {times:,}' if times > 1 else ''}"

    def _named(self, options: Sequence[Options]) -> str:
        names = [options_words(each) or "any variant" for each in options]
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        return "; ".join(names[:MOST_NAMED]) + more


def outlook_of(
    stored: Iterable[tuple[UUID, Options, str, Level]], groups: Sequence[Group], policies: Policies, now: datetime
) -> Outlook:
    """Returns the outlook of an item whose stock rows are these, as `lists.stored_levels` has them."""
    rows = [(options, text, level) for _, options, text, level in stored]
    spelled = {options: options_from_text(text) for options, text, _ in rows}
    return Outlook(groups, {options: level for options, _, level in rows}, spelled, policies, now)


def utc_words(at: datetime, now: datetime) -> str:
    """A time to come for people, with its day if that is another one: `14:05:09 UTC (in 34 min)`."""
    words = later_words(at, now)
    return f"{words.removesuffix(' UTC')} UTC (in {span_words((at - now).total_seconds())})"
