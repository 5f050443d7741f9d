"""Two relays. The first gets into trouble again and again. The second takes over, and only until the first is back."""

from collections.abc import Callable
from functools import partial

from tests.confidential import PASSWORD
from tests.faults.relay import USER, LoggingRelay
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually
from tests.relay import Answer

ENOUGH = 20
"""So many mails by a relay show that it is used."""
MOST_TRIES = 60
"""So many events, one after the other, may come until the first relay is used again."""
NEW_PASSWORD = "an0ther"

Trouble = tuple[Callable[[LoggingRelay], object], Callable[[LoggingRelay], object]]


def run(world: World) -> Result:
    """Makes one trouble of the first relay after the other, each in the middle of the mails about one item.

    Nobody is lost. Whoever is told twice had a mail on its way when the first relay went. The breaker never opens.
    """
    mails, rounds = world.size(300, 3_000), world.size(1, 4)
    with LoggingRelay() as second, world.trial("relay failover") as trial:
        first = trial.relay
        second.log_to(first)
        trial.system.environment["SMTP_URL"] = f"{first.url},{second.url}"
        order = list(TROUBLES) * rounds
        trial.chance.shuffle(order)
        for number, what in enumerate(order):
            everybody = trial.waiting(f"mug-{number}", mails)
            if number == 0:
                trial.start()
            place = len(first.mails) + trial.chance.randrange(1, mails // 2)
            trial.at_held(place, "", partial(_break, trial, second, what, f"cup-{number}"), everybody)
            trial.publish(f"mug-{number}")
            trial.settle()
            if not _is_used(trial, first, first.taken, f"jug-{number}"):
                trial.expect_that(False, f"the first relay is not used again after: {what}")
                break
        trial.settle()
        result = trial.result()
        if '"breaker.opened"' in trial.system.logs():
            result.findings.breaches.append("the breaker opened, though the second relay was there")
        return result


def _break(trial: Trial, second: LoggingRelay, what: str, name: str) -> None:
    """Makes trouble until the second relay is seen to be used. The first one holds verdicts back until it has begun."""
    begin, end = TROUBLES[what]
    mails, taken = len(trial.relay.mails), second.taken
    begin(trial.relay)
    trial.broke(f"first relay {what}", trial.system.connections * trial.system.children, since=mails)
    trial.expect_that(
        _is_used(trial, second, taken, name), f"the second relay does not take over when the first {what}"
    )
    end(trial.relay)


def _is_used(trial: Trial, relay: LoggingRelay, before: int, name: str) -> bool:
    """Returns whether the relay takes more mails than `before`. Only mails show that, so more come if none are left."""
    for attempt in range(MOST_TRIES):
        eventually(lambda: relay.taken >= before + ENOUGH or trial.left() == 0, until="a relay takes what is due")
        if relay.taken >= before + ENOUGH:
            return True
        trial.waiting(f"{name}-{attempt}", ENOUGH)
        trial.publish(f"{name}-{attempt}")
    return False


def _stop(relay: LoggingRelay) -> None:
    relay.stop()
    relay.decide = None


def _refuse(relay: LoggingRelay) -> None:
    relay.decide = _leaving
    relay.release()


def _leaving(stage: str, _recipient: str | None) -> Answer | None:
    return "421 4.3.2 going down" if stage in ("greeting", "mail") else None


def _relent(relay: LoggingRelay) -> None:
    relay.decide = None


def _change_password(relay: LoggingRelay) -> None:
    relay.users = {USER: NEW_PASSWORD}
    relay.drop_connections()
    relay.decide = None


def _restore_password(relay: LoggingRelay) -> None:
    relay.users = {USER: PASSWORD}


TROUBLES: dict[str, Trouble] = {
    "stopped": (_stop, LoggingRelay.start),
    "refuses everybody": (_refuse, _relent),
    "has another password": (_change_password, _restore_password),
}
