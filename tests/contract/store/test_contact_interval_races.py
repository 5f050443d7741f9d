"""Several connections to PostgreSQL claim, end and change what few customers wait for. PostgreSQL writes the history.

Whatever the order, no customer ever has two mails on their way, and none is claimed while they rest.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import count
from random import Random
from typing import Final
from uuid import UUID

import pytest

from tests.contract.shop import LONG_AGO, Shop, ref, shop_at
from tests.contract.store.rounds import Claimer, go_on, play
from tests.contract.store.test_wave_races import CLOCK, DEADLOCKS
from tests.examples import TIMES
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.domain.returned import Cause
from worker.store import admin, lists, requests, stock, suppression
from worker.store.database import Database
from worker.store.requests import NewRequest

WORKERS: Final = 6
ROUNDS: Final = 15 * TIMES
TURNS: Final = 12
INTERVAL: Final = 100.0
POLICIES: Final = {
    "free": Policies(contact_interval=INTERVAL),
    "digest": Policies(contact_interval=INTERVAL, digest=True),
    "seats": Policies(contact_interval=INTERVAL, per_unit=3, wave_seconds=50.0),
}
ITEMS: Final = [ref(f"mug-{number}", **options) for number in range(4) for options in ({}, {"color": "blue"})]
PEOPLE: Final = [f"customer{number}@example.com" for number in range(8)]
ENDS: Final = ("told", "told", "failed", "lost", "unknown", "deferred", "released")
# A claim has locked the contact, and sees all that ended before: so its numbers come after those of the ends.
HISTORY: Final = (
    """CREATE TABLE history (seq bigint GENERATED ALWAYS AS IDENTITY, xid bigint, contact uuid, was text, now text,
        at timestamptz, mailed_at timestamptz, ordered boolean)""",
    """CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO history (xid, contact, was, now, at, mailed_at, ordered)
        SELECT txid_current(), NEW.contact_id, OLD.status, NEW.status, stockbell_now(0), s.mailed_at,
            NEW.ordered_at IS NOT NULL FROM contact AS s WHERE s.id = NEW.contact_id;
        RETURN NULL; END $$""",
    """CREATE TRIGGER note AFTER UPDATE ON request FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
        EXECUTE FUNCTION note()""",
)
PROCESSING: Final = """SELECT count(DISTINCT owner) AS owners, count(DISTINCT claimed_at) AS claims
    FROM request WHERE status = 'PROCESSING' GROUP BY contact_id"""
_ENTRIES: Final = count(1)


@pytest.fixture
def noted_shop(postgres_url: str) -> Iterator[Shop]:
    with shop_at(postgres_url) as shop:
        for statement in (*CLOCK, *HISTORY):
            shop.change(statement)
        yield shop


class Worker(Claimer):
    """Claims and ends, and everything else that touches contacts and their requests."""

    ends = ENDS

    def __init__(self, database: Database, seed: int, policies: Policies, list_ids: list[UUID]) -> None:
        super().__init__(database, seed, policies)
        self._list_ids = list_ids

    @property
    def turns(self) -> Sequence[tuple[Callable[[], object], float]]:
        return [
            (self.claim, 8),
            (self.end, 6),
            (self.sign_up, 5),
            (self.sweep, 2),
            (self.release_all, 1),
            (self.report, 1),
            (self.suppress, 1),
            (self.publish, 2),
            (self.delete, 1),
        ]

    def claim(self) -> None:
        claimed = self._claim(self._list_ids)
        allowed = 20 if self._policies.digest else 1
        assert max(Counter(claim.contact_id for claim in claimed.one_by_one).values(), default=0) <= allowed

    def sign_up(self) -> None:
        # In one order: two sign-ups of the same customers for the same items wait for each other's rows.
        people = sorted(self._random.sample(PEOPLE, self._random.randint(1, 4)))
        new = [NewRequest(address, item) for address in people for item in sorted(self._random.sample(ITEMS, 2))]
        self._database.write(requests.create, new)

    def report(self) -> None:
        self._database.write(admin.report, self._some_ids())

    def delete(self) -> None:
        self._database.write(admin.delete, self._some_ids())

    def _some_ids(self) -> list[UUID]:
        statement = "SELECT id FROM request WHERE status = 'RECEIVED' ORDER BY random() LIMIT 2"
        return [UUID(str(row.id)) for row in self._database.read(lambda c: c.exec_driver_sql(statement).all())]

    def suppress(self) -> None:
        statement = "SELECT id, address FROM contact ORDER BY random() LIMIT 2"
        rows = self._database.read(lambda c: c.exec_driver_sql(statement).all())
        self._database.write(suppression.suppress, [UUID(str(row.id)) for row in rows], Cause.UNSUBSCRIBED, "test")
        self._database.write(suppression.lift, [row.address for row in rows], None)

    def publish(self) -> None:
        """Says that there are pieces of an item, or none."""
        number = next(_ENTRIES)
        at, quantity = LONG_AGO + timedelta(seconds=number), self._random.choice((0, 2, 3, 5))
        event = Event(f"{number}-0", None, self._random.choice(ITEMS), at, False, None, quantity, {}, ())
        self._database.write(stock.apply, [event], self._policies)


@pytest.mark.parametrize("name", POLICIES)
def test_whoever_is_first_a_customer_has_one_mail_on_its_way(noted_shop: Shop, name: str) -> None:
    shop, random, policies = noted_shop, Random(1), POLICIES[name]
    deadlocks = shop.ask(DEADLOCKS)[0].n
    list_ids = sorted(shop.write(lists.find_or_add, ITEMS).values())
    play(
        shop.url,
        WORKERS,
        lambda database, seed: Worker(database, seed, policies, list_ids),
        lambda: go_on(shop, random.choice((1.0, 30.0, INTERVAL))),
        (ROUNDS, TURNS),
    )
    assert shop.ask(DEADLOCKS)[0].n == deadlocks
    check(shop, is_digest=policies.digest)


def check(shop: Shop, *, is_digest: bool) -> None:
    """Goes through the history: who was claimed while a mail was on its way, or too soon after the last one."""
    on_the_way: dict[UUID, Counter[int]] = {}
    ordered = set[tuple[UUID, int]]()
    claimed = 0
    for note in shop.ask("SELECT * FROM history ORDER BY seq", contact="uuid", at="time", mailed_at="time"):
        held = on_the_way.setdefault(note.contact, Counter())
        if note.now == "PROCESSING":
            claimed += 1
            assert set(held) <= {note.xid}, "two claims at a time"
            assert is_digest or not held, "two requests in one claim"
            is_rested = note.mailed_at is None or (note.at - note.mailed_at).total_seconds() >= INTERVAL
            if note.ordered:
                ordered.add((note.contact, note.xid))
            # What an admin has ordered takes along what else is due.
            assert is_rested or (note.contact, note.xid) in ordered, "claimed too soon"
            held[note.xid] += 1
        elif note.was == "PROCESSING":
            xid = next(iter(held))
            held[xid] -= 1
            if not held[xid]:
                del held[xid]
    assert claimed > 50
    assert all(row.owners == row.claims == 1 for row in shop.ask(PROCESSING))
