"""The contact interval: at most one mail in so many seconds to a customer, and one on its way to them at any time.

A claim that keeps it first finds requests, and claims them by their ids once it has locked their contacts. Another
claim passes over a contact that is locked. When it gets the lock itself it looks anew, and sees what was claimed or
told under the lock before: each statement sees what is committed by then. Nobody waits for a contact here, so it does
not matter what else a claim has locked. Without an interval nothing of this runs.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.policies import Policies
from worker.store import resting
from worker.store.claim_sql import InTurn, turn
from worker.store.resting import Rest
from worker.store.sql import Sql

ROUNDS: Final = 10
"""So often a claim looks further if it may tell none of those whom it has found."""
MOST_LOOKED: Final = 1_000
"""At once it looks at no more than that, in all lists together, or at what it may claim if that is more."""
_AHEAD_SECONDS: Final = 60.0
"""A time further in the future is ignored: the database's clock was set back."""

_RESTS: Final = "s.mailed_at > stockbell_now(-:seconds) AND s.mailed_at <= stockbell_now(:ahead)"
_FOUND = Sql(
    f"""SELECT r.id, r.contact_id, CASE WHEN r.ordered_at IS NULL AND {_RESTS} THEN s.mailed_at END AS mailed_at
    FROM request AS r JOIN contact AS s ON s.id = r.contact_id WHERE r.id IN ROWS(request_id uuid)""",
    id="uuid",
    contact_id="uuid",
    mailed_at="time",
)
_LOCK = Sql(
    "SELECT s.id FROM contact AS s WHERE s.id IN ROWS(contact_id uuid) ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED",
    id="uuid",
)
# By the index of what is unresolved (`|| ''`): all that is PROCESSING may be much more.
_IDLE = Sql(
    """SELECT s.id FROM contact AS s WHERE s.id IN ROWS(contact_id uuid) AND NOT EXISTS (
        SELECT 1 FROM request AS r WHERE r.contact_id = s.id AND r.status IN ('RECEIVED', 'PROCESSING')
          AND r.status || '' = 'PROCESSING')""",
    id="uuid",
)


class Taken(NamedTuple):
    """What was claimed of some lists."""

    rows: Sequence[Any]
    full: Sequence[UUID]
    """the lists that may have more"""
    short: Collection[UUID]
    """the lists that have somebody who can't be told at this moment"""


class Sifted(NamedTuple):
    """Of some requests those that may be claimed now, and those that may not, but stay in line."""

    ready: Sequence[UUID]
    passed_over: set[UUID]


class Gate:
    """Who of those in line may be claimed now. There is one for each claim, within its transaction."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._contacts: dict[UUID, UUID] = {}
        """of the requests that were looked at"""
        self._tried: set[UUID] = set()
        """the contacts that were to be locked"""
        self._idle: set[UUID] = set()
        """the contacts that are locked and have no mail on its way but for those of this claim"""
        self._admitted: set[UUID] = set()
        """the contacts of which one request is claimed: a digest takes what else they can be told of, in turn"""
        self.rested: set[UUID] = set()
        """the requests that rest because of this claim"""

    def claim(
        self, c: Connection, how: InTurn, owner: UUID, list_ids: Sequence[UUID], each: int, *, alone: bool = False
    ) -> Taken:
        """Claims at most `each` of a list, or one in all. It looks further if those whom it finds may not be told."""
        look = _Look(each, dict.fromkeys(list_ids, each), set(list_ids))
        rows: list[Any] = []
        for number in range(ROUNDS):
            if not look.open_lists or (alone and rows):
                break
            rows += self._claim_some(c, how, owner, look, number, 1 if alone else len(list_ids) * each)
        rows.sort(key=turn)
        return Taken(rows, look.full, look.short)

    def _claim_some(
        self,
        c: Connection,
        how: InTurn,
        owner: UUID,
        look: "_Look",
        number: int,
        most: int,
    ) -> Sequence[Any]:
        list_ids, depth = look.open_lists, look.depth(number)
        found = how.find(c, list_ids, depth)
        look.found(list_ids, found, depth)
        its_list = {row.id: row.waiting_list_id for row in found}
        awake = self.let_rest(c, [row.id for row in found if row.id not in look.passed_over])
        look.moved.update(its_list[id_] for id_ in its_list.keys() & self.rested)
        picked = look.pick(awake, its_list, number)
        ready = self.lock(c, picked)
        chosen, others = self._choose(look, ready, its_list, most)
        claimed = how.take(c, chosen, owner)
        taken = {row.id for row in claimed}
        self.put_back(id_ for id_ in chosen if id_ not in taken)
        look.claimed(taken, set(picked) - taken - others, its_list)
        return claimed

    def _choose(
        self, look: "_Look", ready: Sequence[UUID], its_list: Mapping[UUID, UUID], most: int
    ) -> tuple[list[UUID], set[UUID]]:
        """Returns the first for whom there is room, and those who come later because there is none."""
        room, chosen, others = dict(look.room), list[UUID](), set[UUID]()
        for request_id in ready:
            list_id = its_list[request_id]
            if not room[list_id] or len(chosen) == most:
                others.add(request_id)
                look.unseen.add(list_id)
            elif self.admits(request_id):
                room[list_id] -= 1
                chosen.append(request_id)
        return chosen, others

    def sift(self, c: Connection, request_ids: Sequence[UUID], most: int) -> Sifted:
        """Lets those rest who have to, and locks the contacts of the first `most` others."""
        picked = self.let_rest(c, request_ids)[:most]
        ready = self.lock(c, picked)
        return Sifted(ready, set(picked) - set(ready))

    def let_rest(self, c: Connection, request_ids: Sequence[UUID]) -> list[UUID]:
        """Returns those of these requests whose customers had no mail a while ago. The others rest until then."""
        rows = [{"request_id": id_} for id_ in request_ids]
        found = _FOUND(c, rows=rows, seconds=self._seconds, ahead=_AHEAD_SECONDS) if rows else ()
        self._contacts.update((row.id, row.contact_id) for row in found)
        span = timedelta(seconds=self._seconds)
        self.rested |= resting.rest(c, [Rest(row.id, row.mailed_at + span) for row in found if row.mailed_at])
        awake = {row.id for row in found if not row.mailed_at}
        return [id_ for id_ in request_ids if id_ in awake]

    def lock(self, c: Connection, request_ids: Sequence[UUID]) -> list[UUID]:
        """Locks the contacts of these requests. Returns those that may be claimed as far as they are concerned.

        Whoever else claims or records has locked the others, or they have a mail on its way.
        """
        new = {self._contacts[id_] for id_ in request_ids} - self._tried
        self._tried |= new
        locked = _LOCK(c, rows=[{"contact_id": id_} for id_ in new]) if new else ()
        # Only the next statement sees what was committed before a lock was free.
        idle = _IDLE(c, rows=[{"contact_id": row.id} for row in locked]) if locked else ()
        self._idle.update(row.id for row in idle)
        return self.let_rest(c, [id_ for id_ in request_ids if self._contacts[id_] in self._idle])

    def admits(self, request_id: UUID) -> bool:
        """Whether this request may be claimed: no other one of its contact is."""
        contact = self._contacts[request_id]
        if contact in self._admitted:
            return False
        self._admitted.add(contact)
        return True

    def put_back(self, request_ids: Iterable[UUID]) -> None:
        """These were admitted, but not claimed."""
        self._admitted.difference_update(self._contacts[id_] for id_ in request_ids)


def gate_of(policies: Policies) -> Gate | None:
    """Returns a gate for one claim. None: there is no interval."""
    return None if policies.contact_interval is None else Gate(policies.contact_interval)


@dataclass(slots=True)
class _Look:
    """How far a claim has looked into its lists."""

    each: int
    """so many may be claimed of a list"""
    room: dict[UUID, int]
    """so many more may be claimed of each"""
    unseen: set[UUID]
    """the lists that were not looked through to their end"""
    moved: set[UUID] = field(default_factory=set)
    """the lists of which somebody was claimed or rests since"""
    passed_over: dict[UUID, UUID] = field(default_factory=dict)
    """the requests that stay in line, each with its list"""

    @property
    def open_lists(self) -> list[UUID]:
        return [list_id for list_id, room in self.room.items() if room and list_id in self.unseen]

    @property
    def full(self) -> list[UUID]:
        """The lists of which the next claim may take more."""
        return [
            list_id
            for list_id, room in self.room.items()
            if not room or (list_id in self.unseen and list_id in self.moved)
        ]

    @property
    def short(self) -> set[UUID]:
        return {*self.passed_over.values(), *self.unseen}

    def depth(self, number: int) -> int:
        """So many of each list are looked at: more each time, and those who are passed over on top."""
        passed_over = Counter(self.passed_over.values())
        return self._further(self.each, number) + max(passed_over[list_id] for list_id in self.open_lists)

    def _further(self, room: int, number: int) -> int:
        return max(room, min(room << number, MOST_LOOKED // len(self.room)))

    def found(self, list_ids: Sequence[UUID], rows: Sequence[Any], depth: int) -> None:
        """These rows are the first of these lists, at most `depth` for each condition."""
        counts = Counter((row.waiting_list_id, row.is_ordered) for row in rows)
        self.unseen.difference_update(id_ for id_ in list_ids if max(counts[id_, 0], counts[id_, 1]) < depth)

    def pick(self, request_ids: Sequence[UUID], its_list: Mapping[UUID, UUID], number: int) -> list[UUID]:
        """Returns the first of these requests for which there is room, or each time some more."""
        room = {list_id: self._further(room, number) if room else 0 for list_id, room in self.room.items()}
        picked = list[UUID]()
        for request_id in request_ids:
            list_id = its_list[request_id]
            if room[list_id]:
                room[list_id] -= 1
                picked.append(request_id)
            else:
                self.unseen.add(list_id)
        return picked

    def claimed(self, taken: Collection[UUID], others: Iterable[UUID], its_list: Mapping[UUID, UUID]) -> None:
        """Notes what became of those that were picked."""
        for request_id in taken:
            self.room[its_list[request_id]] -= 1
            self.moved.add(its_list[request_id])
        self.passed_over.update((request_id, its_list[request_id]) for request_id in others)
