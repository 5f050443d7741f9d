"""A shop's database with items, stock and people who wait. The tests of the store and the line share it.

No test sleeps: `die` and `change` move the times in the database with SQL instead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, delete, func, select, text
from sqlmodel import SQLModel, col

from worker.domain.catalog import CatalogReference, catalog_reference, item_of
from worker.domain.events import Event
from worker.models import (
    TALLY_ENTRY,
    Action,
    ActionRequest,
    AdminGuess,
    AdminSession,
    AdminUser,
    ApiKey,
    Attempt,
    Collection,
    Confirmation,
    Contact,
    Hook,
    Item,
    Owner,
    Pause,
    Place,
    Relay,
    Report,
    Request,
    Status,
    Stock,
    StockEvent,
    Tally,
    WaitingList,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookKey,
)
from worker.store import breaker, claims, lists, owners, requests, stock, sweep
from worker.store.claims import Claimed
from worker.store.database import Database
from worker.store.requests import NewRequest
from worker.store.sql import Sql

P = ParamSpec("P")
T = TypeVar("T")

LEASE: Final = 60.0
FRESH: Final = LEASE / 2
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


def ref(item: str = "mug-1", **options: str) -> CatalogReference:
    """Returns the reference of an item or of one of its variants."""
    return catalog_reference(item_of(item), options)


MUG: Final = ref()
CUP: Final = ref("cup-1")


_MAY_RESCUE = Sql("UPDATE sweep SET swept_at = stockbell_now(0), rescue_from = stockbell_now(-1)")


def may_rescue(c: Connection) -> None:
    """Makes the database look as if sweeps had run without a gap for longer than a lease."""
    _MAY_RESCUE(c)


class Shop:
    """One database, and what its users do."""

    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.database = database
        self._entries = count(1)
        self._customers = count(1)

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.database.write(work, *args, **kwargs)

    def change(self, words: str, **params: object) -> None:
        """Runs a statement, which may use `stockbell_now(seconds)` and `ROWS`."""
        statement = Sql(words)
        self.write(lambda c: statement(c, **params))

    def empty(self) -> None:
        """Deletes all rows, so that the database is as new."""
        self.write(_delete_rows)
        self.change(
            """UPDATE relay SET state = 'closed', since = NULL, reason = NULL, scope = NULL, probe_at = NULL,
            worked_at = NULL, refusals = 0, refused_since = NULL, refusal = NULL"""
        )
        self.change("UPDATE sweep SET swept_at = NULL, rescue_from = NULL")

    # customers

    def sign_up(
        self,
        reference: CatalogReference = MUG,
        *emails: str,
        created: datetime | None = None,
        item_url: str | None = "https://shop.example/p/mug-1",
        locale: str | None = None,
    ) -> UUID:
        """Adds a request for each address (default: a new one). Returns the id of the last one."""
        emails = emails or (f"customer{next(self._customers)}@example.com",)
        added: list[UUID] = []
        for email in emails:
            added += self.write(requests.create, [NewRequest(email, reference, item_url, locale, created)])
        return added[-1]

    def sign_up_many(self, number: int, reference: CatalogReference = MUG, *, url: bool = True) -> list[UUID]:
        """Adds `number` requests, all younger than the present ones. Returns them, oldest first."""
        item_url = "https://shop.example/p/mug-1" if url else None
        new = [
            NewRequest(f"customer{next(self._customers)}@example.com", reference, item_url=item_url)
            for _ in range(number)
        ]
        added = set(self.write(requests.create, new))
        return [row.id for row in self.rows() if row.id in added]

    # events

    def tell(
        self,
        reference: CatalogReference = MUG,
        *,
        in_stock: bool = True,
        at: datetime | None = None,
        **details: str | None,
    ) -> stock.Applied:
        """Applies an event. It is newer than the event before it unless `at` says otherwise."""
        return self.write(stock.apply, [self.event(reference, in_stock=in_stock, at=at, **details)])

    def event(
        self,
        reference: CatalogReference = MUG,
        *,
        in_stock: bool = True,
        at: datetime | None = None,
        **details: str | None,
    ) -> Event:
        number = next(self._entries)
        occurred_at = at or LONG_AGO + timedelta(seconds=number)
        return Event(f"{number}-0", None, reference, occurred_at, False, in_stock, None, details, ())

    def waiting(self, number: int, reference: CatalogReference = MUG) -> list[UUID]:
        """Adds `number` requests that may be claimed. Returns them, oldest first."""
        added = self.sign_up_many(number, reference)
        self.tell(reference)
        return added

    # the line

    def list_id(self, reference: CatalogReference = MUG) -> UUID:
        return self.write(lists.find_or_add, [reference])[reference]

    def list_row(self, reference: CatalogReference = MUG) -> Row[Any]:
        found = self.list_id(reference)
        return self.read_one(WaitingList, found)

    def owner(self) -> UUID:
        """Registers a new owner, which is alive now."""
        owner = uuid4()
        self.write(owners.register, owner, "host:1")
        return owner

    def claim(
        self,
        owner: UUID,
        *references: CatalogReference,
        most: int = 100,
        first: bool = True,
    ) -> Claimed:
        """Makes a claim on these lists (default: the mug's)."""
        list_ids = [self.list_id(reference) for reference in references or (MUG,)]
        return self.write(claims.claim, owner, LEASE, list_ids, most, first=first)

    def claimed(self, number: int = 1) -> tuple[UUID, list[claims.Claim]]:
        """Adds `number` requests and claims them. Returns the new owner and its claims."""
        self.waiting(number)
        owner = self.owner()
        return owner, list(self.claim(owner).claims)

    def die(self, owner: UUID) -> None:
        """Makes the owner one that was last seen more than a lease ago."""
        self.change("UPDATE owner SET seen_at = stockbell_now(-:ago) WHERE id = :id", ago=LEASE + 1, id=owner)

    def rescue(self) -> sweep.Rescued:
        self.write(may_rescue)
        return self.write(sweep.rescue, LEASE, FRESH)

    def with_work(self) -> set[UUID]:
        return set(self.database.read(lists.with_work))

    def take_others(self) -> None:
        """The relay takes mails of others, some time after it refused whom it refused."""
        self.change("UPDATE request SET judged_from = stockbell_now(-60) WHERE judged_from IS NOT NULL")
        self.write(breaker.note_sign_of_life)

    def end_back_offs(self) -> None:
        """Makes everybody due who waits for another try."""
        self.change("UPDATE request SET not_before = NULL")

    # what is stored

    def rows(self) -> list[Row[Any]]:
        """Returns all requests, oldest first."""
        query = select(Request).order_by(col(Request.created_date), col(Request.id))
        return list(self.database.read(lambda c: c.execute(query).all()))

    def row(self, request_id: UUID) -> Row[Any]:
        return self.read_one(Request, request_id)

    def status(self, request_id: UUID) -> Status:
        status: Status = self.row(request_id).status
        return status

    def waiting_for(self, request_id: UUID) -> str | None:
        """Returns the reason why a request waits, as `requests show` prints it."""
        which = requests.Filter(ids=[request_id])
        found = self.database.read(lambda c: list(requests.find(c, which)))
        reason: str | None = found[0].waiting
        return reason

    def attempts(self, request_id: UUID) -> list[Row[Any]]:
        return list(self.database.read(requests.attempts, request_id))

    def relay(self) -> Row[Any]:
        return self.database.read(lambda c: c.execute(select(Relay)).one())

    def breaker(self) -> breaker.Breaker:
        return self.database.read(breaker.read)

    def count(self, table: type[SQLModel] = Attempt) -> int:
        return len(self.database.read(lambda c: c.execute(select(table)).all()))

    def read_one(self, table: type[Any], row_id: UUID) -> Row[Any]:
        return self.database.read(lambda c: c.execute(select(table).where(table.id == row_id)).one())

    def now(self) -> datetime:
        """Returns the time of the database's clock."""
        now: datetime = self.ask("SELECT stockbell_now(0) AS now", now="time")[0].now
        return now

    def ask(self, words: str, **returns: str) -> Sequence[Row[Any]]:
        """Runs a query. `returns` says which columns are uuid, time or bool."""
        statement = Sql(words, **returns)

        def run(c: Connection) -> Sequence[Row[Any]]:
            return statement(c)

        return self.database.read(run)


MANY_LISTS: Final = 1000
"""For each one that is deleted, PostgreSQL reads all requests: no index has every one of a list."""


@contextmanager
def shop_at(url: str) -> Iterator[Shop]:
    with closing(Database(url)) as database:
        yield Shop(url, database)


def _delete_rows(c: Connection) -> None:
    lists = c.scalars(select(func.count()).select_from(WaitingList)).one()
    if c.dialect.name == "postgresql" and lists > MANY_LISTS:
        c.execute(text("TRUNCATE waiting_list CASCADE"))
    for table in (
        ActionRequest,
        Action,
        AdminGuess,
        AdminSession,
        AdminUser,
        StockEvent,
        Tally,
        TALLY_ENTRY,
        WebhookDelivery,
        WebhookEndpoint,
        WebhookKey,
        ApiKey,
        Hook,
        Collection,
        Attempt,
        Report,
        Place,
        Confirmation,
        Request,
        WaitingList,
        Stock,
        Pause,
        Item,
        Contact,
        Owner,
    ):
        c.execute(delete(table))


def statuses(rows: Sequence[Row[Any]]) -> list[Status]:
    return [row.status for row in rows]


def somebody_waits(shop: Shop) -> bool:
    """Tells whether a transaction in this database waits for the lock of another one. PostgreSQL only."""
    waiters = """SELECT 1 FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
        WHERE NOT l.granted AND a.datname = current_database()"""
    return bool(shop.ask(waiters))
