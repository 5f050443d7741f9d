"""Connections to PostgreSQL end at the two worst moments, and none can be made. Outcomes are kept until one can."""

from functools import partial

from sqlalchemy.engine import make_url

from tests.faults.trial import Result, Trial, World
from tests.polling import eventually

ROLE = "shop"
"""No superuser: superusers are let in whatever the limit."""
_ROLE = f"""DO $$ BEGIN CREATE ROLE {ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}"""


def run(world: World) -> Result:
    """Cuts connections while mails are with the relay, and while their outcomes are committed. Nobody is told twice."""
    mails, rounds = world.size(400, 10_000), world.size(1, 8)
    with world.trial("connections cut where it hurts") as trial:
        everybody = trial.waiting("mug-1", mails)
        trial.start()
        cuts = [("cut between claim and record", _cut_all), ("cut between send and record", _cut_commits)] * rounds
        for place, (what, cut) in zip(trial.places(len(cuts), mails), cuts, strict=True):
            trial.at_held(place, what, partial(cut, trial), everybody)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def _cut_all(trial: Trial) -> None:
    """Cuts when the claims are made and nothing is being recorded. The verdicts come when all connections are gone."""
    trial.until_held()
    trial.expect_that(trial.world.postgres.cut_all() > 0, "there was no connection to cut")
    trial.relay.let_go()


def _cut_commits(trial: Trial) -> None:
    """Cuts when the mails are sent and their outcomes wait for a lock."""
    trial.until_held()
    with trial.system.locked("request"):
        trial.relay.let_go()
        trial.until_quiet()
        trial.expect_that(trial.world.postgres.cut_waiting() > 0, "no commit was under way")


def run_full(world: World) -> Result:
    """Leaves PostgreSQL no connection: when the processes start, and later when they need new ones."""
    mails, rounds = world.size(200, 10_000), world.size(1, 4)
    with world.trial("PostgreSQL has no connections left") as trial:
        world.postgres.execute(_ROLE, trial.system.url)
        url = make_url(trial.system.url)
        trial.system.environment["DATABASE_URL"] = url.set(username=ROLE).render_as_string(hide_password=False)
        trial.waiting("mug-1", mails)
        _limit(trial, 0)
        trial.start()
        eventually(lambda: trial.system.logs().count('"database.away"') == 3, until="each process has said so, once")
        trial.broke("no connections at the start")
        _limit(trial, -1)
        for place in trial.places(rounds, mails):
            trial.at(place, "no connections left", partial(_fill, trial))
        trial.publish("mug-1")
        trial.settle()
        trial.expect_that("Traceback" not in trial.system.logs(), "a traceback in a log")
        return trial.result()


def _fill(trial: Trial) -> None:
    _limit(trial, 0)
    trial.world.postgres.cut_all()
    trial.until_quiet()
    _limit(trial, -1)


def _limit(trial: Trial, connections: int) -> None:
    database = make_url(trial.system.url).database
    trial.world.postgres.execute(f"ALTER DATABASE {database} CONNECTION LIMIT {connections}")
