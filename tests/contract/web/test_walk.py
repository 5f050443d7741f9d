"""Random walks through all that happens to customers. Whatever the order, the rules of consent hold after each step."""

import random
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import pytest

from tests.contract.shop import CUP, MUG, Shop
from tests.contract.web.site import SECRET
from worker.domain.catalog import CatalogReference
from worker.domain.outcomes import FailureCode
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.models import Status
from worker.services import requests as requests_service
from worker.services.leaving import Leaving
from worker.services.signing_up import Desk, OptIn, SignUp
from worker.store import admin, confirmations, contacts, recording, requests, suppression, sweep
from worker.store.recording import Ended, Ends
from worker.store.requests import NewRequest

TOKENS: Final = Tokens([SECRET.encode()])
PEOPLE: Final = ("ann@x.example", "bob@x.example")
STRONG: Final = (Cause.COMPLAINED, Cause.MANUAL)


class Walk:
    """Does things to two customers and two items in a random order, and remembers who agreed to what."""

    def __init__(self, shop: Shop, opt_in: OptIn, seed: int) -> None:
        self.shop, self.opt_in = shop, opt_in
        self.random = random.Random(seed)
        self.desk = Desk(shop.database, TOKENS, opt_in)
        self.leaving = Leaving(shop.database, TOKENS)
        self.agreed: set[UUID] = set()
        """requests that may be mailed"""
        self.proven: set[str] = set()
        """who confirmed once"""
        self.never: set[str] = set()
        """who complained, or was suppressed by hand"""
        self.left: set[str] = set()
        self.asked: set[str] = set()
        """who got a mail that asks, less than a day ago"""
        self.links: list[tuple[str, UUID]] = []
        """contacts whose links somebody has, also those that were erased since"""

    def pick(self) -> tuple[str, CatalogReference]:
        return self.random.choice(PEOPLE), self.random.choice((MUG, CUP))

    # what happens

    def page(self) -> None:
        email, what = self.pick()
        self._adds(email, lambda: self._sign_up(email, what, is_public=True), trusted=self._is_trusted(email))

    def server(self) -> None:
        email, what = self.pick()
        self._adds(email, lambda: self._sign_up(email, what, is_public=False), trusted=self._is_trusted(email))

    def server_vouches(self) -> None:
        email, what = self.pick()
        self.left.discard(email)
        self._forgets(email)
        self._adds(email, lambda: self._sign_up(email, what, is_public=False, is_confirmed=True), trusted=True)
        self.proven.add(email)
        self._agree(email, what)

    def command(self) -> None:
        email, what = self.pick()
        new = NewRequest(email, what, "https://shop.example/p")
        self._adds(email, lambda: requests_service.create(self.shop.database, new, TOKENS), trusted=True)
        self._agree(email, what)

    def file(self) -> None:
        email, what = self.pick()
        new = NewRequest(email, what, "https://shop.example/p")

        def both(c: Any) -> None:
            requests.confirm_equal(c, [new])
            requests.create(c, [new], TOKENS)

        self._adds(email, lambda: self.shop.write(both), trusted=True)
        self._agree(email, what)

    def mail_that_asks(self) -> None:
        due = self.shop.write(confirmations.claim)
        if due:
            email = due.email.lower()
            assert email not in self.never
            assert email not in self.asked
            self.asked.add(email)
            self.shop.write(confirmations.sent, due)

    def confirm(self) -> None:
        email, contact_id = self._somebody()
        before = {row.id: row.failure_code for row in self.shop.rows()}
        found = self.shop.write(confirmations.confirm, contact_id, TOKENS)
        if found and found.is_done and found.lists:
            self.proven.add(email)
            self.left.discard(email)
            self.asked.discard(email)
            self.agreed |= {
                row.id
                for row in self.shop.rows()
                if row.contact_id == contact_id and row.status is Status.RECEIVED and before[row.id]
            }

    def leave(self) -> None:
        email, contact_id = self._somebody()
        if self.leaving.leave(contact_id):
            self.left.add(email)

    def leave_item(self) -> None:
        _, contact_id = self._somebody()
        self.leaving.leave_item(contact_id, self.shop.list_id(self.pick()[1]))

    def undo(self) -> None:
        email, contact_id = self._somebody()
        self._forgets(email)
        standing = self.leaving.take_back(contact_id)
        if standing and standing.why is None:
            self.left.discard(email)

    def undo_item(self) -> None:
        _, contact_id = self._somebody()
        self.leaving.take_back_item(contact_id, self.shop.list_id(self.pick()[1]))

    def erase(self) -> None:
        email, contact_id = self._somebody()
        if self.leaving.look(contact_id):
            self.leaving.erase(contact_id)
            self.left.add(email)

    def bounce(self) -> None:
        self._suppress(Cause.BOUNCED)

    def complain(self) -> None:
        self.never.update(self._suppress(Cause.COMPLAINED))

    def ban(self) -> None:
        self.never.update(self._suppress(Cause.MANUAL))

    def lift(self) -> None:
        email, _ = self.pick()
        self._forgets(email)
        self.shop.write(suppression.lift, [email], TOKENS)
        self.never.discard(email)
        self.left.discard(email)

    def event(self) -> None:
        self.shop.tell(self.pick()[1], in_stock=self.random.random() < 0.7)

    def verbs(self) -> None:
        ids = [row.id for row in self.shop.rows()]
        verb = self.random.choice(("retry", "report", "mark"))
        if verb == "retry":
            self.shop.write(admin.retry, ids, ordered=True, force=self.random.random() < 0.5)
        elif verb == "report":
            self.shop.write(admin.report, ids)
        else:
            self.shop.write(admin.mark_sent, ids[:1])

    def mail(self) -> None:
        claims = list(self.shop.claim(self.shop.owner(), MUG, CUP).claims)
        for claim in claims:
            assert claim.id in self.agreed
            assert claim.email.lower() not in self.never
        if self.random.random() < 0.3:  # what happens meanwhile, happens while they are being sent
            self.random.choice((self.leave, self.page, self.complain, self.leave_item, self.undo))()
        ends = Ends()
        for claim in claims:
            how = self.random.random()
            if how < 0.5:
                ends.told.append(claim)
                ends.receipts.append(None)
            elif how < 0.7:
                ends.released.append(claim)
            else:
                ends.failed.append(Ended(claim, claim.tries, FailureCode.RECIPIENT_REJECTED.value, "no"))
        self.shop.write(recording.record, ends)

    def sweep(self) -> None:
        self.shop.write(suppression.repeat)
        self.shop.write(sweep.put_in_line)
        self.shop.rescue()
        self.shop.write(confirmations.expire)

    def some_time(self) -> None:
        self.shop.change("UPDATE contact SET signed_up_at = stockbell_now(-31)")

    def delete(self) -> None:
        if rows := self.shop.rows():
            self.shop.write(requests.remove, self.random.choice(rows).id)

    # what is remembered

    def _sign_up(self, email: str, what: CatalogReference, *, is_public: bool, is_confirmed: bool = False) -> None:
        new = NewRequest(email, what, "https://shop.example/p")
        self.desk.sign_up_many([SignUp(new, "k", is_public=is_public, is_confirmed=is_confirmed)])

    def _is_trusted(self, email: str) -> bool:
        return self.opt_in == "off" or (self.opt_in == "first" and email in self.proven)

    def _adds(self, email: str, work: Callable[[], object], *, trusted: bool) -> None:
        before = {row.id for row in self.shop.rows()}
        work()
        new = {row.id for row in self.shop.rows()} - before
        if trusted:
            self.agreed |= new
        self.links += [(email, self.shop.row(id_).contact_id) for id_ in new]

    def _agree(self, email: str, what: CatalogReference) -> None:
        list_id = self.shop.list_id(what)
        self.agreed |= {
            row.id
            for row in self.shop.rows()
            if row.email == email and row.waiting_list_id == list_id and row.status is Status.RECEIVED
        }

    def _forgets(self, email: str) -> None:
        """To end the suppression of an erased address is to forget it, and when it was asked."""
        if self.shop.ask("SELECT 1 FROM contact WHERE address_key IS NOT NULL"):
            self.asked.discard(email)

    def _somebody(self) -> tuple[str, UUID]:
        if not self.links:
            self.command()
        return self.random.choice(self.links)

    def _suppress(self, cause: Cause) -> list[str]:
        email, _ = self.pick()
        found = self.shop.database.read(lambda c: contacts.find(c, [email]))
        if email in found:
            self.shop.write(suppression.suppress, [found[email].id], cause, "test")
            return [email]
        return []

    # what must hold

    def check(self) -> None:
        rows = self.shop.rows()
        found = self.shop.database.read(lambda c: contacts.find(c, PEOPLE))
        suppressed = self.shop.ask("SELECT id FROM contact WHERE suppressed_at IS NOT NULL", id="uuid")
        unwanted = {row.id for row in suppressed}
        assert not [row for row in rows if row.status is Status.RECEIVED and row.contact_id in unwanted]
        pairs = [(r.contact_id, r.waiting_list_id) for r in rows if r.status in (Status.RECEIVED, Status.PROCESSING)]
        assert len(pairs) == len(set(pairs))
        for email, known in found.items():
            assert email not in self.never or known.why in STRONG
            assert email not in self.left or known.why
        for row in rows:
            is_free = row.status is Status.RECEIVED and row.failure_code != "UNCONFIRMED"
            assert not is_free or row.id in self.agreed

    def go(self, steps: int) -> None:
        signing_up = [*[self.page, self.some_time] * 5, self.server, self.server_vouches, self.command, self.file]
        mailing = [self.event, self.mail, self.mail, self.mail_that_asks, self.mail_that_asks, self.confirm, self.sweep]
        leaving = [self.leave, self.leave_item, self.undo, self.undo, self.undo_item, self.erase]
        rest = [self.bounce, self.complain, self.ban, self.lift, self.lift, self.verbs, self.verbs, self.delete]
        for _ in range(steps):
            step = self.random.choice(signing_up + mailing + leaving + rest)
            step()
            self.check()


@pytest.mark.parametrize("opt_in", ["off", "first", "on"])
def test_the_rules_of_consent_hold_whatever_happens(shop: Shop, opt_in: OptIn) -> None:
    for seed in range(2):
        shop.empty()
        walk = Walk(shop, opt_in, seed)
        walk.go(60)
        assert walk.agreed
