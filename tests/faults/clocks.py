"""The database's clock is five minutes off. It is the only clock that is compared across machines."""

from functools import partial

from tests.faults.stops import freeze_a_sender
from tests.faults.system import kill
from tests.faults.trial import Result, World

MINUTES = 5
_CLOCK = """CREATE OR REPLACE FUNCTION stockbell_now(seconds double precision) RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT statement_timestamp() + make_interval(mins => {}, secs => seconds) $$"""


def run_ahead(world: World) -> Result:
    """Sets the clock ahead. Nothing that the database dated may seem to be in the future."""
    return _run(world, "the database's clock 5 minutes ahead", MINUTES)


def run_behind(world: World) -> Result:
    """Sets the clock back. Nothing that the database dated may seem to be long ago: a lease, a claim, a bell."""
    return _run(world, "the database's clock 5 minutes behind", -MINUTES)


def _run(world: World, name: str, minutes: int) -> Result:
    """Kills one child amid the mails, and freezes one for longer than its lease."""
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
