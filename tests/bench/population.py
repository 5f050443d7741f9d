"""Fills a large table with requests in the shape of a shop's that has run for years.

Of 100 requests, 80 were told, 3 failed and 17 wait. There is one waiting list for 50 requests. Lists differ much in
length, as items do: of 5,000,000 requests the longest has 2 %. Every second list is in stock, and whoever waits there
signed up later, so nobody is due. A customer has four requests. Rows lie in the order of sign-up, so those of one list
are spread over the whole table, and the indexes grow row by row, as in real life.
"""

from types import TracebackType
from typing import Self

import psycopg

from tests.bench.servers import plain
from worker.domain.catalog import WIX_STORES

PER_LIST, PER_PERSON = 50, 4
STEP = 250_000
"""So many requests are added in one transaction."""

_PREPARE = """
SET session_replication_role = replica; -- no look-up of foreign keys, which are right
SET synchronous_commit = off;
CREATE TEMP TABLE place (n int PRIMARY KEY, list_id uuid, is_in_stock bool);
CREATE TEMP TABLE person (n int PRIMARY KEY, id uuid);
"""
_LISTS = """
WITH made AS MATERIALIZED (
    SELECT n, uuidv7() AS item_id, uuidv7() AS list_id, n %% 2 = 0 AS is_in_stock
    FROM generate_series((SELECT count(*) FROM place), %(lists)s - 1) AS n),
items AS (INSERT INTO item (id, app_id, catalog_item_id, name, price, currency)
    SELECT item_id, %(app)s, 'item-' || n, 'Blue mug, number ' || n, '12.50', 'EUR' FROM made),
lists AS (INSERT INTO waiting_list (id, item_id, options, options_key, in_stock, last_in_stock_at)
    SELECT list_id, item_id, '{}', '{}', is_in_stock, CASE WHEN is_in_stock THEN now() - interval '30 days' END
    FROM made)
INSERT INTO place SELECT n, list_id, is_in_stock FROM made
"""
_PEOPLE = """
WITH made AS MATERIALIZED (
    SELECT n, uuidv7() AS id FROM generate_series((SELECT count(*) FROM person), %(people)s - 1) AS n),
contacts AS (INSERT INTO contact (id, address, created_date)
    SELECT id, 'customer-' || n || '@customer.example', now() - interval '1 year' FROM made)
INSERT INTO person SELECT n, id FROM made
"""
# The cube of a random number makes a few lists long and most of them short.
_REQUESTS = """
WITH drawn AS MATERIALIZED (
    SELECT n, random() AS fate, floor(power(random(), 3) * %(lists)s)::int AS list_n,
        floor(random() * %(people)s)::int AS person_n
    FROM generate_series(%(first)s, %(last)s) AS n),
made AS MATERIALIZED (
    SELECT uuidv7() AS id, d.n, place.list_id, person.id AS contact_id,
        'customer-' || d.person_n || '@customer.example' AS email,
        CASE WHEN fate < 0.80 THEN 'NOTIFICATION_SENT' WHEN fate < 0.83 THEN 'FAILED' ELSE 'RECEIVED' END AS status,
        fate > 0.998 AS is_put_off
    FROM drawn AS d JOIN place ON place.n = d.list_n JOIN person ON person.n = d.person_n ORDER BY d.n),
added AS (INSERT INTO request (id, waiting_list_id, contact_id, email, status, auto_notified, created_date,
        notified_date, not_before, failure_code, failure_reason, failed_at,
        claim_no, attempts, unknowns, policy_refusals, rescues)
    SELECT id, list_id, contact_id, email, status, CASE WHEN status <> 'RECEIVED' THEN true END,
        now() + n * interval '1 microsecond'
            - CASE WHEN status = 'RECEIVED' THEN interval '20 days' ELSE interval '90 days' END,
        CASE WHEN status = 'NOTIFICATION_SENT' THEN now() - interval '40 days' + n * interval '1 microsecond' END,
        CASE WHEN is_put_off THEN now() + interval '1 hour' END,
        CASE WHEN status = 'FAILED' THEN 'RECIPIENT_REJECTED' END,
        CASE WHEN status = 'FAILED' THEN '550 5.1.1 <***>: User unknown' END,
        CASE WHEN status = 'FAILED' THEN now() - interval '40 days' + n * interval '1 second' END,
        CASE WHEN status = 'RECEIVED' THEN 0 ELSE 1 END, CASE WHEN status = 'FAILED' THEN 1 ELSE 0 END, 0, 0, 0
    FROM made ON CONFLICT DO NOTHING)
INSERT INTO attempt (id, request_id, at, event, smtp_code, enhanced_code, reply)
    SELECT uuidv7(), id, now() - interval '40 days', 'rejected', 550, '5.1.1', '550 5.1.1 <***>: User unknown'
    FROM made WHERE status = 'FAILED'
"""


class Population:
    """The rows of one database, which only grow."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(plain(url), cursor_factory=psycopg.ClientCursor, autocommit=True)
        self._requests = 0

    def __enter__(self) -> Self:
        self._connection.execute(_PREPARE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def grow(self, requests: int) -> None:
        """Adds requests until there are so many, and cleans up as the autovacuum would have."""
        sizes = {"lists": requests // PER_LIST, "people": requests // PER_PERSON, "app": WIX_STORES}
        self._connection.execute(_LISTS, sizes)
        self._connection.execute(_PEOPLE, sizes)
        self._connection.execute("ANALYZE place, person")
        while self._requests < requests:
            first, self._requests = self._requests, min(requests, self._requests + STEP)
            self._connection.execute(_REQUESTS, sizes | {"first": first, "last": self._requests - 1})
        self._connection.execute("VACUUM ANALYZE")
        self._connection.execute("CHECKPOINT")
