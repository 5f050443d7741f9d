"""Several connections do what they like at once, in rounds. Between two rounds nobody does anything."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random
from typing import Protocol
from uuid import UUID, uuid4

from tests.contract.shop import FRESH, LEASE, Shop, may_rescue
from tests.contract.store.wave_shop import ends_of
from worker.domain.errors import OwnerLost
from worker.domain.policies import Policies
from worker.store import claims, owners, recording, sweep
from worker.store.claims import Claim, Claimed
from worker.store.database import Database


class Player(Protocol):
    """Somebody with a connection of its own."""

    def turn(self) -> None:
        """Does one thing."""


def play(
    url: str,
    players: int,
    begin: Callable[[Database, int], Player],
    between: Callable[[], None],
    size: tuple[int, int],
) -> None:
    """Lets so many play, each begun by its number, for a number of rounds with a number of turns each (`size`).

    Raises the first error of any of them, even a deadlock that was not survived.
    """
    barrier = threading.Barrier(players, between)
    rounds, turns = size

    def run(number: int) -> None:
        try:
            with closing(Database(url, connections=1)) as database:
                player = begin(database, number)
                for _ in range(rounds):
                    barrier.wait()
                    for _ in range(turns):
                        player.turn()
        except BaseException:
            barrier.abort()  # else the others wait for ever
            raise

    with ThreadPoolExecutor(players) as pool:
        done = [pool.submit(run, number) for number in range(players)]
    errors = [error for future in done if (error := future.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error


def go_on(shop: Shop, seconds: float) -> None:
    """Lets time pass, where a table has the clock. Whose lease holds, its heart goes on beating."""
    shop.change("UPDATE clock SET now = now + make_interval(secs => :seconds)", seconds=seconds)
    shop.change("UPDATE owner SET seen_at = stockbell_now(0) WHERE seen_at > stockbell_now(-900)")


class Claimer:
    """A worker that claims and ends at random, and does what else `turns` has, each by its weight."""

    ends: Sequence[str]
    """how a claim may end, as `ends_of` has it"""

    def __init__(self, database: Database, seed: int, policies: Policies) -> None:
        self._database = database
        self._random = Random(seed)
        self._policies = policies
        self._held: list[Claim] = []
        self._owner = self._register()

    @property
    def turns(self) -> Sequence[tuple[Callable[[], object], float]]:
        """What it does."""
        raise NotImplementedError

    def turn(self) -> None:
        """Does one of them. If its lease was lost, it goes on as a new owner."""
        turns, weights = zip(*self.turns, strict=True)
        try:
            self._random.choices(turns, weights)[0]()
        except OwnerLost:
            self._owner = self._register()

    def _register(self) -> UUID:
        owner = uuid4()
        self._database.write(owners.register, owner, "host:1")
        return owner

    def _claim(self, list_ids: Sequence[UUID]) -> Claimed:
        """Claims some of some of these lists."""
        ids = self._random.sample(list_ids, self._random.randint(1, 5))
        most, first = self._random.randint(1, 12), self._random.random() < 0.5
        claimed = self._database.write(claims.claim, self._owner, LEASE, ids, most, self._policies, first=first)
        self._held += claimed.one_by_one
        return claimed

    def end(self) -> None:
        most = self._random.randint(1, 6)
        ends = ends_of(self._held[:most], [self._random.choice(self.ends) for _ in range(most)])
        del self._held[:most]
        recording.write(self._database, ends, notes_mails=self._policies.contact_interval is not None)

    def release_all(self) -> None:
        self._held.clear()
        self._database.write(claims.release_all, self._owner)

    def sweep(self) -> None:
        self._database.write(may_rescue)
        self._database.write(sweep.rescue, LEASE, FRESH)
        self._database.write(sweep.put_in_line)
