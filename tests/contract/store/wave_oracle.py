"""What "so many per unit, in waves" promises (MAIL.md, section 8.2), checked on what happened, whoever did it.

The oracle is told what events left of a stock row, when claims were made, who was claimed with a seat of which row, and
how that ended. It counts persons, and raises `Broken` at the first of them who was told too many, too early, or out of
turn. It never sees the store's own count. Where the rules leave room, or somebody else's step can't be seen, it knows
only that at least `least` and at most `most` seats are free: what it forbids is forbidden in every case.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID

from tests.contract.store.model import Deciders
from worker.domain.catalog import Options
from worker.domain.policies import Policies

MOST: Final = 10**12
Holder = tuple[UUID, int]
"""A request, and the number of the claim for which it took a seat."""


class Broken(AssertionError):
    """A promise is broken."""


class End(Enum):
    """What an end of a claim means for its seat."""

    KEPT = auto()
    """Somebody was told, or may have been."""
    SPENT = auto()
    """The same, and they wait again. If the same mail turns out to be told, and bounces, the seat may come back."""
    BACK = auto()
    """Nobody was told."""


def end_of(was: Any, now: Any | None) -> End | None:
    """Returns what a change of a request means for the seat that it had before. None: nothing.

    Both are rows with status, claim_no, unknowns and failure_code. A row that is gone keeps its seat.
    """
    if now is None or was.claim_no != now.claim_no or was.status == now.status:
        return None
    if now.unknowns > was.unknowns:
        return End.SPENT
    match was.status, now.status:
        case "PROCESSING", "NOTIFICATION_SENT":
            return End.KEPT
        case "PROCESSING", "FAILED":
            return End.KEPT if now.failure_code == "OUTCOME_UNKNOWN" else End.BACK
        case "PROCESSING", "RECEIVED":
            return End.BACK
        case "NOTIFICATION_SENT", "FAILED":
            return End.BACK  # it bounced
    return None


@dataclass(slots=True)
class Wave:
    """The seats of one stock row, from what happened to it."""

    in_stock: bool = False
    quantity: int | None = None
    """As the last event gave it."""
    pieces: int | None = None
    """The same, or what was assumed when it was last looked at."""
    is_limited: bool = False
    least: int = 0
    """So many seats are free, at least."""
    most: int = 0
    ceiling: int = 0
    """P * q of the last event or turn: more seats than that are not given back."""
    promised: int = 0
    """P * (what there was when the wave began, and what came since)"""
    holders: dict[Holder, bool] = field(default_factory=dict)
    """Who was told, or may be or have been, in this wave. False: perhaps this seat can't be given back any more."""
    taken_at: datetime | None = None
    settles_at: datetime | None = None
    """When it has been in stock for long enough."""
    is_doubtful: bool = False
    """The policy was off for a while. Whether this is a new wave since is not settled before the next event."""

    def hears(self, policies: Policies, quantity: int | None, at: datetime, *, in_stock: bool) -> None:
        """An event left this row like that."""
        if in_stock and not self.in_stock:
            self.settles_at = at + timedelta(seconds=policies.settle_seconds)
        known, self.quantity = self._pieces(policies), quantity
        pieces = self._pieces(policies)
        most = _seats(policies, pieces) if in_stock else None
        if most is None:
            self._ends(in_stock=in_stock)
        elif not self.is_limited:
            self._begins(most)
        else:
            self._may_have_turned(policies, at)
            rises = [_seats(policies, max(0, (pieces or 0) - (old or 0))) or 0 for old in (known, self.pieces)]
            self.least, self.most = min(self.least + min(rises), most), min(self.most + max(rises), most)
            self.promised, self.ceiling = self.promised + max(rises), most
            self._settles_doubt(most)
        self.pieces = pieces if in_stock else None

    def _pieces(self, policies: Policies) -> int | None:
        return policies.assumed_quantity if self.quantity is None else self.quantity

    def _may_have_turned(self, policies: Policies, at: datetime) -> None:
        """For an oracle that doesn't see all claims: hook of `SeldomSeen`."""

    def claims(self, policies: Policies, at: datetime) -> None:
        """A claim looks at this row: it goes by the policies of now, and the next wave begins if it is due."""
        if not self.in_stock or policies.per_unit is None:
            return
        self.pieces = self._pieces(policies)
        most = _seats(policies, self.pieces)
        if most is None:
            self._ends(in_stock=True)
        elif not self.is_limited:
            self._begins(most)
        else:
            self.least, self.most, self.ceiling = min(self.least, most), min(self.most, most), most
            self._settles_doubt(most)
            if self.is_due(policies, at):
                self._turns(most)

    def is_due(self, policies: Policies, at: datetime) -> bool:
        turns_at = self.turns_at(policies)
        return turns_at is not None and turns_at <= at

    def turns_at(self, policies: Policies) -> datetime | None:
        """Returns when the next wave begins, if no seat is free. None: nobody has taken one."""
        return self.taken_at + timedelta(seconds=policies.wave_seconds) if self.taken_at else None

    def takes(self, holder: Holder, at: datetime) -> None:
        """Somebody takes a seat."""
        if not self.is_limited:
            raise Broken("a seat was taken of a row that is out of stock, or asks for none")
        if self.most < 1:
            raise Broken("somebody is told for whom there is no seat, or before the next wave is due")
        self.least, self.most, self.taken_at = max(0, self.least - 1), self.most - 1, at
        self.holders[holder] = True
        if len(self.holders) > self.promised:
            raise Broken(f"{len(self.holders)} are told in a wave of {self.promised}")

    def gets_back(self, holder: Holder, policies: Policies) -> None:
        """A seat is given back, if it is of this wave."""
        is_sure = self.holders.pop(holder, None)
        if is_sure is None or not self.is_limited:
            return
        now = _seats(policies, self._pieces(policies))
        low, high = sorted((self.ceiling, self.ceiling if now is None else now))
        self.most = max(self.most, min(self.most + 1, high))
        if is_sure:
            self.least = max(min(self.least, low), min(self.least + 1, low))

    def has_seat(self, policies: Policies, at: datetime) -> bool:
        """Whether somebody can surely be told because of this row."""
        if not self.in_stock:
            return False
        is_open = _seats(policies, self._pieces(policies)) is None or not self.is_limited
        return is_open or self.least > 0 or self.is_due(policies, at)

    def may_have_seat(self) -> bool:
        return self.in_stock and (not self.is_limited or self.most > 0)

    def _begins(self, most: int) -> None:
        self.in_stock, self.is_limited = True, True
        self.least = self.most = self.ceiling = self.promised = most
        self.holders, self.taken_at, self.is_doubtful = {}, None, False

    def _ends(self, *, in_stock: bool) -> None:
        self.in_stock, self.is_limited = in_stock, False
        self.least = self.most = self.ceiling = self.promised = 0
        self.holders, self.taken_at, self.is_doubtful = {}, None, False

    def _turns(self, most: int) -> None:
        if self.most == 0:
            self._begins(most)
        elif self.least == 0:
            self._may_begin(most)

    def _may_begin(self, most: int) -> None:
        self.least, self.most = min(self.least, most), max(self.most, most)
        self.promised += most
        self.holders = dict.fromkeys(self.holders, False)

    def _settles_doubt(self, most: int) -> None:
        if self.is_doubtful:
            self._may_begin(most)
            self.is_doubtful = False


class SeldomSeen(Wave):
    """A wave whose claims are seen only if somebody was claimed: another one may have begun the next wave before."""

    __slots__ = ()

    def _may_have_turned(self, policies: Policies, at: datetime) -> None:
        if self.least == 0 and self.is_due(policies, at) and (most := _seats(policies, self.pieces)):
            self._may_begin(most)


def _seats(policies: Policies, pieces: int | None) -> int | None:
    """P * q. None: so much stock has no limit."""
    if policies.per_unit is None or pieces is None or pieces < 1:
        return None
    return min(policies.per_unit * pieces, MOST)


@dataclass(slots=True)
class ItemOracle:
    """The rows of one item, and the lists that they decide for."""

    new_wave: Callable[[], Wave] = Wave
    waves: dict[Options, Wave] = field(default_factory=dict)
    deciders: Deciders = field(default_factory=lambda: Deciders(frozenset(), frozenset(), is_item_newest=False))
    """Which rows decide for whom, as of the last event."""
    settles: dict[Options, tuple[datetime, datetime]] = field(default_factory=dict)
    """For each list in stock: it must wait until the first, and may not longer than the second."""

    def wave(self, about: Options) -> Wave:
        return self.waves.setdefault(about, self.new_wave())

    def in_stock_for(self, wanted: Options) -> list[Options]:
        """Returns the rows in stock that decide for a list."""
        return [a for a, wave in self.waves.items() if wave.in_stock and self.deciders.concern(wanted, a)]

    def lists_heard(self, lists: Iterable[Options], policies: Policies, at: datetime) -> None:
        """The events of one commit are over: these lists may have turned in or out."""
        for wanted in lists:
            if not self.in_stock_for(wanted):
                self.settles.pop(wanted, None)
            elif wanted not in self.settles:
                until = at + timedelta(seconds=policies.settle_seconds)
                self.settles[wanted] = until, until

    def blinked(self, lists: Iterable[Options], policies: Policies, at: datetime) -> None:
        """These were out for a moment within one commit: they have to settle again."""
        until = at + timedelta(seconds=policies.settle_seconds)
        self.settles |= {wanted: (until, until) for wanted in lists if wanted in self.settles}

    def added(self, wanted: Options) -> None:
        """A list is new: what is in stock because of it, may have been in stock because of another row before."""
        if wanted in self.settles:
            first, last = self.settles[wanted]
            known = min(self.wave(about).settles_at or last for about in self.in_stock_for(wanted))
            self.settles[wanted] = min(first, known), max(last, known)

    def has_settled(self, wanted: Options, at: datetime) -> bool:
        return wanted in self.settles and self.settles[wanted][1] <= at

    def claims(self, policies: Policies, at: datetime) -> None:
        """A claim looks at this item."""
        for wave in self.waves.values():
            wave.claims(policies, at)

    def takes(self, holder: Holder, wanted: Options, seat: Options | None, at: datetime, *, exactly: bool) -> None:
        """Somebody of a list is claimed, with the seat of this row or with none. `exactly`: all before are known."""
        rows = {about: self.wave(about) for about in self.in_stock_for(wanted)}
        if wanted in self.settles and self.settles[wanted][0] > at:
            raise Broken("somebody is told before the item has settled")
        if seat is None:
            if all(wave.is_limited for wave in rows.values()):
                raise Broken("somebody is told without a seat")
            return
        if seat not in rows:
            raise Broken("a seat was taken of a row that does not decide for the list")
        if any(not wave.is_limited for wave in rows.values()):
            raise Broken("a seat was taken for a list that needs none")
        if exactly and any(wave.least > rows[seat].most for wave in rows.values()):
            raise Broken("the seat was not one of the fullest row")
        rows[seat].takes(holder, at)

    def ended(self, holder: Holder, seat: Options, end: End, policies: Policies) -> None:
        """The claim that took this seat has ended."""
        wave = self.wave(seat)
        if end is End.BACK:
            wave.gets_back(holder, policies)
        elif end is End.SPENT and holder in wave.holders:
            wave.holders[holder] = False

    def has_seat(self, wanted: Options, policies: Policies, at: datetime) -> bool:
        """Whether somebody on this list can surely be told now."""
        rows = self.in_stock_for(wanted)
        return self.has_settled(wanted, at) and any(self.wave(about).has_seat(policies, at) for about in rows)

    def may_have_seat(self, wanted: Options) -> bool:
        return any(self.wave(about).may_have_seat() for about in self.in_stock_for(wanted))

    def opens_at(self, wanted: Options, policies: Policies, at: datetime) -> datetime:
        """Returns when the door of a list in stock has to be open at the latest."""
        waves = [self.wave(about) for about in self.in_stock_for(wanted)]
        truth = min(at if wave.has_seat(policies, at) else wave.turns_at(policies) or at for wave in waves)
        return max(truth, self.settles[wanted][1])

    def check_order(self, told: Collection["Person"], left: Collection["Person"]) -> None:
        """Nobody who comes first is left who could have had the seat of somebody told, or who surely has one still."""
        for person in left:
            rows = self.in_stock_for(person.wanted)
            for other in told:
                if person.turn < other.turn and (other.seat in rows or self._has_one_left(rows)):
                    raise Broken(f"{person} is passed over: {other} comes later")

    def check_seats_left(self, told: Collection["Person"], left: Collection["Person"]) -> None:
        """Whoever is told in a digest before his turn has left a seat for everybody before him."""
        seats = {about: wave.most if wave.is_limited else MOST for about, wave in self.waves.items() if wave.in_stock}
        for person in sorted(left, key=lambda person: person.turn):
            rows = self.in_stock_for(person.wanted)
            if free := [about for about in rows if seats[about]]:
                seats[max(free, key=lambda about: seats[about])] -= 1
            elif any(other.turn > person.turn and other.seat in rows for other in told):
                raise Broken(f"{person} has no seat: somebody who comes later has taken one")

    def check_nobody_left(self, left: Collection["Person"]) -> None:
        """There was room for everybody for whom there was a seat."""
        for person in left:
            if self._has_one_left(self.in_stock_for(person.wanted)):
                raise Broken(f"{person} is passed over: there is a seat")

    def _has_one_left(self, rows: Collection[Options]) -> bool:
        return any(not self.wave(about).is_limited or self.wave(about).least > 0 for about in rows)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on a list of an item."""

    created: datetime
    wanted: Options
    seat: Options | None = None
    is_ordered: bool = False
    priority: int = 0

    @property
    def turn(self) -> tuple[int, datetime]:
        """Higher priority goes first, then who has waited longer."""
        return -self.priority, self.created
