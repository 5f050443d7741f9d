"""Nothing is broken. This shows that what the other scenarios find does not happen by itself."""

from tests.faults.trial import Result, World

ITEMS = 4


def run(world: World) -> Result:
    """Runs two of every process. Everybody is told once, nobody fails, nobody is rescued, and no process complains."""
    mails = world.size(400, 20_000)
    # With the short lease of tests, a listener that waits for a core of a busy machine looks dead to the other one.
    with world.trial("nothing", STOCKBELL_LEASE_SECONDS="60") as trial:
        items = [f"mug-{number}" for number in range(ITEMS)]
        for item in items:
            trial.waiting(item, mails // ITEMS)
        trial.start(listener=2, worker=2, scheduler=2)
        trial.broke("nothing")
        trial.publish(*items, *items)
        trial.settle()
        for request in trial.system.requests_left():
            is_well = request.status == "NOTIFICATION_SENT" and not request.attempts and not request.rescues
            trial.expect_that(is_well, f"though nothing was broken: {request}")
        for line in trial.system.logs().splitlines():
            trial.expect_that(not line or '"level": "info"' in line, f"though nothing was broken: {line[:300]}")
        return trial.result()
