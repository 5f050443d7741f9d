"""A long walk through everything that may write RECEIVED: after each of 10,000 steps nobody waits who is suppressed.

And whoever has not confirmed waits outside the line.

`test_model` compares the store with a model, and needs too long for so many steps. This only looks at the one rule. The
steps of a hundred are one transaction, which saves the commits. `EXAMPLES=10` walks ten times as far.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from tests.contract.shop import CUP, FRESH, LEASE, LONG_AGO, MUG, Shop, may_rescue
from tests.examples import TIMES
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.domain.webhooks import Format
from worker.models import Contact, Status, WebhookDelivery
from worker.store import (
    admin,
    claims,
    confirmations,
    contacts,
    endpoints,
    erasure,
    lists,
    outbox,
    owners,
    recording,
    requests,
    suppression,
    sweep,
)
from worker.store.claims import Claim
from worker.store.recording import Ended, Ends
from worker.store.requests import NewRequest
from worker.store.sql import Sql

STEPS: Final = 10_000 * TIMES
TELLING_STEPS: Final = 1000 * TIMES
AT_ONCE: Final = 100
WANTED: Final = (MUG, CUP)
EMAILS: Final = [f"customer{number}@example.com" for number in range(6)]
TOKENS: Final = Tokens([b"k" * 32])
MOST: Final = 30
"""Older requests than so many are deleted now and then, so that each step stays short."""

_BROKEN = Sql(
    """SELECT r.id FROM contact AS s CROSS JOIN request AS r
    WHERE r.contact_id = s.id AND s.suppressed_at IS NOT NULL AND r.status = 'RECEIVED'
    UNION ALL SELECT r.id FROM request AS r WHERE r.failure_code = 'UNCONFIRMED'
      AND (r.status <> 'RECEIVED' OR r.not_before IS NULL OR r.not_before < '9000-01-01')
    UNION ALL SELECT r.id FROM request AS r WHERE r.not_before > '9000-01-01'
      AND r.status || coalesce(r.failure_code, '') NOT IN ('RECEIVEDUNCONFIRMED', 'FAILEDSUPPRESSED')
    LIMIT 1"""
)
_ALL = Sql("SELECT id, contact_id, status FROM request ORDER BY id", id="uuid", contact_id="uuid")
_TRIM = Sql("DELETE FROM request WHERE id NOT IN (SELECT id FROM request ORDER BY id DESC LIMIT :most)")
_TRIM_TOLD = Sql("DELETE FROM webhook_delivery WHERE request_id NOT IN (SELECT id FROM request)")
_DIE = Sql("UPDATE owner SET seen_at = stockbell_now(-1000) WHERE id = :owner")
_STOCK = Sql("UPDATE waiting_list SET in_stock = true, last_in_stock_at = stockbell_now(60)")
# What an endpoint knows, where it is not what is so. Of an erased customer it knows that, whatever is told later.
_TOLD_WRONG = Sql(
    """SELECT r.id FROM request AS r
    LEFT JOIN webhook_delivery AS d ON d.request_id = r.id AND d.version = (
        SELECT max(version) FROM webhook_delivery AS newest WHERE newest.request_id = r.id)
    WHERE d.id IS NULL OR CASE WHEN r.email LIKE 'erased%' THEN d.kind <> 'deleted'
        ELSE d.kind = 'deleted' OR NOT d.body LIKE '%"status": "'
            || CASE WHEN r.status = 'PROCESSING' THEN 'RECEIVED' ELSE r.status END || '"%' END"""
)
_DUE = Sql("UPDATE request SET not_before = NULL WHERE status = 'RECEIVED' AND not_before < '9000-01-01'")


class Walk:
    """One database, and one step after the other, all in the transaction `c`."""

    def __init__(self, c: Connection, random: Random) -> None:
        self.c = c
        self.random = random
        self.dates = count(1)
        self.held: list[Claim] = []
        self.confirmed = 0
        self.list_ids = list(lists.find_or_add(c, WANTED).values())
        _STOCK(c)
        _TRIM(c, most=MOST)
        self.owner = self.new_owner()
        self.turns: Sequence[tuple[Callable[[], object], float]] = (
            (self.create, 3),
            (self.sign_up, 3),
            (self.confirm, 2),
            (self.claim, 4),
            (self.record, 8),
            (self.release_all, 2),
            (self.rescue, 1),
            (self.retry, 4),
            (self.suppress, 4),
            (self.lift, 8),
            (self.erase, 0.5),
            (self.make_due, 2),
        )

    def new_owner(self) -> UUID:
        owner = uuid4()
        owners.register(self.c, owner, "host:1")
        return owner

    def create(self) -> None:
        date = LONG_AGO + timedelta(seconds=next(self.dates)) if self.random.random() < 0.5 else None
        pick = self.random.choice
        requests.create(self.c, [NewRequest(pick(EMAILS), pick(WANTED), created_date=date) for _ in range(2)], TOKENS)

    def sign_up(self) -> None:
        new = NewRequest(self.random.choice(EMAILS), self.random.choice(WANTED))
        for request_id in requests.create(self.c, [new], TOKENS):
            confirmations.hold(self.c, request_id, None, is_new=True, always=True)

    def confirm(self) -> None:
        email = self.random.choice(EMAILS)
        if found := contacts.find(self.c, {email}).get(email):
            done = confirmations.confirm(self.c, found.id, TOKENS)
            self.confirmed += bool(done and done.lists)

    def claim(self) -> None:
        self.held += claims.claim(self.c, self.owner, LEASE, self.list_ids, 6, first=False).claims

    def record(self) -> None:
        ends, number = Ends(), self.random.randint(1, 4)
        for claim in self.held[:number]:
            ended = Ended(claim, Tries(1), "RECIPIENT_REJECTED", "no", delay=60.0)
            where: list[Any] = self.random.choice((ends.told, ends.failed, ends.deferred, ends.released))
            where.append(claim if where is ends.told or where is ends.released else ended)
        del self.held[:number]
        recording.record(self.c, ends)

    def release_all(self) -> None:
        claims.release_all(self.c, self.owner)

    def rescue(self) -> None:
        _DIE(self.c, owner=self.owner)
        may_rescue(self.c)
        sweep.rescue(self.c, LEASE, FRESH)
        owners.forget(self.c, LEASE)
        self.owner = self.new_owner()

    def some(self) -> list[UUID]:
        ids = [row.id for row in _ALL(self.c)]
        return self.random.sample(ids, min(len(ids), 5))

    def retry(self) -> None:
        admin.retry(self.c, self.some(), ordered=self.random.random() < 0.5, force=True)

    def suppress(self) -> None:
        email = self.random.choice(EMAILS)
        found = contacts.add(self.c, {email}).contacts[email]
        suppression.suppress(self.c, [found.id], self.random.choice(list(Cause)), "a test")

    def lift(self) -> None:
        suppression.lift(self.c, set(self.random.sample(EMAILS, 2)), TOKENS, by_consent=self.random.random() < 0.3)

    def erase(self) -> None:
        email = self.random.choice(EMAILS)
        if found := contacts.find(self.c, {email}).get(email):
            erasure.erase(self.c, found.id, TOKENS)

    def make_due(self) -> None:
        _DUE(self.c)


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)  # a pooler would show no more
def test_nobody_waits_who_is_suppressed_however_long_one_walks(shop: Shop) -> None:
    random = Random(8)
    counts: Counter[str] = Counter()

    def some_steps(c: Connection) -> None:
        walk = Walk(c, random)
        turns, weights = zip(*walk.turns, strict=True)
        for turn in random.choices(turns, weights, k=AT_ONCE):
            turn()
            assert not _BROKEN(c), turn.__name__
        counts.update(row.status for row in _ALL(c))
        counts["confirmed"] += walk.confirmed

    for _ in range(STEPS // AT_ONCE):
        shop.write(some_steps)
    assert min(counts[status] for status in Status) > 100, "every state is reached"
    assert counts["confirmed"] > 50
    assert shop.count(Contact) > len(EMAILS), "some were erased"


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)
def test_others_know_the_state_of_each_request_however_long_one_walks(shop: Shop) -> None:
    random = Random(9)
    shop.write(endpoints.add, "https://example.com/", Format.STANDARD, is_full=False, allows_private=False)

    def some_steps(c: Connection) -> None:
        walk = Walk(c, random)
        turns, weights = zip(*walk.turns, strict=True)
        for turn in random.choices(turns, weights, k=AT_ONCE):
            turn()
            if random.random() < 0.2:
                outbox.hand_out(c)
        claims.release_all(c, walk.owner)  # else what is being sent would not be told yet
        outbox.hand_out(c)
        assert not _TOLD_WRONG(c)
        _TRIM_TOLD(c)

    for _ in range(TELLING_STEPS // AT_ONCE):
        shop.write(some_steps)
    assert shop.count(WebhookDelivery) > MOST
