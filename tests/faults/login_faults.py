"""A relay with TLS and a login: in trouble at every step of the session, and not to be let in by for a while."""

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal

from tests.confidential import PASSWORD
from tests.faults.relay import PERSONAL, USER, LoggingRelay
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually
from tests.relay import HOST, Answer, Do

STEPS = ("greeting", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data", "dot", "rset", "quit")
GARBAGE = "what?"
REPLIES: list[Answer] = ["421 4.3.2 not now", "451 4.3.0 not now", "554 5.3.0 no", GARBAGE]
"""One of every class that is no go-ahead."""
COMMANDS = ("mail", "rcpt", "data")
"""What may come in one packet with a mail's content, or with RSET: the commands for the next mail."""
ENDS: list[Answer] = [Do.DROP, Do.RESET, Do.HALF_CLOSE]
SHARE = 0.3
"""How often it is in trouble at a step, as long as it has some left."""
MORE = 5
"""So many times as often it is in trouble with a single mail: a refused one is what RSET comes after."""
MOST = 10
"""It takes so many mails on a connection, so that there are many connections."""


def run_starttls(world: World) -> Result:
    """STARTTLS, one command at a time."""
    return _troubled(world, "relay with STARTTLS in trouble", "starttls", pipelining=False)


def run_tls(world: World) -> Result:
    """TLS from the first octet on, pipelined."""
    return _troubled(world, "relay with TLS in trouble", "tls", pipelining=True)


def _troubled(world: World, name: str, security: Literal["starttls", "tls"], *, pipelining: bool) -> Result:
    relay = LoggingRelay(security=security, pipelining=pipelining)
    with world.trial(name, relay=relay) as trial:
        trial.is_every_refusal_logged = True
        # Silence is borne for 30 s, and before that nobody knows.
        kinds = [*REPLIES, *ENDS] if world.short else [*REPLIES, *ENDS, Do.SILENCE]
        relay.decide = Troubles(trial.chance, kinds, each=world.size(1, len(kinds))).decide
        trial.pause = world.size(0, 60)
        trial.waiting("mug-1", world.size(120, 2_000))
        trial.start()
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


class Troubles:
    """`each` kinds for every step, in random order, and more at those that are about a mail, which meets each once."""

    def __init__(self, chance: random.Random, kinds: list[Answer], each: int) -> None:
        self._chance = chance
        self._left = {
            step: deque(chance.sample(kinds * MORE, each * (MORE if step in PERSONAL else 1))) for step in STEPS
        }
        self._met: set[tuple[str, str]] = set()
        self._is_unheard = False
        """Whether what was said last makes everybody leave, so that nobody hears what comes after it in its packet."""

    def decide(self, step: str, whom: str | None) -> Answer | None:
        """What to do at this step; nothing mostly."""
        self._is_unheard = self._is_unheard and step in COMMANDS
        answer = None if self._is_unheard else self._choose(step, whom)
        self._is_unheard |= answer == GARBAGE or (step == "rset" and answer is not None)
        return answer

    def _choose(self, step: str, whom: str | None) -> Answer | None:
        if step == "mail" and whom is not None and int(whom.partition(".")[2]) > MOST:
            return "421 4.7.0 too many mails on this connection"
        left = self._left.get(step)
        if not left or self._chance.random() > SHARE:
            return None
        if step in PERSONAL and whom is not None:
            if (step, whom) in self._met:
                return None
            self._met.add((step, whom))
            if step == "dot" and left[0] is Do.SILENCE:  # which is borne for ten minutes
                left.popleft()
                return None
        return left.popleft()


def run_locked(world: World) -> Result:
    """For a while it shows another's certificate, for a while it does not know our password: nobody fails for it."""
    mails = world.size(120, 2_000)
    relay = LoggingRelay(security="starttls")
    users = relay.users
    with world.trial("relay with another's certificate, or password", relay=relay) as trial:
        trial.is_every_refusal_logged = True
        trial.waiting("mug-1", mails)
        trial.start()
        locks: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
            ("certificate of another host", partial(relay.certify, "relay.example"), partial(relay.certify, HOST)),
            ("password not known", partial(users.update, {USER: "another"}), partial(users.update, {USER: PASSWORD})),
        ]
        for number, (what, lock, unlock) in enumerate(locks, 1):
            trial.at(number * mails // 3, what, partial(_locked, trial, lock, unlock), is_instant=True)
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


def _locked(trial: Trial, lock: Callable[[], None], unlock: Callable[[], None]) -> None:
    """Who is connected is asked to come again, and can't, until it is known that our settings are to blame."""
    lock()
    trial.relay.decide = lambda step, _whom: "421 4.3.2 restarting" if step == "mail" else None
    trial.soon(partial(_unlocked, trial, unlock))


def _unlocked(trial: Trial, unlock: Callable[[], None]) -> None:
    eventually(lambda: trial.system.breaker().scope == "configuration", 60, until="the breaker opens, for our settings")
    trial.relay.decide = None
    unlock()
