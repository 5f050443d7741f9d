"""The store compared with a model: every arrow between the states in any order, and which requests an event wakes.

After each step the database holds what the model holds. Claim, sweep and status agree on which requests may be sent.
`EXAMPLES=100 make test ARGS="-k store_model"` searches for longer.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Row, select
from sqlmodel import col

from tests.contract.reporting import report, return_token, take
from tests.contract.shop import CUP, LEASE, LONG_AGO, Shop, ref
from tests.contract.store.model import FAILED, MINIMUM, PROCESSING, RECEIVED, Held, Key, Model, Wish, age
from tests.examples import examples
from worker.domain.catalog import CatalogReference, item_of
from worker.domain.errors import OwnerLost
from worker.domain.event_details import Details
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.domain.returned import Cause, Kind
from worker.domain.stock import by_item
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.models import Attempt, Contact, Status
from worker.store import (
    admin,
    breaker,
    claims,
    contacts,
    erasure,
    expiry,
    figures,
    lists,
    owners,
    pauses,
    recording,
    reports,
    requests,
    stock,
    suppression,
    sweep,
)
from worker.store.books import books
from worker.store.claims import Claim, Claimed
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import NewRequest

# Wishes and events about a whole item, one option of it and whole variants, and about an item of another catalog.
WANTED: Final = (ref(), ref(color="red"), ref(size="L"), ref(color="red", size="L"), CUP)
ABOUT: Final = (*WANTED, ref(color="blue", size="L"), CatalogReference(item_of("mug-1", "other-app")))
EMAILS: Final = ("ann@example.com", "Ann@example.com", "bob@example.com", "eve@example.com")
CODES: Final = ("RECIPIENT_REJECTED", "OUTCOME_UNKNOWN", "SUPPRESSED")
ENDS: Final = ("told", "failed", "deferred", "released")
TOKENS: Final = Tokens([b"k" * 32])
YEARS: Final = 10**5
"""In the model so many seconds before its beginning, where only dates of imports are."""

DETAILS: Final = ("name", "price")

Told = tuple[CatalogReference, bool | None, int | None, int, Details]
"""The content of an event: item or variant, in stock, quantity, seconds from now, and details."""

Place = st.integers(0, 30)
"""An index into whatever exists at that step, modulo its length."""
Places = st.lists(Place, min_size=1, max_size=4)


class StoreMachine(RuleBasedStateMachine):
    """One shop, its model, and everything that can happen to both."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        shop.empty()
        self.shop = shop
        self.started = shop.now()
        self.model = Model()
        self.list_ids: dict[CatalogReference, UUID] = {}
        self.claims: list[Claim] = []
        """All claims that were ever made."""
        self.events: list[Event] = []
        self.owners: list[UUID] = []
        self.arrivals = count(1)
        self.new_owner()
        self.new_owner()

    @initialize(wanted=st.lists(st.sampled_from(WANTED), min_size=2, max_size=5))
    def begin(self, wanted: list[CatalogReference]) -> None:
        """Starts with some requests, most of them in stock. Otherwise little would happen in so few steps."""
        self.create([(EMAILS[place % 3], reference, "now") for place, reference in enumerate(wanted)])
        self.flow()

    # what customers and stock systems do

    @rule(
        new=st.lists(
            st.tuples(
                st.sampled_from(EMAILS),
                st.sampled_from(WANTED),
                st.sampled_from(["now", "now", "old", "ahead", "again"]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def create(self, new: list[tuple[str, CatalogReference, str]]) -> None:
        """Adds sign-ups and imports. Some are long past, dated by a clock that is ahead, or repeated."""
        self.model.tick += 1
        wanted = [(self._new(place, *one), self._created(place, *one)) for place, one in enumerate(new)]
        added = set(self.shop.write(requests.create, [request for request, _ in wanted], TOKENS))
        rows = [row for row in self.shop.rows() if row.id in added]
        self.model.recognise({request.email.lower() for request, _ in wanted})
        known = self._known()
        for request, created in sorted(wanted, key=lambda pair: pair[1]):
            key = request.email.lower(), request.reference
            date, is_free = created, self.model.unresolved(key) is None
            suppression = self.model.suppressed.get(key[0])
            if suppression:
                date, is_free = created if request.created_date else -(10**9) - suppression[1], True
            if is_free and (key, date) not in known:
                list_id = self._list(request.reference)
                row = next(row for row in rows if (row.email, row.waiting_list_id) == (request.email, list_id))
                rows.remove(row)
                wish = self.model.wishes[row.id] = Wish(row.id, request.email, request.reference, created, date)
                if suppression:
                    wish.status, wish.code = FAILED, "SUPPRESSED"
                known.add((key, date))
        assert not rows
        self._make_older(wanted, known)

    def _make_older(self, wanted: Sequence[tuple[NewRequest, float]], known: Collection[tuple[Key, float]]) -> None:
        """Gives a waiting request the date of its oldest imported line, unless that was imported before."""
        oldest: dict[Key, float] = {}
        for request, created in wanted:
            if request.created_date:
                key = request.email.lower(), request.reference
                oldest[key] = min(created, oldest.get(key, created))
        for key, created in oldest.items():
            wish = self.model.unresolved(key)
            if wish and wish.status is RECEIVED and (key, created) not in known:
                wish.created = min(wish.created, created)

    def _new(self, place: int, email: str, reference: CatalogReference, age: str) -> NewRequest:
        created = {
            "now": None,
            "old": LONG_AGO + timedelta(seconds=self.model.tick + place / 100),
            "ahead": self.started + timedelta(seconds=3600 + self.model.tick + place / 100),
            "again": LONG_AGO - timedelta(seconds=self._number(email, reference)),
        }
        return NewRequest(email, reference, created_date=created[age])

    def _created(self, place: int, email: str, reference: CatalogReference, age: str) -> float:
        """Returns the creation time in the model. A request dated in the future signed up now, after all the others."""
        if age == "again":
            return -(10**7) - self._number(email, reference)
        return self.model.tick + place / 100 + {"now": 0, "old": -(10**6), "ahead": 0.5}[age]

    def _number(self, email: str, reference: CatalogReference) -> int:
        """Returns a number for each person and wish."""
        return 10 * EMAILS.index(email.lower()) + WANTED.index(reference)

    def _known(self) -> set[tuple[Key, float]]:
        return {(wish.key, wish.imported) for wish in self.model.wishes.values()}

    def _list(self, reference: CatalogReference) -> UUID:
        if reference not in self.list_ids:
            self.list_ids[reference] = self.shop.list_id(reference)
        return self.list_ids[reference]

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from(ABOUT),
                st.sampled_from([True, True, False, None]),
                st.none() | st.integers(0, 3),
                st.integers(-4, 2),
                st.dictionaries(st.sampled_from(DETAILS), st.sampled_from([None, "one", "two"]), max_size=2),
            ),
            min_size=1,
            max_size=4,
        ),
        again=st.lists(Place, max_size=2),
    )
    def tell(self, batch: list[Told], again: list[int]) -> None:
        """Applies events in any order, some of them for the second time."""
        self.model.tick += 1
        new = [self._event(*one) for one in batch]
        old = [self.events[place % len(self.events)] for place in again] if self.events else []
        self.events += new
        for item, events in by_item([*old, *new]).items():
            self.model.item(item).apply(events, self.model.tick)
        applied = self.shop.write(stock.apply, [*old, *new], Policies(MINIMUM))
        assert {id_ for woken in applied.woken.values() for id_ in woken} <= {
            list_id
            for reference, list_id in self.list_ids.items()
            if self.model.item(reference.item).in_stock(reference.options)
        }

    @rule()
    def flow(self) -> None:
        """Removes everything that keeps requests from being claimed."""
        for reference in list(self.model.paused):
            self.resume(reference)
        self.breaker(is_open=False)
        self.backoff_ends()
        self.put_in_line()
        self.tell([(reference, True, None, 3, {}) for reference in ABOUT], [])

    @rule(reference=st.sampled_from(ABOUT))
    def sell_out(self, reference: CatalogReference) -> None:
        self.tell([(reference, False, None, 3, {})], [])

    def _event(
        self, reference: CatalogReference, in_stock: bool | None, quantity: int | None, at: int, details: Details
    ) -> Event:
        event = self.shop.event(reference, at=LONG_AGO + timedelta(seconds=self.model.tick + at))
        event = replace(event, details=details)
        return replace(event, in_stock=in_stock, quantity=0 if in_stock is None and quantity is None else quantity)

    # what workers do

    @precondition(lambda self: len(self.owners) < 5)
    @rule()
    def new_owner(self) -> None:
        owner = self.shop.owner()
        self.owners.append(owner)
        self.model.owners[owner] = True

    @rule(place=Place, wanted=st.sets(st.sampled_from(WANTED), min_size=1), most=st.integers(1, 8), first=st.booleans())
    def claim(self, place: int, wanted: set[CatalogReference], most: int, first: bool) -> None:
        self._claim(self._owner(place), sorted(wanted), most, first)

    @rule(place=Place)
    def claim_all(self, place: int) -> None:
        self._claim(self._owner(place), list(WANTED), 100, first=True)

    def _owner(self, place: int) -> UUID:
        return self.owners[place % len(self.owners)]

    def _claim(self, owner: UUID, wanted: Sequence[CatalogReference], most: int, first: bool) -> None:
        list_ids = {self._list(reference): reference for reference in wanted}
        if not self.model.owners.get(owner):
            with pytest.raises(OwnerLost):
                self.shop.write(claims.claim, owner, LEASE, list(list_ids), most, first=first)
            return
        each = max(1, most // len(wanted))
        claimed = self.shop.write(claims.claim, owner, LEASE, list(list_ids), most, first=first)
        if claimed.is_suspect:
            self._check_suspect(claimed, list_ids, each, first)
        else:
            self._check_claimed(claimed, list_ids, each, first)
        for claim in claimed.claims:
            self.model.take(claim.id, owner)
            wish = self.model.wishes[claim.id]
            assert (claim.claim_no, claim.owner, claim.email) == (wish.claim_no, owner, wish.email)
            assert claim.tries.attempts == wish.attempts
        self.claims += claimed.claims

    def _check_claimed(self, claimed: Claimed, list_ids: dict[UUID, CatalogReference], each: int, first: bool) -> None:
        expected = {list_id: self._arms(reference, each) for list_id, reference in list_ids.items()}
        ids = [claim.id for claim in claimed.claims]
        assert sorted(ids) == sorted(id_ for due in expected.values() for id_ in due)
        assert ids == sorted(ids, key=lambda id_: self.model.wishes[id_].created)
        assert set(claimed.full) == {list_id for list_id, due in expected.items() if len(due) >= each}
        if first and not ids:  # if only suspects waited, one of them would have been claimed
            assert not any(self._suspects(reference) for reference in list_ids.values())

    def _arms(self, reference: CatalogReference, each: int) -> list[UUID]:
        arms = [self.model.claimable(reference, ordered=ordered, suspect=False) for ordered in (True, False)]
        return [id_ for arm in arms for id_ in arm[:each]]

    def _suspects(self, reference: CatalogReference) -> set[UUID]:
        arms = [self.model.claimable(reference, ordered=ordered, suspect=True) for ordered in (True, False)]
        return {arm[0] for arm in arms if arm}

    def _check_suspect(self, claimed: Claimed, list_ids: dict[UUID, CatalogReference], each: int, first: bool) -> None:
        (claim,) = claimed.claims
        assert first
        assert not any(self._arms(reference, each) for reference in list_ids.values())
        assert claim.id in {id_ for reference in list_ids.values() for id_ in self._suspects(reference)}
        assert claimed.full == [claim.list_id]

    @precondition(lambda self: self.claims)
    @rule(places=Places, ends=st.lists(st.sampled_from(ENDS), min_size=4, max_size=4), code=st.sampled_from(CODES))
    def record(self, places: list[int], ends: list[str], code: str) -> None:
        """Records a group of outcomes. Each of them may come too late."""
        self._record(list({claim.id: claim for claim in self._some(self.claims, places)}.values()), ends, code)

    def _record(self, chosen: Sequence[Claim], ends: Sequence[str], code: str) -> None:
        group, written = Ends(), set()
        for claim, end in zip(chosen, ends, strict=False):
            held = Held(claim.id, claim.claim_no, claim.owner)
            if self._end(end, claim, held, group, code):
                written.add(claim.id)
        assert self.shop.write(recording.record, group) == written

    def _end(self, end: str, claim: Claim, held: Held, group: Ends, code: str) -> bool:
        attempts = claim.tries.attempts + 1
        if end == "told":
            group.told.append(claim)
            return self.model.told(held)
        if end == "released":
            group.released.append(claim)
            return self.model.released(held)
        group.log.append(Try(claim, end, 450, None, "450 no"))
        ended = Ended(claim, Tries(attempts), code if end == "failed" else None, "450 no", delay=3600.0)
        if end == "failed":
            group.failed.append(ended)
            is_written = self.model.failed(held, attempts, code)
        else:
            group.deferred.append(ended)
            is_written = self.model.deferred(held, attempts)
        if is_written:
            self.model.wishes[claim.id].log += 1
        return is_written

    @precondition(lambda self: self.claims)
    @rule(places=Places)
    def hand_over(self, places: list[int]) -> None:
        chosen = self._some(self.claims, places)
        holding = [wish for claim in chosen if (wish := self.model.holds(Held(claim.id, claim.claim_no, claim.owner)))]
        for wish in holding:
            wish.is_handed = True
        assert self.shop.write(claims.hand_over, chosen) == {wish.id for wish in holding}

    @rule(place=Place, but=st.lists(Place, max_size=2))
    def release_all(self, place: int, but: list[int]) -> None:
        self._release_all(self._owner(place), [claim.id for claim in self._some(self.claims, but)])

    def _release_all(self, owner: UUID, kept: Sequence[UUID]) -> None:
        expected = self.model.release_all(owner, kept)
        assert self.shop.write(claims.release_all, owner, kept) == expected

    @rule(place=Place)
    def renew(self, place: int) -> None:
        owner = self._owner(place)
        if self.model.owners.get(owner):
            self.shop.write(owners.renew, owner, LEASE)
        else:
            with pytest.raises(OwnerLost):
                self.shop.write(owners.renew, owner, LEASE)

    @rule(place=Place)
    def sign_off(self, place: int) -> None:
        owner = self._owner(place)
        self.shop.write(owners.sign_off, owner)
        if not self.model.held_by(owner):
            self.model.owners.pop(owner, None)

    # what comes back

    @precondition(lambda self: self.claims)
    @rule(places=Places)
    def come_back(self, places: list[int]) -> None:
        """Lets mails come back, whenever they were sent, if they were. Each report is another one."""
        chosen = self._some(self.claims, places)
        expected = [self.model.came_back(Held(claim.id, claim.claim_no, claim.owner)) for claim in chosen]
        found = [report(Kind.FAILED, return_token(claim), arrival=str(next(self.arrivals))) for claim in chosen]
        assert [taken.result for taken in take(self.shop, *found)] == expected

    @precondition(lambda self: self.claims)
    @rule(place=Place)
    def address_is_dead(self, place: int) -> None:
        (claim,) = self._some(self.claims, [place])
        expected = self.model.came_back(Held(claim.id, claim.claim_no, claim.owner))
        if wish := self.model.wishes.get(claim.id):
            is_new = not self.model.is_suppressed(wish)
            self.model.suppress(wish.email.lower(), "bounced")
            expected = "acted" if is_new and expected == "noted" else expected
        (taken,) = take(self.shop, report(Kind.DEAD, return_token(claim), arrival=str(next(self.arrivals))))
        assert taken.result == expected

    @rule()
    def retry_early(self) -> None:
        assert self.shop.write(reports.retry_early) == self.model.retry_early()

    # time, and what it brings

    @rule(place=Place)
    def die(self, place: int) -> None:
        owner = self._owner(place)
        self.shop.die(owner)
        if owner in self.model.owners:
            self.model.owners[owner] = False

    @precondition(lambda self: self.claims)
    @rule(places=Places)
    def grow_old(self, places: list[int]) -> None:
        """Makes claims older than any claim may be."""
        for claim in self._some(self.claims, places):
            if wish := self.model.holds(Held(claim.id, claim.claim_no, claim.owner)):
                wish.is_old = True
                self._turn_back("claimed_at", wish)

    @rule()
    def backoff_ends(self) -> None:
        for wish in self.model.wishes.values():
            if wish.backoff:
                wish.backoff = "over"
                self._turn_back("not_before", wish)

    def _turn_back(self, column: str, wish: Wish) -> None:
        self.shop.change(f"UPDATE request SET {column} = stockbell_now(-1000) WHERE id = :id", id=wish.id)

    @rule()
    def put_in_line(self) -> None:
        due = [wish for wish in self.model.wishes.values() if wish.backoff == "over" and wish.status is RECEIVED]
        for wish in due:
            wish.backoff = None
        assert self.shop.write(sweep.put_in_line) == len(due)

    @rule()
    def expire(self) -> None:
        """Only what was imported is older than a day, by years."""
        place = expiry.Place()
        looked = self.shop.database.read(expiry.look, 1, place)
        done = self.shop.write(expiry.expire, 1, looked.lists, place)
        assert (looked.then, done.rest) == (None, None)
        assert done.requests == self.model.expire(-YEARS)

    @rule()
    def rescue(self) -> None:
        back_in_line, failed = self.model.rescue()
        rescued = self.shop.rescue()
        assert (rescued.back_in_line, set(rescued.failed)) == (back_in_line, failed)

    @rule(times=st.integers(1, 6), handed=st.lists(Place, max_size=1))
    def crash(self, times: int, handed: list[int]) -> None:
        """Lets one worker after the other claim, die and be rescued."""
        for _ in range(times):
            owner = self.shop.owner()
            self.model.owners[owner] = True
            self._claim(owner, list(WANTED), 100, first=True)
            if self.claims:
                self.hand_over(handed)
            self.shop.die(owner)
            self.model.owners[owner] = False
            self.rescue()

    @precondition(lambda self: self.claims)
    @rule(place=Place, next_one=Place, end=st.sampled_from(ENDS), code=st.sampled_from(CODES))
    def come_late(self, place: int, next_one: int, end: str, code: str) -> None:
        """Releases a claim and claims again, maybe with the same owner. Then records the outcome of the first."""
        (claim,) = self._some(self.claims, [place])
        self._release_all(claim.owner, [])
        self._claim(self._owner(next_one), list(WANTED), 100, first=True)
        self._record([claim], [end], code)

    @rule()
    def forget_owners(self) -> None:
        gone = [
            owner for owner, is_alive in self.model.owners.items() if not is_alive and not self.model.held_by(owner)
        ]
        for owner in gone:
            del self.model.owners[owner]
        assert self.shop.write(owners.forget, LEASE) == len(gone)

    # what admins do

    @precondition(lambda self: self.model.wishes)
    @rule(places=Places, ordered=st.booleans(), force=st.booleans())
    def retry(self, places: list[int], ordered: bool, force: bool) -> None:
        ids = self._ids(places)
        expected = self.model.may_retry(ids, force=force)
        would = self.shop.database.read(lambda c: admin.retry(c, ids, ordered=ordered, force=force, dry_run=True))
        changed = self.shop.write(admin.retry, ids, ordered=ordered, force=force)
        assert set(would.ids) == set(changed.ids) == set(expected)
        assert would.refused == changed.refused
        assert self._being_sent(ids) == {id_ for id_, why in changed.refused.items() if why == admin.BEING_SENT}
        for id_ in expected:
            self.model.retry(id_, ordered=ordered)
        self._check_refused(ids, changed)

    @precondition(lambda self: self.model.wishes)
    @rule(places=Places)
    def report(self, places: list[int]) -> None:
        self._verb(admin.report, places, self.model.report, {RECEIVED})

    @precondition(lambda self: self.model.wishes)
    @rule(places=Places)
    def mark_sent(self, places: list[int]) -> None:
        self._verb(admin.mark_sent, places, self.model.mark, {RECEIVED, FAILED})

    def _verb(
        self,
        verb: Callable[[Connection, Sequence[UUID]], admin.Changed],
        places: list[int],
        arrow: Callable[[UUID], None],
        allowed: set[Status],
    ) -> None:
        ids = self._ids(places)
        being_sent = self._being_sent(ids)
        expected = {id_ for id_ in ids if self.model.wishes[id_].status in allowed}
        for id_ in expected:
            arrow(id_)
        changed = self.shop.write(verb, ids)
        assert set(changed.ids) == expected
        assert being_sent == {id_ for id_, why in changed.refused.items() if why == admin.BEING_SENT}
        self._check_refused(ids, changed)

    def _being_sent(self, ids: Sequence[UUID]) -> set[UUID]:
        return {id_ for id_ in ids if self.model.wishes[id_].status is PROCESSING}

    def _check_refused(self, ids: Sequence[UUID], changed: admin.Changed) -> None:
        assert set(changed.refused) == set(ids) - set(changed.ids)
        assert changed.lists == {self._list(self.model.wishes[id_].reference) for id_ in changed.ids}

    @precondition(lambda self: self.model.wishes)
    @rule(place=Place)
    def delete(self, place: int) -> None:
        (id_,) = self._ids([place])
        assert self.shop.write(requests.remove, id_)
        assert not self.shop.write(requests.remove, id_)
        del self.model.wishes[id_]

    @rule(reference=st.none() | st.sampled_from(WANTED))
    def pause(self, reference: CatalogReference | None) -> None:
        assert self.shop.write(pauses.pause, reference) is (reference not in self.model.paused)
        self.model.paused.add(reference)

    @rule(reference=st.none() | st.sampled_from(WANTED))
    def resume(self, reference: CatalogReference | None) -> None:
        assert self.shop.write(pauses.resume, reference) is (reference in self.model.paused)
        self.model.paused.discard(reference)

    @rule(is_open=st.booleans())
    def breaker(self, is_open: bool) -> None:
        changed = self.shop.write(breaker.trip, "535", "configuration") if is_open else self.shop.write(breaker.close)
        assert changed is (is_open is not self.model.breaker_is_open)
        self.model.breaker_is_open = is_open

    # who gets no mail

    @rule(email=st.sampled_from(EMAILS), cause=st.sampled_from(Cause))
    def suppress(self, email: str, cause: Cause) -> None:
        address = email.lower()
        contact = self.shop.write(contacts.add, {address}).contacts[address]
        is_new = address not in self.model.suppressed
        expected = self.model.suppress(address, cause.value)
        done = self.shop.write(suppression.suppress, [contact.id], cause, "a test")
        assert (list(done.contacts), set(done.requests)) == ([contact.id] if is_new else [], expected)

    @rule(email=st.sampled_from(EMAILS), by_consent=st.booleans())
    def lift(self, email: str, by_consent: bool) -> None:
        is_lifted = self.model.lift(email.lower(), by_consent=by_consent)
        lifted = self.shop.write(suppression.lift, [email.lower()], TOKENS, by_consent=by_consent)
        assert lifted == ({email.lower()} if is_lifted else set())

    @rule(email=st.sampled_from(EMAILS))
    def erase(self, email: str) -> None:
        if contact := self.shop.database.read(contacts.one, email.lower()):
            self.shop.write(erasure.erase, contact.id, TOKENS)
            self.model.erase(email.lower(), f"{contacts.ERASED}{contact.id}")

    @rule()
    def repeat(self) -> None:
        """Nothing is left to a sweep where nothing happens at the same time."""
        assert self.shop.write(suppression.repeat) == 0

    def _ids(self, places: list[int]) -> list[UUID]:
        return list(dict.fromkeys(self._some(list(self.model.wishes), places)))

    def _some(self, things: Sequence[Any], places: list[int]) -> list[Any]:
        # It counts from the end, because most of the old ones are over.
        return [things[-1 - place % len(things)] for place in places] if things else []

    # what holds after each step

    @invariant()
    def the_database_is_as_the_model(self) -> None:
        self.shop.database.read(self._check)

    def _check(self, c: Connection) -> None:
        rows = list(requests.find(c, requests.Filter()))
        assert {row.id: _seen(row) for row in rows} == {wish.id: _expected(wish) for wish in self.model.wishes.values()}
        assert [row.id for row in rows] == [wish.id for wish in sorted(self.model.wishes.values(), key=age)]
        for row in rows:
            reasons = self.model.waits_for(self.model.wishes[row.id])
            assert row.waiting in reasons if reasons else row.waiting is None
        self._check_keys(rows)
        self._check_contacts(c)
        assert books(c).off == {"UNRESOLVED": 0, "NOTIFICATION_SENT": 0, "FAILED": 0}
        self._check_details(c)
        self._check_figures(c)
        self._check_claimable(c, rows)

    def _check_keys(self, rows: Sequence[Row[Any]]) -> None:
        unresolved = Counter(
            (row.contact_id, row.waiting_list_id) for row in rows if row.status in (RECEIVED, PROCESSING)
        )
        assert set(unresolved.values()) <= {1}

    def _check_contacts(self, c: Connection) -> None:
        rows = c.execute(select(Contact).where(col(Contact.suppressed_at).is_not(None))).all()
        assert {row.address: row.suppressed_why for row in rows} == {
            address: cause for address, (cause, _) in self.model.suppressed.items()
        }

    def _check_details(self, c: Connection) -> None:
        for item, expected in self.model.items.items():
            row = admin.item(c, item)
            seen = {name: getattr(row, name, None) for name in DETAILS}
            assert seen == {name: expected.details.get(name) for name in DETAILS}

    def _check_figures(self, c: Connection) -> None:
        found = figures.read(c, LEASE)
        assert found.by_status == self.model.counts()
        assert found.overdue_claims == len(self.model.abandoned())
        assert found.workers == sum(self.model.owners.values())
        is_due = any(map(self.model.is_due, self.model.wishes.values()))
        assert (found.oldest_due_seconds is not None) is is_due

    def _check_claimable(self, c: Connection, rows: Sequence[Row[Any]]) -> None:
        """Compares the other readers with the model. `claim` is compared where it is called."""
        claimable = {wish.id for wish in self.model.wishes.values() if self.model.is_claimable(wish)}
        assert {row.id for row in rows if row.waiting == "queued"} == claimable
        with_work = {self.list_ids[self.model.wishes[id_].reference] for id_ in claimable}
        assert set(lists.with_work(c)) == with_work
        assert set(lists.with_work(c, self.list_ids.values())) == with_work

    def teardown(self) -> None:
        """Asserts that the attempt log is complete, and that it is deleted with its request."""
        for wish in self.model.wishes.values():
            assert len(self.shop.attempts(wish.id)) == wish.log
        assert self.shop.count(Attempt) == sum(wish.log for wish in self.model.wishes.values())


def _seen(row: Row[Any]) -> tuple[object, ...]:
    is_held = (row.owner is not None, row.claimed_at is not None)
    assert is_held in {(True, True), (False, False)}
    return (
        (row.status, row.auto_notified, row.owner, row.claim_no, row.handed_at is not None),
        (row.attempts, row.rescues, row.not_before is not None, row.ordered_at is not None),
        (row.failure_code, row.notified_date is not None, row.email),
    )


def _expected(wish: Wish) -> tuple[object, ...]:
    return (
        (wish.status, wish.auto_notified, wish.owner, wish.claim_no, wish.is_handed),
        (wish.attempts, wish.rescues, wish.backoff is not None, wish.ordered),
        (wish.code, wish.status is Status.NOTIFICATION_SENT or wish.code == "BOUNCED", wish.email),
    )


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)  # behind a pooler it takes too long
def test_whatever_happens_the_store_does_as_the_design_says(shop: Shop) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(shop)

    number = 25 if shop.database.dialect == "sqlite" else 12
    run_state_machine_as_test(Machine, settings=settings(examples(number), stateful_step_count=50))
