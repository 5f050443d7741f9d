"""One scenario's run: people wait, events come, things break at the n-th mail, and all is compared at the end."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import redis

from tests.confidential import PASSWORD, betrayals
from tests.faults.checker import Break, Findings, History, check
from tests.faults.postgres import PostgresServer
from tests.faults.relay import LoggingRelay
from tests.faults.system import Role, System
from tests.polling import PAUSE, eventually
from tests.redis_server import RedisServer
from tests.relay import authority
from worker.migrations import migrate

QUIET = 10
"""After so many looks without a new mail, nothing more is being sent."""

PIECES = 5
"""How many pieces of an item there are when it is in stock again."""

Action = Callable[[], object]
"""A function that breaks something.

If it returns False, there is nothing to break now, and it is called again at the next mail.
"""


class Unavailable(Exception):
    """Raised by a scenario that can't run on this machine, with the reason."""


class Hung(AssertionError):
    """Raised when nothing moves any more."""


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table."""

    scenario: str
    broken: dict[str, int]
    findings: Findings
    recovered: float
    """Seconds from the last break until nobody was left."""
    seconds: float
    told_by: dict[str, int] = field(default_factory=dict)
    """How many people each host has mailed, if there was more than one host."""


@dataclass(slots=True)
class _Step:
    at: int
    what: str
    action: Action
    may_repeat: int
    is_instant: bool


class HasDatabases(Protocol):
    """One server, or several."""

    def database(self) -> AbstractContextManager[str]:
        """Yields the URL of a new database with our tables and no rows."""


@dataclass
class World:
    """What all scenarios share: a database server, the seed, and how long they are."""

    directory: Path
    postgres: PostgresServer
    seed: int
    short: bool = True
    patience: float = 45.0
    """Seconds without any progress after which a run counts as hung."""
    logs: Path | None = None
    """The directory that keeps the logs of runs that broke a promise."""

    def size(self, short: int, full: int) -> int:
        """Returns how many of something there are in this run."""
        return short if self.short else full

    @contextmanager
    def trial(
        self,
        scenario: str,
        *,
        database: str = "postgresql",
        pipelining: bool = True,
        workers: int = 2,
        relay: LoggingRelay | None = None,
        server: RedisServer | None = None,
        postgres: "HasDatabases | None" = None,
        **settings: str,
    ) -> Iterator["Trial"]:
        """Yields a system on servers of its own, with `workers` children in each worker. Nothing is started yet.

        The database is on `postgres`, if it is given. Whatever the `relay`, our processes trust the authority of its
        certificate.
        """
        with ExitStack() as stack:
            directory = Path(stack.enter_context(TemporaryDirectory(dir=self.directory)))
            url = f"sqlite:///{directory}/stockbell.db"
            if database == "sqlite":
                migrate(url)
            else:
                url = stack.enter_context((postgres or self.postgres).database())
            server = stack.enter_context(closing(server or RedisServer(password=PASSWORD)))
            server.start()
            relay = stack.enter_context(relay or LoggingRelay(pipelining=pipelining))
            system = System(url, server, relay, directory, workers, quick=self.short)
            authority().cert_pem.write_to_path(str(directory / "authority.pem"))
            system.environment |= {"SSL_CERT_FILE": str(directory / "authority.pem")} | settings
            stack.callback(system.stop_all)
            trial = Trial(scenario, self, system, random.Random(f"{self.seed} {scenario}"))
            try:
                yield trial
            except AssertionError as error:
                trial.keep_logs([f"hung: {error}"])
                raise


@dataclass
class Trial:
    """The run itself. A scenario breaks things by `at`."""

    scenario: str
    world: World
    system: System
    chance: random.Random
    is_every_refusal_logged: bool = False
    """Set by scenarios that kill no process that sends."""
    pause: float = 0.0
    """Seconds for which the relay may keep everybody waiting, on top of the usual patience."""
    _due: set[str] = field(default_factory=set)
    _items: dict[str, list[str]] = field(default_factory=dict)
    _is_apart: Callable[[str], bool] = lambda _address: False
    _has_counts: bool = True
    """Whether all that was counted is judged."""
    _may_wait: dict[str, str] = field(default_factory=dict)
    _steps: deque[_Step] = field(default_factory=deque)
    _taking: threading.Lock = field(default_factory=threading.Lock)
    _now: deque[_Step] = field(default_factory=deque)
    _breaks: list[Break] = field(default_factory=list)
    _published: set[str] = field(default_factory=set)
    _wrong_ends: list[int | str] = field(default_factory=list)
    _breaches: list[str] = field(default_factory=list)
    _last_break: float = field(default_factory=time.monotonic)
    _began: float = field(default_factory=time.monotonic)

    @property
    def relay(self) -> LoggingRelay:
        return self.system.relay

    # What happens

    def waiting(self, item: str, count: int) -> list[str]:
        """Lets so many people wait for an item. Returns their addresses."""
        self._items[item] = self.system.waiting(item, count)
        return self._items[item]

    def start(self, **counts: int) -> None:
        """Starts the processes: one of each, unless `counts` says otherwise."""
        roles: tuple[Role, ...] = ("listener", "worker", "scheduler")
        for role in roles:
            self.system.fill(role, counts.get(role, 1))
        self.relay.watch = self._look

    def waits_for(self, item: str, addresses: Sequence[str]) -> None:
        """Notes who waits for an item that `waiting` did not make."""
        self._items[item] = list(addresses)

    def publish(self, *items: str) -> None:
        """Puts each item in stock again: all who wait for it are due. Tries until Redis has taken the event."""
        for item in items:
            eventually(lambda item=item: self._publish(item), until="Redis takes an event")  # type: ignore[misc]
            self.expect(item)

    def set_apart(self, is_apart: Callable[[str], bool]) -> None:
        """Leaves the people of whom this is true to admins, who may do anything to them. They are not judged."""
        self._is_apart, self._has_counts = is_apart, False

    def publish_for_some(self, item: str, reason: str) -> None:
        """Puts an item in stock again, but not for all who wait for it. In the end the rest wait for this reason."""
        eventually(lambda: self._publish(item), until="Redis takes an event")
        self._due |= set(self._items[item])
        self._may_wait |= dict.fromkeys(self._items[item], reason)

    def until_the_rest_waits(self) -> None:
        """Waits until those whom `publish_for_some` has left wait for their reason, and nobody is being told."""
        eventually(self._does_the_rest_wait, until="who is left waits for the reason that was expected")

    def _does_the_rest_wait(self) -> bool:
        if self.system.holders():  # one who dies now may be rescued before we ask again
            return False
        reasons = self.system.reasons()
        return not self.system.holders() and all(self._may_wait[address] == why for address, why in reasons.items())

    def expect(self, item: str) -> None:
        """Notes that all who wait for an item are due."""
        self._published.add(item)
        self._due |= set(self._items[item])

    def _publish(self, item: str) -> bool:
        try:
            self.system.publish(catalogItemId=item, quantity=PIECES)
        except redis.RedisError:
            return False
        return True

    def at(self, number: int, what: str, action: Action, *, may_repeat: int = 0, is_instant: bool = False) -> None:
        """Plans `action` for when the relay has taken so many mails: before it says so (`is_instant`), or soon after.

        The table counts `what`. If it is "", nothing breaks.
        """
        self._steps.append(_Step(number, what, action, may_repeat, is_instant))
        self._steps = deque(sorted(self._steps, key=lambda step: step.at))

    def at_held(self, number: int, what: str, action: Action, everybody: Collection[str]) -> None:
        """Does as `at`. Holds back all verdicts on these people's mails from then on, until `action` lets them go."""

        def hold() -> None:
            self.relay.hold_back(everybody)
            self.soon(action)

        self.at(number, what, hold, is_instant=True)

    def until_held(self) -> None:
        """Waits until verdicts are held back, and all others are said."""
        eventually(lambda: self.relay.holding, until="a verdict is held back")
        self.until_quiet()

    def soon(self, action: Action) -> None:
        """Lets the thread of the run do this, not the relay's thread."""
        self._now.append(_Step(0, "", action, 0, is_instant=False))

    def broke(self, what: str, may_repeat: int = 0, *, since: int | None = None) -> None:
        """Notes that something is broken now. Breaking it took from the relay's mail number `since` until now."""
        now = len(self.relay.mails)
        self._breaks.append(Break(what, now if since is None else since, now, may_repeat))
        self._last_break = time.monotonic()

    def until_quiet(self, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Waits until the relay is given nothing more, or until `unless`."""
        seen, same = -1, 0
        while same < QUIET and not unless():
            time.sleep(PAUSE)
            mails = len(self.relay.mails)
            same = same + 1 if mails == seen else 0
            seen = mails

    def until_broken(self) -> None:
        """Waits until all that was to be broken is broken. If everybody is told before, it is broken then."""
        self._go_on(self._is_broken)

    def until_acknowledged(self) -> None:
        """Waits until every event was taken in, as long as fewer and fewer are left."""
        self._wait(self.system.settled_events, self.system.last_read, lambda: "not every event is acknowledged")

    def until_ready(self, role: Role, count: int) -> None:
        """Waits until so many processes of a role have come up since the beginning."""
        eventually(lambda: self.system.ready(role) >= count, 60, until=f"{role} number {count} is up")

    def ended(self, codes: Sequence[int | str]) -> None:
        """Notes how processes ended that did not end as they should when they were stopped."""
        self._wrong_ends += codes

    def expect_that(self, is_so: bool, otherwise: str) -> None:
        """Checks something that only this scenario can tell. `otherwise` is what to say if it is not so."""
        if not is_so:
            self._breaches.append(otherwise)

    def places(self, count: int, mails: int) -> list[int]:
        """Returns `count` random numbers of mails, none among the last ones."""
        return sorted(self.chance.sample(range(5, max(6 + count, int(mails * 0.85))), count))

    def settle(self) -> None:
        """Goes on until all that was to be broken is broken and nobody who is due is left, or until nothing moves."""
        with suppress(Hung):  # the checker says what is left
            self._go_on(self._is_settled)

    def result(self) -> Result:
        """Stops all that runs, and compares."""
        recovered = time.monotonic() - self._last_break
        codes = self._wrong_ends + self.system.end_all()
        findings = check(self._history())
        findings.breaches.extend(f"a process ended with {code} when it was stopped" for code in codes)
        findings.breaches.extend(f"never done: {step.what or 'a step'} at mail {step.at}" for step in self._steps)
        findings.breaches.extend([*self._breaches, *self._log_breaches()])
        if findings.breaches:
            self.keep_logs(findings.breaches)
        broken = Counter(each.what for each in self._breaks if each.what)
        if self.relay.troubles:
            broken["refusal by the relay"] = self.relay.troubles
        return Result(self.scenario, dict(broken), findings, recovered, time.monotonic() - self._began, self._told_by())

    def _told_by(self) -> dict[str, int]:
        people: dict[str, set[str]] = {}
        for mail in self.relay.mails:
            people.setdefault(mail.client, set()).add(mail.recipient)
        return {host: len(found) for host, found in sorted(people.items())} if len(people) > 1 else {}

    # How it is done

    def _look(self, number: int) -> None:
        """Takes the steps that are due. Runs in the relay's thread, before the relay replies."""
        while self._take_step(number, self._do_or_leave):
            pass

    def _do_or_leave(self, step: _Step) -> bool:
        """Does an instant step in the relay's thread. Leaves others to the thread of the run."""
        if step.is_instant:
            return self._do(step)
        self._now.append(step)
        return True

    def _take_step(self, number: float, take: Callable[[_Step], bool]) -> bool:
        """Takes the next step if it is due at this mail. Returns False also while the other thread takes one."""
        if not self._taking.acquire(blocking=False):
            return False
        try:
            step = self._steps[0] if self._steps else None
            if step is None or step.at > number or not take(step):
                return False
            self._steps.remove(step)
            return True
        finally:
            self._taking.release()

    def _do_what_is_due(self) -> None:
        while self._now:
            self._do(self._now.popleft())

    def _do(self, step: _Step) -> bool:
        before = len(self.relay.mails)
        if step.action() is False:
            return False
        if step.what:
            self.broke(step.what, step.may_repeat, since=before)
        return True

    def _go_on(self, is_enough: Callable[[], bool]) -> None:
        """Does what is due in this thread, until `is_enough`, or until nothing moves any more."""

        def step() -> object:
            self._do_what_is_due()
            # On a busy machine, the first processes may take longer to come up than anything that follows.
            up = 0 if self.relay.mails else self.system.ready()
            return up, len(self.relay.mails), self.relay.troubles, len(self._breaks), self.left()

        self._wait(is_enough, step, lambda: f"{self.left()} are left")

    def _wait(self, is_enough: Callable[[], bool], step: Callable[[], object], otherwise: Callable[[], str]) -> None:
        """Takes steps until `is_enough`.

        Raises Hung, with `otherwise` as the reason, if the steps come to the same for long.
        """
        seen, moved_at = None, time.monotonic()
        while not is_enough():
            if (state := step()) != seen:
                seen, moved_at = state, time.monotonic()
            if time.monotonic() - moved_at > self.world.patience + self.pause:
                raise Hung(f"nothing moves, and {otherwise()}")
            time.sleep(PAUSE)

    def left(self) -> int | None:
        """Returns how many who are due are neither told nor failed, or None while the database is away."""
        left = self.system.unresolved()
        return None if left is None else sum(number for item, number in left.items() if item in self._published)

    def _is_broken(self) -> bool:
        if self.left() == 0:
            self._take_step(float("inf"), self._do)
        return not self._steps and not self._now

    def _is_settled(self) -> bool:
        return not self._steps and not self._now and self.left() == 0

    def _history(self) -> History:
        is_apart, mails = self._is_apart, list(self.relay.mails)
        # Breaks are numbered by the mails before them.
        places = [0, *accumulate(not is_apart(mail.recipient) for mail in mails)]
        breaks = [replace(each, began=places[each.began], ended=places[each.ended]) for each in self._breaks]
        return History(
            due=self._due,
            requests=[each for each in self.system.requests_left() if not is_apart(each.address)],
            mails=[each for each in mails if not is_apart(each.recipient)],
            tries=[each for each in self.system.tries() if not is_apart(each.address)],
            refusals=[each for each in self.relay.refusals if not is_apart(each.recipient)],
            breaks=breaks,
            waiting=self.system.reasons() if self._may_wait else {},
            may_wait=self._may_wait,
            in_flight=4 * self.system.connections * self.system.children,
            counted=self.system.counted() if self._has_counts else None,
            is_every_refusal_logged=self.is_every_refusal_logged,
        )

    def keep_logs(self, breaches: Sequence[str]) -> None:
        """Keeps what shows the cause: the processes' logs, and the attempt log of the people concerned."""
        if self.world.logs is None:
            return
        directory = self._kept(self.world.logs)
        self.system.keep_logs(directory)
        lines = [*breaches, "", *self.system.stories("\n".join(breaches))]
        (directory / "breaches.txt").write_text("\n".join(lines) + "\n")

    def keep_lines(self, name: str, lines: Sequence[object]) -> None:
        """Keeps more that shows the cause, in a file of this name."""
        if self.world.logs is not None:
            (self._kept(self.world.logs) / name).write_text("".join(f"{line}\n" for line in lines))

    def _kept(self, logs: Path) -> Path:
        directory = logs / f"{self.scenario}, {self.world.seed}"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _log_breaches(self) -> Sequence[str]:
        """Returns breaches for secrets in what the processes wrote, on stdout too."""
        return [f"an address or a password in a log: {line}" for line in betrayals(self.system.logs())[:3]]
