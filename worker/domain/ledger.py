"""The ledger of seats: how many customers may be told of what is in stock, and in which wave. Pure.

With "P per unit" every stock row has seats: P for each piece. A claim takes one for each customer, in its own
transaction; who was told keeps it, and who surely was not gives it back. When all are taken, the next wave begins an
interval after the last of them, with as many seats as pieces are left by then. So those who were told and did not buy
have had their turn, and unused seats never add up. `docs/policies.md` has an example.

A row is *limited* if its item has such a policy and its quantity is known. One that is in stock with a quantity of 0 or
less is sold on order, and is not limited.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heapify, heapreplace
from typing import Final
from uuid import UUID

from worker.domain.catalog import Options
from worker.domain.policies import Policies

MOST_SEATS: Final = 10**12
_NO_LIMIT: Final = MOST_SEATS + 1


@dataclass(frozen=True, slots=True)
class Seats:
    """The seats of one stock row."""

    left: int | None = None
    """None: the row is not limited."""
    limit: int | None = None
    """So many there may be, as far as the quantity goes: more are not given back."""
    granted: int | None = None
    """How many this wave has had, for people."""
    wave: int = 0
    """Raised by every new wave, and when the row goes out of stock: then seats that are held count for nothing."""
    taken_at: datetime | None = None
    """When a seat of this wave was last taken."""

    @property
    def are_free(self) -> bool:
        """Whether somebody can be told because of this row, which is in stock."""
        return self.left is None or self.left > 0


NO_SEATS: Final = Seats()


def most_seats(policies: Policies, quantity: int | None) -> int | None:
    """Returns how many seats a row in stock with this quantity has. None: it is not limited."""
    pieces = _pieces(policies, quantity)
    if policies.per_unit is None or pieces is None or pieces < 1:
        return None
    return min(policies.per_unit * pieces, MOST_SEATS)


def _pieces(policies: Policies, quantity: int | None) -> int | None:
    return policies.assumed_quantity if quantity is None else quantity


def gone_out(seats: Seats) -> Seats:
    """Returns the seats of a row that goes out of stock: none, and those that are held count for nothing."""
    return seats if seats.left is None else replace(seats, left=0, limit=0, wave=seats.wave + 1, taken_at=None)


def come_in(seats: Seats, quantity: int | None, policies: Policies) -> Seats:
    """Returns the seats of a row that comes in stock with this quantity: those of a new wave."""
    return _begun(seats, most_seats(policies, quantity))


def counted(seats: Seats, before: int | None, quantity: int | None, policies: Policies) -> Seats:
    """Returns the seats of a row that is and was in stock, when an event says how many there are now.

    Pieces that were added bring their seats. A fall brings none, and cuts what is left to what the pieces allow.
    """
    most = most_seats(policies, quantity)
    if most is None or seats.left is None:
        return _begun(seats, most)
    # A row that has seats had a quantity, or one was assumed; unless the settings have changed since.
    known, pieces = _pieces(policies, before), _pieces(policies, quantity)
    rise = max(0, pieces - known) if known is not None and pieces is not None else 0
    added = min((policies.per_unit or 0) * rise, MOST_SEATS)
    left = min(seats.left + added, most)
    return replace(seats, left=left, limit=most, granted=min((seats.granted or 0) + added, MOST_SEATS))


def at_claim(seats: Seats, quantity: int | None, policies: Policies, now: datetime) -> Seats:
    """Returns the seats of a row in stock when a claim is made: by the policies of now, and of the next wave if due."""
    most = most_seats(policies, quantity)
    if most is None or seats.left is None:
        return _begun(seats, most)
    taken_at = seats.taken_at if seats.taken_at is None else min(seats.taken_at, now)  # the clock was set back
    seats = replace(seats, left=min(seats.left, most), limit=most, taken_at=taken_at)
    turns_at = next_turn(seats, policies)
    return _begun(seats, most) if turns_at is not None and turns_at <= now else seats


def next_turn(seats: Seats, policies: Policies) -> datetime | None:
    """Returns when the next wave of this row may begin. None: it has seats."""
    if seats.are_free or seats.taken_at is None:
        return None
    return seats.taken_at + timedelta(seconds=policies.wave_seconds)


def opens_at(deciding: Iterable[Seats], policies: Policies) -> datetime | None:
    """Returns when there is a seat for a list for which these rows in stock decide. None: there is one now."""
    turns = [next_turn(seats, policies) for seats in deciding]
    return None if None in turns else min((turn for turn in turns if turn), default=None)


class Taking:
    """The seats of one item while a claim takes some of them for its waiting lists."""

    def __init__(
        self, seats: Mapping[Options, Seats], deciding: Mapping[UUID, Sequence[Options]], now: datetime
    ) -> None:
        """`seats` are those of the rows in stock, and `deciding` tells which of them decide for each list."""
        self.seats = dict(seats)
        self._deciding = deciding
        self._now = now
        self._fullest: dict[UUID, list[tuple[int, Options]]] = {}
        """For each list a heap of its rows, the fullest first. What it says of a row may be more than is left."""

    def has_seat(self, list_id: UUID) -> bool:
        """Whether somebody of this list can be told."""
        return any(self.seats[about].are_free for about in self._deciding[list_id])

    def is_short(self, list_id: UUID) -> bool:
        """Whether this list is in stock, but all seats are taken."""
        return bool(self._deciding[list_id]) and not self.has_seat(list_id)

    def opens_at(self, list_id: UUID, policies: Policies) -> datetime | None:
        """Returns when there is a seat for this list. None: there is one now, or it is not in stock."""
        return opens_at([self.seats[about] for about in self._deciding[list_id]], policies)

    def take(self, list_id: UUID) -> Options | None:
        """Takes a seat of the fullest row that decides for this list; none of a list with a row without limit.

        Returns the row, or None if no seat was taken.
        """
        rows = self._fullest.get(list_id)
        if rows is None:
            rows = self._fullest[list_id] = [(-self._left(about), about) for about in self._deciding[list_id]]
            heapify(rows)
        while rows and (left := self._left(rows[0][1])) != -rows[0][0]:
            heapreplace(rows, (-left, rows[0][1]))
        if not rows or rows[0][0] in (0, -_NO_LIMIT):
            return None
        about = rows[0][1]
        self.take_of(about, 1)
        return about

    def copy(self) -> "Taking":
        """Returns one like this, to find out how far the seats go."""
        return Taking(self.seats, self._deciding, self._now)

    @property
    def only_way(self) -> tuple[UUID, Options] | None:
        """The only list with seats, and the only row that decides for it. None: there are several, or no limit."""
        open_lists = [list_id for list_id in self._deciding if self.has_seat(list_id)]
        if len(open_lists) != 1 or len(self._deciding[open_lists[0]]) != 1:
            return None
        about = self._deciding[open_lists[0]][0]
        return None if self.seats[about].left is None else (open_lists[0], about)

    def take_of(self, about: Options, number: int) -> None:
        """Takes so many seats of this row."""
        if number:
            self.seats[about] = replace(self.seats[about], left=self._left(about) - number, taken_at=self._now)

    def put_back(self, about: Options) -> None:
        """Undoes a `take` of this row."""
        seats = self.seats[about]
        self.seats[about] = replace(seats, left=self._left(about) + 1)
        self._fullest.clear()  # they say of this row less than is left now

    def _left(self, about: Options) -> int:
        left = self.seats[about].left
        return _NO_LIMIT if left is None else left


def _begun(seats: Seats, most: int | None) -> Seats:
    """Returns the seats of a new wave with so many, or those of a row that is not limited any more."""
    if most is None and seats.left is None:
        return seats
    return Seats(most, most, most, seats.wave + 1)
