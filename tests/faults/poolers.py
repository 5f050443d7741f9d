"""A PgBouncer between the processes and the database. It fails, it is driven as ops do, and others use it too."""

import signal
from contextlib import closing
from functools import partial
from typing import Any

import psycopg

from tests.bench.servers import plain
from tests.faults.system import kill
from tests.faults.trial import Action, Result, Trial, Unavailable, World
from tests.pgbouncer import OTHERS, PROGRAM, WITHOUT, PgBouncer
from tests.polling import eventually

LOOKS = 10
"""So many transactions of a neighbour get every connection of the pool, since they are taken in turn."""
_NOT_OURS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


def run(world: World) -> Result:
    """Breaks the pooler, what is behind it and who is in front of it. It has fewer connections than its clients.

    On all its connections a neighbour has set limits of his own. Nothing may fail by them, and he keeps them.
    """
    if PROGRAM is None:
        raise Unavailable(WITHOUT)
    mails, rounds = world.size(500, 20_000), world.size(1, 6)
    with world.trial("behind a pooler") as trial, PgBouncer(trial.system.url, pool_size=4) as pooler:
        url, system = trial.system.url, trial.system
        system.environment["DATABASE_URL"] = pooler.url(url)
        items = ["mug-0", "mug-1"]
        for item in items:
            trial.waiting(item, mails // 2)
        trial.start()
        steps: list[tuple[str, Action, int]] = [
            ("pooler killed", partial(pooler.restart, signal.SIGKILL), 0),
            ("pooler restarted", pooler.restart, 0),
            ("pooler paused", partial(_pause, trial, pooler), 0),
            ("pooler's KILL", partial(pooler.drop, url), 0),
            ("pooler reloaded", pooler.reload, 0),
            ("pg_terminate_backend", partial(world.postgres.cut, trial.chance), 0),
            ("outcomes locked out", partial(_lock, trial), 0),
            ("kill -9 child", lambda: kill(trial.chance, system.pool_children()), system.repeats_a_kill),
        ] * rounds
        trial.chance.shuffle(steps)
        for place, (what, action, repeats) in zip(trial.places(len(steps), mails), steps, strict=True):
            trial.at(place, what, action, may_repeat=repeats, is_instant=repeats > 0)
            trial.at(place, "", partial(_look, trial, pooler))
        trial.publish(*items)
        trial.settle()
        _look(trial, pooler)
        logs = system.logs()
        for words in ("sqlalchemy.exc", "prepared statement", "due to lock timeout"):  # Celery traces a killed child
            trial.expect_that(words not in logs, f"{words!r} in a log")
        return trial.result()


def _pause(trial: Trial, pooler: PgBouncer) -> None:
    pooler.pause()
    trial.until_quiet()
    pooler.resume()


def _lock(trial: Trial) -> None:
    with trial.system.locked("request"):
        trial.until_quiet()


def _look(trial: Trial, pooler: PgBouncer) -> None:
    """Looks as a neighbour whether his settings are still there on the connections."""
    wanted = tuple(OTHERS[name] for name in _NOT_OURS)
    seen = eventually(lambda: _seen(pooler.url(trial.system.url)), until="a neighbour gets connections")
    trial.expect_that(seen == {wanted}, f"a neighbour's settings became {seen - {wanted}}")


def _seen(url: str) -> set[Any]:
    """Returns the settings of all connections, or nothing if one of them has just been broken."""
    query = f"SELECT {', '.join(f'current_setting({name!r})' for name in _NOT_OURS)}".encode()
    try:
        with closing(psycopg.connect(plain(url), autocommit=True, prepare_threshold=None)) as neighbour:
            return {neighbour.execute(query).fetchone() for _ in range(LOOKS)}
    except psycopg.OperationalError:
        return set()
