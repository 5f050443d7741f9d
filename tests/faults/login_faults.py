"""A relay with TLS and a login. It is in trouble at every step of the session, and lets nobody in for a while."""

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
"""One reply of every class that is no go-ahead."""
COMMANDS = ("mail", "rcpt", "data")
"""The commands for the next mail. They may come in one packet with a mail's content, or with RSET."""
ENDS: list[Answer] = [Do.DROP, Do.RESET, Do.HALF_CLOSE]
SHARE = 0.3
"""How often the relay is in trouble at a step, as long as trouble is left for the step."""
MORE = 5
"""How many times as often the relay is in trouble with a single mail: RSET comes after a refused mail."""
MOST = 10
"""The most mails that the relay takes on a connection, so that there are many connections."""


def run_starttls(world: World) -> Result:
    """Uses STARTTLS, one command at a time."""
    return _troubled(world, "relay with STARTTLS in trouble", "starttls", pipelining=False)


def run_tls(world: World) -> Result:
    """Uses TLS from the first octet on, with pipelining."""
    return _troubled(world, "relay with TLS in trouble", "tls", pipelining=True)


def _troubled(world: World, name: str, security: Literal["starttls", "tls"], *, pipelining: bool) -> Result:
    relay = LoggingRelay(security=security, pipelining=pipelining)
    with world.trial(name, relay=relay) as trial:
        trial.is_every_refusal_logged = True
        # The program waits 30 s before it takes silence for trouble.
        kinds = [*REPLIES, *ENDS] if world.short else [*REPLIES, *ENDS, Do.SILENCE]
        relay.decide = Troubles(trial.chance, kinds, each=world.size(1, len(kinds))).decide
        trial.pause = world.size(0, 60)
        trial.waiting("mug-1", world.size(120, 2_000))
        trial.start()
        trial.publish("mug-1")
        trial.settle()
        return trial.result()


class Troubles:
    """`each` kinds of trouble for every step, in random order. Steps about a mail have more. A mail meets each once."""

    def __init__(self, chance: random.Random, kinds: list[Answer], each: int) -> None:
        self._chance = chance
        self._left = {
            step: deque(chance.sample(kinds * MORE, each * (MORE if step in PERSONAL else 1))) for step in STEPS
        }
        self._met: set[tuple[str, str]] = set()
        self._is_unheard = False
        """Whether the last reply makes everybody leave, so that nobody hears the replies after it in its packet."""

    def decide(self, step: str, whom: str | None) -> Answer | None:
        """Returns what to do at this step, which is mostly nothing."""
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
            if step == "dot" and left[0] is Do.SILENCE:  # the program waits ten minutes for this reply
                left.popleft()
                return None
        return left.popleft()


def run_locked(world: World) -> Result:
    """Shows another host's certificate for a while, and does not know our password for a while. Nobody fails for it."""
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
    """Asks all who are connected to come again. They can't, until it is known that our settings are to blame."""
    lock()
    trial.relay.decide = lambda step, _whom: "421 4.3.2 restarting" if step == "mail" else None
    trial.soon(partial(_unlocked, trial, unlock))


def _unlocked(trial: Trial, unlock: Callable[[], None]) -> None:
    eventually(lambda: trial.system.breaker().scope == "configuration", 60, until="the breaker opens, for our settings")
    trial.relay.decide = None
    unlock()
