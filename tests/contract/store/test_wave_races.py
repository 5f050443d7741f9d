"""Eight connections to PostgreSQL claim, end and publish at once. Afterwards the oracle looks at what happened.

PostgreSQL itself writes the history, as in `test_races`: whoever changes seats has locked the item, so the numbers of
the history are the order in which it happened. Time stands still while the threads run, and goes on between rounds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import LEASE, LONG_AGO, Shop, ref, shop_at
from tests.contract.store.model import Deciders
from tests.contract.store.rounds import Claimer, go_on, play
from tests.contract.store.wave_oracle import ItemOracle, SeldomSeen, end_of
from tests.contract.store.wave_shop import WAVE, ends_of
from tests.examples import TIMES
from worker.domain.catalog import CatalogReference, Item, Options, compared_options
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.domain.returned import Kind
from worker.store import claims, lists, recording, reports, requests, stock, sweep
from worker.store.claims import Claim
from worker.store.database import Database
from worker.store.requests import NewRequest
from worker.store.sql import Sql

WORKERS: Final = 6
PUBLISHERS: Final = 2
ROUNDS: Final = 10 * TIMES
TURNS: Final = 12
POLICIES: Final = Policies(per_unit=2, wave_seconds=WAVE)
DIGEST: Final = replace(POLICIES, digest=True)
FEW: Final = 40
"""With a digest there are few customers, so that many have several requests."""
MUGS: Final = ("mug-1", "mug-2", "mug-3")
WANTED: Final = [
    ref(mug, **options) for mug in MUGS for options in ({}, {"color": "blue"}, {"color": "red", "size": "L"})
]
ABOUT: Final = [
    ref(mug, **options)
    for mug in MUGS
    for options in ({}, {"color": "blue", "size": "L"}, {"color": "blue", "size": "M"}, {"color": "red", "size": "L"})
]
WAITS: Final = (1.0, WAVE / 2, WAVE, WAVE, 2 * WAVE)
ENDS: Final = ("told", "told", "told", "failed", "lost", "unknown", "deferred", "released")
MOST_ROUNDS: Final = 400

CLOCK: Final = (
    "CREATE TABLE clock AS SELECT CAST('2026-01-01' AS timestamptz) AS now",
    """CREATE OR REPLACE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT now + make_interval(secs => seconds) FROM public.clock $$""",
)
HISTORY: Final = (
    """CREATE TABLE history (seq bigint GENERATED ALWAYS AS IDENTITY, at timestamptz, was jsonb, now jsonb)""",
    """CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO history (at, was, now) VALUES (stockbell_now(0), to_jsonb(OLD), to_jsonb(NEW));
        RETURN NULL; END $$""",
    """CREATE TRIGGER note AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION note()""",
    # Not where only seats were taken or given back.
    """CREATE TRIGGER note_change AFTER UPDATE ON stock FOR EACH ROW WHEN (
        (OLD.in_stock, OLD.follows_item, OLD.entry_id) IS DISTINCT FROM (NEW.in_stock, NEW.follows_item, NEW.entry_id))
        EXECUTE FUNCTION note()""",
    """CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON request FOR EACH ROW EXECUTE FUNCTION note()""",
)
DEADLOCKS: Final = "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()"
LISTS: Final = """SELECT w.id, w.options, i.app_id, i.catalog_item_id FROM waiting_list AS w
    JOIN item AS i ON i.id = w.item_id"""
LEFT: Final = """SELECT r.id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    WHERE r.status = 'PROCESSING' OR (r.status = 'RECEIVED' AND w.in_stock AND r.created_date < w.last_in_stock_at)"""

_DIE = Sql("UPDATE owner SET seen_at = stockbell_now(-1000) WHERE id = :owner")


@dataclass(slots=True)
class Seen:
    """What the threads have in common."""

    list_ids: dict[CatalogReference, UUID]
    claims: list[Claim] = field(default_factory=list)
    digests: int = 0
    told: int = 0
    entries: Iterator[int] = field(default_factory=lambda: count(1))
    customers: Iterator[int] = field(default_factory=lambda: count(1))


class Publisher:
    """Says what there is of each item, again and again."""

    def __init__(self, database: Database, seed: int, seen: Seen, _policies: Policies) -> None:
        self._database = database
        self._random = Random(seed)
        self._seen = seen

    def turn(self) -> None:
        some = {reference.item: reference for reference in self._random.sample(ABOUT, self._random.randint(1, 4))}
        self._database.write(stock.apply, [self._event(reference) for reference in some.values()], POLICIES)

    def _event(self, reference: CatalogReference) -> Event:
        number = next(self._seen.entries)
        at = LONG_AGO + timedelta(seconds=number - self._random.choice((0, 0, 0, 5)))
        quantity = self._random.choice((-1, 0, 1, 1, 2, 3, 5))
        in_stock = self._random.choice((None, None, None, True, False))
        return Event(f"{number}-0", None, reference, at, False, in_stock, quantity, {}, ())


class Worker(Claimer):
    """Claims and ends, and everything else that gives seats back."""

    ends = ENDS

    def __init__(self, database: Database, seed: int, seen: Seen, policies: Policies) -> None:
        super().__init__(database, seed, policies)
        self._seen = seen

    @property
    def turns(self) -> Sequence[tuple[Callable[[], object], float]]:
        return [
            (self.claim, 6),
            (self.end, 6),
            (self.sign_up, 4),
            (self.release_all, 1),
            (self.die, 1),
            (self.sweep, 2),
            (self.bounce, 2),
            (self.ring, 1),
            (self.delete, 1),
        ]

    def claim(self) -> None:
        claimed = self._claim(sorted(self._seen.list_ids.values()))
        self._seen.claims += claimed.one_by_one
        self._seen.digests += sum(bool(mail.others) for mail in claimed.claims)

    def sign_up(self) -> None:
        numbers = (next(self._seen.customers) % (FEW if self._policies.digest else 10**9) for _ in WANTED)
        some = zip(numbers, self._some(WANTED), strict=False)
        new = [NewRequest(f"customer{number}@example.com", wanted) for number, wanted in some]
        self._database.write(requests.create, new)

    def die(self) -> None:
        """Its lease ends. What it held is recorded too late, if others have not claimed it by then."""
        self._database.write(lambda c: _DIE(c, owner=self._owner))

    def bounce(self) -> None:
        entries = [
            reports.Entry(uuid4().hex, Kind.FAILED, request_id=claim.id, claim_no=claim.claim_no, bounces=True)
            for claim in {claim.id: claim for claim in self._some(self._seen.claims)}.values()
        ]
        self._database.write(reports.apply, entries, "test")

    def ring(self) -> None:
        self._database.write(lists.ring, self._database.read(lists.with_work))

    def delete(self) -> None:
        self._database.write(requests.remove_each, sorted({claim.id for claim in self._some(self._seen.claims)})[:1])

    def _some(self, what: Sequence[Any]) -> Sequence[Any]:
        return self._random.sample(what, min(len(what), self._random.randint(1, 4)))


@pytest.fixture
def noted_shop(postgres_url: str) -> Iterator[Shop]:
    with shop_at(postgres_url) as shop:
        for statement in (*CLOCK, *HISTORY):
            shop.change(statement)
        yield shop


def race(shop: Shop, policies: Policies) -> Seen:
    """Lets all run in rounds. Any error but a lost lease fails here, even a deadlock that was not survived."""
    seen, random = Seen(shop.write(lists.find_or_add, WANTED)), Random(1)
    play(
        shop.url,
        WORKERS + PUBLISHERS,
        lambda database, seed: (Worker if seed < WORKERS else Publisher)(database, seed, seen, policies),
        lambda: go_on(shop, random.choice(WAITS)),
        (ROUNDS, TURNS),
    )
    return seen


def run_out(shop: Shop) -> None:
    """Nothing happens any more but claims. In the end everybody is told who was woken."""
    owner = shop.owner()
    shop.change("UPDATE owner SET seen_at = stockbell_now(-1000) WHERE id <> :owner", owner=owner)
    for _ in range(MOST_ROUNDS):
        shop.rescue()
        shop.write(sweep.put_in_line)
        for list_id in shop.with_work():
            claimed = shop.write(claims.claim, owner, LEASE, [list_id], 100, POLICIES, first=True)
            shop.write(recording.record, ends_of(claimed.one_by_one, ["told"]))
        if not shop.ask(LEFT):
            return
        go_on(shop, WAVE)
    raise AssertionError("somebody waits for ever")


@dataclass(slots=True)
class Replay:
    """The history as the oracle sees it, of all items."""

    lists: dict[UUID, tuple[Item, Options]]
    items: dict[UUID, Item]
    oracles: dict[Item, ItemOracle] = field(default_factory=dict)
    rows: dict[Item, dict[Options, "Row"]] = field(default_factory=dict)
    seats: dict[tuple[UUID, int], Options] = field(default_factory=dict)

    def oracle(self, item: Item) -> ItemOracle:
        return self.oracles.setdefault(item, ItemOracle(SeldomSeen))

    def note(self, at: Any, was: Any, now: Any) -> None:
        if "occurred_at" in (now or was):
            self._heard(at, Row(now))
        elif was:
            self._changed(at, Row(was), Row(now) if now else None)

    def _heard(self, at: Any, now: "Row") -> None:
        item, about = self.items[UUID(now.item_id)], compared_options(now.options)
        oracle, rows = self.oracle(item), self.rows.setdefault(item, {})
        rows[about] = now
        oracle.wave(about).hears(POLICIES, now.quantity, at, in_stock=now.in_stock)
        oracle.deciders = _deciders(rows)

    def _changed(self, at: Any, was: "Row", now: "Row | None") -> None:
        item, wanted = self.lists[UUID(was.waiting_list_id)]
        oracle, holder = self.oracle(item), (UUID(was.id), was.claim_no)
        if now and now.claim_no != was.claim_no:
            holder = holder[0], now.claim_no
            seat = None if now.seat is None else compared_options(now.seat)
            oracle.claims(POLICIES, at)
            oracle.takes(holder, wanted, seat, at, exactly=False)
            if seat is not None:
                self.seats[holder] = seat
        elif holder in self.seats and (end := end_of(was, now)):
            oracle.ended(holder, self.seats[holder], end, POLICIES)


class Row:
    """A row as JSON, with its columns as attributes."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    def __getattr__(self, name: str) -> Any:
        return self._columns[name]


def _deciders(rows: dict[Options, Row]) -> Deciders:
    variants = frozenset(about for about in rows if about)
    whole = rows.get(())
    return Deciders(
        variants,
        frozenset(about for about in variants if rows[about].follows_item and not rows[about].in_stock),
        whole is not None and all(_order(row) <= _order(whole) for row in rows.values()),
    )


def _order(row: Row) -> tuple[str, int]:
    return row.occurred_at, int(row.entry_id.split("-")[0])


@pytest.mark.parametrize("policies", [POLICIES, DIGEST], ids=["one by one", "digest"])
def test_whoever_is_first_the_seats_are_counted(noted_shop: Shop, policies: Policies) -> None:
    deadlocks = noted_shop.ask(DEADLOCKS)[0].n
    seen = race(noted_shop, policies)
    assert bool(seen.digests) == policies.digest
    assert noted_shop.ask(DEADLOCKS)[0].n == deadlocks
    run_out(noted_shop)
    found = noted_shop.ask(LISTS, id="uuid")
    lists_ = {row.id: (Item(row.app_id, row.catalog_item_id), compared_options(row.options)) for row in found}
    items = {row.id: Item(row.app_id, row.catalog_item_id) for row in noted_shop.ask("SELECT * FROM item", id="uuid")}
    replay = Replay(lists_, items)
    for note in noted_shop.ask("SELECT at, was, now FROM history ORDER BY seq", at="time"):
        replay.note(note.at, note.was, note.now)
    assert len(replay.seats) > 50
