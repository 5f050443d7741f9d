"""Scale: what the store's statements read in a table of 500,000 to 5,000,000 requests, and what follows for 50,000,000.

Pages of 8 KiB are counted (EXPLAIN (ANALYZE, BUFFERS)), not seconds, since they do not depend on what else the machine
does. See `population` for the rows. A line is fitted through the sizes, and read off at ten times the largest one; the
note says how far the measured points are from it. Then the people of one long list are claimed and recorded as a
worker does, with PostgreSQL's default autovacuum, and the pages of a claim are counted on the way; once more while
another transaction is open, as that of a backup. Not among the measurements that run by default: it takes about ten
minutes and 8 GB.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from tests.bench.figures import Figure
from tests.bench.fill import fill
from tests.bench.fit import line
from tests.bench.population import Population
from tests.bench.servers import plain
from tests.bench.world import World, progress
from tests.contract.shop import may_rescue
from tests.plans import statements_of
from worker.domain.catalog import CatalogReference, item_of
from worker.domain.events import Event
from worker.models import Status, uuid7
from worker.store import claims, figures, lists, owners, recording, requests, stock, sweep, waiters
from worker.store.database import Connection, Database
from worker.store.recording import Ends
from worker.store.requests import Filter, NewRequest
from worker.store.sql import Sql

NAME = "scale"
SIZES = (500_000, 1_000_000, 2_000_000, 5_000_000), (2_000, 4_000)
FACTOR = 10
CHURN, CHURN_BESIDE, CHURN_STEP = (250_000, 2_000), (15_000, 1_000), 500
LOOKS = 5
LEASE = 60.0
OLD = (100_000, 500)

Work = Callable[[Connection], object]

_STATEMENT = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b")
_LIST = Sql(
    "SELECT w.id FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id WHERE i.catalog_item_id = :item", id="uuid"
)
_IN_STOCK = Sql(
    """UPDATE waiting_list SET in_stock = true, last_in_stock_at = stockbell_now(0), woken_at = stockbell_now(0)
    WHERE id = :id"""
)
_SIZES = Sql(
    """SELECT relname AS name, pg_relation_size(oid) AS bytes FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"""
)
_VACUUMS = Sql("SELECT autovacuum_count AS n FROM pg_stat_user_tables WHERE relname = 'request'")
# The ids of requests begin with the time of sign-up, so the oldest are found by the primary key.
_FORGET = Sql(
    """DELETE FROM request WHERE id IN (SELECT id FROM request ORDER BY id LIMIT :most)
    AND status = 'NOTIFICATION_SENT'"""
)


class Undo(Exception):
    """Ends a transaction that shall leave nothing."""


def run(world: World) -> list[Figure]:
    sizes = SIZES[1] if world.quick else SIZES[0]
    pages: dict[int, dict[str, float]] = {}
    kept: dict[int, dict[str, float]] = {}
    with world.database() as url, closing(Database(url, is_patient=True)) as database, Population(url) as population:
        for size in sizes:
            population.grow(size)
            pages[size], kept[size] = _pages(database, size), _bytes(database)
            progress(NAME, f"{size:,} requests: {sum(kept[size].values()) / 1e9:.2f} GB")
        churned = [*_churn(world, database, url), *_churn_beside_a_backup(world, database, url)]
        forgotten = [*_forget(database, world.size(*OLD))]
    return [*_grown(pages, "pages"), *_grown(kept, "MB", 1e6), *churned, *forgotten]


def _grown(found: Mapping[int, Mapping[str, float]], unit: str, per: float = 1) -> Iterator[Figure]:
    """Yields each figure at the smallest and the largest size, and where its line leads."""
    first, *_, last = found
    for name in found[last]:
        fit = line([(size, each.get(name, 0)) for size, each in found.items()])
        for size in (first, last):
            yield Figure(NAME, f"{name}, {size:,} requests", unit, [found[size].get(name, 0) / per])
        note = f"a line's; points up to {100 * fit.error:.0f} % off it"
        yield Figure(
            NAME, f"{name}, {FACTOR * last:,} requests", unit, [max(0.0, fit.at(FACTOR * last)) / per], note=note
        )


# Pages


def _pages(database: Database, size: int) -> dict[str, float]:
    return {name: _pages_of(database, prepare, size) for name, prepare in _QUESTIONS.items()}


def _pages_of(database: Database, prepare: Callable[[Connection, int], Work], size: int) -> float:
    """Returns how many pages the statements of one question read, from memory or from disk. It leaves no change."""
    read = [0.0]

    def ask(c: Connection) -> None:
        read[0] = pages_of(c, prepare(c, size))
        raise Undo

    with suppress(Undo):
        database.write(ask)
    return read[0]


def pages_of(c: Connection, work: Work) -> float:
    """Returns how many pages the statements of `work` read. Their changes stay."""
    plans = [
        c.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {words}", params).scalar_one()[0]["Plan"]
        for words, params in statements_of(c, work)
        if _STATEMENT.match(words)
    ]
    return float(sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans))


def _list_id(c: Connection, item: str) -> UUID:
    found: UUID = _LIST(c, item=item)[0].id
    return found


def _short(size: int) -> str:
    return f"item-{size // 100}"  # in the middle of all lists


def _sweep(c: Connection, _size: int) -> Work:
    may_rescue(c)

    def work(c: Connection) -> None:
        sweep.stamp(c, LEASE, LEASE / 2)
        sweep.rescue(c, LEASE, LEASE / 2)
        sweep.put_in_line(c)
        owners.forget(c, LEASE)
        lists.with_work(c)

    return work


def _claim(item: Callable[[int], str], most: int) -> Callable[[Connection, int], Work]:
    def prepare(c: Connection, size: int) -> Work:
        owner, list_id = _woken(c, item(size))
        return lambda c: claims.claim(c, owner, LEASE, [list_id], most, first=False)

    return prepare


def _woken(c: Connection, item: str) -> tuple[UUID, UUID]:
    """Puts an item in stock. Returns a new owner and the item's list."""
    owner, list_id = uuid7(), _list_id(c, item)
    owners.register(c, owner, "bench")
    _IN_STOCK(c, id=list_id)
    return owner, list_id


def _record(c: Connection, _size: int) -> Work:
    owner, list_id = _woken(c, "item-0")
    held = claims.claim(c, owner, LEASE, [list_id], 500, first=False).claims
    return lambda c: recording.record(c, Ends(told=list(held)))


def _take_in(_c: Connection, _size: int) -> Work:
    now, references = datetime.now(UTC), [CatalogReference(item_of(f"item-{number}")) for number in range(0, 200, 2)]
    events = [
        Event(f"{int(now.timestamp() * 1000)}-{place}", None, reference, now, False, True, 5, {}, ())
        for place, reference in enumerate(references)
    ]
    return lambda c: stock.apply(c, events)


def _sign_up(_c: Connection, _size: int) -> Work:
    new = [
        NewRequest(f"newcomer{number}@customer.example", CatalogReference(item_of(f"item-{number % 100}")))
        for number in range(1000)
    ]
    return lambda c: requests.create(c, new)


def _list_requests(which: Callable[[Connection, int], Filter]) -> Callable[[Connection, int], Work]:
    def prepare(c: Connection, size: int) -> Work:
        wanted = which(c, size)
        return lambda c: list(requests.find(c, wanted, 100))

    return prepare


def _waiters(c: Connection, size: int) -> Work:
    item = waiters.item(c, item_of(_short(size)))
    assert item is not None
    return lambda c: waiters.of_item(c, item.id)


_QUESTIONS: dict[str, Callable[[Connection, int], Work]] = {
    "a sweep": _sweep,
    "a claim of 500 from the longest list": _claim(lambda _: "item-0", 500),
    "a claim of all of a short list": _claim(_short, 500),
    "a record of 500": _record,
    "100 events": _take_in,
    "1,000 sign-ups": _sign_up,
    "status": lambda _c, _size: lambda c: figures.read(c, LEASE),
    "requests list": _list_requests(lambda _c, _size: Filter()),
    "requests list --status FAILED": _list_requests(lambda _c, _size: Filter(status=Status.FAILED)),
    "requests list --item, the longest list": _list_requests(lambda c, _size: Filter(lists=[_list_id(c, "item-0")])),
    "requests list --item, a short list": _list_requests(lambda c, size: Filter(lists=[_list_id(c, _short(size))])),
    "requests list --email": _list_requests(lambda _c, _size: Filter(email="customer-7@customer.example")),
    "doctor --event, a short list": _waiters,
}


def _all_sizes(c: Connection) -> Sequence[Any]:
    return _SIZES(c)


def _vacuums(c: Connection) -> int:
    return int(_VACUUMS(c)[0].n)


def _bytes(database: Database) -> dict[str, float]:
    return {f"size of {row.name}": float(row.bytes) for row in database.read(_all_sizes) if row.bytes > 100_000}


# What is claimed, recorded and deleted


def _churn(world: World, database: Database, url: str) -> Iterator[Figure]:
    waiting = world.size(*CHURN)
    fill(url, "hot", waiting=waiting)
    before = _bytes(database)
    for told, pages in _tell(database, "hot-0", waiting):
        note = f"{database.read(_vacuums)} autovacuums"
        yield Figure(NAME, f"a claim of 500 after {told:,} were told", "pages", [pages], note=note)
    after = _bytes(database)
    for name in sorted(name for name in after if name.startswith("size of request")):
        grown = (after[name] - before.get(name, 0)) / waiting
        yield Figure(NAME, f"{name.removeprefix('size of ')} grew by", "bytes a mail", [grown])


def _churn_beside_a_backup(world: World, database: Database, url: str) -> Iterator[Figure]:
    """While a transaction is open that began before, no dead row may be removed, nor its index entry marked."""
    with psycopg.connect(plain(url)) as backup:
        backup.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        backup.execute("SELECT 1 FROM request LIMIT 1")
        for told, pages in _tell(database, "item-0", world.size(*CHURN_BESIDE)):
            yield Figure(NAME, f"the same beside a backup, {told:,} told meanwhile", "pages", [pages])


def _tell(database: Database, item: str, waiting: int) -> Iterator[tuple[int, float]]:
    """Claims and records the people of an item. Yields now and then how many pages the next claim reads."""
    owner, list_id = database.write(_woken, item)
    for told in range(0, waiting, CHURN_STEP):
        if told % max(CHURN_STEP, waiting // LOOKS) == 0:
            pages = _look(database, owner, list_id)
            progress(NAME, f"{told:,} told: a claim reads {pages:,.0f} pages")
            yield told, pages
        held = database.write(claims.claim, owner, LEASE, [list_id], CHURN_STEP, first=False).claims
        database.write(recording.record, Ends(told=list(held)))


def _look(database: Database, owner: UUID, list_id: UUID) -> float:
    return _pages_of(
        database,
        lambda _c, _size: lambda c: claims.claim(c, owner, LEASE, [list_id], CHURN_STEP, first=False),
        0,
    )


def _forget(database: Database, most: int) -> Iterator[Figure]:
    pages = _pages_of(database, lambda _c, _size: lambda c: _FORGET(c, most=most), 0)
    yield Figure(NAME, "deletion of the oldest that were told", "pages a row", [pages / most / 0.8])
