"""The disk is full. Nothing is lost, the log says so once, and work goes on when there is room."""

import resource
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial

from sqlalchemy.engine import make_url

from tests.faults.trial import Result, Trial, World
from tests.polling import eventually

ROOM = 16 * 1024
"""Bytes for what the processes still have to log."""
WAITING, AWAY = '"outcomes.waiting"', '"database.away"'


_SAYS_FULL = """CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE 'could not extend file "base/5/16397": No space left on device' USING ERRCODE = 'disk_full';
END $$"""
_TABLES = ("request", "attempt", "owner", "item", "stock", "waiting_list", "sweep", "relay")

Full = Callable[[Trial], AbstractContextManager[None]]
"""A way to keep everybody from writing anything for a while."""


def run_sqlite(world: World) -> Result:
    """Keeps SQLite's file from growing. Linux refuses every process's writes, by a limit that is set from outside."""
    with _trial(world, "disk full, SQLite", "sqlite", _full_for_us) as trial:
        trial.expect_that(not trial.system.damage(), "the file is damaged")
        return trial.result()


def run_postgresql(world: World) -> Result:
    """Makes PostgreSQL answer every write as it does when a table can't grow."""
    with _trial(world, "disk full, PostgreSQL", "postgresql", _full_for_postgresql) as trial:
        return trial.result()


@contextmanager
def _trial(world: World, name: str, database: str, full: Full) -> Iterator[Trial]:
    mails, rounds = world.size(200, 2_000), world.size(1, 4)
    with world.trial(name, database=database) as trial:
        everybody = trial.waiting("mug-1", mails)
        for number in range(rounds):
            trial.waiting(f"cup-{number}", 3)
        trial.start()
        for number, place in enumerate(trial.places(rounds, mails)):
            trial.at_held(place, "disk full", partial(_fill, trial, full, f"cup-{number}"), everybody)
        trial.publish("mug-1")
        trial.settle()
        logs = trial.system.logs()
        trial.expect_that("Traceback" not in logs, "a traceback in a log")
        for said, by in ((WAITING, trial.system.children), (AWAY, 2)):  # listener and scheduler
            lines, most = logs.count(said), rounds * by
            trial.expect_that(lines <= most, f"{lines} times {said}, and {most} would be enough")
        yield trial


def _fill(trial: Trial, full: Full, item: str) -> None:
    """Fills the disk until neither the scheduler nor the listener can write anything. Then the verdicts come."""
    system = trial.system
    trial.until_held()
    said = [system.logs().count(each) for each in (WAITING, AWAY)]
    with full(trial):
        trial.publish(item)
        eventually(lambda: system.logs().count(AWAY) == said[1] + 2, until="listener and scheduler have said so")
        trial.relay.let_go()
        eventually(lambda: system.logs().count(WAITING) > said[0], until="outcomes wait")
        trial.expect_that(not system.settled_events(), "an event was acknowledged that can't have been written")


@contextmanager
def _full_for_postgresql(trial: Trial) -> Iterator[None]:
    """Refuses all writes except ours."""
    execute = partial(trial.world.postgres.execute, url=trial.system.url)
    execute(_SAYS_FULL)
    for table in _TABLES:
        execute(f"CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION disk_full()")
    yield
    # One lock at a time: dropping the function with all of them may end in a deadlock. The first table is the last one
    # here: everybody writes to it. Otherwise some writes would be taken and later ones refused, as in a second outage.
    for table in reversed(_TABLES):
        execute(f"DROP TRIGGER disk_full ON {table}")
    execute("DROP FUNCTION disk_full")


@contextmanager
def _full_for_us(trial: Trial) -> Iterator[None]:
    """Lets our processes write their logs, and no more."""
    _lengthen(trial)
    limited = trial.system.everybody()
    _limit(limited, trial.system.longest_log() + ROOM)
    yield
    _limit(limited, resource.RLIM_INFINITY)


def _lengthen(trial: Trial) -> None:
    """Makes SQLite's log of writes longer than any of our logs, but not so long that SQLite would begin it anew."""
    with closing(sqlite3.connect(make_url(trial.system.url).database or "", timeout=60)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(1000000)); DROP TABLE t")


def _limit(pids: Collection[int], size: int) -> None:
    """Sets the most bytes that a file of these processes may have."""
    for pid in pids:
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
