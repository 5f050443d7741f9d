"""The database is restarted, cut off, frozen, locked. Outcomes that can't be committed are kept, and none is lost."""

import time
from functools import partial

from tests.acceptance.stockbell import LEASE
from tests.faults.trial import Action, Result, Trial, World

AWAY_SECONDS = int(LEASE) + 1, int(4 * LEASE)


def run_postgresql(world: World) -> Result:
    """Restarts one server in order and as by a crash, ends its connections, and locks a table."""
    mails, rounds = world.size(600, 20_000), world.size(1, 4)
    with world.trial("PostgreSQL broken") as trial:
        items = ["mug-0", "mug-1"]
        for item in items:
            trial.waiting(item, mails // 2)
        trial.start()
        server = world.postgres
        steps: list[tuple[str, Action]] = [
            ("PostgreSQL restarted fast", partial(server.restart, "fast")),
            ("PostgreSQL restarted immediately", partial(server.restart, "immediate")),
            ("pg_terminate_backend", partial(server.cut, trial.chance)),
            ("pg_terminate_backend", partial(server.cut, trial.chance)),
            ("outcomes locked out", partial(_lock, trial)),
        ] * rounds
        trial.chance.shuffle(steps)
        for place, (what, action) in zip(trial.places(len(steps), mails), steps, strict=True):
            trial.at(place, what, action)
        trial.publish(*items)
        trial.settle()
        return trial.result()


def _lock(trial: Trial) -> None:
    with trial.system.locked("request"):
        trial.until_quiet()


def run_away(world: World) -> Result:
    """Takes PostgreSQL away for longer than a lease. Then every process looks dead. Nobody may be rescued for it."""
    mails, rounds, seconds = world.size(300, 10_000), world.size(1, 4), world.size(*AWAY_SECONDS)
    with world.trial("PostgreSQL away longer than a lease") as trial:
        trial.waiting("mug-1", mails)
        trial.start()
        steps = [
            (f"PostgreSQL frozen {seconds} s", partial(_freeze, trial, seconds)),
            (f"PostgreSQL stopped for {seconds} s", partial(_stop, trial, seconds)),
        ] * rounds
        for place, (what, action) in zip(trial.places(len(steps), mails), steps, strict=True):
            trial.at(place, what, action)
        trial.publish("mug-1")
        trial.settle()
        rescued = sum(request.rescues for request in trial.system.requests_left())
        trial.expect_that(rescued == 0, f"{rescued} rescues, and nobody had died")
        return trial.result()


def _freeze(trial: Trial, seconds: float) -> None:
    trial.world.postgres.pause()
    time.sleep(seconds)
    trial.world.postgres.resume()


def _stop(trial: Trial, seconds: float) -> None:
    trial.world.postgres.stop("fast")
    time.sleep(seconds)
    trial.world.postgres.start()


def run_sqlite(world: World) -> Result:
    """Lets another program write to the file, and take its time."""
    mails, rounds, seconds = world.size(200, 2_000), world.size(1, 4), world.size(2, 20)
    with world.trial("SQLite locked", database="sqlite") as trial:
        everybody = trial.waiting("mug-1", mails)
        trial.start()
        for place in trial.places(rounds, mails):
            trial.at_held(place, f"SQLite locked {seconds} s", partial(_lock_file, trial, seconds), everybody)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def _lock_file(trial: Trial, seconds: float) -> None:
    """Locks the file when mails are with the relay. Their outcomes then have to wait."""
    trial.until_held()
    with trial.system.locked("request"):
        trial.relay.let_go()
        time.sleep(seconds)
