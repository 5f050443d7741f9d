"""Eight connections to PostgreSQL do everything at once. Afterwards the tests check the history of every row.

PostgreSQL itself writes the history. A trigger notes each change of a request while its row is locked. So the history
of each request is in the order in which things happened, whatever the threads believe.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, groupby
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Row

from tests.contract.reporting import DOMAIN, TOKENS, report, return_token
from tests.contract.shop import CUP, FRESH, LEASE, LONG_AGO, Shop, may_rescue, ref, shop_at
from tests.examples import TIMES
from worker.domain.errors import OwnerLost
from worker.domain.events import Event
from worker.domain.recognition import Recognizer
from worker.domain.returned import Cause, Kind
from worker.domain.verdicts import Tries
from worker.models import Status
from worker.services.returning import Intake
from worker.store import (
    admin,
    claims,
    contacts,
    erasure,
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
from worker.store.claims import Claim
from worker.store.database import Connection, Database
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import NewRequest
from worker.store.sql import Sql

CONNECTIONS: Final = 8
TURNS: Final = 80 * TIMES
WANTED: Final = (ref(), ref(color="red"), ref(color="red", size="L"), CUP)
EMAILS: Final = [f"customer{number}@example.com" for number in range(12)]

BAD_NEWS: Final = (Kind.FAILED, Kind.FAILED, Kind.FAILED, Kind.DEAD, Kind.COMPLAINT)

HISTORY = """CREATE TABLE history (seq bigint GENERATED ALWAYS AS IDENTITY, verb text, id uuid, was text, now text,
    auto_notified boolean, owner_was uuid, owner uuid, claim_was int, claim_no int)"""
NOTE = """CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO history (verb, id, was, now, auto_notified, owner_was, owner, claim_was, claim_no) VALUES (TG_OP,
        coalesce(NEW.id, OLD.id), OLD.status, NEW.status, NEW.auto_notified, OLD.owner, NEW.owner, OLD.claim_no,
        NEW.claim_no);
    RETURN NULL; END $$"""
TRIGGER = """CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON request
    FOR EACH ROW EXECUTE FUNCTION note()"""
_UNWANTED = Sql("SELECT id FROM history WHERE id = :id AND verb = 'INSERT' AND now = 'FAILED'")


@dataclass(slots=True)
class Seen:
    """What the database told all the threads together."""

    claims: list[Claim] = field(default_factory=list)
    written: list[tuple[str, UUID, int]] = field(default_factory=list)
    """The ends that `record` said it wrote: kind, request and number of the claim."""
    created: list[UUID] = field(default_factory=list)
    deleted: list[UUID] = field(default_factory=list)
    owners: list[UUID] = field(default_factory=list)


class Worker:
    """One connection, with the things that it does at random."""

    def __init__(self, database: Database, seed: int, seen: Seen, entries: Iterator[int]) -> None:
        self._database = database
        self._random = Random(seed)
        self._seen = seen
        self._entries = entries
        self._owner = self._register()
        self._held: list[Claim] = []
        self._turns: list[tuple[Callable[[], object], float]] = [
            (self.claim, 8),
            (self.record, 8),
            (self.record_late, 2),
            (self.create, 3),
            (self.tell, 3),
            (self.rescue, 1),
            (self.die, 1),
            (self.release_all, 1),
            (self.hand_over, 1),
            (self.put_in_line, 1),
            (self.retry, 3),
            (self.report, 1),
            (self.mark, 1),
            (self.pause, 1),
            (self.delete, 1),
            (self.suppress, 1),
            (self.lift, 2),
            (self.erase, 0.2),
            (self.come_back, 3),
            (self.look, 1),
        ]

    def run(self) -> None:
        turns, weights = zip(*self._turns, strict=True)
        for turn in self._random.choices(turns, weights, k=TURNS):
            try:
                turn()
            except OwnerLost:
                self._held.clear()
                self._owner = self._register()

    def _register(self) -> UUID:
        owner = uuid4()
        self._database.write(owners.register, owner, "host:1")
        self._seen.owners.append(owner)
        return owner

    def claim(self) -> None:
        wanted = self._random.sample(WANTED, self._random.randint(1, 3))
        ids = list(self._database.write(lists.find_or_add, wanted).values())
        claimed = self._database.write(
            claims.claim, self._owner, LEASE, ids, self._random.randint(1, 6), first=self._random.random() < 0.7
        )
        self._held += claimed.claims
        self._seen.claims += claimed.claims

    def record(self) -> None:
        most = self._random.randint(1, 6)
        self._record(self._held[:most])
        del self._held[:most]

    def record_late(self) -> None:
        """Records an outcome of any claim by any worker, however old."""
        if self._seen.claims:
            self._record([self._random.choice(self._seen.claims)])

    def _record(self, held: Sequence[Claim]) -> None:
        ends, kinds = Ends(), dict[UUID, str]()
        for claim in held:
            kinds[claim.id] = self._random.choice(("told", "failed", "deferred", "released"))
            ended = Ended(claim, Tries(claim.tries.attempts + 1), "RECIPIENT_REJECTED", "no", delay=0.0)
            match kinds[claim.id]:
                case "told":
                    ends.told.append(claim)
                case "failed":
                    ends.failed.append(ended)
                    ends.log.append(Try(claim, "rejected", 550, None, "no"))
                case "deferred":
                    ends.deferred.append(ended)
                case _:
                    ends.released.append(claim)
        numbers = {claim.id: claim.claim_no for claim in held}
        written = recording.write(self._database, ends)
        self._seen.written += [(kinds[id_], id_, numbers[id_]) for id_ in written]

    def create(self) -> None:
        new = [NewRequest(*self._wish()) for _ in range(self._random.randint(1, 5))]
        self._seen.created += self._database.write(requests.create, new, TOKENS)

    def _wish(self) -> tuple[str, Any]:
        return self._random.choice(EMAILS), self._random.choice(WANTED)

    def tell(self) -> None:
        events = [self._event() for _ in range(self._random.randint(1, 4))]
        self._database.write(stock.apply, events)

    def _event(self) -> Event:
        number = next(self._entries)
        at = LONG_AGO + timedelta(seconds=number + self._random.randint(-5, 0))
        in_stock = self._random.random() < 0.8
        return Event(f"{number}-0", None, self._random.choice(WANTED), at, False, in_stock, None, {}, ())

    def rescue(self) -> None:
        self._database.write(may_rescue)
        self._database.write(sweep.rescue, LEASE, FRESH)
        self._database.write(owners.forget, LEASE)

    def die(self) -> None:
        """Ends the lease of any worker, whatever it holds."""
        owner = self._random.choice(self._seen.owners)
        dies = Sql("UPDATE owner SET seen_at = stockbell_now(-1000) WHERE id = :owner")
        self._database.write(lambda c: dies(c, owner=owner))

    def release_all(self) -> None:
        self._held.clear()
        self._database.write(claims.release_all, self._owner)

    def hand_over(self) -> None:
        if self._held:
            self._database.write(claims.hand_over, self._held)

    def put_in_line(self) -> None:
        self._database.write(sweep.put_in_line)
        self._database.write(reports.retry_early)

    def come_back(self) -> None:
        """Lets mails come back, some of which others report at the same time."""
        some = self._random.sample(self._seen.claims, min(len(self._seen.claims), 5))
        found = [("", report(self._random.choice(BAD_NEWS), return_token(claim))) for claim in some]
        Intake(self._database, Recognizer(TOKENS, DOMAIN)).take(found, "mbox")

    def retry(self) -> None:
        ordered = self._random.random() < 0.5
        self._database.write(admin.retry, self._some(), ordered=ordered, force=True)

    def report(self) -> None:
        self._database.write(admin.report, self._some())

    def mark(self) -> None:
        self._database.write(admin.mark_sent, self._some())

    def pause(self) -> None:
        reference = self._random.choice(WANTED)
        self._database.write(pauses.pause, reference)
        self._database.write(pauses.resume, reference)

    def delete(self) -> None:
        for id_ in self._some()[:1]:
            # As long as a customer is suppressed, the same sign-up has the same id, and would begin another history.
            if self._database.read(_was_unwanted, id_):
                continue
            if self._database.write(requests.remove, id_):
                self._seen.deleted.append(id_)

    def suppress(self) -> None:
        found = self._database.write(contacts.add, self._random.sample(EMAILS, 3)).contacts
        cause = self._random.choice(list(Cause))
        self._database.write(suppression.suppress, [contact.id for contact in found.values()], cause, "a test")

    def lift(self) -> None:
        self._database.write(suppression.lift, self._random.sample(EMAILS, 4), TOKENS)

    def erase(self) -> None:
        email = self._random.choice(EMAILS)
        if found := self._database.read(contacts.find, {email}).get(email):
            self._database.write(erasure.erase, found.id, TOKENS)

    def look(self) -> None:
        self._database.read(figures.read, LEASE)
        ids = self._database.read(lists.with_work)
        self._database.write(lists.ring, ids)

    def _some(self) -> list[UUID]:
        created = self._seen.created
        return self._random.sample(created, min(len(created), self._random.randint(1, 20)))


def _was_unwanted(c: Connection, request_id: UUID) -> bool:
    return bool(_UNWANTED(c, id=request_id))


@pytest.fixture
def noted_shop(postgres_url: str) -> Iterator[Shop]:
    with shop_at(postgres_url) as shop:
        for statement in (HISTORY, NOTE, TRIGGER):
            shop.change(statement)
        yield shop


@pytest.fixture
def seen(noted_shop: Shop) -> Seen:
    """What eight connections did. Any error but a lost lease fails here, even a deadlock that was not survived."""
    seen, entries, barrier = Seen(), count(1), threading.Barrier(CONNECTIONS)

    def work(seed: int) -> None:
        with closing(Database(noted_shop.url, connections=1)) as database:
            worker = Worker(database, seed, seen, entries)
            barrier.wait()
            worker.run()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(work, seed) for seed in range(CONNECTIONS)]:
            done.result()
    return seen


def test_at_most_one_live_claim_and_every_change_an_arrow(noted_shop: Shop, seen: Seen) -> None:
    changes = noted_shop.ask("SELECT * FROM history ORDER BY id, seq", id="uuid", owner="uuid", owner_was="uuid")
    for _, history in groupby(changes, key=lambda change: change.id):
        _check_history(list(history))
    _check_claims(changes, seen)
    _check_ends(changes, seen)
    assert Counter(change.id for change in changes if change.verb == "INSERT") == Counter(seen.created)
    assert Counter(change.id for change in changes if change.verb == "DELETE") == Counter(seen.deleted)
    _check_what_is_left(noted_shop, seen)


def _check_history(history: Sequence[Row[Any]]) -> None:
    """Checks the history of one request: it begins once, and each change is an arrow from the state before it."""
    first, *later = history
    assert (first.verb, first.claim_no, first.owner) == ("INSERT", 0, None)
    assert first.now in {"RECEIVED", "FAILED"}  # the customer wants no mail
    before = first
    for change in later:
        assert (change.was, change.owner_was, change.claim_was) == (before.now, before.owner, before.claim_no)
        assert before.verb != "DELETE"
        if change.verb == "UPDATE":
            _check_arrow(before, change)
        before = change


def _check_arrow(before: Row[Any], change: Row[Any]) -> None:
    arrow = change.was, change.now
    if arrow == ("RECEIVED", "PROCESSING"):
        assert change.claim_no == change.claim_was + 1
        assert (change.owner is not None, change.auto_notified) == (True, None)
        return
    assert change.claim_no == change.claim_was
    assert change.owner == (change.owner_was if change.now == "PROCESSING" else None)
    assert change.auto_notified in ARROWS[arrow]
    assert change.now != change.was or change.auto_notified == before.auto_notified


ARROWS: Final[dict[tuple[str, str], set[bool | None]]] = {
    ("RECEIVED", "RECEIVED"): {None},  # report, put in line
    ("RECEIVED", "NOTIFICATION_SENT"): {True, False},  # late success, mark
    ("RECEIVED", "FAILED"): {None},  # suppress
    ("FAILED", "FAILED"): {None, True},  # erase
    ("NOTIFICATION_SENT", "NOTIFICATION_SENT"): {True, False},  # erase
    ("PROCESSING", "PROCESSING"): {None},  # hand over
    ("PROCESSING", "RECEIVED"): {None},  # defer, release, rescue
    ("PROCESSING", "NOTIFICATION_SENT"): {True},  # record
    ("PROCESSING", "FAILED"): {True},  # record, rescue
    ("NOTIFICATION_SENT", "FAILED"): {True},  # bounce
    ("FAILED", "RECEIVED"): {None},  # retry
    ("FAILED", "NOTIFICATION_SENT"): {False},  # mark
}
"""The values that `autoNotified` may have after each change but a claim."""


def _check_claims(changes: Sequence[Row[Any]], seen: Seen) -> None:
    """Checks that each claim in the history went to exactly one connection, and that no other claim was made."""
    noted = Counter((change.id, change.claim_no, change.owner) for change in changes if _is_claim(change))
    given = Counter((claim.id, claim.claim_no, claim.owner) for claim in seen.claims)
    assert noted == given
    assert set(given.values()) == {1}
    assert len({(claim.id, claim.claim_no) for claim in seen.claims}) == len(seen.claims)


def _is_claim(change: Row[Any]) -> bool:
    return (change.was, change.now) == ("RECEIVED", "PROCESSING")


def _check_ends(changes: Sequence[Row[Any]], seen: Seen) -> None:
    """Checks that each end that `record` said it wrote is there once, and that no other request was told."""
    told = Counter((change.id, change.claim_no) for change in changes if _is_told(change))
    assert told == Counter((id_, number) for end, id_, number in seen.written if end == "told")
    ended = Counter((change.id, change.claim_no) for change in changes if change.was == "PROCESSING" != change.now)
    assert set(ended.values()) == {1}
    by_holder = {(id_, number) for end, id_, number in seen.written if end != "told"}
    assert by_holder <= ended.keys()
    assert len(by_holder) == sum(end != "told" for end, _, _ in seen.written)


def _is_told(change: Row[Any]) -> bool:
    return change.now == "NOTIFICATION_SENT" != change.was and change.auto_notified is True


def _check_what_is_left(shop: Shop, seen: Seen) -> None:
    """Checks that each request is there once unless deleted, and that all are claimed once nothing is in the way."""
    rows = shop.rows()
    assert {row.id for row in rows} == set(seen.created) - set(seen.deleted)
    unresolved = [(row.contact_id, row.waiting_list_id) for row in rows if row.status in {"RECEIVED", "PROCESSING"}]
    assert len(unresolved) == len(set(unresolved))
    _check_nobody_waits_who_is_suppressed(shop)
    shop.change("UPDATE owner SET seen_at = stockbell_now(-1000)")
    shop.change("UPDATE request SET handed_at = NULL, rescues = 0")
    shop.rescue()
    shop.write(sweep.put_in_line)
    for reference in WANTED:
        shop.tell(reference, at=LONG_AGO + timedelta(days=1))
    owner = shop.owner()
    while claimed := shop.claim(owner, *WANTED).claims:
        shop.write(recording.record, Ends(told=list(claimed)))
    assert {row.status for row in shop.rows()} <= {Status.NOTIFICATION_SENT, Status.FAILED}
    assert len({row.status for row in shop.rows()}) == 2


def _check_nobody_waits_who_is_suppressed(shop: Shop) -> None:
    """Checks the rule after one sweep: who waits and is suppressed then came to wait while it happened."""
    shop.write(suppression.repeat)
    waiting = """SELECT 1 FROM request AS r JOIN contact AS s ON s.id = r.contact_id
        WHERE r.status = 'RECEIVED' AND s.suppressed_at IS NOT NULL"""
    assert not shop.ask(waiting)
