"""The relay refuses at every stage, leaves at every stage, is away, is picky about connections."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from tests.faults.trial import Result, Trial, World
from tests.polling import eventually
from tests.relay import Answer, Do, Later

PERSONAL: dict[str, list[Answer]] = {
    "rcpt": ["450 4.2.1 try later", "550 5.1.1 no such user", "452 4.2.2 mailbox full"],
    "data": ["451 4.3.0 not now", "554 5.6.0 not such a mail"],
    "dot": ["451 4.3.0 not now", "554 5.6.0 not such a mail", Do.DROP, Do.TAKE_AND_DROP],
}
"""What the relay says about one mail."""
GENERAL: dict[str, list[Answer]] = {
    "connect": [Do.DROP],
    "greeting": ["421 4.3.2 not now", "554 5.3.0 not you", Do.DROP],
    "ehlo": ["421 4.3.2 not now", "451 4.3.0 not now", Do.DROP],
    "mail": ["421 4.3.2 not now", "451 4.3.0 not now", Do.DROP],
    "rcpt": [Do.DROP, "421 4.3.2 not now"],
    "data": [Do.DROP, "421 4.3.2 not now"],
    "rset": [Do.DROP],
}
"""What the relay says about itself. It costs nobody a try."""
SHARE = 0.15
"""The share of mails about which the relay says something, at each of their stages."""
RARE = 0.02
"""How often the relay says something about itself."""
LATE, TOO_LATE = 0.6, 60
"""Seconds that a tarpit takes for a reply. Nobody waits as long as the second, except for a verdict."""

Decide = Callable[[str, str | None], Answer | None]


def run_pipelined(world: World) -> Result:
    """Refuses and drops at random, with pipelining."""
    return _refusals(world, "relay refuses and drops, pipelined", pipelining=True)


def run_plain(world: World) -> Result:
    """Does the same, one command at a time."""
    return _refusals(world, "relay refuses and drops, plain", pipelining=False)


def _refusals(world: World, name: str, *, pipelining: bool) -> Result:
    mails = world.size(200, 5_000)
    with world.trial(name, pipelining=pipelining) as trial:
        trial.is_every_refusal_logged = True
        trial.relay.decide = moods(trial.chance)
        trial.waiting("mug-1", mails)
        trial.start()
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def moods(chance: random.Random) -> Decide:
    """Refuses each recipient at each stage once at most. If an outcome were lost twice more, they would fail."""
    asked: dict[tuple[str, str | None], int] = defaultdict(int)

    def decide(stage: str, recipient: str | None) -> Answer | None:
        asked[stage, recipient] += 1
        is_first = stage not in ("rcpt", "data", "dot") or asked[stage, recipient] == 1
        if stage in GENERAL and is_first and chance.random() < RARE:
            return chance.choice(GENERAL[stage])
        if stage in PERSONAL and is_first and chance.random() < SHARE:
            return chance.choice(PERSONAL[stage])
        return None

    return decide


def run_slow(world: World) -> Result:
    """Takes longer than two leases for some verdicts. Nobody else may take such a mail for lost."""
    mails = world.size(80, 1_000)
    with world.trial("relay slower than a lease") as trial:
        slow = {f"mug-1-{number}@customer.example" for number in trial.chance.sample(range(mails), 6)}
        trial.relay.decide = lambda stage, recipient: Later(7) if stage == "dot" and recipient in slow else None
        trial.waiting("mug-1", mails)
        trial.start()
        trial.at(1, f"a verdict after 7 s, {len(slow)} times", lambda: None)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def run_limits(world: World) -> Result:
    """Takes every second connection, three at a time, twenty mails on each. For a while it takes none at all."""
    mails = world.size(300, 5_000)
    with world.trial("relay away, and picky") as trial:
        trial.relay.decide = partial(_picky, trial)
        everybody = trial.waiting("mug-1", mails)
        trial.start()
        for place in trial.places(world.size(1, 3), mails // 2):
            trial.at_held(place, "relay away", partial(_away, trial), everybody)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def _picky(trial: Trial, stage: str, place: str | None) -> Answer | None:
    relay = trial.relay
    if stage == "greeting" and relay.connections % 2:
        return "421 4.7.0 every second one only"
    if stage == "greeting" and relay.open_connections > 3:
        return "421 4.7.0 too many connections"
    if stage == "mail" and place is not None and int(place.partition(".")[2]) > 20:
        return "421 4.7.0 too many mails on this connection"
    return None


def _away(trial: Trial) -> None:
    """Stops the relay while verdicts are held back. So mails are left, and the program finds out by them."""
    trial.relay.stop()
    trial.relay.decide = partial(_picky, trial)
    eventually(lambda: trial.system.breaker().state == "open", 60, until="the breaker opens")
    time.sleep(trial.world.size(0, 60))
    trial.relay.start()


def run_tarpit(world: World) -> Result:
    """Sends every reply late, so that a mail takes longer than any slice, and octet by octet. Some take too long."""
    mails = world.size(16, 200)
    with world.trial("relay is a tarpit", pipelining=False) as trial:
        trial.relay.piece = 1
        trial.relay.decide = partial(_late, trial.chance, 0.0 if world.short else RARE)
        trial.pause = world.size(0, 2 * TOO_LATE)
        trial.waiting("mug-1", mails)
        trial.start()
        trial.at(1, "every reply late", lambda: None)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def _late(chance: random.Random, share: float, _stage: str, _recipient: str | None) -> Answer:
    return Later(TOO_LATE if chance.random() < share else LATE)
