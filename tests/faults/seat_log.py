"""Keeps the book of seats that `seat_checker` judges: triggers write down what happens to claims and stock rows."""

from contextlib import closing
from typing import Any

import psycopg

from tests.bench.servers import plain
from tests.faults.seat_checker import Book, Claim, State, Wave

# A claim of somebody who is ordered takes no seat. A late reply may find its row RECEIVED, and tells it nevertheless:
# its claim has ended as rescued.
_TRIGGERS = """
    CREATE TABLE seat_log (n bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
        item_id uuid NOT NULL, about text, wave int, what text NOT NULL, address text, claim_no int,
        seats bigint, granted bigint, taken_at timestamptz);
    CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.status = 'PROCESSING' THEN
            INSERT INTO seat_log (item_id, about, wave, what, address, claim_no)
            SELECT w.item_id, NEW.seat, NEW.seat_wave, 'claimed', NEW.email, NEW.claim_no
            FROM waiting_list AS w WHERE w.id = NEW.waiting_list_id AND NEW.ordered_at IS NULL;
        ELSIF OLD.status = 'PROCESSING' THEN
            INSERT INTO seat_log (item_id, about, wave, what, address, claim_no)
            SELECT w.item_id, OLD.seat, OLD.seat_wave,
                CASE WHEN NEW.failure_code = 'OUTCOME_UNKNOWN' OR NEW.unknowns > OLD.unknowns THEN 'unknown'
                    WHEN NEW.rescues > OLD.rescues THEN 'rescued'
                    WHEN NEW.status = 'NOTIFICATION_SENT' THEN 'told' ELSE 'given back' END, OLD.email, OLD.claim_no
            FROM waiting_list AS w WHERE w.id = NEW.waiting_list_id AND OLD.ordered_at IS NULL;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_claim AFTER UPDATE ON request FOR EACH ROW WHEN (OLD.status <> NEW.status)
        EXECUTE FUNCTION note_claim();
    CREATE FUNCTION note_seats() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seat_log (item_id, about, wave, what, seats, granted, taken_at)
        VALUES (NEW.item_id, NEW.options, NEW.wave, 'seats', NEW.seats, NEW.granted, NEW.seat_at);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_seats AFTER INSERT OR UPDATE ON stock FOR EACH ROW WHEN (NEW.seats IS NOT NULL)
        EXECUTE FUNCTION note_seats();
"""
_LINES = """SELECT n, extract(epoch FROM at)::float8, what, catalog_item_id, about, wave, address, claim_no, seats,
        granted, extract(epoch FROM taken_at)::float8
    FROM seat_log JOIN item ON item.id = seat_log.item_id ORDER BY n"""
_KEEPERS = """SELECT i.catalog_item_id, r.seat, r.seat_wave, count(*) FROM request AS r
    JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id
    WHERE r.status = 'NOTIFICATION_SENT' AND r.seat IS NOT NULL GROUP BY 1, 2, 3"""


def begin(url: str) -> None:
    """Begins the book of a database on PostgreSQL that has no seats yet."""
    with closing(psycopg.connect(plain(url), autocommit=True)) as connection:
        connection.execute(_TRIGGERS)


def read(url: str) -> Book:
    """Returns the book as it is now."""
    with closing(psycopg.connect(plain(url))) as connection:
        lines, keepers = connection.execute(_LINES).fetchall(), connection.execute(_KEEPERS).fetchall()
    return _book(lines, {Wave(item, about, number): count for item, about, number, count in keepers})


def _book(lines: list[Any], keepers: dict[Wave, int]) -> Book:
    ends = {(line[6], line[7]): line for line in lines if line[2] not in ("claimed", "seats")}
    claims, states, seatless = [], [], []
    for n, at, what, item, about, number, address, claim_no, seats, granted, taken_at in lines:
        if what == "seats":
            states.append(State(Wave(item, about, number), n, at, seats, granted, taken_at))
        elif what == "claimed" and about is None:
            seatless.append(address)
        elif what == "claimed":
            end = ends.get((address, claim_no))
            claims.append(Claim(Wave(item, about, number), address, n, at, end and end[0], end and end[2]))
    return Book(claims, states, seatless, keepers)
