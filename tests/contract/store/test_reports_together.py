"""Reports about a mail that told of several requests: all of them share its fate, and only as long as it is theirs."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from random import Random
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.contract.reporting import (
    DOMAIN,
    TOKENS,
    WORDS,
    claimed_together,
    contact_of,
    intake_of,
    record_told,
    report,
    return_token,
    take,
    take_one,
    told_together,
)
from tests.contract.shop import Shop, ref
from worker.domain.policies import Policies
from worker.domain.recognition import Recognizer
from worker.domain.returned import Kind
from worker.domain.webhooks import Format
from worker.models import Report as ReportRow
from worker.models import Status
from worker.services.returning import Intake, Result
from worker.store import admin, claims, endpoints, erasure, recording, reports, requests, stock, tally, undoing
from worker.store.claims import Claim
from worker.store.database import Database
from worker.store.recording import Ends
from worker.store.requests import NewRequest

ACTED, NOTED, COUNTED, EARLY, UNMATCHED, REPEATED = Result
TOLD, FAILED = Status.NOTIFICATION_SENT, Status.FAILED


def ends(shop: Shop, claimed: Sequence[Claim]) -> list[Status]:
    return [shop.status(claim.id) for claim in claimed]


def counted(shop: Shop, kind: str) -> int:
    return shop.database.read(tally.totals).get(kind, 0)


def again(shop: Shop, *claimed: Claim) -> list[Claim]:
    """Puts these back in line, and claims them."""
    shop.write(admin.retry, [claim.id for claim in claimed], ordered=True, force=True)
    wanted = [ref(f"item-{number}") for number in range(5)]
    found = {claim.id: claim for claim in shop.claim(shop.owner(), *wanted).claims}
    return [found[claim.id] for claim in claimed]


# Who is told by whose mail


def test_who_is_told_again_by_a_mail_of_its_own_names_nobody(shop: Shop) -> None:
    first, other, _ = told_together(shop)
    take_one(shop, report(Kind.FAILED, return_token(first)))
    record_told(shop, *again(shop, other))
    assert (shop.status(other.id), shop.row(other.id).mail_id) == (TOLD, None)


def test_who_is_marked_as_told_names_nobody(shop: Shop) -> None:
    first, other, _ = told_together(shop)
    take_one(shop, report(Kind.FAILED, return_token(first)))
    assert shop.row(other.id).mail_id == first.id
    marked = shop.write(admin.mark_sent, [other.id])
    assert shop.row(other.id).mail_id is None
    before = {other.id: undoing.kept(marked.before[other.id])}
    assert shop.write(undoing.undo, "mark-sent", before).keys() == {other.id}
    assert (shop.status(other.id), shop.row(other.id).mail_id) == (FAILED, first.id)


def test_whose_first_request_was_claimed_again_meanwhile_names_nobody(shop: Shop) -> None:
    """A later mail of it may come back, and is none of theirs."""
    first, *others = claimed_together(shop)
    shop.write(recording.record, Ends(released=[first]))
    (later,) = shop.claim(shop.owner(), ref("item-0")).claims
    assert recording.write(shop.database, Ends(told=[first, *others])) == {claim.id for claim in others}
    record_told(shop, later)
    assert [shop.row(claim.id).mail_id for claim in others] == [None, None]
    take_one(shop, report(Kind.FAILED, return_token(later)))
    take_one(shop, report(Kind.FAILED, return_token(first), arrival="later"))
    assert ends(shop, [first, *others]) == [FAILED, TOLD, TOLD]


def test_whose_first_request_was_deleted_meanwhile_are_found_all_the_same(shop: Shop) -> None:
    first, *others = claimed_together(shop)
    shop.write(requests.remove, first.id)
    assert recording.write(shop.database, Ends(told=[first, *others])) == {claim.id for claim in others}
    assert take_one(shop, report(Kind.FAILED, return_token(first))).result is ACTED
    assert ends(shop, others) == [FAILED, FAILED]


# What comes back


@pytest.mark.parametrize("how", ["token", "message id", "envelope id"])
@pytest.mark.parametrize("kind", [Kind.DEAD, Kind.FAILED])
def test_a_mail_that_comes_back_ends_all_that_it_told_of(shop: Shop, kind: Kind, how: str) -> None:
    claimed = told_together(shop)
    first = claimed[0]
    (bystander,) = told_together(shop, 1, "john@example.com")
    shop.write(endpoints.add, "https://example.com/hook", Format.STANDARD, is_full=False, allows_private=False)
    versions = [shop.row(claim.id).version for claim in claimed]
    one = {
        "token": report(kind, return_token(first)),
        "message id": report(kind, message_id=f"<{first.id}@{DOMAIN}>"),
        "envelope id": report(kind, f"{return_token(first)}-{TOKENS.for_mail(first.contact_id)}"),
    }[how]
    (foretold,) = intake_of(shop).judge([("", one)])
    with capture_logs() as logs:
        taken = take_one(shop, one)
    assert foretold == taken
    assert (taken.result, taken.request_id) == (ACTED, first.id)
    assert "the request and 2 others of its mail are FAILED, BOUNCED" in taken.reason
    rows = [shop.row(claim.id) for claim in claimed]
    assert {(row.status, row.failure_code, row.failure_reason) for row in rows} == {(FAILED, "BOUNCED", WORDS)}
    assert all(row.auto_notified and row.notified_date and row.failed_at for row in rows)
    assert [(row.news, row.version) for row in rows] == [(True, version + 1) for version in versions]
    assert shop.status(bystander.id) is TOLD
    assert counted(shop, "bounced") == 3
    failed = [each["request_id"] for each in logs if each["event"] == "mail.failed"]
    assert failed == sorted(str(claim.id) for claim in claimed)
    assert shop.count(ReportRow) == 1
    assert (shop.ask("SELECT 1 FROM contact WHERE suppressed_at IS NOT NULL") != []) is (kind is Kind.DEAD)


@pytest.mark.parametrize("kind", [Kind.COMPLAINT, Kind.UNSUBSCRIBE, Kind.DELAYED, Kind.DELIVERED, Kind.AUTO_REPLY])
def test_all_other_reports_let_them_be(shop: Shop, kind: Kind) -> None:
    claimed = told_together(shop)
    take_one(shop, report(kind, return_token(claimed[0])))
    assert ends(shop, claimed) == [TOLD] * 3


def test_two_reports_about_one_mail_act_once(shop: Shop) -> None:
    claimed = told_together(shop)
    token = return_token(claimed[0])
    one, two = (report(Kind.FAILED, token, arrival=arrival, words=arrival) for arrival in ("one", "two"))
    assert [each.result for each in take(shop, one, two, one)] == [ACTED, NOTED, REPEATED]
    assert {shop.row(claim.id).failure_reason for claim in claimed} == {"one"}
    assert counted(shop, "bounced") == 3


def test_their_seats_are_given_back(shop: Shop) -> None:
    limited, policies = ref("item-0"), Policies(per_unit=1)
    shop.sign_up(limited, "jane@example.com")
    shop.sign_up(ref("item-1"), "jane@example.com")
    shop.write(stock.apply, [replace(shop.event(limited), quantity=1), shop.event(ref("item-1"))], policies)
    lists = [shop.list_id(ref("item-1")), shop.list_id(limited)]
    found = shop.write(claims.claim, shop.owner(), 60.0, lists, 100, policies, first=True).claims
    seated = next(claim for claim in found if claim.seat)
    first = next(claim for claim in found if not claim.seat)
    record_told(shop, first, replace(seated, mail_id=first.id))
    free = "SELECT seats FROM stock WHERE seat_limit IS NOT NULL"
    assert [row.seats for row in shop.ask(free)] == [0]
    take_one(shop, report(Kind.FAILED, return_token(first)))
    assert [row.seats for row in shop.ask(free)] == [1]
    assert (shop.status(seated.id), shop.row(seated.id).seat) == (FAILED, None)


def test_of_who_was_erased_the_others_keep_no_words(shop: Shop) -> None:
    claimed = told_together(shop)
    shop.write(erasure.erase, contact_of(shop, claimed[0].id), TOKENS)
    assert take_one(shop, report(Kind.DEAD, return_token(claimed[0]))).result is ACTED
    assert {shop.row(claim.id).failure_reason for claim in claimed} == {
        "5.1.1 a report said that the mail did not arrive"
    }


# Whose mail it is


def test_a_report_that_names_another_one_is_about_its_own_earlier_mail(shop: Shop) -> None:
    first, other, last = told_together(shop)
    quoted = take_one(shop, report(Kind.FAILED, message_id=f"{other.id}@{DOMAIN}"))
    signed = take_one(shop, report(Kind.FAILED, return_token(other)))
    assert (quoted.result, signed.result) == (NOTED, NOTED)
    assert "about an earlier mail" in quoted.reason
    assert ends(shop, [first, other, last]) == [TOLD] * 3


def test_a_report_about_an_earlier_mail_leaves_the_others_of_the_later_one(shop: Shop) -> None:
    first, other, last = told_together(shop)
    take_one(shop, report(Kind.FAILED, return_token(first)))
    later, with_it = again(shop, first, other)
    record_told(shop, later, replace(with_it, mail_id=later.id))
    late = take_one(shop, report(Kind.DEAD, return_token(first), arrival="later"))
    assert "earlier mail" in late.reason
    assert ends(shop, [first, other, last]) == [TOLD, TOLD, FAILED]
    assert counted(shop, "bounced") == 3


def test_who_was_retried_since_is_left_alone(shop: Shop) -> None:
    first, other, last = told_together(shop)
    take_one(shop, report(Kind.FAILED, return_token(first)))
    record_told(shop, *again(shop, other))
    (later,) = again(shop, first)
    record_told(shop, later)
    take_one(shop, report(Kind.FAILED, return_token(later)))
    assert ends(shop, [first, other, last]) == [FAILED, TOLD, FAILED]


def test_the_newest_reports_of_one_batch_are_not_hidden_by_older_ones(shop: Shop) -> None:
    first, other, _ = told_together(shop)
    take_one(shop, report(Kind.FAILED, return_token(first)))
    later, with_it = again(shop, first, other)
    record_told(shop, later, replace(with_it, mail_id=later.id))
    old, new = (report(Kind.FAILED, return_token(each), arrival="x", words=each.owner.hex) for each in (first, later))
    take(shop, old, new)
    assert ends(shop, [first, other]) == [FAILED, FAILED]
    assert {shop.row(claim.id).failure_reason for claim in (first, other)} == {later.owner.hex}


@pytest.mark.parametrize("how", ["token", "message id"])
def test_if_the_first_request_was_deleted_the_others_end(shop: Shop, how: str) -> None:
    """Nothing else would say whom the mail went to."""
    first, *others = told_together(shop)
    contact_id = contact_of(shop, first.id)
    shop.write(requests.remove, first.id)
    named = {
        "token": report(Kind.DEAD, return_token(first)),
        "message id": report(Kind.DEAD, message_id=f"{first.id}@{DOMAIN}"),
    }
    (foretold,) = intake_of(shop).judge([("", named[how])])
    taken = take_one(shop, named[how])
    assert foretold == taken
    assert (taken.result, taken.contact_id, taken.request_id) == (ACTED, contact_id, first.id)
    assert "2 others of its mail are FAILED, BOUNCED" in taken.reason
    assert ends(shop, others) == [FAILED, FAILED]
    assert [row.suppressed_why for row in shop.ask("SELECT suppressed_why FROM contact")] == ["bounced"]


def test_if_others_were_deleted_the_rest_ends(shop: Shop) -> None:
    first, other, last = told_together(shop)
    shop.write(requests.remove, other.id)
    assert "the request and 1 other of its mail are" in take_one(shop, report(Kind.FAILED, return_token(first))).reason
    assert ends(shop, [first, last]) == [FAILED, FAILED]


# Early


def test_a_report_before_the_outcome_waits_and_then_ends_all(shop: Shop) -> None:
    claimed = claimed_together(shop)
    assert take_one(shop, report(Kind.FAILED, return_token(claimed[0]))).result is EARLY
    assert shop.write(reports.retry_early) == set()
    record_told(shop, *claimed)
    assert shop.write(reports.retry_early) == {claim.id for claim in claimed}
    assert {shop.row(claim.id).failure_reason for claim in claimed} == {WORDS}
    assert shop.write(reports.retry_early) == set()


def test_an_early_report_about_an_earlier_claim_does_not_hide_one_about_this(shop: Shop) -> None:
    claimed = claimed_together(shop)
    first, *others = claimed
    take_one(shop, report(Kind.FAILED, return_token(first)))
    shop.write(recording.record, Ends(released=claimed))
    wanted = [ref(f"item-{number}") for number in range(3)]
    later, *with_it = shop.claim(shop.owner(), *wanted).claims
    for arrival in map(str, range(8)):
        take_one(shop, report(Kind.FAILED, return_token(later), arrival=arrival))
    record_told(shop, later, *(replace(claim, mail_id=later.id) for claim in with_it))
    assert shop.write(reports.retry_early) == {first.id, *(claim.id for claim in others)}


def test_an_early_report_that_names_another_one_is_not_about_the_mail_that_tells_it(shop: Shop) -> None:
    claimed = claimed_together(shop)
    taken = take_one(shop, report(Kind.FAILED, message_id=f"{claimed[1].id}@{DOMAIN}"))
    assert taken.result is EARLY
    record_told(shop, *claimed)
    assert shop.write(reports.retry_early) == set()
    assert ends(shop, claimed) == [TOLD] * 3


def test_an_early_report_is_dropped_when_another_mail_is_sent(shop: Shop) -> None:
    claimed = claimed_together(shop)
    take_one(shop, report(Kind.FAILED, return_token(claimed[0])))
    shop.write(recording.record, Ends(released=claimed))
    wanted = [ref(f"item-{number}") for number in range(3)]
    later, *with_it = shop.claim(shop.owner(), *wanted).claims
    record_told(shop, later, *(replace(claim, mail_id=later.id) for claim in with_it))
    assert shop.write(reports.retry_early) == set()
    assert ends(shop, claimed) == [TOLD] * 3


def test_readers_at_once_end_each_once(shop: Shop) -> None:
    groups = [told_together(shop, 3, f"customer{number}@example.com") for number in range(20)]
    found = [("", report(Kind.DEAD, return_token(first))) for first, *_ in groups]
    together = threading.Barrier(4)

    def read(turn: int) -> list[UUID]:
        with closing(Database(shop.url)) as database:
            intake = Intake(database, Recognizer(TOKENS, DOMAIN))
            mine = found[::-1] if turn % 2 else found
            together.wait(60)
            taken = [each for start in range(0, len(mine), 5) for each in intake.take(mine[start : start + 5], "mbox")]
            return [each.request_id for each in taken if each.result is ACTED and each.request_id]

    with ThreadPoolExecutor(4) as pool:
        acted = [request_id for each in pool.map(read, range(4)) for request_id in each]
    assert sorted(acted) == sorted(first.id for first, *_ in groups)
    assert {row.failure_code for row in shop.rows()} == {"BOUNCED"}
    assert counted(shop, "bounced") == 60


class Mails:
    """A shop where mails for several requests are claimed, recorded, late, and come back, at random.

    It knows by which mail each request was told last: by the first request and its claim number.
    """

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.random = Random(seed)
        self.wanted = [ref(f"item-{number}") for number in range(3)]
        self.owner = shop.owner()
        self.sent: list[list[Claim]] = []
        self.told_by: dict[UUID, tuple[UUID, int]] = {}
        self.bounced = self.kept = 0

    def sign_up(self) -> None:
        for reference in self.wanted:
            new = [NewRequest(email, reference) for email in ("jane@example.com", "john@example.com")]
            self.shop.write(requests.create, new)
            self.shop.tell(reference)

    def claim(self) -> None:
        mails: dict[UUID, list[Claim]] = {}
        for claim in self.shop.claim(self.owner, *self.wanted).claims:
            first = mails.setdefault(claim.contact_id, [])
            first.append(replace(claim, mail_id=first[0].id) if first else claim)
        self.sent += mails.values()

    def record(self) -> None:
        """Records any mail, however late."""
        if self.sent:
            mail = self.random.choice(self.sent[-6:])
            written = recording.write(self.shop.database, Ends(told=mail))
            self.told_by |= dict.fromkeys(written, (mail[0].id, mail[0].claim_no))

    def lose(self) -> None:
        """The worker is gone, and what it held is put back in line."""
        self.shop.die(self.owner)
        self.shop.rescue()
        self.owner = self.shop.owner()

    def retry(self) -> None:
        some = [row.id for row in self.shop.rows() if row.status == FAILED and self.random.random() < 0.7]
        self.shop.write(admin.retry, some, ordered=True, force=True)

    def delete(self) -> None:
        if rows := self.shop.rows():
            self.shop.write(admin.delete, [self.random.choice(rows).id])

    def come_back(self) -> None:
        if not self.sent:
            return
        first = self.random.choice(self.sent[-8:])[0]
        mail = first.id, first.claim_no
        before = {row.id: row.status for row in self.shop.rows()}
        take_one(self.shop, report(Kind.FAILED, return_token(first), arrival=str(self.random.random())))
        ended = {row.id for row in self.shop.rows() if row.status != before[row.id]}
        told = {id_ for id_, status in before.items() if status == TOLD}
        if first.id not in before:
            assert all(self.told_by[id_][0] == first.id for id_ in ended)
            return
        its = {id_ for id_ in told if self.told_by[id_] == mail}
        assert ended == (its if first.id in its else set())
        self.bounced += len(ended) > 1
        self.kept += bool(its and not ended)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_only_those_end_whose_mail_it_was(shop: Shop, seed: int) -> None:
    mails = Mails(shop, seed)
    steps: list[tuple[Callable[[], None], int]] = [
        (mails.sign_up, 2),
        (mails.claim, 4),
        (mails.record, 4),
        (mails.lose, 1),
        (mails.retry, 3),
        (mails.delete, 1),
        (mails.come_back, 4),
    ]
    turns, weights = zip(*steps, strict=True)
    for turn in mails.random.choices(turns, weights, k=150):
        turn()
    assert mails.bounced
