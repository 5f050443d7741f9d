"""The books: whatever happens to a request is counted with it, so that nothing can be lost unseen.

`test_model` checks that they balance after each step of a random walk. Here is what is counted, and what is not.
"""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from tests.contract.reporting import report, return_token, take
from tests.contract.shop import CUP, MUG, Shop
from worker import store
from worker.domain.returned import Cause, Kind
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.models import Status
from worker.store import (
    admin,
    claims,
    confirmations,
    contacts,
    erasure,
    leaving,
    recording,
    requests,
    suppression,
    tally,
    unconfirmed,
)
from worker.store import books as books_module
from worker.store.books import Books, books
from worker.store.claims import Claim
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import NewRequest

TOKENS: Final = Tokens([b"k" * 32])


def counts(shop: Shop) -> dict[str, int]:
    """What was counted but sign-ups and latencies."""
    kinds = shop.database.read(tally.totals)
    return {kind: n for kind, n in kinds.items() if not kind.startswith(("signup", "le:", "seconds", "first"))}


def balance(shop: Shop) -> Books:
    kept = shop.database.read(books)
    assert kept.off == {"UNRESOLVED": 0, "NOTIFICATION_SENT": 0, "FAILED": 0}
    assert kept.signed_up == kept.waits + kept.being_sent + kept.told + kept.failed + kept.deleted
    return kept


def ended(claim: Claim, code: str | None = None) -> Ended:
    return Ended(claim, Tries(1), code, "450 no", delay=60.0)


def test_every_sign_up_is_counted_by_its_result(shop: Shop) -> None:
    email = "jane@example.com"
    shop.write(requests.create, [NewRequest(email, MUG), NewRequest(email, MUG), NewRequest(email, CUP)])
    public = NewRequest("bob@example.com", MUG, is_public=True)
    shop.write(requests.create, [public])
    shop.write(requests.create, [replace(public, reference=CUP)])
    gone = shop.write(contacts.add, {"eve@example.com"}).contacts["eve@example.com"]
    shop.write(suppression.suppress, [gone.id], Cause.MANUAL, "a test")
    shop.write(requests.create, [NewRequest("eve@example.com", MUG)])
    assert shop.database.read(tally.totals) == {
        "signup:created": 3,
        "signup:duplicate": 1,
        "signup:limited": 1,
        "signup:suppressed": 1,
        "unsubscribed:manual": 1,
    }
    assert (balance(shop).signed_up, balance(shop).failed) == (4, 1)


def test_each_claim_is_counted_once_by_how_it_ended(shop: Shop) -> None:
    _, held = shop.claimed(8)
    told, failed, deferred, lost, released = held[:2], held[2], held[3], held[4], held[5]
    ends = Ends(
        told=told,
        failed=[ended(failed, "RECIPIENT_REJECTED")],
        deferred=[ended(deferred), ended(lost)],
        released=[released],
        log=[Try(deferred, "deferred", 450, None, "450 no"), Try(lost, "unknown", None, None, "no reply")],
    )
    shop.write(recording.record, ends)
    assert counts(shop) == {"told": 2, "failed:RECIPIENT_REJECTED": 1, "deferred": 1, "unknown": 1, "released": 1}
    kept = balance(shop)
    assert (kept.signed_up, kept.waits, kept.being_sent, kept.told, kept.failed) == (8, 3, 2, 2, 1)


ENDS: Final[dict[str, Callable[[Claim], Ends]]] = {
    "told": lambda claim: Ends(told=[claim]),
    "failed:MESSAGE_REJECTED": lambda claim: Ends(failed=[ended(claim, "MESSAGE_REJECTED")]),
    "deferred": lambda claim: Ends(deferred=[ended(claim)]),
    "released": lambda claim: Ends(released=[claim]),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_is_fenced_off_is_not_counted(shop: Shop, end: str) -> None:
    _, (claim, own) = shop.claimed(2)
    assert shop.write(recording.record, ENDS[end](replace(claim, owner=uuid4()))) == set()
    assert counts(shop) == {}
    shop.write(recording.record, ENDS[end](own))
    assert counts(shop) == {end: 1}
    balance(shop)


@pytest.mark.parametrize("end", ENDS)
def test_a_group_counts_only_what_it_changed(shop: Shop, end: str) -> None:
    _, (claim, own) = shop.claimed(2)
    ends, more = ENDS[end](replace(claim, claim_no=claim.claim_no - 1)), ENDS[end](own)
    for name in ("told", "failed", "deferred", "released"):
        getattr(ends, name).extend(getattr(more, name))
    assert shop.write(recording.record, ends) == {own.id}
    assert counts(shop) == {end: 1}
    balance(shop)


@pytest.mark.parametrize("end", ["deferred", "released"])
def test_who_left_meanwhile_is_counted_as_failed(shop: Shop, end: str) -> None:
    _, (claim,) = shop.claimed()
    shop.write(suppression.suppress, [claim.contact_id], Cause.UNSUBSCRIBED, "a test")
    shop.write(recording.record, ENDS[end](claim))
    assert counts(shop) == {"unsubscribed:unsubscribed": 1, "failed:SUPPRESSED": 1}
    balance(shop)


def test_a_late_reply_about_a_rescued_request_is_counted(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    shop.die(owner)
    shop.rescue()
    shop.write(recording.record, Ends(told=[claim]))
    assert counts(shop) == {"rescued": 1, "told": 1}
    balance(shop)


def test_what_a_rescue_ends_is_counted(shop: Shop) -> None:
    owner, (handed, gone, *_) = shop.claimed(3)
    shop.write(claims.hand_over, [handed])
    shop.write(suppression.suppress, [gone.contact_id], Cause.COMPLAINED, "a test")
    shop.die(owner)
    shop.rescue()
    expected = {"unsubscribed:complained": 1, "failed:OUTCOME_UNKNOWN": 1, "failed:SUPPRESSED": 1, "rescued": 1}
    assert counts(shop) == expected
    balance(shop)


def test_a_stopping_worker_counts_what_it_releases(shop: Shop) -> None:
    owner, (first, second) = shop.claimed(2)
    shop.write(suppression.suppress, [first.contact_id], Cause.MANUAL, "a test")
    shop.write(claims.release_all, owner)
    assert counts(shop) == {"unsubscribed:manual": 1, "failed:SUPPRESSED": 1, "released": 1}
    balance(shop)
    assert shop.status(second.id) is Status.RECEIVED


def test_a_bounce_is_counted_once(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    shop.write(recording.record, Ends(told=[claim]))
    for arrival in ("1", "2"):
        take(shop, report(Kind.FAILED, return_token(claim), arrival=arrival))
    assert counts(shop) == {"told": 1, "bounced": 1}
    assert (balance(shop).told, balance(shop).failed) == (0, 1)


def test_the_verbs_are_counted_with_the_state_before(shop: Shop) -> None:
    _, (claim, other) = shop.claimed(2)
    waits = shop.sign_up()
    shop.write(recording.record, Ends(failed=[ended(claim, "MESSAGE_REJECTED"), ended(other, "MESSAGE_REJECTED")]))
    shop.write(admin.retry, [claim.id, waits], ordered=False, force=False, dry_run=True)
    shop.write(admin.retry, [claim.id, waits], ordered=False, force=False)
    shop.write(admin.mark_sent, [claim.id, other.id])
    shop.write(admin.mark_sent, [claim.id])
    shop.write(requests.remove, claim.id)
    shop.write(requests.remove, claim.id)
    shop.write(requests.remove, waits)
    assert counts(shop) == {
        "failed:MESSAGE_REJECTED": 2,
        "retried": 1,
        "marked:RECEIVED": 1,
        "marked:FAILED": 1,
        "deleted:NOTIFICATION_SENT": 1,
        "deleted:RECEIVED": 1,
    }
    kept = balance(shop)
    assert (kept.signed_up, kept.told, kept.deleted) == (3, 1, 2)


def test_what_an_admin_undoes_is_counted_back(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    shop.write(recording.record, Ends(failed=[ended(claim, "MESSAGE_REJECTED")]))
    shop.write(admin.mark_sent, [claim.id])
    shop.change("UPDATE request SET status = 'FAILED'")
    assert shop.database.read(books).off == {"UNRESOLVED": 0, "NOTIFICATION_SENT": -1, "FAILED": 1}
    shop.write(tally.add, {"undone:marked:FAILED": 1})
    balance(shop)


def test_whoever_leaves_and_comes_back_is_counted(shop: Shop) -> None:
    shop.sign_up(MUG, "jane@example.com")
    request_id = shop.sign_up(CUP, "jane@example.com")
    contact = shop.row(request_id).contact_id
    assert shop.write(suppression.leave_item, contact, shop.list_id(CUP))
    assert not shop.write(suppression.leave_item, contact, shop.list_id(CUP))
    shop.write(suppression.suppress, [contact], Cause.UNSUBSCRIBED, "a test")
    shop.write(suppression.suppress, [contact], Cause.UNSUBSCRIBED, "a test")
    assert counts(shop) == {"unsubscribed:item": 1, "unsubscribed:unsubscribed": 1, "failed:SUPPRESSED": 2}
    balance(shop)
    shop.write(leaving.take_back, contact, TOKENS)
    shop.write(leaving.take_back_item, contact, shop.list_id(CUP))
    assert counts(shop)["retried"] == 2
    assert balance(shop).waits == 2
    shop.write(erasure.erase, contact, TOKENS)
    assert counts(shop)["unsubscribed:manual"] == 1
    assert balance(shop).failed == 2


def test_what_became_waiting_while_its_customer_left_is_counted_by_the_sweep(shop: Shop) -> None:
    request_id = shop.sign_up()
    contact = shop.row(request_id).contact_id
    shop.change("UPDATE contact SET suppressed_at = stockbell_now(0), suppressed_why = 'bounced'")
    assert shop.write(suppression.repeat) == 1
    assert counts(shop) == {"failed:SUPPRESSED": 1}
    balance(shop)
    assert contact is not None


def test_confirmations_are_counted(shop: Shop) -> None:
    request_id = shop.sign_up(MUG, "jane@example.com")
    shop.write(confirmations.hold, request_id, None, is_new=True, always=True)
    balance(shop)
    shop.change("UPDATE request SET not_before = stockbell_now(:far)", far=unconfirmed.FAR_SECONDS - 8 * 86_400)
    assert shop.write(confirmations.expire) == 1
    assert counts(shop) == {"deleted:RECEIVED": 1}
    assert balance(shop).deleted == 1


def test_what_was_made_while_suppressed_and_is_confirmed_waits_again(shop: Shop) -> None:
    contact = shop.write(contacts.add, {"jane@example.com"}).contacts["jane@example.com"].id
    shop.write(suppression.suppress, [contact], Cause.BOUNCED, "a test")
    request_id = shop.sign_up(MUG, "jane@example.com")
    shop.write(confirmations.hold, request_id, None, is_new=True, always=True)
    assert shop.write(confirmations.confirm, contact, TOKENS) is not None
    assert counts(shop) == {"unsubscribed:bounced": 1, "retried": 1}
    assert balance(shop).waits == 1


def test_equal_requests_of_a_suppressed_customer_count_once(shop: Shop) -> None:
    contact = shop.write(contacts.add, {"jane@example.com"}).contacts["jane@example.com"].id
    shop.write(suppression.suppress, [contact], Cause.BOUNCED, "a test")
    assert len(shop.write(requests.create, [NewRequest("jane@example.com", MUG)] * 3)) == 1
    assert balance(shop).failed == 1


def test_a_row_that_nobody_counted_shows(shop: Shop) -> None:
    shop.sign_up_many(3)
    _, (claim, *_) = shop.claimed(2)
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id = :id", id=claim.id)
    kept = shop.database.read(books)
    assert (kept.is_balanced, kept.difference) == (False, 0)
    assert kept.off == {"UNRESOLVED": -1, "NOTIFICATION_SENT": 1, "FAILED": 0}
    shop.change("DELETE FROM request WHERE id = :id", id=claim.id)
    kept = shop.database.read(books)
    assert (kept.difference, kept.off["UNRESOLVED"]) == (1, -1)


def test_in_a_large_table_those_that_were_told_are_not_counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, held = shop.claimed(3)
    shop.write(recording.record, Ends(told=held))
    monkeypatch.setattr(books_module, "MANY", -1)
    kept = balance(shop)
    assert (kept.is_told_counted, kept.told, kept.signed_up) == (False, 3, 3)


# Latencies


def test_a_latency_is_counted_in_its_bucket_and_in_the_sum(shop: Shop) -> None:
    _, held = shop.claimed(4)
    shop.write(recording.record, Ends(told=held[:3], seconds=[0.02, 0.3, 0.31], firsts={held[1].id}))
    shop.write(recording.record, Ends(told=held[3:], seconds=[99_999.0]))
    totals = shop.database.read(tally.totals)
    assert {kind: n for kind, n in totals.items() if kind.startswith(("le", "seconds", "first", "told"))} == {
        "told": 4,
        "le:0.025": 1,
        "le:0.5": 2,
        "le:+Inf": 1,
        "seconds": 100_000 * 1000 - 370,
        "first": 1,
        "first_le:0.5": 1,
        "first_seconds": 300,
    }


def test_a_mail_without_a_known_latency_is_only_told(shop: Shop) -> None:
    _, held = shop.claimed(2)
    shop.write(recording.record, Ends(told=held, seconds=[None, None]))
    assert counts(shop) == {"told": 2}
    assert "seconds" not in shop.database.read(tally.totals)


def test_a_mail_without_a_known_latency_is_only_told_in_one_statement_too(shop: Shop) -> None:
    _, held = shop.claimed(2)
    recording.write(shop.database, Ends(told=held, seconds=[None, None]))
    assert counts(shop) == {"told": 2}
    assert "seconds" not in shop.database.read(tally.totals)


def test_one_statement_records_and_counts_what_a_transaction_does(shop: Shop) -> None:
    _, held = shop.claimed(6)
    first, second = (
        Ends(told=part, receipts=["250 Ok", None, "250 Ok"], seconds=[0.02, 0.3, None], firsts={part[0].id})
        for part in (held[:3], held[3:])
    )
    assert recording.write(shop.database, first) == {claim.id for claim in held[:3]}
    at_once = shop.database.read(tally.totals)
    assert recording.write(shop.database, second, is_sign_of_life=True) == {claim.id for claim in held[3:]}
    both = shop.database.read(tally.totals)
    assert {kind: n for kind, n in both.items() if kind not in at_once} == {}
    assert {kind: both[kind] - n for kind, n in at_once.items()} == at_once | {"signup:created": 0}
    rows = {row.id: (row.status, row.receipt, row.owner) for row in shop.rows()}
    assert [rows[claim.id] for claim in held[:3]] == [rows[claim.id] for claim in held[3:]]
    balance(shop)


def test_what_does_not_hold_any_more_is_neither_recorded_nor_counted_with_the_others(shop: Shop) -> None:
    _, held = shop.claimed(3)
    shop.write(recording.record, Ends(released=held[1:2]))
    shop.claim(shop.owner())  # another one has it now
    ends = Ends(told=held, seconds=[0.02, 0.3, 99.0])
    if shop.database.dialect == "postgresql":
        with pytest.raises(recording.Fenced):
            shop.database.write_at_once(recording.record_told, ends)
        assert counts(shop) == {"released": 1}
    assert recording.write(shop.database, ends) == {held[0].id, held[2].id}
    totals = shop.database.read(tally.totals)
    assert {kind: n for kind, n in totals.items() if kind.startswith(("le", "seconds", "told"))} == {
        "told": 2,
        "le:0.025": 1,
        "le:120": 1,
        "seconds": 99_020,
    }
    balance(shop)


def test_a_claim_knows_since_when_it_could_be_sent(shop: Shop) -> None:
    early = shop.sign_up()
    shop.tell()
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-100), last_in_stock_at = stockbell_now(100)")
    shop.change("UPDATE request SET created_date = stockbell_now(-500)")
    late, ordered = shop.sign_up(), shop.sign_up()
    shop.change("UPDATE request SET created_date = stockbell_now(-20) WHERE id = :id", id=late)
    shop.change("UPDATE request SET ordered_at = stockbell_now(-7) WHERE id = :id", id=ordered)
    clock = time.monotonic()
    ages = {claim.id: clock - claim.since for claim in shop.claim(shop.owner()).claims if claim.since is not None}
    assert ages == {early: pytest.approx(100, abs=5), late: pytest.approx(20, abs=5), ordered: pytest.approx(7, abs=5)}


# The first mail of a restock


def test_one_claim_is_the_first_of_a_restock(shop: Shop) -> None:
    shop.waiting(6)
    owner = shop.owner()
    first, second = shop.claim(owner, most=2).claims, shop.claim(owner, most=2, first=False).claims
    assert first[0].restock
    assert first[0].restock is first[1].restock
    assert [claim.restock for claim in second] == [None, None]


def test_more_events_about_the_same_restock_begin_no_other(shop: Shop) -> None:
    shop.waiting(6)
    owner = shop.owner()
    shop.claim(owner, most=2)
    shop.tell()
    assert [claim.restock for claim in shop.claim(owner, most=2, first=False).claims] == [None, None]
    shop.claim(owner)  # the end: nobody else is due
    shop.sign_up()
    shop.tell(in_stock=False)
    shop.tell()
    assert [claim.restock is None for claim in shop.claim(owner).claims] == [False]


def test_what_is_ordered_is_no_restock(shop: Shop) -> None:
    shop.waiting(1)
    ordered = shop.sign_up(CUP)
    shop.write(admin.report, [ordered])
    assert [claim.restock for claim in shop.claim(shop.owner(), CUP).claims] == [None]


def test_a_restock_that_told_nobody_begins_with_the_next_claim(shop: Shop) -> None:
    shop.waiting(4)
    owner = shop.owner()
    held = shop.claim(owner, most=2).claims
    restock = held[0].restock
    assert restock
    ends = Ends(released=list(held), untold=[restock])
    assert not ends.are_all_told
    shop.write(recording.record, ends)
    again = shop.claim(owner).claims
    assert again[0].restock
    assert again[0].restock.left == 4
    shop.write(recording.record, Ends(released=list(again), untold=[restock]))  # of before: changes nothing
    assert [claim.restock for claim in shop.claim(owner).claims] == [None] * 4


def test_every_module_that_changes_states_counts() -> None:
    sets = r"UPDATE request\b(?:(?!WHERE|FROM)[^;])*?(?<!\.)\bstatus = |suppression\.back\("
    changes = re.compile(rf"{sets}|DELETE FROM request\b|delete\(Request\)|INSERT INTO request\b")
    sources = {path.name: path.read_text() for path in Path(store.__file__).parent.glob("*.py")}
    changing = {name for name, source in sources.items() if any(map(changes.search, source.split("Sql(")))}
    assert {"recording.py", "admin.py", "requests.py", "sweep.py", "unconfirmed.py"} <= changing
    assert {name for name in changing if "tally." not in sources[name]} == set()
