"""A shop that tells so many per unit, in waves, with a clock that the test moves. The oracle sees all that happens."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from tests.contract.shop import FRESH, LEASE, LONG_AGO, may_rescue, ref
from tests.contract.store.model import MINIMUM, ItemModel
from tests.contract.store.wave_oracle import Holder, ItemOracle, Person, end_of
from worker.domain.catalog import CatalogReference, Item, Options, compared_options
from worker.domain.events import Event
from worker.domain.policies import MOST_ITEMS, Own, Policies
from worker.domain.returned import Cause, Kind
from worker.domain.stock import by_item
from worker.domain.verdicts import Tries
from worker.store import admin, claims, lists, owners, recording, reports, requests, seats, stock, suppression, sweep
from worker.store.claims import Claim, Claimed
from worker.store.recording import UNKNOWN, Ended, Ends, Try
from worker.store.requests import NewRequest
from worker.store.sql import Sql, sqlite_time

ANY: Final = ref()
BLUE: Final = ref(color="blue")
BLUE_L: Final = ref(color="blue", size="L")
RED_L: Final = ref(color="red", size="L")
CUP: Final = ref("cup-1")
WANTED: Final = (ANY, BLUE, BLUE_L, RED_L, CUP)
ITEMS: Final = (ANY.item, CUP.item)

WAVE: Final = 100.0
BACKOFF: Final = 30.0
SUSPECT_AT: Final = 2
MOST_ROUNDS: Final = 300
FEW: Final = 7

Stock = tuple[bool | None, int | None]
"""What an event says: `inStock` and quantity."""

_SEEN = Sql(
    """SELECT r.id, r.status, r.claim_no, r.unknowns, r.failure_code, r.auto_notified, r.rescues, r.seat, r.owner,
        r.priority, r.created_date, r.waiting_list_id, r.contact_id, w.opens_at, w.woken_at,
        CASE WHEN r.ordered_at IS NULL THEN 0 ELSE 1 END AS is_ordered,
        CASE WHEN r.status = 'RECEIVED' AND r.ordered_at IS NULL AND w.in_stock
            AND r.created_date < w.last_in_stock_at THEN 1 ELSE 0 END AS is_woken,
        CASE WHEN r.not_before IS NULL THEN 1 ELSE 0 END AS is_in_line
    FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id""",
    id="uuid",
    owner="uuid",
    created_date="time",
    waiting_list_id="uuid",
    contact_id="uuid",
    opens_at="time",
    woken_at="time",
)
_LEDGER = Sql("SELECT * FROM stock ORDER BY item_id, options")
_DOORS = Sql("SELECT * FROM waiting_list ORDER BY id")
_BEAT = Sql("UPDATE owner SET seen_at = stockbell_now(0) WHERE id IN ROWS(id uuid)")
_OWN = Sql(
    """UPDATE item SET per_unit = :per_unit, wave_seconds = :wave, settle_seconds = :settle
    WHERE app_id = :app AND catalog_item_id = :item"""
)
_OPEN = Sql(
    """UPDATE waiting_list SET opens_at = NULL WHERE item_id IN (
        SELECT id FROM item WHERE app_id = :app AND catalog_item_id = :item)"""
)
_CLOCK = """CREATE OR REPLACE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT CAST(current_setting('waves.now') AS timestamptz) + make_interval(secs => seconds) $$"""
_SET_CLOCK = "SELECT set_config('waves.now', %s, false)"


@contextmanager
def rolled_back(c: Connection) -> Iterator[None]:
    """Leaves the database as it was, its clock too."""
    with closing(c.begin_nested()):
        yield


class WaveShop:
    """One database within one transaction, the oracle, and everything that can happen to both."""

    def __init__(self, c: Connection, policies: Policies, owns: Mapping[Item, Own] | None = None) -> None:
        self.c = c
        self.policies = replace(policies, min_quantity=MINIMUM)
        self.owns = {item: Own() for item in ITEMS} | dict(owns or {})
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.beat_at = self.now
        self._start_clock()
        self.oracles = {item: ItemOracle() for item in ITEMS}
        self.shelves = {item: ItemModel() for item in ITEMS}
        self.events: list[Event] = []
        self.claims: list[Claim] = []
        """All that were ever made."""
        self.seen: dict[UUID, Any] = {}
        self.seats: dict[Holder, Options] = {}
        self.entries, self.customers = count(1), count(1)
        self.list_ids: dict[CatalogReference, UUID] = {}
        self.wanted: dict[UUID, CatalogReference] = {}
        self._know([ANY, CUP])
        self.owners = [self._new_owner(), self._new_owner()]
        for item, own in self.owns.items():
            self._write_own(item, own)

    def policies_of(self, item: Item) -> Policies:
        return self.policies.of(self.owns[item])

    def _know(self, references: Iterable[CatalogReference]) -> None:
        """Notes the lists of these, which may be new."""
        for reference, list_id in lists.find_or_add(self.c, references).items():
            if reference not in self.list_ids:
                self.list_ids[reference], self.wanted[list_id] = list_id, reference
                self.oracles[reference.item].added(reference.options)

    # time

    def _start_clock(self) -> None:
        if self.c.dialect.name == "sqlite":
            connection: Any = self.c.connection.driver_connection
            connection.create_function("stockbell_now", 1, lambda s: sqlite_time(self.now + timedelta(seconds=s)))
        else:
            self._set_clock()
            self.c.exec_driver_sql(_CLOCK)

    def _set_clock(self) -> None:
        if self.c.dialect.name != "sqlite":
            self.c.exec_driver_sql(_SET_CLOCK, (self.now.isoformat(),))

    def wait(self, seconds: float) -> None:
        """Lets time pass. The owners' hearts go on beating."""
        self.now += timedelta(seconds=seconds)
        self._set_clock()
        if self.now - self.beat_at > timedelta(seconds=LEASE / 3):
            self.beat_at = self.now
            _BEAT(self.c, rows=[{"id": owner} for owner in self.owners])

    def _new_owner(self) -> UUID:
        owner = uuid4()
        owners.register(self.c, owner, "host:1")
        return owner

    # customers and stock systems

    def sign_up(self, *wanted: CatalogReference, is_old: bool = False, priority: int = 0) -> None:
        """Adds people, each younger than the one before. `is_old`: they are imported with dates of long ago.

        If the same people ask again for the same, only their priority and the older date count.
        """
        self.wait(len(wanted) + 1)
        since = LONG_AGO + timedelta(seconds=1000 * next(self.customers)) if is_old else self.now
        new = [
            NewRequest(
                self._customer(),
                reference,
                created_date=since - timedelta(seconds=len(wanted) - place),
                priority=priority,
            )
            for place, reference in enumerate(wanted)
        ]
        requests.create(self.c, new)
        self._know(wanted)
        self.look()

    def _customer(self) -> str:
        """With a digest there are few of them, so that many have several requests."""
        number = next(self.customers)
        return f"customer{number % FEW if self.policies.digest else number}@example.com"

    def hear(self, *said: tuple[CatalogReference, Stock], age: int = 0, again: Sequence[int] = ()) -> None:
        """Applies events, in this order. With an `age` they are that much older, and `again` are some of before."""
        self.wait(1)
        new = [self._event(reference, *fact, age) for reference, fact in said]
        old = [self.events[place % len(self.events)] for place in again] if self.events else []
        self.events += new
        before = self._stored()
        stock.apply(self.c, [*old, *new], self.policies)
        for item, events in by_item([*old, *new]).items():
            self._heard(item, events)
        if not new and self._stored() != before:
            raise AssertionError("events that were known changed something")
        self.look()

    def _event(self, reference: CatalogReference, in_stock: bool | None, quantity: int | None, age: int) -> Event:
        number = next(self.entries)
        at = LONG_AGO + timedelta(seconds=number - age)
        quantity = 0 if in_stock is None and quantity is None else quantity
        return Event(f"{number}-0", None, reference, at, False, in_stock, quantity, {}, ())

    def _stored(self) -> tuple[Sequence[Any], Sequence[Any]]:
        return _LEDGER(self.c), _DOORS(self.c)

    def _heard(self, item: Item, events: Sequence[Event]) -> None:
        shelf, oracle, policies = self.shelves[item], self.oracles[item], self.policies_of(item)
        options = [reference.options for reference in WANTED if reference.item == item]
        blinked: set[Options] = set()
        for event in sorted(events, key=lambda event: event.order):
            before = {about: shelf.is_in(about) for about in {*shelf.variants, ()}}
            about, is_stale = event.reference.options, shelf.is_stale(event)
            shelf.apply([event], 0)
            after = {about: shelf.is_in(about) for about in {*shelf.variants, ()}}
            changed = {row for row, is_in in after.items() if is_in != before.get(row)} | (
                set() if is_stale else {about}
            )
            for row in changed:
                newest = shelf.newest(row)
                quantity = newest.quantity if newest else None
                oracle.wave(row).hears(policies, quantity, self.now, in_stock=after[row])
            oracle.deciders = shelf.deciders()
            blinked.update(wanted for wanted in options if not oracle.in_stock_for(wanted))
        oracle.lists_heard(options, policies, self.now)
        oracle.blinked(blinked, policies, self.now)

    # workers

    def claim(
        self, *wanted: CatalogReference, most: int = 100, first: bool = True, owner: int = 0, then: str | None = None
    ) -> list[Claim]:
        """Makes a claim, and checks that nobody is passed over. `then`: how all of it ends."""
        self.wait(1)
        asked = sorted(self.list_ids.keys() & (wanted or WANTED)) or [ANY]
        self._oracles_claim({reference.item for reference in asked})
        woken_at = {row.waiting_list_id: row.woken_at for row in self.seen.values()}
        ids = [self.list_ids[reference] for reference in asked]
        me = self.owners[owner % len(self.owners)]
        with _noted_items() as others:
            claimed = claims.claim(self.c, me, LEASE, ids, most, self.policies, first=first)
        self._oracles_claim(others)
        # Those of a digest take their seats after all others.
        taken = self._look_at_claimed(claimed, exactly=not self.policies.digest)
        if not claimed.is_suspect:
            self._check_claimed(claimed, taken, asked, max(1, most // len(asked)), woken_at)
        self._check_doors()
        if then:
            self.end(claimed.one_by_one, then)
        return claimed.one_by_one

    def probe(self, most: int, owner: int = 0) -> None:
        """Claims as for a relay that is tried again."""
        self.wait(1)
        found = claims.candidates(self.c)[:most]
        self._oracles_claim({self.wanted[each.list_id].item for each in found})
        ids = [each.request_id for each in found]
        me = self.owners[owner % len(self.owners)]
        self._look_at_claimed(claims.claim_these(self.c, me, LEASE, ids, self.policies), exactly=False)
        self._check_doors()

    def _oracles_claim(self, items: set[Item]) -> None:
        for item in items:
            self.oracles[item].claims(self.policies_of(item), self.now)

    def _look_at_claimed(self, claimed: Claimed, *, exactly: bool) -> dict[Item, list[Person]]:
        """Lets the oracles see who was claimed, and returns the woken ones."""
        taken: dict[Item, list[Person]] = {item: [] for item in ITEMS}
        self.claims += claimed.one_by_one
        now = self._rows()
        mine = {claim.id for claim in claimed.one_by_one}
        _check_mails(claimed.claims, now)
        changed = {id_ for id_, row in now.items() if row.claim_no != self.seen[id_].claim_no}
        assert mine == changed, "the claim tells what it claimed"
        for row in sorted((now[id_] for id_ in mine), key=_turn):
            reference = self.wanted[row.waiting_list_id]
            policies, oracle = self.policies_of(reference.item), self.oracles[reference.item]
            if row.is_ordered or policies.per_unit is None:
                assert row.seat is None
                seat = None
            else:
                seat = compared_options(row.seat) if row.seat is not None else None
                holder = row.id, row.claim_no
                oracle.takes(holder, reference.options, seat, self.now, exactly=exactly)
                if seat is not None:
                    self.seats[holder] = seat
            person = Person(row.created_date, reference.options, seat, bool(row.is_ordered), row.priority)
            taken[reference.item].append(person)
        self.seen = now
        return taken

    def _check_claimed(
        self,
        claimed: Claimed,
        taken: Mapping[Item, Sequence[Person]],
        asked: Sequence[CatalogReference],
        each: int,
        woken_at: Mapping[UUID, datetime | None],
    ) -> None:
        for item in {reference.item for reference in asked}:
            policies, left = self.policies_of(item), self._left(item)
            told = [person for person in taken[item] if not person.is_ordered]
            if policies.per_unit is None:
                self._check_unlimited(item, told, asked, each)
                continue
            if self.policies.digest:
                self.oracles[item].check_seats_left(told, left)
            else:
                self.oracles[item].check_order(told, left)
            if len(taken[item]) < each * sum(reference.item == item for reference in asked):
                self.oracles[item].check_nobody_left(left)
            self._check_not_drained(item, asked, woken_at)
        for item in taken.keys() - {reference.item for reference in asked}:  # they go in a digest
            if self.policies_of(item).per_unit is not None:
                told = [person for person in taken[item] if not person.is_ordered]
                self.oracles[item].check_seats_left(told, self._left(item))
        ordered = {self.wanted[row.waiting_list_id] for row in self.seen.values() if row.is_ordered}
        for list_id in claimed.full:
            reference = self.wanted[list_id]
            policies = self.policies_of(reference.item)
            if policies.per_unit is not None and reference not in ordered:
                assert self.oracles[reference.item].may_have_seat(reference.options), "short is not full"

    def _check_unlimited(
        self, item: Item, told: Sequence[Person], asked: Sequence[CatalogReference], each: int
    ) -> None:
        counts = Counter(person.wanted for person in told)
        for person in self._left(item):
            if CatalogReference(item, person.wanted) in asked and self.oracles[item].has_settled(
                person.wanted, self.now
            ):
                assert counts[person.wanted] >= each, "there was room"
                if not self.policies.digest:
                    others = (other for other in told if other.wanted == person.wanted)
                    assert all(other.turn < person.turn for other in others), "it was their turn"

    def _check_not_drained(
        self, item: Item, asked: Sequence[CatalogReference], woken_at: Mapping[UUID, datetime | None]
    ) -> None:
        waiting = {person.wanted for person in self._left(item)}
        now = {row.waiting_list_id: row.woken_at for row in self.seen.values()}
        for reference in asked:
            list_id = self.list_ids[reference]
            if reference.item == item and reference.options in waiting and woken_at.get(list_id):
                assert now[list_id], "who waits for a seat is not forgotten"

    def _left(self, item: Item) -> list[Person]:
        """Returns who could be told, if there is a seat."""
        return [
            Person(row.created_date, self.wanted[row.waiting_list_id].options, priority=row.priority)
            for row in self.seen.values()
            if row.is_woken
            and row.is_in_line
            and row.rescues < SUSPECT_AT
            and self.wanted[row.waiting_list_id].item == item
            and self.oracles[item].has_settled(self.wanted[row.waiting_list_id].options, self.now)
        ]

    def end(self, some: Sequence[Claim], *how: str) -> None:
        """Records how these ended. See `ends_of`."""
        self.wait(1)
        recording.record(self.c, ends_of(some, how))
        self.look()

    def hand_over(self, some: Sequence[Claim]) -> None:
        claims.hand_over(self.c, some)

    def release_all(self, owner: int = 0) -> None:
        self.wait(1)
        claims.release_all(self.c, self.owners[owner % len(self.owners)])
        self.look()

    def die(self, owner: int = 0) -> None:
        """An owner dies, and is rescued."""
        self.owners[owner % len(self.owners)] = self._new_owner()
        self.wait(LEASE + 1)
        may_rescue(self.c)
        sweep.rescue(self.c, LEASE, FRESH)
        self.look()

    def sweep(self) -> None:
        sweep.put_in_line(self.c)
        may_rescue(self.c)
        sweep.rescue(self.c, LEASE, FRESH)
        self.look()

    def bounce(self, some: Sequence[Claim]) -> None:
        entries = [
            reports.Entry(uuid4().hex, Kind.FAILED, request_id=claim.id, claim_no=claim.claim_no, bounces=True)
            for claim in {claim.id: claim for claim in some}.values()
        ]
        reports.apply(self.c, entries, "test")
        self.look()

    # admins

    def administer(self, verb: str, ids: Sequence[UUID]) -> None:
        match verb:
            case "delete":
                requests.remove_each(self.c, ids)
            case "suppress":
                contacts = sorted({self.seen[id_].contact_id for id_ in ids})
                suppression.suppress(self.c, contacts[:1], Cause.MANUAL, "test")
            case "retry":
                admin.retry(self.c, ids, ordered=False, force=True)
            case "order again":
                admin.retry(self.c, ids, ordered=True, force=True)
            case "report":
                admin.report(self.c, ids)
            case _:
                admin.mark_sent(self.c, ids)
        self.look()

    def set_shop(self, policies: Policies) -> None:
        """All processes are started anew with these settings. The first sweep opens the doors."""
        self.policies = replace(policies, min_quantity=MINIMUM)
        seats.open_all(self.c)
        self._changed()

    def set_own(self, item: Item, own: Own) -> None:
        before = self.policies_of(item)
        self.owns[item] = own
        self._write_own(item, own)
        after = self.policies_of(item)
        if (after.per_unit, after.wave_seconds) != (before.per_unit, before.wave_seconds):
            _OPEN(self.c, app=item.app_id, item=item.catalog_item_id)
        self._changed()

    def _write_own(self, item: Item, own: Own) -> None:
        _OWN(
            self.c,
            app=item.app_id,
            item=item.catalog_item_id,
            per_unit=own.per_unit,
            wave=own.wave_seconds,
            settle=own.settle_seconds,
        )

    def _changed(self) -> None:
        for item, oracle in self.oracles.items():
            for wave in oracle.waves.values():
                wave.is_doubtful |= self.policies_of(item).per_unit is None and wave.is_limited

    # what the oracle sees

    def _rows(self) -> dict[UUID, Any]:
        return {row.id: row for row in _SEEN(self.c)}

    def look(self) -> None:
        """Lets the oracles see how claims have ended."""
        now = self._rows()
        for id_, was in self.seen.items():
            end, holder = end_of(was, now.get(id_)), (id_, was.claim_no)
            if end and holder in self.seats:
                item = self.wanted[was.waiting_list_id].item
                self.oracles[item].ended(holder, self.seats[holder], end, self.policies_of(item))
        self.seen = now
        self._check_doors()

    def _check_doors(self) -> None:
        """A closed door is never later than the truth, and the sweep rings for whoever can be told."""
        doors = {row.waiting_list_id: row.opens_at for row in self.seen.values()}
        for list_id, opens_at in doors.items():
            reference = self.wanted[list_id]
            policies, oracle = self.policies_of(reference.item), self.oracles[reference.item]
            if opens_at is not None and opens_at > self.now and oracle.in_stock_for(reference.options):
                truth = oracle.opens_at(reference.options, policies, self.now)
                assert opens_at <= truth, "the door opens later than is true"
        assert self.due() <= set(lists.with_work(self.c)), "nobody rings for who can be told"

    def due(self) -> set[UUID]:
        """Returns the lists on which somebody can surely be told."""
        return {
            row.waiting_list_id
            for row in self.seen.values()
            if row.is_woken and row.is_in_line and self._has_seat(self.wanted[row.waiting_list_id])
        }

    def _has_seat(self, reference: CatalogReference) -> bool:
        return self.oracles[reference.item].has_seat(reference.options, self.policies_of(reference.item), self.now)

    def run_out(self) -> None:
        """Changes nothing any more. In the end everybody is told who was woken, if the stock stays."""
        for place in range(len(self.owners)):
            self.die(place)
        for _ in range(MOST_ROUNDS):
            self.sweep()
            if ids := lists.with_work(self.c):
                self.claim(*(self.wanted[list_id] for list_id in ids), then="told")
            elif not self._waits():
                return
            else:
                self.wait(WAVE)
        raise AssertionError("somebody waits for ever")

    def _waits(self) -> bool:
        """Whether somebody is still to be told."""
        return any(row.is_woken or row.status == "PROCESSING" for row in self.seen.values())


@contextmanager
def _noted_items() -> Iterator[set[Item]]:
    """Notes the items that a digest locks beside those of the claim."""
    lock, noted = seats.lock_free, set[Item]()

    def lock_free(c: Connection, items: Mapping[Item, Policies]) -> dict[Item, seats.Ledger]:
        found = lock(c, items)
        noted.update(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seats, "lock_free", lock_free)
        yield noted


def _turn(row: Any) -> tuple[int, datetime, UUID]:
    return -row.priority, row.created_date, row.id


def _check_mails(mails: Sequence[Claim], rows: Mapping[UUID, Any]) -> None:
    """Each mail is for one customer, and is the only one that is not full.

    The oldest request is the first, but for those that may have been told before.
    """
    room: Counter[UUID] = Counter()
    for mail in mails:
        some = [rows[each.id] for each in mail.together]
        assert len({row.contact_id for row in some}) == 1
        assert len(some) <= MOST_ITEMS
        assert some == sorted(some, key=lambda row: (row.id != mail.id, row.created_date, row.id))
        new = [row for row in some if not row.unknowns] or some
        assert mail.id == min(new, key=lambda row: (row.created_date, row.id)).id
        assert [each.mail_id for each in mail.together] == [None, *[mail.id] * len(mail.others)]
        room[mail.contact_id] += bool(mail.others) and len(some) < MOST_ITEMS
    assert max(room.values(), default=0) <= 1


def ends_of(some: Sequence[Claim], how: Sequence[str]) -> Ends:
    """Returns the ends of these: told, failed, unknown, lost, deferred or released, each as the next of `how` says."""
    ends = Ends()
    for place, claim in enumerate(some):
        _add(ends, claim, how[place % len(how)])
    return ends


def _add(ends: Ends, claim: Claim, how: str) -> None:
    tries = claim.tries
    spent = Tries(tries.attempts + 1, tries.unknowns + (how in {"unknown", "lost"}), tries.policy_refusals)
    match how:
        case "told":
            ends.told.append(claim)
        case "released":
            ends.released.append(claim)
        case "failed":
            ends.failed.append(Ended(claim, spent, "RECIPIENT_REJECTED", "550 no"))
        case "lost":
            ends.failed.append(Ended(claim, spent, "OUTCOME_UNKNOWN", "connection lost"))
            ends.log.append(Try(claim, UNKNOWN, None, None, "connection lost"))
        case "unknown":
            ends.deferred.append(Ended(claim, spent, "OUTCOME_UNKNOWN", "connection lost", delay=BACKOFF))
            ends.log.append(Try(claim, UNKNOWN, None, None, "connection lost"))
        case _:
            ends.deferred.append(Ended(claim, spent, None, "450 later", delay=BACKOFF))
