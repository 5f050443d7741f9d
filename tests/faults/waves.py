"""So many are told for each piece, in waves, whatever breaks: never more, all in the end, and not too early."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Final

from sqlalchemy import Connection, text

from tests.acceptance.stockbell import Process
from tests.faults import seat_log
from tests.faults.seat_checker import KEPT, Book, Claim, Rules
from tests.faults.system import Role, kill
from tests.faults.trial import PIECES, Result, Trial, World
from tests.polling import eventually
from tests.relay import Answer, Do, Later

NEVER_SECONDS: Final = 3600.0
"""W of an item that has one wave in a run."""
LONGER_THAN_A_LEASE: Final = 9.0
"""W of an item of whose waves killed processes' seats are given back. On others the next wave has begun by then."""
SLOW_SECONDS: Final = 0.2
"""How long verdicts take where a wave is to be interrupted."""
_OWN_WAVE = text("UPDATE item SET wave_seconds = :seconds WHERE catalog_item_id = :item")


class _Waves:
    """The waves of one trial."""

    def __init__(self, trial: Trial, per_unit: int, wave_seconds: float) -> None:
        """`per_unit` and `wave_seconds` are the settings of the trial."""
        self.per_wave = per_unit * PIECES
        self._trial = trial
        self._shop = wave_seconds
        self._people: dict[str, int] = {}
        self._own: dict[str, float] = {}
        seat_log.begin(trial.system.url)

    def waiting(self, item: str, count: int, wave_seconds: float | None = None) -> Sequence[str]:
        """Lets so many people wait for an item, which may have a W of its own."""
        self._people[item] = count
        everybody = self._trial.waiting(item, count)
        if wave_seconds is not None:
            self._own[item] = wave_seconds
            self._trial.system.write(_set_wave, item, wave_seconds)
        return everybody

    def check(self, *, may_exceed: int = 0) -> Book:
        """Ends all processes, and judges the book."""
        seconds = {item: self._own.get(item, self._shop) for item in self._people}
        return seat_log.judge(self._trial, Rules(self.per_wave, seconds, may_exceed))

    def expect_no_more_waves_than_needed(self, book: Book) -> None:
        """Checks that no wave was wasted, and that none came instead of several."""
        for item in self._people:
            kept = [claim.wave.number for claim in _claims(book, item) if claim.wave and claim.end in KEPT]
            needed = range(1, ceil(len(kept) / self.per_wave) + 1)
            self._trial.expect_that(
                set(kept) == set(needed), f"{len(kept)} seats of {item} were used in the waves {sorted(set(kept))}"
            )


def _claims(book: Book, item: str) -> list[Claim]:
    return [claim for claim in book.claims if claim.wave and claim.wave.item == item]


def _set_wave(c: Connection, item: str, seconds: float) -> None:
    c.execute(_OWN_WAVE, {"item": item, "seconds": seconds})


@contextmanager
def _trial(world: World, name: str, per_unit: int, wave_seconds: float) -> Iterator[tuple[Trial, _Waves]]:
    """Yields a trial in which so many are told for each piece, and so long after the last of them the next."""
    with world.trial(name, STOCKBELL_NOTIFY_PER_UNIT=str(per_unit), STOCKBELL_WAVE_SECONDS=str(wave_seconds)) as trial:
        yield trial, _Waves(trial, per_unit, wave_seconds)


def run_killed(world: World) -> Result:
    """Kills processes amid waves that hold seats.

    Of one item the next wave begins before their seats are given back, and of the other one after that.
    """
    per_unit, wave_seconds, kills = 6, 3.0, world.size(3, 8)
    with _trial(world, "workers killed amid waves", per_unit, wave_seconds) as (trial, waves):
        bound = trial.system.repeats_a_kill
        people = waves.per_wave * world.size(3, 6)
        waves.waiting("quick", people)
        waves.waiting("slow", people // 2, LONGER_THAN_A_LEASE)
        trial.start()
        for place in trial.places(kills, people * 3 // 2):
            trial.at(place, "kill -9 child", partial(kill_a_holder, trial), may_repeat=bound, is_instant=True)
        trial.publish("slow", "quick")
        trial.settle()
        book = waves.check(may_exceed=kills * bound)
        trial.expect_that(any(claim.end == "rescued" for claim in book.claims), "nobody who was killed held a seat")
        return trial.result()


def kill_a_holder(trial: Trial) -> bool:
    """Kills a child that holds claims. Returns False if there is none."""
    children = trial.system.pool_children()
    return kill(trial.chance, [pid for pid in trial.system.holders() if pid in children])


def run_refused(world: World) -> Result:
    """Refuses some for now, some for good, and leaves some without a word. Others get the seats of the refused.

    Of one item there is only one wave. All of its seats are used, and the rest wait for the next one.
    """
    per_unit, wave_seconds = 4, 3.0
    with _trial(world, "refusals amid waves", per_unit, wave_seconds) as (trial, waves):
        trial.is_every_refusal_logged = True
        people = waves.per_wave * world.size(3, 6)
        everybody = [*waves.waiting("quick", people), *waves.waiting("once", people, NEVER_SECONDS)]
        trial.relay.decide = partial(refuse_once, refused(trial.chance, everybody, waves.per_wave), set())
        trial.start()
        trial.publish("quick")
        trial.publish_for_some("once", "wave")
        trial.settle()
        trial.until_the_rest_waits()
        book = waves.check()
        waves.expect_no_more_waves_than_needed(book)
        once = [claim.end for claim in _claims(book, "once")]
        kept = sum(end in KEPT for end in once)
        trial.expect_that(kept == waves.per_wave, f"{kept} were told in the only wave, or may have been")
        for end in ("given back", "unknown"):
            trial.expect_that(end in once, f"no claim has ended as {end}")
        return trial.result()


_REFUSALS: Sequence[tuple[str, Answer]] = (
    ("rcpt", "450 4.2.1 try later"),
    ("rcpt", "550 5.1.1 no such user"),
    ("dot", "554 5.6.0 not such a mail"),
    ("dot", Do.DROP),
    ("dot", Do.TAKE_AND_DROP),
)


def refused(chance: random.Random, everybody: Sequence[str], among: int) -> dict[tuple[str, str], Answer]:
    """Returns what is said to whom at which stage: each of it to one among so many people."""
    said: dict[tuple[str, str], Answer] = {}
    for start in range(0, len(everybody), among):
        those = chance.sample(everybody[start : start + among], len(_REFUSALS))
        said |= {(stage, address): answer for (stage, answer), address in zip(_REFUSALS, those, strict=True)}
    return said


def refuse_once(
    said: Mapping[tuple[str, str], Answer], done: set[tuple[str, str]], stage: str, recipient: str | None
) -> Answer | None:
    """Says what is to be said, once."""
    about = stage, recipient or ""
    if about in done or about not in said:
        return None
    done.add(about)
    return said[about]


def run_away(world: World) -> Result:
    """Closes the relay's port for three times W, when the stock has come. Then one wave is told, and not four."""
    per_unit, wave_seconds = 2, 2.0
    with _trial(world, "relay away for several waves", per_unit, wave_seconds) as (trial, waves):
        waves.waiting("mug", waves.per_wave * 3)
        trial.start()
        trial.until_ready("worker", 1)
        trial.relay.stop()
        trial.broke("relay away for three waves")
        trial.publish("mug")
        eventually(lambda: trial.system.breaker().is_open, until="the breaker opens")
        time.sleep(3 * wave_seconds)
        trial.relay.start()
        trial.settle()
        waves.expect_no_more_waves_than_needed(waves.check())
        return trial.result()


def run_restarted(world: World) -> Result:
    """Restarts the workers, and then the scheduler, each amid a wave. What they release is told by others."""
    per_unit, wave_seconds, rounds = 6, 3.0, world.size(1, 3)
    with _trial(world, "workers and scheduler restarted amid waves", per_unit, wave_seconds) as (trial, waves):
        trial.relay.decide = lambda stage, _: Later(SLOW_SECONDS) if stage == "dot" else None
        waves.waiting("mug", waves.per_wave * 2 * rounds)
        trial.start()
        for number in range(rounds):
            place = waves.per_wave * 2 * number + waves.per_wave // 3
            workers, scheduler = partial(_restart, trial, "worker"), partial(_restart, trial, "scheduler")
            trial.at(place, "workers restarted", workers, is_instant=True)
            trial.at(place + waves.per_wave, "scheduler restarted", scheduler, is_instant=True)
        trial.publish("mug")
        trial.settle()
        book = waves.check()
        waves.expect_no_more_waves_than_needed(book)
        trial.expect_that(any(claim.end == "given back" for claim in book.claims), "nothing was released")
        return trial.result()


def _restart(trial: Trial, role: Role) -> None:
    """Asks all processes of a role to end. Others replace them when they have ended."""
    leaving = trial.system.roles[role]
    for process in leaving:
        process.terminate()
    trial.soon(partial(_replace, trial, role, leaving))


def _replace(trial: Trial, role: Role, leaving: Sequence[Process]) -> None:
    trial.ended(trial.system.wait_for(leaving))
    trial.system.fill(role)
