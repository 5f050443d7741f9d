"""Another session locks rows in the other order. PostgreSQL ends our statement, not theirs, and it is run again."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg

from tests.bench.servers import plain
from tests.faults.system import STREAM
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually

_OURS = "ALTER DATABASE {} SET deadlock_timeout = '2s'"
"""A session that has waited so long checks whether it is in a deadlock. If so, it is the victim."""
_THEIRS = "SET deadlock_timeout = '10min'"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
_SOME_REQUESTS = "SELECT 1 FROM request WHERE email = ANY(%s) FOR UPDATE"
_REQUESTS = "SELECT 1 FROM request WHERE status = 'PROCESSING' FOR UPDATE"
_ITEM = "SELECT 1 FROM item WHERE catalog_item_id = %s FOR UPDATE"

THEIRS = 6
"""The number of rows that the other session holds."""
MOST_TRIES = 12
"""How often a deadlock with outcomes is tried for. It depends on which rows go into one group."""


def run(world: World) -> Result:
    """Makes deadlocks while outcomes are recorded, and while the listener commits two events."""
    mails, rounds = world.size(100, 600), world.size(1, 8)
    with world.trial("deadlocks") as trial:
        with _session(trial) as session:
            session.execute(_OURS.format(session.info.dbname).encode())
        postgres, url = world.postgres, trial.system.url
        trial.start()
        for number in range(MOST_TRIES):
            if number >= rounds and postgres.deadlocks(url):
                break
            everybody = trial.waiting(f"mug-{number}", mails)
            place = len(trial.relay.mails) + trial.chance.randrange(1, mails // 2)
            trial.at_held(place, "deadlock with outcomes", partial(_against_outcomes, trial), everybody)
            trial.publish(f"mug-{number}")
            trial.settle()
        with_outcomes = postgres.deadlocks(url)
        trial.expect_that(with_outcomes > 0, "there was no deadlock with outcomes")
        for number in range(rounds):
            _against_the_listener(trial, f"a-{number}", f"b-{number}")
        trial.settle()
        eventually(
            lambda: postgres.deadlocks(url) >= with_outcomes + rounds, until="PostgreSQL has counted its deadlocks"
        )
        return trial.result()


def _against_outcomes(trial: Trial) -> None:
    """Makes a deadlock with outcomes.

    A group of outcomes is written up to the rows of the last mails. The other session holds those, and wants the rest.
    """
    trial.until_held()
    with _session(trial) as theirs:
        with trial.system.locked("request"):
            trial.relay.let_go()
            trial.until_quiet()
            theirs.execute(_SOME_REQUESTS, [[mail.recipient for mail in trial.relay.mails[-THEIRS:]]])
        _until_waited_for(trial, theirs)
        theirs.execute(_REQUESTS)


def _against_the_listener(trial: Trial, first: str, second: str) -> None:
    """Makes a deadlock with the listener, which locks items in the order of their keys."""
    for item in (first, second):
        trial.waiting(item, 3)
    with _session(trial) as theirs:
        theirs.execute(_ITEM, [second])
        with trial.system.redis.client() as client:
            pipe = client.pipeline(transaction=True)
            for item in (first, second):
                pipe.xadd(STREAM, {"catalogItemId": item, "quantity": "1"})
                trial.expect(item)
            pipe.execute()
        _until_waited_for(trial, theirs)
        theirs.execute(_ITEM, [first])
    trial.broke("deadlock with the listener")


@contextmanager
def _session(trial: Trial) -> Iterator[psycopg.Connection[Any]]:
    """Yields a transaction of another session, which would rather wait than be the victim."""
    with psycopg.connect(plain(trial.system.url)) as connection:
        connection.execute(_THEIRS)
        yield connection


def _until_waited_for(trial: Trial, theirs: psycopg.Connection[Any]) -> None:
    postgres, url, them = trial.world.postgres, trial.system.url, theirs.info.backend_pid
    eventually(lambda: postgres.ask(_WAITING, url, them), until="one of ours waits for them")
