"""Keeps the book of seats that `seat_checker` judges: triggers write down what happens to claims and stock rows."""

from contextlib import closing
from typing import Any

import psycopg

from tests.bench.servers import plain
from tests.faults.seat_checker import Book, Claim, Rules, State, Wave, check_seats
from tests.faults.trial import Trial

# A late reply may find its row RECEIVED, and tells it nevertheless: its claim has ended as rescued.
_TRIGGERS = """
    CREATE TABLE seat_log (n bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
        item_id uuid NOT NULL, about text, wave int, what text NOT NULL, address text, request_id uuid, claim_no int,
        seats bigint, granted bigint, taken_at timestamptz);
    CREATE FUNCTION note(r request, what text) RETURNS void LANGUAGE sql AS $$
        INSERT INTO seat_log (item_id, about, wave, what, address, request_id, claim_no)
        SELECT w.item_id, r.seat, r.seat_wave, what, r.email, r.id, r.claim_no
        FROM waiting_list AS w WHERE w.id = r.waiting_list_id
    $$;
    CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' THEN
            PERFORM note(OLD, 'deleted');
        ELSIF NEW.status = 'PROCESSING' THEN
            PERFORM note(NEW, CASE WHEN NEW.ordered_at IS NULL THEN 'claimed' ELSE 'ordered' END);
        ELSIF OLD.status = 'NOTIFICATION_SENT' AND NEW.failure_code = 'BOUNCED' THEN
            PERFORM note(OLD, 'bounced');
        ELSIF OLD.status = 'PROCESSING' THEN
            PERFORM note(OLD, CASE
                WHEN NEW.unknowns > OLD.unknowns THEN 'unknown'
                WHEN NEW.status = 'FAILED' AND NEW.failure_code = 'OUTCOME_UNKNOWN' THEN 'unknown'
                WHEN NEW.rescues > OLD.rescues THEN 'rescued'
                WHEN NEW.status = 'NOTIFICATION_SENT' THEN 'told' ELSE 'given back' END);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_claim AFTER UPDATE ON request FOR EACH ROW WHEN (OLD.status <> NEW.status)
        EXECUTE FUNCTION note_claim();
    CREATE TRIGGER note_deleted AFTER DELETE ON request FOR EACH ROW WHEN (OLD.status = 'PROCESSING')
        EXECUTE FUNCTION note_claim();
    CREATE FUNCTION note_seats() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seat_log (item_id, about, wave, what, seats, granted, taken_at)
        VALUES (NEW.item_id, NEW.options, NEW.wave, 'seats', NEW.seats, NEW.granted, NEW.seat_at);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_seats AFTER INSERT OR UPDATE ON stock FOR EACH ROW WHEN (NEW.seats IS NOT NULL)
        EXECUTE FUNCTION note_seats();
"""
_LINES = """SELECT n, extract(epoch FROM at)::float8, what, catalog_item_id, about, wave, address, request_id,
        claim_no, seats, granted, extract(epoch FROM taken_at)::float8
    FROM seat_log JOIN item ON item.id = seat_log.item_id ORDER BY n"""
_KEEPERS = """SELECT i.catalog_item_id, r.seat, r.seat_wave, count(*) FROM request AS r
    JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id
    WHERE r.status = 'NOTIFICATION_SENT' AND r.seat IS NOT NULL GROUP BY 1, 2, 3"""


def begin(url: str) -> None:
    """Begins the book of a database on PostgreSQL that has no seats yet."""
    with closing(psycopg.connect(plain(url), autocommit=True)) as connection:
        connection.execute(_TRIGGERS)


def judge(trial: Trial, rules: Rules) -> Book:
    """Ends all processes, and judges the book of their database. Keeps it, if it breaks a promise."""
    trial.ended(trial.system.end_all())
    book = read(trial.system.url)
    breaches = check_seats(book, trial.relay.mails, rules)
    for breach in breaches:
        trial.expect_that(False, breach)
    if breaches:
        lines: list[Claim | State] = [*book.claims, *book.states]
        lines.sort(key=lambda each: each.place)
        trial.keep_lines("seats.txt", [*breaches, *lines, *trial.relay.mails])
    return book


def read(url: str) -> Book:
    """Returns the book of a database as it is now."""
    with closing(psycopg.connect(plain(url))) as connection:
        lines, keepers = connection.execute(_LINES).fetchall(), connection.execute(_KEEPERS).fetchall()
    return _book(lines, {Wave(item, about, number): count for item, about, number, count in keepers})


def _book(lines: list[Any], keepers: dict[Wave, int]) -> Book:
    begins = ("claimed", "ordered")
    ends = {(line[7], line[8]): line for line in lines if line[2] not in (*begins, "seats")}
    claims, states, seatless = [], [], []
    for n, at, what, item, about, number, address, request_id, claim_no, seats, granted, taken_at in lines:
        wave = None if about is None else Wave(item, about, number)
        if what == "seats" and wave:
            states.append(State(wave, n, at, seats, granted, taken_at))
        elif what in begins:
            ended, _, end, *_ = ends.get((request_id, claim_no), (None, None, None))
            claims.append(Claim(wave, address, n, at, ended, end))
            if wave is None and what == "claimed":
                seatless.append(address)
    return Book(claims, states, seatless, keepers)
