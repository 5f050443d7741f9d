"""Everybody writes about the same items at once: claims, outcomes, events, sweeps, bounces, admins. Nobody deadlocks.

Whoever changes seats locks items, then waiting lists, then requests, each in one order (see `worker.store.seats`). A
deadlock would lose nothing, because the program tries again. So it is PostgreSQL that is asked.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, text

from tests.faults import seat_log
from tests.faults.relay_faults import moods
from tests.faults.seat_checker import Rules
from tests.faults.system import STREAM
from tests.faults.trial import Result, Trial, World
from tests.faults.waves import kill_a_holder
from worker.domain.catalog import catalog_reference, item_of
from worker.domain.returned import Cause, Kind
from worker.store import reports
from worker.store.requests import NewRequest, create

ITEMS = ("cup", "mug", "pot")
LISTS: Sequence[Mapping[str, str]] = ({}, {"size": "S"}, {"size": "M"}, {"size": "L"})
MOST_PIECES = 4
ENOUGH_PIECES = 1000
PER_UNIT, WAVE_SECONDS = 2, 0.5
KILLS = 2
GUESTS = "guest.example"
"""The domain of the people whom admins deal with."""
_TOLD = text(
    "SELECT id, contact_id, claim_no FROM request WHERE status = 'NOTIFICATION_SENT' AND email LIKE '%@guest.example'"
)
PAUSE = 0.1


def run(world: World) -> Result:
    """Lets two publishers, a mail server with bounces, and an admin meet the processes, of which each runs twice."""
    mails, rounds = world.size(20, 60), world.size(40, 200)
    with world.trial(
        "all write at once",
        STOCKBELL_NOTIFY_PER_UNIT=str(PER_UNIT),
        STOCKBELL_WAVE_SECONDS=str(WAVE_SECONDS),
    ) as trial:
        seat_log.begin(trial.system.url)
        trial.relay.decide = moods(trial.chance)
        guests = _waiting(trial, mails)
        trial.start(listener=2, scheduler=2)
        bound = trial.system.repeats_a_kill
        for place in trial.places(KILLS, mails * len(LISTS)):
            trial.at(place, "kill -9 child", partial(kill_a_holder, trial), may_repeat=bound, is_instant=True)
        seeds = [trial.chance.randrange(2**31) for _ in range(3)]
        works = [partial(_publish, trial, random.Random(seed), rounds) for seed in seeds[:2]]
        with _meanwhile(*works, partial(_bounce, trial, rounds)):
            _administer(trial, random.Random(seeds[2]), guests, rounds // 2)
        _bring_enough(trial)
        trial.broke("all write at once")
        trial.settle()
        _judge(trial, KILLS * bound)
        return trial.result()


def _waiting(trial: Trial, count: int) -> list[str]:
    """Lets so many customers wait on each list, and a quarter as many guests. Returns the guests."""
    guests: list[str] = []
    for item in ITEMS:
        customers: list[str] = []
        for number, options in enumerate(LISTS):
            reference = catalog_reference(item_of(item), options)
            ours = [f"{item}-{number}-{each}@customer.example" for each in range(count)]
            theirs = [f"{item}-{number}-{each}@{GUESTS}" for each in range(count // 4)]
            trial.system.write(create, [NewRequest(address, reference) for address in (*theirs, *ours)])
            customers += ours
            guests += theirs
        trial.waits_for(item, customers)
    trial.set_apart(lambda address: address.endswith(GUESTS) or address.startswith("erased:"))
    return guests


@contextmanager
def _meanwhile(*works: Callable[[], None]) -> Iterator[None]:
    """Does these in threads of their own, and waits for their end."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def _publish(trial: Trial, chance: random.Random, rounds: int) -> None:
    """Publishes events about all items in any order, a few at a time: more, fewer, none."""
    with trial.system.redis.client() as client:
        for _ in range(rounds):
            pipe = client.pipeline(transaction=True)
            for _ in range(chance.randrange(1, 7)):
                pipe.xadd(STREAM, _event(chance.choice(ITEMS), chance.choice(LISTS), chance.randrange(MOST_PIECES + 1)))
            pipe.execute()
            time.sleep(PAUSE)


def _event(item: str, options: Mapping[str, str], pieces: int) -> Any:
    return {"catalogItemId": item, "quantity": str(pieces), "options": json.dumps(options)}


def _bounce(trial: Trial, rounds: int) -> None:
    """Reports that the guests' mails did not arrive, as a mailbox does. Some of the addresses are dead."""
    for _ in range(rounds):
        trial.system.write(_bounce_guests)
        time.sleep(PAUSE)


def _bounce_guests(c: Connection) -> None:
    entries = [
        reports.Entry(
            str(uuid4()),
            Kind.DEAD if place % 2 else Kind.FAILED,
            request_id=row.id,
            contact_id=row.contact_id,
            claim_no=row.claim_no,
            cause=Cause.BOUNCED if place % 2 else None,
            bounces=True,
        )
        for place, row in enumerate(c.execute(_TOLD))
    ]
    reports.apply(c, entries, "test")


def _administer(trial: Trial, chance: random.Random, guests: Sequence[str], rounds: int) -> None:
    """Gives one command after another, most of them about guests."""
    for number in range(rounds):
        guest, item = chance.choice(guests), chance.choice(ITEMS)
        done = trial.system.run(*chance.choice(_verbs(number, guest, item)))
        trial.expect_that(done.returncode in (0, 1), f"{done.args} ended with {done.returncode}: {done.stderr[-300:]}")
    for item in ITEMS:
        trial.system.run("resume", "--item", item)


def _verbs(number: int, guest: str, item: str) -> Sequence[Sequence[str]]:
    theirs = ("--domain", GUESTS)
    return (
        ("retry", *theirs),
        ("retry", *theirs, "--item", item, "--even-if-sold-out"),
        ("report", *theirs, "--item", item),
        ("mark-sent", "--email", guest, "--status", "failed"),
        ("requests", "delete", "--email", guest, "--status", "received", "--yes"),
        ("requests", "create", f"late-{number}@{GUESTS}", item, "--option", "size=S"),
        ("contacts", "suppress", guest),
        ("contacts", "unsuppress", guest),
        ("contacts", "erase", guest),
        ("pause", "--item", item),
        ("resume", "--item", item),
    )


def _bring_enough(trial: Trial) -> None:
    """Brings in so many pieces that everybody can be told."""
    with trial.system.redis.client() as client:
        for item in ITEMS:
            for options in LISTS:
                client.xadd(STREAM, _event(item, options, ENOUGH_PIECES))
            trial.expect(item)


def _judge(trial: Trial, may_exceed: int) -> None:
    seat_log.judge(trial, Rules(may_exceed=may_exceed))
    # Processes that have ended have handed in what they counted.
    deadlocks = trial.world.postgres.deadlocks(trial.system.url)
    trial.expect_that(not deadlocks, f"{deadlocks} deadlocks")
    if deadlocks:
        trial.keep_lines("postgres.txt", trial.world.postgres.said("deadlock detected"))
