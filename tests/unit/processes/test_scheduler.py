"""The work that the scheduler repeats, without a database."""

from structlog.testing import capture_logs

from worker.domain.errors import DatabaseAway
from worker.processes.scheduler import Repeated
from worker.processes.stop import Stop


class Work:
    """Work that fails when the test sets `trouble`."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None

    def __call__(self) -> None:
        if self.trouble:
            raise self.trouble


def test_a_database_that_is_away_is_said_once_for_all_that_is_repeated() -> None:
    sweep, ring, repeated = Work(), Work(), Repeated(Stop(), 0.0)
    sweep.trouble = ring.trouble = DatabaseAway("connection refused")
    with capture_logs() as logs:
        for work in (sweep, ring, sweep, ring):
            repeated.once(work)
        ring.trouble = None
        repeated.once(ring)
        repeated.once(sweep)
        sweep.trouble = None
        repeated.once(sweep)
        repeated.once(ring)
    assert [entry["event"] for entry in logs] == ["database.away", "database.back"]


def test_what_nobody_thought_of_ends_nothing() -> None:
    work, stop = Work(), Stop()
    work.trouble = KeyError("surprise")
    rounds = []

    def surprise() -> None:
        rounds.append(1)
        if len(rounds) == 3:
            stop.set()
        work()

    with capture_logs() as logs:
        Repeated(stop, 0.0).run(surprise)
    assert [entry["event"] for entry in logs] == ["sweep.failed"] * 3
