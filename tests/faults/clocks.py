"""The database's clock is five minutes off: it is the only one that is compared across machines."""

from functools import partial

from tests.faults.stops import freeze_a_sender
from tests.faults.system import kill
from tests.faults.trial import Result, World

MINUTES = 5
_CLOCK = """CREATE OR REPLACE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT statement_timestamp() + make_interval(mins => {}, secs => seconds) $$"""


def run_ahead(world: World) -> Result:
    """Nothing that the database dated may seem to be yet to come."""
    return _run(world, "the database's clock 5 minutes ahead", MINUTES)


def run_behind(world: World) -> Result:
    """Nothing that the database dated may seem to be long ago: a lease, a claim, a bell."""
    return _run(world, "the database's clock 5 minutes behind", -MINUTES)


def _run(world: World, name: str, minutes: int) -> Result:
    """Amid the mails one child is killed, and one is frozen for longer than its lease."""
    mails, rounds = world.size(600, 5_000), world.size(1, 4)
    with world.trial(name) as trial:
        world.postgres.execute(_CLOCK.format(minutes), trial.system.url)
        trial.broke(name)
        trial.start()
        bound = trial.system.repeats_a_kill

        def child() -> bool:
            return kill(trial.chance, trial.system.pool_children())

        for number in range(rounds):
            trial.waiting(f"mug-{number}", mails)
            place = len(trial.relay.mails) + mails // 4
            trial.at(place, "kill -9 child", child, may_repeat=bound, is_instant=True)
            frozen = partial(freeze_a_sender, trial)
            trial.at(place + mails // 4, "SIGSTOP of a child", frozen, may_repeat=bound, is_instant=True)
            trial.publish(f"mug-{number}")
            trial.settle()
        return trial.result()
