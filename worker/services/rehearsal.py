"""Dry runs: who would be told if something were done now, in which order, in which wave, when, and by which mail.

It is done for once, and the lists are claimed by the claim's own statements, in a transaction that is rolled back. So
the first wave is exactly what workers would tell. For the later ones time passes in the same transaction: they are
right if nothing is sold and nothing is added until then.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from worker.domain.catalog import Item
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.domain.send_window import SendWindow
from worker.domain.verdicts import Failed
from worker.mail.letter import Held, LetterWriter
from worker.models import uuid7
from worker.services.dry_run import Outcome, outcome_of_entry
from worker.services.mail_checks import opened
from worker.services.rehearsed import NAMED, FirstMail, Later, Rehearsal, Told, Wave
from worker.services.trying import message
from worker.store import (
    claims,
    clock,
    items,
    lists,
    owners,
    recording,
    rehearsing,
    requests,
    resting,
    stock,
    waiters,
)
from worker.store.admin import Changed
from worker.store.claims import Claim
from worker.store.database import Connection, Database
from worker.store.recording import Ends
from worker.store.requests import Filter

MOST: Final = 2_000
"""So many are claimed at most. Meanwhile workers that claim the same wait, or take others."""
MOST_WAVES: Final = 10
MOST_RECKONED: Final = 1_000
"""Of so many later waves the time of the last one is reckoned, where quiet hours interrupt them."""
_STEPS: Final = 2 * MOST_WAVES
"""So many times the clock is moved at most: not every time that it is, somebody is told."""
_ROUNDS: Final = 100
"""So many times all lists are claimed at most. Requests that may have crashed their workers are claimed one by one."""
_EACH: Final = 500
"""requests in one claim, as workers have it"""
_LISTS: Final = 100
"""lists in one claim, as bells have it"""
_LEASE: Final = 3600.0

Verb = Callable[[Connection, Sequence[UUID]], Changed]


@dataclass(frozen=True, slots=True)
class Acted:
    """What was done for once: in which lists that tells people, and to whom it was done."""

    lists: Sequence[UUID]
    ids: Sequence[UUID] | None = None
    """None: all who wait for `item_id`"""
    item_id: UUID | None = None


Act = Callable[[Connection], Acted]


def of_event(database: Database, writer: LetterWriter, event: Event, policies: Policies) -> Rehearsal:
    """Returns what would happen if this event came in now. Changes nothing. Raises DatabaseAway."""

    def act(c: Connection) -> Acted:
        item = waiters.item(c, event.reference.item)
        if item is None:
            return Acted([])
        stock.apply(c, [event], policies)
        return Acted([each.id for each in items.lists_of(c, item.id)], item_id=item.id)

    return rehearse(database, writer, policies, act)


def of_entry(
    database: Database, writer: LetterWriter, fields: Mapping[bytes, bytes], policies: Policies
) -> tuple[Outcome, Rehearsal]:
    """Returns what would happen if this stream entry came in now: how it is understood, and who is told.

    Changes nothing. Raises BadEvent and DatabaseAway.
    """
    outcome = outcome_of_entry(database, fields, policies, database.read(clock.now))
    return outcome, of_event(database, writer, outcome.event, policies)


def of_verb(database: Database, writer: LetterWriter, policies: Policies, verb: Verb, ids: Sequence[UUID]) -> Rehearsal:
    """Returns what would happen if this were done to these requests, or to the first `MOST` of them.

    Changes nothing. Raises DatabaseAway.
    """
    some = ids[:MOST]

    def act(c: Connection) -> Acted:
        rehearsing.lock(c, some, policies)
        changed = verb(c, some)
        return Acted(rehearsing.all_of_their_items(c, changed.lists), changed.ids)

    return replace(rehearse(database, writer, policies, act), left_out=len(ids) - len(some))


def rehearse(database: Database, writer: LetterWriter, policies: Policies, act: Act) -> Rehearsal:
    """Returns what would happen after `act`, which is run once or more, and rolled back. Raises DatabaseAway."""
    found, first = database.write(_tried, policies, act)
    return replace(found, mail=_mail(writer, first)) if first else found


class _Letter(NamedTuple):
    """A claim, and the mail in which it goes."""

    claim: Claim
    mail: Claim
    """the claim whose mail it is, with the others in it"""
    items: Mapping[UUID, Any]
    """the details of the items by waiting list, as the claim has them"""


_Claimed = list[_Letter]


def _tried(c: Connection, policies: Policies, act: Act) -> tuple[Rehearsal, _Letter | None]:
    trial = c.begin_nested()
    try:
        return _rehearsed(c, policies, act(c))
    finally:
        trial.rollback()


def _rehearsed(c: Connection, policies: Policies, acted: Acted) -> tuple[Rehearsal, _Letter | None]:
    rehearsing.ignore_quiet_hours(c)
    line = _Line(c, policies, acted.lists)
    steps = line.steps()
    wanted = None if acted.ids is None else set(acted.ids)
    waves, first = _waves(c, steps, wanted)
    next_at = line.next_at()
    waiting, held = _left(c, acted, {each.claim.id for _, claimed in steps for each in claimed})
    later = _later(c, line, acted, waiting.get("wave", 0), next_at)
    is_bounded = bool(lists.with_work(c, acted.lists))
    return Rehearsal(line.start, waves, waiting, held, next_at, later, is_bounded), first


@dataclass(slots=True)
class _Line:
    """The line, for once, in a transaction that is rolled back."""

    c: Connection
    policies: Policies
    lists: Sequence[UUID]
    left: int = field(default_factory=lambda: MOST)
    """so many more may be claimed"""
    passed: timedelta = timedelta()
    """how much time has passed for the lists that has not passed for the database's clock"""
    owner: UUID = field(default_factory=uuid7)
    start: datetime = field(init=False)
    window: SendWindow | None = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.policies.window
        self.policies = replace(self.policies, window=None)
        self.start = clock.now(self.c)
        owners.register(self.c, self.owner, "dry run")

    def steps(self) -> list[tuple[datetime, _Claimed]]:
        """Returns who is told, and when: now, and whenever time opens a list."""
        found: list[tuple[datetime, _Claimed]] = []
        at: datetime | None = self._wait_until(self.start, self.start)
        for _ in range(_STEPS):
            if at and (claimed := self._claimed()):
                found.append((at, claimed))
            if self.left <= 0 or len(found) == MOST_WAVES or (at := self._wait()) is None:
                break
        return found

    def next_at(self) -> datetime | None:
        """Returns when time opens the next list."""
        opening = rehearsing.next_opening(self.c, self.lists)
        return opening and self.opens(opening.at + self.passed)

    def opens(self, at: datetime) -> datetime:
        """Returns when mails go out: then, or after the quiet hours that it is in."""
        return self.window.next_opening(at) if self.window else at

    def _wait(self) -> datetime | None:
        """Lets time pass until a list opens. Returns when that is, or None if none will."""
        opening = rehearsing.next_opening(self.c, self.lists)
        return opening and self._wait_until(opening.at + self.passed, opening.now + self.passed)

    def _wait_until(self, at: datetime, now: datetime) -> datetime:
        """Lets time pass from now until then, or until quiet hours end. Returns when that is."""
        opens = self.opens(at)
        if opens > now:
            rehearsing.let_pass(self.c, self.lists, opens - now, self.policies)
            self.passed += opens - now
        return opens

    def _claimed(self) -> _Claimed:
        """Claims all who can be, as workers do it: an equal share of each list, and suspects when no others are due."""
        found: _Claimed = []
        are_others_left = True
        for _ in range(_ROUNDS):
            due = lists.with_work(self.c, self.lists) if self.left > 0 else []
            now_found = [each for some in _shares(due) for each in self._claim(some, first=not are_others_left)]
            found += now_found
            if not now_found and not (due and are_others_left):
                break
            are_others_left = are_others_left and bool(now_found)
        return found

    def _claim(self, list_ids: Sequence[UUID], *, first: bool) -> _Claimed:
        if self.left <= 0:
            return []
        most, claimed = min(_EACH, self.left), None
        while claimed is None or (list_ids and not claimed.claims):  # all whom it has looked at rest now
            claimed = claims.claim(self.c, self.owner, _LEASE, list_ids, most, self._policies_now, first=first)
            list_ids = claimed.full
        told = claimed.one_by_one
        self.left -= len(told)
        self._let_rest(told)
        return [_Letter(each, mail, claimed.items) for mail in claimed.claims for each in mail.together]

    @property
    def _policies_now(self) -> Policies:
        """The policies as if time had passed: when customers had their last mail is not moved."""
        interval = self.policies.contact_interval
        if interval is None:
            return self.policies
        return replace(self.policies, contact_interval=max(0.0, interval - self.passed.total_seconds()))

    def _let_rest(self, claimed: Sequence[Claim]) -> None:
        """With a contact interval: they are told, and what else they wait for comes later."""
        interval = self.policies.contact_interval
        if interval is not None and claimed:
            recording.record(self.c, Ends(told=list(claimed)))
            resting.rest_others(self.c, {claim.contact_id for claim in claimed}, self.lists, interval)


def _shares(list_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(list_ids), _LISTS):
        yield list_ids[start : start + _LISTS]


def _waves(
    c: Connection, steps: Sequence[tuple[datetime, _Claimed]], wanted: Collection[UUID] | None
) -> tuple[list[Wave], _Letter | None]:
    """Returns the waves that have somebody who was asked for, and the first of them."""
    places = Counter[Item]()
    found: list[tuple[Wave, list[tuple[int, UUID]]]] = []
    first: _Letter | None = None
    for number, (at, claimed) in enumerate(steps, start=1):
        told: list[tuple[int, UUID]] = []
        for each in claimed:
            about = each.items[each.claim.list_id]
            item = Item(about.app_id, about.catalog_item_id)
            places[item] += 1
            if wanted is None or each.claim.id in wanted:
                first = first or each
                told.append((places[item], each.claim.id))
        if told:
            found.append((Wave(number, at, number == 1, len(claimed), len(told), ()), told[:NAMED]))
    rows = _rows(c, [id_ for _, told in found for _, id_ in told])
    return [replace(wave, first=[Told(place, rows[id_]) for place, id_ in told]) for wave, told in found], first


def _rows(c: Connection, ids: Sequence[UUID]) -> dict[UUID, Any]:
    return {row.id: row for row in requests.find(c, Filter(ids=ids))} if ids else {}


def _left(c: Connection, acted: Acted, told: Collection[UUID]) -> tuple[dict[str, int], dict[str, list[Any]]]:
    """Returns who waits on: how many for each reason; and the first of those to whom it was done."""
    counts: Counter[str] = Counter()
    held: dict[str, list[Any]] = {}
    if acted.item_id:
        for group in waiters.of_item(c, acted.item_id):
            counts[group.waiting] += group.n
    for row in _rows(c, [id_ for id_ in acted.ids or () if id_ not in told]).values():
        counts[row.waiting] += 1
        held.setdefault(row.waiting, []).append(row)
    return dict(counts), {reason: rows[:NAMED] for reason, rows in held.items()}


def _later(c: Connection, line: _Line, acted: Acted, number: int, next_at: datetime | None) -> Later | None:
    if not acted.item_id or not number or next_at is None:
        return None
    waves = rehearsing.waves_of(c, acted.lists, line.policies)
    if waves is None or not waves.seats:
        return None
    found = Later(next_at, number, waves.seats, waves.seconds, None)
    return replace(found, until=_last_of(line, found))


def _last_of(line: _Line, later: Later) -> datetime | None:
    """Returns when the last of these waves begins. None: it would take too long to reckon."""
    every = timedelta(seconds=later.seconds)
    if line.window is None:
        return later.at + every * (later.waves - 1)
    if later.waves > MOST_RECKONED:
        return None
    at = later.at
    for _ in range(later.waves - 1):
        at = line.opens(at + every)
    return at


def _mail(writer: LetterWriter, letter: _Letter) -> FirstMail:
    # With ids that are nobody's: the way out in the text must not be that of the customer.
    match writer.write_digest(replace(letter.mail, id=uuid7(), contact_id=uuid7()), letter.items).result:
        case Failed(code, _, reason):
            return FirstMail(problem=f"{code}: {reason}")
        case Held(reason):
            return FirstMail(problem=reason)
        case mail:
            shown = opened(message(mail))
            return FirstMail(shown.subject, shown.text.replace("\r\n", "\n"))
