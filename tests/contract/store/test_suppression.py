"""Nobody who is suppressed waits: every arrow into RECEIVED ends elsewhere. On SQLite and PostgreSQL."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Row

from tests.contract.shop import CUP, LEASE, LONG_AGO, MUG, Shop, shop_at, somebody_waits
from tests.polling import eventually
from worker.domain.errors import BadSetting
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.models import Attempt, Contact, Status
from worker.store import admin, claims, contacts, erasure, recording, requests, suppression, sweep
from worker.store.claims import Claim
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import Fate, NewRequest

ANNE, BOB = "anne@example.com", "bob@example.com"
TOKENS = Tokens([b"k" * 32])
RECEIVED, PROCESSING, FAILED = Status.RECEIVED, Status.PROCESSING, Status.FAILED


def suppress(shop: Shop, *emails: str, cause: Cause = Cause.UNSUBSCRIBED) -> suppression.Suppressed:
    """Suppresses these addresses, which may be new."""
    found = shop.write(contacts.add, set(emails)).contacts
    return shop.write(suppression.suppress, [contact.id for contact in found.values()], cause, "a test")


def suppress_everybody(shop: Shop) -> None:
    ids = [row.contact_id for row in shop.rows()]
    shop.write(suppression.suppress, ids, Cause.BOUNCED, "a test")


def contact(shop: Shop, email: str) -> Row[Any]:
    found = shop.database.read(contacts.one, email)
    assert found is not None
    return found


def end(row: Row[Any]) -> tuple[Status, bool | None, str | None]:
    return row.status, row.auto_notified, row.failure_code


ENDED_WAITING = (FAILED, None, "SUPPRESSED")
ENDED_CLAIMED = (FAILED, True, "SUPPRESSED")


# Who is suppressed


def test_who_waits_ends_and_nobody_else(shop: Shop) -> None:
    shop.sign_up(MUG, ANNE, BOB)
    shop.sign_up(CUP, ANNE)
    done = suppress(shop, ANNE)
    by_email = {(row.email, end(row)) for row in shop.rows()}
    assert by_email == {(ANNE, ENDED_WAITING), (BOB, (RECEIVED, None, None))}
    assert set(done.requests) == {row.id for row in shop.rows() if row.email == ANNE}
    assert list(done.contacts) == [contact(shop, ANNE).id]
    assert {row.failure_reason for row in shop.rows()} == {None, "the customer gets no mail: unsubscribed"}


def test_what_was_put_off_or_ordered_ends_too(shop: Shop) -> None:
    put_off, ordered = shop.sign_up(MUG, ANNE), shop.sign_up(CUP, ANNE)
    shop.change("UPDATE request SET not_before = stockbell_now(60) WHERE id = :id", id=put_off)
    shop.write(admin.report, [ordered])
    suppress(shop, ANNE)
    assert [end(row) for row in shop.rows()] == [ENDED_WAITING] * 2
    assert shop.row(put_off).not_before is None


def test_to_suppress_twice_changes_nothing(shop: Shop) -> None:
    shop.sign_up(MUG, ANNE)
    suppress(shop, ANNE)
    before = contact(shop, ANNE)
    assert suppress(shop, ANNE, cause=Cause.BOUNCED) == suppression.Suppressed([], [])
    assert contact(shop, ANNE) == before


@pytest.mark.parametrize(("weak", "strong"), [(Cause.BOUNCED, Cause.MANUAL), (Cause.UNSUBSCRIBED, Cause.COMPLAINED)])
def test_a_stronger_cause_replaces_a_weaker_one_and_never_the_reverse(shop: Shop, weak: Cause, strong: Cause) -> None:
    suppress(shop, ANNE, cause=weak)
    since = contact(shop, ANNE).suppressed_at
    for cause in (strong, weak, *Cause):
        suppress(shop, ANNE, cause=cause)
        assert (contact(shop, ANNE).suppressed_why, contact(shop, ANNE).suppressed_at) == (strong, since)


def test_an_address_is_one_in_whatever_case_but_not_without_its_plus(shop: Shop) -> None:
    shop.sign_up(MUG, "Anne@Example.com", "anne+shop@example.com")
    suppress(shop, ANNE)
    assert {row.email: row.status for row in shop.rows()} == {
        "Anne@Example.com": FAILED,
        "anne+shop@example.com": RECEIVED,
    }


# The arrows into RECEIVED


def deferred(claim: Claim) -> Ends:
    return Ends(
        deferred=[Ended(claim, Tries(1), "X", "450 no", delay=60.0, is_doubtful=True)],
        log=[Try(claim, "deferred", 450, None, "no")],
    )


@pytest.mark.parametrize(
    "arrow",
    [
        lambda shop, claim: shop.write(recording.record, deferred(claim)),
        lambda shop, claim: shop.write(recording.record, Ends(released=[claim])),
        lambda shop, claim: shop.write(claims.release_all, claim.owner),
        lambda shop, claim: (shop.die(claim.owner), shop.rescue()),
    ],
    ids=["defer", "release", "release all", "rescue"],
)
def test_what_is_being_sent_runs_out_and_does_not_wait_again(
    shop: Shop, arrow: Callable[[Shop, Claim], object]
) -> None:
    _, (claim, _) = shop.claimed(2)
    kept = shop.row(claim.id).contact_id
    shop.write(suppression.suppress, [kept], Cause.COMPLAINED, "a test")
    assert shop.status(claim.id) is PROCESSING
    arrow(shop, claim)
    assert end(shop.row(claim.id)) == ENDED_CLAIMED
    row = shop.row(claim.id)
    assert (row.owner, row.claimed_at, row.not_before) == (None, None, None)
    assert row.failure_reason == "the customer gets no mail: complained"


def test_a_mail_that_was_sent_meanwhile_is_recorded_as_sent(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    suppress_everybody(shop)
    shop.write(recording.record, Ends(told=[claim]))
    assert shop.status(claim.id) is Status.NOTIFICATION_SENT


def test_what_may_have_been_sent_is_unknown_whoever_is_suppressed(shop: Shop) -> None:
    owner, (claim, other) = shop.claimed(2)
    shop.write(claims.hand_over, [claim])
    suppress_everybody(shop)
    shop.die(owner)
    assert shop.rescue() == sweep.Rescued(0, [claim.id], suppressed=1)
    assert end(shop.row(claim.id)) == (FAILED, True, "OUTCOME_UNKNOWN")
    assert end(shop.row(other.id)) == ENDED_CLAIMED


def test_a_new_request_is_kept_as_failed(shop: Shop) -> None:
    suppress(shop, ANNE)
    added = shop.write(requests.create, [NewRequest("Anne@example.com", MUG), NewRequest(BOB, MUG)])
    assert {row.email: end(row) for row in shop.rows()} == {
        "Anne@example.com": ENDED_WAITING,
        BOB: (RECEIVED, None, None),
    }
    assert shop.database.read(requests.suppressed, added) == 1


@pytest.mark.parametrize("date", [None, LONG_AGO], ids=["undated", "dated"])
def test_a_file_that_is_imported_every_day_keeps_one_request_of_who_is_suppressed(
    shop: Shop, date: datetime | None
) -> None:
    suppress(shop, ANNE)
    new = [NewRequest(ANNE, MUG, created_date=date)]
    assert shop.database.read(requests.fates, new) == [Fate.SUPPRESSED]
    added = shop.write(requests.create, new)
    assert shop.write(requests.create, new) == []
    assert shop.database.read(requests.fates, new) == [Fate.DUPLICATE]
    assert [shop.write(requests.equal, new[0])] == added


def test_what_waited_can_only_be_retried_once_the_customer_gets_mail_again(shop: Shop) -> None:
    id_ = shop.sign_up(MUG, ANNE)
    suppress(shop, ANNE)
    refused = shop.write(admin.retry, [id_], ordered=True, force=True).refused[id_]
    assert refused == "the customer gets no mail (unsubscribed); `stockbell contacts unsuppress` lifts that"
    shop.write(suppression.lift, [ANNE], None)
    assert shop.status(id_) is FAILED
    assert "needs --force" in shop.write(admin.retry, [id_], ordered=True, force=False).refused[id_]
    assert shop.write(admin.retry, [id_], ordered=True, force=True).ids == [id_]
    assert shop.status(id_) is RECEIVED


def test_the_sweep_ends_what_became_received_at_the_same_time(shop: Shop) -> None:
    id_, late = shop.sign_up(MUG, ANNE), shop.sign_up(MUG, BOB)
    suppress(shop, ANNE, BOB)
    shop.change("UPDATE request SET status = 'RECEIVED', failure_code = NULL, failure_reason = NULL")
    shop.change(
        "UPDATE contact SET suppressed_at = stockbell_now(-:ago) WHERE address = :bob",
        ago=suppression.RECENT_SECONDS + 1,
        bob=BOB,
    )
    assert shop.write(suppression.repeat) == 1
    assert (end(shop.row(id_)), shop.status(late)) == (ENDED_WAITING, RECEIVED)
    assert shop.write(suppression.repeat) == 0


# At the same time, on PostgreSQL: a statement does not see what is committed after it began

at_once = pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)


def meanwhile(shop: Shop, work: Callable[[Connection], object], email: str) -> None:
    """Suppresses an address after `work` was done, and before it is committed."""

    def both(c: Connection) -> None:
        work(c)
        with shop_at(shop.url) as other:
            suppress(other, email)

    shop.write(both)


@at_once
@pytest.mark.parametrize("end_of", ["defer", "release"])
def test_who_is_suppressed_while_a_claim_comes_back_waits_for_one_sweep_at_most(shop: Shop, end_of: str) -> None:
    _, (claim,) = shop.claimed()
    ends = deferred(claim) if end_of == "defer" else Ends(released=[claim])
    meanwhile(shop, lambda c: recording.record(c, ends), claim.email)
    assert shop.status(claim.id) is RECEIVED
    assert shop.write(suppression.repeat) == 1
    assert end(shop.row(claim.id)) == ENDED_WAITING


@at_once
def test_who_is_suppressed_while_signing_up_waits_for_one_sweep_at_most(shop: Shop) -> None:
    shop.sign_up(CUP, ANNE)
    meanwhile(shop, lambda c: requests.create(c, [NewRequest(ANNE, MUG)]), ANNE)
    assert shop.write(suppression.repeat) == 1
    assert [end(row) for row in shop.rows()] == [ENDED_WAITING] * 2


@at_once
def test_who_is_suppressed_while_being_claimed_is_sent_one_mail_at_most(shop: Shop) -> None:
    shop.waiting(1)
    owner, (row,) = shop.owner(), shop.rows()

    def claim(c: Connection) -> claims.Claimed:
        claimed = claims.claim(c, owner, LEASE, [row.waiting_list_id], 1, first=False)
        started.append(pool.submit(suppress, other, row.email))
        eventually(lambda: somebody_waits(shop))  # `suppress` does, for this transaction
        return claimed

    started: list[Future[suppression.Suppressed]] = []
    with shop_at(shop.url) as other, ThreadPoolExecutor(1) as pool:
        (held,) = shop.write(claim).claims
        assert list(started[0].result().requests) == []
    assert shop.status(held.id) is PROCESSING
    shop.write(recording.record, Ends(released=[held]))
    assert end(shop.row(held.id)) == ENDED_CLAIMED


@at_once
def test_to_suppress_two_in_any_order_ends_in_no_deadlock(shop: Shop) -> None:
    shop.sign_up(MUG, ANNE, BOB)
    ids = [contact(shop, email).id for email in (ANNE, BOB)]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(shop.write, suppression.suppress, order, Cause.BOUNCED, "a test")
            for order in (ids, ids[::-1]) * 10
        ]
        assert sum(len(run.result().requests) for run in runs) == 2


# Lifting


@pytest.mark.parametrize("cause", Cause)
def test_an_admin_lifts_any_cause_and_a_customer_only_their_own_wish_and_a_bounce(shop: Shop, cause: Cause) -> None:
    suppress(shop, ANNE, cause=cause)
    is_lifted = cause in {Cause.UNSUBSCRIBED, Cause.BOUNCED}
    assert shop.write(suppression.lift, [ANNE, BOB], None, by_consent=True) == ({ANNE} if is_lifted else set())
    assert (contact(shop, ANNE).suppressed_at is None) is is_lifted
    shop.write(suppression.lift, [ANNE], None)
    found = contact(shop, ANNE)
    assert (found.suppressed_at, found.suppressed_why, found.suppressed_by) == (None, None, None)
    assert shop.status(shop.sign_up(MUG, ANNE)) is RECEIVED


# Erasing


def erase(shop: Shop, email: str, tokens: Tokens | None = TOKENS) -> erasure.Erased | None:
    return shop.write(erasure.erase, contact(shop, email).id, tokens)


def everything(shop: Shop) -> str:
    """Returns all that the tables hold, as text."""
    tables = ("contact", "request", "attempt", "report")
    return "\n".join(repr([tuple(row) for row in shop.ask(f"SELECT * FROM {table}")]) for table in tables)


def test_nothing_that_identifies_a_customer_is_left(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    ended = Ended(claim, Tries(1), "RECIPIENT_REJECTED", "550 Secret is unknown")
    shop.write(recording.record, Ends(failed=[ended], log=[Try(claim, "rejected", 550, "5.1.1", "550 Secret")]))
    shop.change(
        """UPDATE request SET email = 'Secret@example.com', item_url = 'https://secret.example', locale = 'secret',
        given = '{"secret": 1}', receipt = 'ok secret'"""
    )
    shop.change("UPDATE contact SET address = 'secret@example.com'")
    add = """INSERT INTO report (key, at, kind, words, source, contact_id, request_id)
        VALUES (:key, stockbell_now(0), 'dead', 'secret', 'mbox', :contact, :request)"""
    shop.change(add, key="1", contact=shop.row(claim.id).contact_id, request=None)
    shop.change(add, key="2", contact=None, request=claim.id)
    assert "secret" in everything(shop)
    assert erase(shop, "secret@example.com") == erasure.Erased(1, 0)
    assert "secret" not in everything(shop).lower()
    row = shop.row(claim.id)
    assert (row.status, row.failure_code, row.attempts) == (FAILED, "RECIPIENT_REJECTED", 1)
    assert (shop.count(Attempt), shop.count(Contact)) == (1, 1)
    assert owner != row.owner


def test_an_erased_customer_gets_no_mail_but_may_come_again(shop: Shop) -> None:
    id_ = shop.sign_up(MUG, ANNE)
    assert erase(shop, ANNE) == erasure.Erased(1, 1)
    assert end(shop.row(id_)) == ENDED_WAITING
    assert shop.write(admin.retry, [id_], ordered=True, force=True).refused == {id_: "the customer was erased"}
    assert shop.status(shop.sign_up(MUG, ANNE)) is RECEIVED


def test_what_was_being_sent_when_it_was_erased_never_waits_again(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    erase(shop, claim.email)
    shop.write(recording.record, Ends(released=[claim]))
    assert end(shop.row(claim.id)) == ENDED_CLAIMED
    assert shop.row(claim.id).email.startswith(contacts.ERASED)


@pytest.mark.parametrize("cause", Cause)
def test_an_old_list_mails_nobody_who_was_suppressed_and_erased(shop: Shop, cause: Cause) -> None:
    suppress(shop, ANNE, cause=cause)
    erase(shop, ANNE)
    new = [NewRequest("Anne@example.com", MUG), NewRequest(BOB, MUG)]
    assert shop.database.read(requests.fates, new, TOKENS) == [Fate.SUPPRESSED, Fate.CREATED]
    shop.write(requests.create, new, TOKENS)
    assert {row.email: end(row) for row in shop.rows()} == {
        "Anne@example.com": ENDED_WAITING,
        BOB: (RECEIVED, None, None),
    }
    assert contact(shop, ANNE).suppressed_why == cause
    assert shop.write(suppression.lift, [ANNE], TOKENS) == {ANNE}
    assert shop.status(shop.write(requests.create, [NewRequest(ANNE, CUP)], TOKENS)[0]) is RECEIVED


def test_an_erased_address_can_be_lifted_before_it_comes_again(shop: Shop) -> None:
    suppress(shop, ANNE, cause=Cause.MANUAL)
    erase(shop, ANNE)
    assert shop.write(suppression.lift, [ANNE], TOKENS, by_consent=True) == set()
    assert shop.write(suppression.lift, [ANNE], TOKENS) == {ANNE}
    assert shop.status(shop.sign_up(MUG, ANNE)) is RECEIVED


def test_an_older_key_still_recognises_who_was_erased(shop: Shop) -> None:
    suppress(shop, ANNE)
    erase(shop, ANNE, Tokens([b"o" * 32]))
    both = Tokens([b"n" * 32, b"o" * 32])
    assert shop.database.read(requests.fates, [NewRequest(ANNE, MUG)], both) == [Fate.SUPPRESSED]


def test_without_a_key_no_erased_address_is_mailed_by_mistake(shop: Shop) -> None:
    suppress(shop, ANNE)
    with pytest.raises(BadSetting, match="STOCKBELL_SECRET_KEY"):
        erase(shop, ANNE, None)
    assert contact(shop, ANNE).suppressed_at is not None
    erase(shop, ANNE)
    with pytest.raises(BadSetting, match="STOCKBELL_SECRET_KEY"):
        shop.write(requests.create, [NewRequest(BOB, MUG)])


def test_what_is_erased_is_erased_once(shop: Shop) -> None:
    shop.sign_up(MUG, ANNE)
    found: UUID = contact(shop, ANNE).id
    erase(shop, ANNE)
    assert shop.write(erasure.erase, found, TOKENS) is None


# For people who ask


def listed(shop: Shop, *which: Any) -> Sequence[str]:
    return [row.address for row in shop.database.read(lambda c: list(contacts.suppressed(c, *which)))]


def test_the_list_has_the_newest_first_and_erased_ones_that_are_still_known(shop: Shop) -> None:
    for email, cause in ((ANNE, Cause.BOUNCED), (BOB, Cause.MANUAL), ("eve@example.com", Cause.BOUNCED)):
        suppress(shop, email, cause=cause)
    shop.sign_up(MUG, "not@example.com", "gone@example.com")
    erase(shop, BOB)
    erase(shop, "gone@example.com")
    known = next(row.address for row in shop.ask("SELECT address FROM contact WHERE address_key IS NOT NULL"))
    assert listed(shop, None, None, 0) == ["eve@example.com", known, ANNE]
    assert listed(shop, Cause.BOUNCED, None, 1) == ["eve@example.com"]
    assert listed(shop, None, datetime.now(UTC) + timedelta(hours=1), 0) == []
