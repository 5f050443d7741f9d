"""Several connections do what they like at once, in rounds. Between two rounds nobody does anything."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Protocol

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
