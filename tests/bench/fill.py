"""Fills a database in seconds with rows like those that the program writes.

Items are named `PREFIX-0`, `PREFIX-1` ... Each has one waiting list. All who wait are different people.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy.engine import make_url

from tests.bench.servers import plain
from worker.domain.catalog import WIX_STORES
from worker.models import uuid7

DETAILS = ("12.50", "EUR", "https://shop.example/images/mug.jpg")
AGE = timedelta(days=1)

# Without its triggers PostgreSQL does not look up the keys of every row. The keys are right.
POSTGRESQL = """
SET LOCAL session_replication_role = replica;
CREATE TEMP TABLE place ON COMMIT DROP AS
    SELECT n, uuidv7() AS item_id, uuidv7() AS list_id, %(told)s > 0 AND n %% 2 = 0 AS is_in_stock
    FROM generate_series(0, %(items)s - 1) AS n;
INSERT INTO item (id, app_id, catalog_item_id, name, price, currency, image_url)
    SELECT item_id, %(app)s, %(prefix)s || '-' || n, 'Blue mug, number ' || n, %(price)s, %(currency)s, %(image)s
    FROM place;
INSERT INTO waiting_list (id, item_id, options, options_key, in_stock, last_in_stock_at)
    SELECT list_id, item_id, '{}', '{}', is_in_stock, CASE WHEN is_in_stock THEN now() - interval '30 days' END
    FROM place;
CREATE TEMP TABLE person ON COMMIT DROP AS
    SELECT n, uuidv7() AS id, %(prefix)s || '-' || n || '@customer.example' AS address
    FROM generate_series(0, %(items)s * %(waiting)s - 1) AS n;
INSERT INTO contact (id, address, created_date) SELECT id, address, now() FROM person;
INSERT INTO request (id, waiting_list_id, contact_id, email, status, auto_notified, created_date, notified_date,
        claim_no, attempts, unknowns, policy_refusals, rescues)
    SELECT uuidv7(), list_id, person.id, address, 'NOTIFICATION_SENT', true,
        now() - interval '90 days', now() - interval '30 days', 1, 0, 0, 0, 0
    FROM generate_series(0, %(told)s - 1) AS turn CROSS JOIN place
    JOIN person ON person.n = (place.n * %(told)s + turn) %% (%(items)s * %(waiting)s);
INSERT INTO request (id, waiting_list_id, contact_id, email, status, created_date,
        claim_no, attempts, unknowns, policy_refusals, rescues)
    SELECT uuidv7(), list_id, person.id, address, 'RECEIVED',
        now() - interval '1 day' + person.n * interval '1 microsecond', 0, 0, 0, 0, 0
    FROM person JOIN place ON place.n = person.n %% %(items)s ORDER BY person.n;
"""


def fill(url: str, prefix: str, *, items: int = 1, waiting: int = 1, told: int = 0) -> None:
    """Adds items. On each, `waiting` people wait, and `told` others were told a month ago.

    Where people were told, every second item is still in stock. People who wait there signed up later and are not due.
    """
    if make_url(url).get_backend_name() == "sqlite":
        _fill_sqlite(url, prefix, items, waiting)
    else:
        _fill_postgresql(url, prefix, items, waiting, told)


def _fill_postgresql(url: str, prefix: str, items: int, waiting: int, told: int) -> None:
    price, currency, image = DETAILS
    sizes = {"items": items, "waiting": waiting, "told": told}
    details = {"app": WIX_STORES, "prefix": prefix, "price": price, "currency": currency, "image": image}
    with psycopg.connect(plain(url), cursor_factory=psycopg.ClientCursor, autocommit=True) as connection:
        with connection.transaction():
            connection.execute(POSTGRESQL, sizes | details)
        # The autovacuum would have done this long before anybody restocks anything.
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _fill_sqlite(url: str, prefix: str, items: int, waiting: int) -> None:
    with closing(sqlite3.connect(make_url(url).database or "")) as connection, connection:
        for n in range(items):
            _add_sqlite(connection, prefix, n, range(n, items * waiting, items))


def _add_sqlite(connection: sqlite3.Connection, prefix: str, n: int, people: range) -> None:
    item_id, list_id, since = uuid7().hex, uuid7().hex, datetime.now(UTC).replace(tzinfo=None) - AGE
    connection.execute(
        "INSERT INTO item (id, app_id, catalog_item_id, name, price, currency, image_url) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (item_id, WIX_STORES, f"{prefix}-{n}", f"Blue mug, number {n}", *DETAILS),
    )
    connection.execute(
        "INSERT INTO waiting_list (id, item_id, options, options_key, in_stock) VALUES (?, ?, '{}', '{}', false)",
        (list_id, item_id),
    )
    rows = [
        (uuid7().hex, uuid7().hex, list_id, f"{prefix}-{person}@customer.example", _time(since, person))
        for person in people
    ]
    connection.executemany(
        "INSERT INTO contact (id, address, created_date) VALUES (?, ?, ?)",
        ((contact, address, created) for contact, _, _, address, created in rows),
    )
    connection.executemany(
        """INSERT INTO request (contact_id, id, waiting_list_id, email, created_date, status, claim_no, attempts,
            unknowns, policy_refusals, rescues) VALUES (?, ?, ?, ?, ?, 'RECEIVED', 0, 0, 0, 0, 0)""",
        rows,
    )


def _time(since: datetime, microseconds: int) -> str:
    return (since + timedelta(microseconds=microseconds)).isoformat(" ", "microseconds")
