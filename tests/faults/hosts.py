"""Two hosts that work, each with a listener, a worker and a scheduler. One of them loses its way to the servers.

The other one goes on all the while. When the way is back, the first one works again by itself, also if it is alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from tests.acceptance.prompt import prompt
from tests.acceptance.stockbell import CONNECTIONS, DOUBLES_A_KILL, LEASE, Process, descendants
from tests.confidential import PASSWORD
from tests.faults.network import DATABASE, HOSTS, REDIS, RELAY, Network
from tests.faults.postgres import PostgresServer
from tests.faults.relay import LoggingRelay
from tests.faults.system import COMMANDS, Role
from tests.faults.trial import Result, Trial, World
from tests.polling import eventually
from tests.redis_server import RedisServer
from tests.relay import Later

LOST, OTHER = HOSTS
CHILDREN = 2
QUICK, SLOW = 0.02, 0.1
"""Seconds that the relay takes for a verdict: usually, and while a host is cut off."""
HASTE_SECONDS = 1.0
"""How long the relay stays quick then, so that a host can send what it has claimed. The rest is for the other host."""
FEW = 20
MOST_TRIES = 120
"""So many events, one after the other, may come until a host is seen to send."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A way to lose the servers, and how many mails each child may repeat for it."""

    what: str
    cut: Callable[[Network], AbstractContextManager[None]]
    may_repeat: int = 0
    may_repeat_if_stopped: int = 0
    """The same if the host is stopped meanwhile, where that is more."""
    is_rescued: bool = False
    """Whether the host looks dead to the others."""


LOSSES = (
    # Its processes know outcomes that they can't record.
    Loss("database silent", lambda net: net.cut(LOST, DATABASE), DOUBLES_A_KILL, is_rescued=True),
    Loss("Redis silent", lambda net: net.cut(LOST, REDIS)),
    # Verdicts come late, unless the connections end, or the processes.
    Loss("relay silent", lambda net: net.cut(LOST, RELAY), may_repeat_if_stopped=CONNECTIONS),
    Loss("database refused", lambda net: net.cut(LOST, DATABASE, is_told=True), DOUBLES_A_KILL, is_rescued=True),
    Loss("Redis refused", lambda net: net.cut(LOST, REDIS, is_told=True)),
    Loss("relay refused", lambda net: net.cut(LOST, RELAY, is_told=True), CONNECTIONS),
)
UNPLUGGED = Loss("unplugged", lambda net: net.unplugged(LOST), DOUBLES_A_KILL, is_rescued=True)


def run(world: World) -> Result:
    """Cuts a host off from one server at a time. At full length it is also stopped while it is cut off."""
    with _shop(world, "a host without one server") as shop:
        for loss in LOSSES[: world.size(3, len(LOSSES))]:
            shop.lose(loss)
            if not world.short:
                shop.stop_amid(loss)
                shop.start(LOST)
        return shop.result()


def run_unplugged(world: World) -> Result:
    """Takes a host off the network, and stops it while it is off."""
    with _shop(world, "a host without a network") as shop:
        for _ in range(world.size(1, 3)):
            shop.lose(UNPLUGGED)
        shop.is_well_alone()
        shop.stop_amid(UNPLUGGED)
        return shop.result()


@contextmanager
def _shop(world: World, name: str) -> Iterator["_Shop"]:
    """Yields the hosts with all that they stand on. The caller's thread is on the servers' host meanwhile."""
    prompt()  # it has to stay outside
    directory = world.directory / name
    directory.mkdir()
    directory.chmod(0o755)  # PostgreSQL may have to run as another user
    relay = LoggingRelay(security="starttls", host=RELAY)
    relay.decide = lambda stage, _recipient: Later(QUICK) if stage == "dot" else None
    with Network() as network, PostgresServer(directory, host=DATABASE) as postgres:
        inside = replace(world, directory=directory, postgres=postgres)
        redis_server = RedisServer(password=PASSWORD, host=REDIS)
        with inside.trial(name, workers=CHILDREN, relay=relay, server=redis_server) as trial:
            trial.start(listener=0, worker=0, scheduler=0)
            shop = _Shop(network, trial)
            shop.start(LOST)
            shop.start(OTHER)
            yield shop


@dataclass
class _Shop:
    network: Network
    trial: Trial
    _processes: dict[str, dict[Role, Process]] = field(default_factory=lambda: {host: {} for host in HOSTS})
    _items: Iterator[str] = field(default_factory=lambda: map("mug-{}".format, count()))

    def start(self, host: str, *roles: Role) -> None:
        """Starts processes on a host: one of each, unless `roles` says otherwise."""
        with self.network.on(host):
            for role in roles or COMMANDS:
                self._processes[host][role] = self.trial.system.start_one(role)

    def lose(self, loss: Loss) -> None:
        """Cuts the first host off amid its mails, for longer than a lease. Then it sends again."""
        trial, rescues = self.trial, self._rescues()
        eventually(trial.system.are_up, until="both hosts are up")
        self._publish(trial.world.size(1_000, 8_000))
        with self._cut(loss, loss.may_repeat):
            for _ in range(trial.world.size(1, 2)):
                time.sleep(1.5 * LEASE)
                self._sends(OTHER)
            if loss.is_rescued:
                eventually(lambda: not self._holds(LOST), until="its claims are rescued")
        self._sends(LOST)
        trial.settle()
        trial.expect_that(loss.is_rescued or self._rescues() == rescues, f"rescued, though only {loss.what}")

    def is_well_alone(self) -> None:
        """Leaves the first host to hear events, and to look after the line."""
        trial = self.trial
        others: tuple[Role, ...] = ("listener", "scheduler")
        trial.ended(trial.system.end([self._processes[OTHER][role] for role in others]))
        self._publish(FEW)
        trial.settle()
        self.start(OTHER, *others)

    def stop_amid(self, loss: Loss) -> None:
        """Cuts the first host off again, and stops it meanwhile. The other one goes on."""
        trial = self.trial
        eventually(trial.system.are_up, until="all processes are up")
        self._publish(trial.world.size(500, 2_000))
        with self._cut(loss, max(loss.may_repeat, loss.may_repeat_if_stopped)):
            time.sleep(trial.chance.uniform(0, LEASE))
            trial.ended(trial.system.end(self._processes[LOST].values()))
        trial.settle()

    def result(self) -> Result:
        """Ends the run."""
        self.trial.expect_that("Traceback" not in self.trial.system.logs(), "a traceback in a log")
        return self.trial.result()

    @contextmanager
    def _cut(self, loss: Loss, may_repeat: int) -> Iterator[None]:
        trial, relay = self.trial, self.trial.relay
        self._sends(LOST, trial.chance.randrange(50, 150))
        since, usual = len(relay.mails), relay.decide
        with loss.cut(self.network):
            time.sleep(HASTE_SECONDS)
            relay.decide = lambda stage, _recipient: Later(SLOW) if stage == "dot" else None
            yield
        trial.broke(loss.what, may_repeat * CHILDREN, since=since)
        relay.decide = usual

    def _publish(self, people: int) -> None:
        item = next(self._items)
        self.trial.waiting(item, people)
        self.trial.publish(item)

    def _sends(self, host: str, mails: int = 1) -> None:
        """Waits until a host sends so many. Only mails show that, so more come if nobody is mailed."""
        enough = self._sent(host) + mails
        for _ in range(MOST_TRIES):
            self.trial.until_quiet(unless=lambda: self._sent(host) >= enough)
            if self._sent(host) >= enough:
                return
            self._publish(FEW)
        self.trial.expect_that(False, f"{host} sends nothing")

    def _sent(self, host: str) -> int:
        return sum(mail.client == host for mail in list(self.trial.relay.mails))

    def _holds(self, host: str) -> bool:
        return not self.trial.system.holders().keys().isdisjoint(descendants(self._processes[host]["worker"].pid))

    def _rescues(self) -> int:
        return sum(request.rescues for request in self.trial.system.requests_left())
