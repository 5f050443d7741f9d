"""Several items in one mail, whatever breaks: each request is told once, and by the mail that it names."""

import email.policy
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, text

from tests.faults.checker import ALONE_AT
from tests.faults.relay import LoggingRelay
from tests.faults.trial import Result, Trial, World
from tests.faults.waves import kill_a_holder, refuse_once, refused
from tests.relay import Accepted
from worker.domain.catalog import CatalogReference, item_of
from worker.mail.message import message_id
from worker.store.requests import NewRequest, create

ITEMS: Final = ("cup", "mug", "pan")
SETTLE_SECONDS: Final = 2.0
DOMAIN: Final = "shop.example"
"""Of the shop, in every Message-ID."""
HOUR: Final = "3600"
"""The contact interval of a run in which each customer gets one mail."""
_REQUESTS = text(
    """SELECT r.id, r.email, r.status, r.failure_code, r.attempts, r.rescues, r.mail_id, i.catalog_item_id AS item
    FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id"""
)


class _ReadingRelay(LoggingRelay):
    """A relay that notes of each mail which items it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[frozenset[str]] = []
        """Those of each of `mails`."""

    def accept(self, mail: Accepted) -> None:
        body = message_from_bytes(mail.content, policy=email.policy.default).get_body(("plain",))
        self.items.append(frozenset(re.findall(r"shop\.example/p/(\w+)", body.get_content() if body else "")))
        super().accept(mail)


class _Digests:
    """The requests of one trial, and the mails that the relay took."""

    def __init__(self, trial: Trial, relay: _ReadingRelay, people: int) -> None:
        self._trial = trial
        self._relay = relay
        self.people = [f"customer-{number}@customer.example" for number in range(people)]
        trial.system.write(create, _new(self.people))
        for item in ITEMS:
            trial.waits_for(item, self.people)

    def check(self) -> Sequence[Any]:
        """Ends all processes. Judges what each mail was about. Returns the requests as they are then."""
        trial = self._trial
        trial.ended(trial.system.end_all())
        requests = trial.system.write(_all)
        told: Mapping[str, set[str]] = defaultdict(set)
        for each in requests:
            if each.status == "NOTIFICATION_SENT":
                told[message_id(each.mail_id or each.id, DOMAIN)].add(each.item)
        taken: Mapping[str, list[frozenset[str]]] = defaultdict(list)
        for mail, items in zip(self._relay.mails, self._relay.items, strict=True):
            taken[mail.message_id].append(items)
        alone = {message_id(each.id, DOMAIN) for each in requests if each.rescues >= ALONE_AT}
        for mail_id, copies in taken.items():
            judged = [items for items in copies if told[mail_id]][-1:] if mail_id in alone else copies
            is_so = all(items == told[mail_id] for items in judged)
            trial.expect_that(is_so, f"mails about {_words(copies)} were one about {sorted(told[mail_id])}: {mail_id}")
        for mail_id in told.keys() - taken.keys():
            trial.expect_that(False, f"{sorted(told[mail_id])} name a mail that the relay did not take: {mail_id}")
        trial.expect_that(set(ITEMS) in told.values(), "no mail was about all items")
        return requests


def _new(people: Sequence[str]) -> list[NewRequest]:
    """Returns requests of all people for all items. Each one's have one date, as an import may say."""
    first = datetime.now(UTC) - timedelta(days=1)
    dates = [first + timedelta(seconds=number) for number in range(len(people))]
    return [
        NewRequest(address, CatalogReference(item_of(item)), created_date=date)
        for address, date in zip(people, dates, strict=True)
        for item in ITEMS
    ]


def _words(copies: Sequence[frozenset[str]]) -> str:
    return " and ".join(str(sorted(items)) for items in copies)


def _all(c: Connection) -> Sequence[Any]:
    return c.execute(_REQUESTS).all()


@contextmanager
def _trial(world: World, name: str, people: int, *, workers: int) -> Iterator[tuple[Trial, _Digests]]:
    """Yields a trial in which so many wait for all items."""
    relay, settle = _ReadingRelay(), str(SETTLE_SECONDS)
    with world.trial(
        name, relay=relay, workers=workers, STOCKBELL_DIGEST="on", STOCKBELL_SETTLE_SECONDS=settle
    ) as trial:
        yield trial, _Digests(trial, relay, people)


def run_killed(world: World) -> Result:
    """Kills processes that hold claims. A customer gets one mail an hour, and a repeated one has the same Message-ID.

    Those for whom two workers have died are told alone, each in a mail of its own, which has another Message-ID. So of
    a customer's only one is told, and the others wait for the interval.
    """
    people, kills = world.size(60, 300), world.size(2, 12)
    with _trial(world, "workers killed amid digests", people, workers=2) as (trial, digests):
        trial.system.environment["STOCKBELL_CONTACT_INTERVAL"] = HOUR
        bound = trial.system.repeats_a_kill
        for place in trial.places(kills, people):
            trial.at(place, "kill -9 child", partial(kill_a_holder, trial), may_repeat=bound, is_instant=True)
        for item in ITEMS:  # before the start, so that one batch takes in all, and none settles before the others
            trial.publish_for_some(item, "interval")
        trial.start()
        trial.settle()
        trial.until_the_rest_waits()
        requests = digests.check()
        trial.expect_that(any(each.rescues for each in requests), "nobody who was killed held a claim")
        for each in requests:
            is_told = each.status == "NOTIFICATION_SENT"
            may_rest = each.rescues >= ALONE_AT and each.failure_code == "INTERVAL"
            trial.expect_that(is_told or may_rest, f"not told, with {each.rescues} rescues: {each.email}, {each.item}")
        return trial.result()


def run_refused(world: World) -> Result:
    """Refuses some for now, some for good, and leaves some without a word. All requests of a mail share its fate.

    A single child sends. Of two, each might claim a part of a customer's requests, and send a mail about that part.
    """
    people = world.size(30, 300)
    with _trial(world, "refusals amid digests", people, workers=1) as (trial, digests):
        trial.is_every_refusal_logged = True
        trial.relay.decide = partial(refuse_once, refused(trial.chance, digests.people, 15), set())
        trial.publish(*ITEMS)
        trial.start()
        trial.settle()
        ends: Mapping[str, set[object]] = defaultdict(set)
        for each in digests.check():
            ends[each.email].add((each.status, each.failure_code, each.attempts))
        for address, those in ends.items():
            trial.expect_that(len(those) == 1, f"requests of one mail ended in {len(those)} ways: {address}")
        return trial.result()
