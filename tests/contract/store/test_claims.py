"""The life of a claim, arrow by arrow, and the fence against late writes. On SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import CUP, LEASE, LONG_AGO, MUG, Shop, ref, statuses
from worker.domain.catalog import CatalogReference
from worker.domain.errors import OwnerLost
from worker.domain.verdicts import Tries
from worker.models import Owner, Status
from worker.store import admin, breaker, claims, lists, owners, pauses, recording, requests, sweep
from worker.store.claims import Claim, Claimed
from worker.store.recording import Ended, Ends, Try

RED = ref(color="red")


# claim: RECEIVED -> PROCESSING


def test_a_claim_sets_owner_number_and_time(shop: Shop) -> None:
    (request,) = shop.waiting(1)
    owner = shop.owner()
    (claim,) = shop.claim(owner).claims
    row = shop.row(request)
    assert (row.status, row.owner, row.claim_no) == (Status.PROCESSING, owner, 1)
    assert shop.now() - row.claimed_at < timedelta(minutes=1)
    assert (claim.id, claim.owner, claim.claim_no, claim.list_id) == (request, owner, 1, shop.list_id())
    assert (claim.email, claim.item_url, claim.locale, claim.tries) == (row.email, row.item_url, None, Tries())
    assert row.auto_notified is None


def test_every_claim_raises_the_number_and_nothing_lowers_it(shop: Shop) -> None:
    (request,) = shop.waiting(1)
    owner = shop.owner()
    for number in range(1, 4):
        (claim,) = shop.claim(owner).claims
        assert claim.claim_no == number
        shop.write(recording.record, Ends(released=[claim]))
        assert shop.row(request).claim_no == number


def test_the_oldest_created_date_is_claimed_first(shop: Shop) -> None:
    young = shop.sign_up_many(2)
    old = shop.sign_up(created=LONG_AGO + timedelta(days=1))
    oldest = shop.sign_up(created=LONG_AGO)
    shop.tell()
    owner = shop.owner()
    order = [shop.claim(owner, most=1).claims[0].id for _ in range(4)]
    assert order == [oldest, old, *young]


def test_what_is_claimed_together_comes_oldest_first_ordered_or_not(shop: Shop) -> None:
    waiting = shop.waiting(6)
    shop.write(admin.report, waiting[1::2])
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == waiting


def test_no_more_is_claimed_than_asked_for_and_a_full_list_is_named(shop: Shop) -> None:
    shop.waiting(5)
    owner = shop.owner()
    first = shop.claim(owner, most=2)
    assert (len(first.claims), first.full) == (2, [shop.list_id()])
    rest = shop.claim(owner, most=4, first=False)
    assert (len(rest.claims), rest.full) == (3, [])
    assert shop.claim(owner).claims == []


def test_several_lists_share_a_claim_and_each_gets_at_least_one(shop: Shop) -> None:
    shop.waiting(5, MUG)
    shop.waiting(5, CUP)
    shop.waiting(1, RED)
    owner = shop.owner()
    claimed = shop.claim(owner, MUG, CUP, RED, most=6)
    assert _per_list(shop, claimed) == {MUG: 2, CUP: 2, RED: 1}
    assert set(claimed.full) == {shop.list_id(MUG), shop.list_id(CUP)}
    assert _per_list(shop, shop.claim(owner, MUG, CUP, most=1, first=False)) == {MUG: 1, CUP: 1}


def test_a_claim_brings_what_the_mails_will_say_of_the_items(shop: Shop) -> None:
    shop.waiting(1, RED)
    shop.tell(RED, name="Mug", price="12.50", currency="EUR", image_url="https://i.example", url="https://u.example")
    claimed = shop.claim(shop.owner(), RED)
    item = claimed.items[shop.list_id(RED)]
    assert (item.catalog_item_id, item.options) == ("mug-1", '{"color":"red"}')
    assert (item.name, item.price, item.currency) == ("Mug", "12.50", "EUR")
    assert (item.image_url, item.url) == ("https://i.example", "https://u.example")


def test_a_claim_of_lists_that_nobody_knows_gets_nothing(shop: Shop) -> None:
    claimed = shop.write(claims.claim, shop.owner(), LEASE, [uuid4()], 10, first=True)
    assert (claimed.claims, claimed.full) == ([], [])


STOPS: dict[str, Callable[[Shop], object]] = {
    "sold out": lambda shop: shop.tell(in_stock=False),
    "paused": lambda shop: shop.write(pauses.pause, None),
    "item paused": lambda shop: shop.write(pauses.pause, MUG),
    "relay down": lambda shop: shop.write(breaker.trip, "421", "relay"),
    "backing off": lambda shop: shop.change("UPDATE request SET not_before = stockbell_now(60)"),
    "backing off, and over": lambda shop: shop.change("UPDATE request SET not_before = stockbell_now(-60)"),
    "signed up later": lambda shop: shop.change("UPDATE request SET created_date = stockbell_now(60)"),
    "processing": lambda shop: shop.change("UPDATE request SET status = 'PROCESSING'"),
    "told": lambda shop: shop.change("UPDATE request SET status = 'NOTIFICATION_SENT'"),
    "failed": lambda shop: shop.change("UPDATE request SET status = 'FAILED'"),
}


@pytest.mark.parametrize("stop", STOPS)
def test_what_may_not_be_told_is_not_claimed(shop: Shop, stop: str) -> None:
    shop.waiting(2)
    STOPS[stop](shop)
    before = shop.rows()
    claimed = shop.claim(shop.owner())
    assert (claimed.claims, claimed.full) == ([], [])
    assert shop.rows() == before


@pytest.mark.parametrize("stop", ["sold out", "signed up later"])
def test_what_an_admin_ordered_is_claimed_whatever_the_stock(shop: Shop, stop: str) -> None:
    shop.write(admin.report, shop.waiting(2))
    STOPS[stop](shop)
    assert len(shop.claim(shop.owner()).claims) == 2


@pytest.mark.parametrize("stop", ["paused", "item paused", "relay down", "backing off", "told", "failed"])
def test_an_order_does_not_overrule_the_rest(shop: Shop, stop: str) -> None:
    shop.write(admin.report, shop.waiting(2))
    STOPS[stop](shop)
    assert shop.claim(shop.owner()).claims == []


@pytest.mark.parametrize(
    ("paused", "claimed"), [(MUG, set()), (RED, {MUG}), (ref(color="blue"), {MUG, RED})], ids=["item", "list", "other"]
)
def test_a_pause_of_an_item_covers_its_variants_and_one_of_a_variant_only_itself(
    shop: Shop, paused: CatalogReference, claimed: set[CatalogReference]
) -> None:
    shop.sign_up(MUG)
    shop.sign_up(RED)
    shop.tell(RED)
    shop.write(pauses.pause, paused)
    assert set(_per_list(shop, shop.claim(shop.owner(), MUG, RED))) == claimed


def test_a_claim_takes_the_bells_at_a_tasks_beginning_only(shop: Shop) -> None:
    shop.waiting(3)
    owner = shop.owner()
    shop.write(lists.ring, [shop.list_id()])
    shop.claim(owner, most=1, first=False)
    assert shop.list_row().bell_at is not None
    shop.claim(owner, most=1)
    assert shop.list_row().bell_at is None


def test_a_claim_that_finds_the_end_of_a_list_says_so(shop: Shop) -> None:
    shop.waiting(3)
    owner = shop.owner()
    shop.claim(owner, most=2)
    assert shop.list_row().woken_at is not None
    shop.claim(owner, most=2, first=False)
    assert shop.list_row().woken_at is None


# Suspects: a request that was rescued twice is claimed alone


def _suspect(shop: Shop, *requests_: UUID, rescues: int = 2) -> None:
    for request in requests_:
        shop.change("UPDATE request SET rescues = :rescues WHERE id = :id", rescues=rescues, id=request)


def test_a_suspect_waits_until_nobody_else_is_in_line_and_is_then_claimed_alone(shop: Shop) -> None:
    suspect, other, third = shop.waiting(3)
    _suspect(shop, suspect, third)
    owner = shop.owner()
    assert [claim.id for claim in shop.claim(owner).claims] == [other]
    assert [claim.id for claim in shop.claim(owner).claims] == [suspect]
    assert [claim.id for claim in shop.claim(owner).claims] == [third]
    assert shop.claim(owner).claims == []


@pytest.mark.parametrize("rescues", [2, 5, 6])
def test_a_suspect_never_joins_others_in_the_middle_of_a_task(shop: Shop, rescues: int) -> None:
    (suspect,) = shop.waiting(1)
    _suspect(shop, suspect, rescues=rescues)
    assert shop.claim(shop.owner(), first=False).claims == []
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [suspect]


def test_one_rescue_makes_no_suspect(shop: Shop) -> None:
    waiting = shop.waiting(2)
    _suspect(shop, waiting[0], rescues=1)
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == waiting


def test_of_a_woken_and_an_ordered_suspect_only_one_is_held(shop: Shop) -> None:
    waiting = shop.waiting(2)
    shop.write(admin.report, waiting[1:])
    _suspect(shop, *waiting)
    (claim,) = shop.claim(shop.owner()).claims
    assert claim.id in waiting
    assert sorted(statuses(shop.rows())) == [Status.PROCESSING, Status.RECEIVED]


def test_of_suspects_on_several_lists_only_one_is_held(shop: Shop) -> None:
    _suspect(shop, *shop.waiting(1, MUG), *shop.waiting(1, CUP))
    claimed = shop.claim(shop.owner(), MUG, CUP)
    assert len(claimed.claims) == 1
    assert sorted(statuses(shop.rows())) == [Status.PROCESSING, Status.RECEIVED]


def test_where_a_suspect_was_claimed_somebody_looks_again(shop: Shop) -> None:
    _suspect(shop, *shop.waiting(2))
    assert shop.claim(shop.owner()).full == [shop.list_id()]


@pytest.mark.parametrize("stop", STOPS)
def test_a_suspect_that_may_not_be_told_is_not_claimed(shop: Shop, stop: str) -> None:
    _suspect(shop, *shop.waiting(2))
    STOPS[stop](shop)
    assert shop.claim(shop.owner()).claims == []


# The owner


def test_a_claim_renews_the_lease(shop: Shop) -> None:
    owner = shop.owner()
    shop.change("UPDATE owner SET seen_at = stockbell_now(-:ago)", ago=LEASE / 2)
    before = shop.read_one(Owner, owner).seen_at
    shop.claim(owner)
    assert shop.read_one(Owner, owner).seen_at > before


@pytest.mark.parametrize("gone", ["dead", "unknown"])
def test_an_owner_whose_lease_ended_can_neither_claim_nor_renew(shop: Shop, gone: str) -> None:
    shop.waiting(1)
    owner = shop.owner() if gone == "dead" else uuid4()
    shop.die(owner)
    with pytest.raises(OwnerLost):
        shop.claim(owner)
    with pytest.raises(OwnerLost):
        shop.write(owners.renew, owner, LEASE)
    assert statuses(shop.rows()) == [Status.RECEIVED]


def test_registering_twice_does_not_revive_the_dead(shop: Shop) -> None:
    owner = shop.owner()
    shop.die(owner)
    shop.write(owners.register, owner, "host:1")
    with pytest.raises(OwnerLost):
        shop.write(owners.renew, owner, LEASE)


def test_who_leaves_is_forgotten_unless_it_holds_something(shop: Shop) -> None:
    owner, held = shop.claimed(1)
    shop.write(owners.sign_off, owner)
    assert shop.count(Owner) == 1
    shop.write(recording.record, Ends(told=held))
    shop.write(owners.sign_off, owner)
    assert shop.count(Owner) == 0


# record, defer, release: PROCESSING -> ...

SPENT = Tries(attempts=2, unknowns=1, policy_refusals=1)


def told(claim: Claim) -> Ends:
    return Ends(told=[claim])


def failed(claim: Claim) -> Ends:
    return Ends(failed=[Ended(claim, SPENT, "RECIPIENT_REJECTED", "550 5.1.1 no such user")])


def deferred(claim: Claim) -> Ends:
    return Ends(deferred=[Ended(claim, SPENT, None, "450 4.2.1 later", delay=240.0)])


def released(claim: Claim) -> Ends:
    return Ends(released=[claim])


ENDS = [told, failed, deferred, released]


def _let_go(row: object) -> bool:
    return getattr(row, "owner", 1) is getattr(row, "claimed_at", 1) is getattr(row, "handed_at", 1) is None


def test_told(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    assert shop.write(recording.record, told(claim)) == {claim.id}
    row = shop.row(claim.id)
    assert (row.status, row.auto_notified) == (Status.NOTIFICATION_SENT, True)
    assert shop.now() - row.notified_date < timedelta(minutes=1)
    assert (row.failure_code, row.failure_reason, row.attempts) == (None, None, 0)
    assert _let_go(row)


@pytest.mark.parametrize("receipt", ["2.0.0 Ok: queued as 4XyZ", 'a "quoted" \\ queue\u00e9', "", None])
def test_told_keeps_the_relays_receipt(shop: Shop, receipt: str | None) -> None:
    _, (one, other) = shop.claimed(2)
    shop.write(recording.record, Ends(told=[one, other], receipts=[receipt, "4711"]))
    assert (shop.row(one.id).receipt, shop.row(other.id).receipt) == (receipt, "4711")


def test_a_late_receipt_is_kept_too(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    shop.write(recording.record, released(claim))  # as a rescue does
    assert shop.write(recording.record, Ends(told=[claim], receipts=["4711"])) == {claim.id}
    assert shop.row(claim.id).receipt == "4711"


def test_told_clears_why_it_had_to_be_tried_again(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    shop.write(recording.record, deferred(claim))
    shop.change("UPDATE request SET not_before = NULL")
    (again,) = shop.claim(owner).claims
    assert again.tries == SPENT
    shop.write(recording.record, told(again))
    row = shop.row(claim.id)
    assert (row.failure_code, row.failure_reason, row.not_before) == (None, None, None)
    assert row.attempts == 2


def test_failed(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    assert shop.write(recording.record, failed(claim)) == {claim.id}
    row = shop.row(claim.id)
    assert (row.status, row.auto_notified, row.notified_date) == (Status.FAILED, True, None)
    assert (row.failure_code, row.failure_reason) == ("RECIPIENT_REJECTED", "550 5.1.1 no such user")
    assert (row.attempts, row.unknowns, row.policy_refusals) == (2, 1, 1)
    assert _let_go(row)


def test_deferred(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    assert shop.write(recording.record, deferred(claim)) == {claim.id}
    row = shop.row(claim.id)
    assert (row.status, row.auto_notified) == (Status.RECEIVED, None)
    assert timedelta(minutes=3) < row.not_before - shop.now() <= timedelta(minutes=4)
    assert (row.attempts, row.unknowns, row.policy_refusals, row.rescues) == (2, 1, 1, 0)
    assert _let_go(row)
    assert shop.claim(owner).claims == []
    shop.change("UPDATE request SET not_before = stockbell_now(-1)")
    shop.write(sweep.put_in_line)
    assert [claim.id for claim in shop.claim(owner).claims] == [claim.id]


def test_released(shop: Shop) -> None:
    (request,) = shop.waiting(1)
    before = shop.row(request)
    (claim,) = shop.claim(shop.owner()).claims
    assert shop.write(recording.record, released(claim)) == {claim.id}
    shop.change("UPDATE request SET claim_no = 0")
    assert shop.row(request) == before


def test_a_group_is_recorded_at_once_each_with_its_own_end(shop: Shop) -> None:
    _, held = shop.claimed(4)
    group = Ends(
        told=told(held[0]).told,
        failed=failed(held[1]).failed,
        deferred=deferred(held[2]).deferred,
        released=released(held[3]).released,
    )
    assert shop.write(recording.record, group) == {claim.id for claim in held}
    assert [shop.status(claim.id) for claim in held] == ["NOTIFICATION_SENT", "FAILED", "RECEIVED", "RECEIVED"]


def test_an_empty_group_is_nothing(shop: Shop) -> None:
    assert shop.write(recording.record, Ends()) == set()


def test_a_group_may_hold_claims_of_several_owners(shop: Shop) -> None:
    shop.waiting(2)
    (one,) = shop.claim(shop.owner(), most=1).claims
    (other,) = shop.claim(shop.owner(), most=1).claims
    group = Ends(told=[one, other])
    assert shop.write(recording.record, group) == {one.id, other.id}


def test_the_attempt_log_keeps_the_tries_that_did_not_succeed(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    ends = failed(claim)
    ends.log.append(Try(claim, "rejected", 550, "5.1.1", "550 5.1.1 no such user"))
    shop.write(recording.record, ends)
    (entry,) = shop.attempts(claim.id)
    assert (entry.owner, entry.event, entry.smtp_code, entry.enhanced_code) == (owner, "rejected", 550, "5.1.1")
    assert entry.reply == "550 5.1.1 no such user"


def test_release_all_puts_back_what_an_owner_holds_and_nothing_else(shop: Shop) -> None:
    shop.waiting(4)
    owner, other = shop.owner(), shop.owner()
    mine = shop.claim(owner, most=2).claims
    others = shop.claim(other, most=1).claims
    assert shop.write(claims.release_all, owner) == 2
    assert {shop.status(claim.id) for claim in mine} == {Status.RECEIVED}
    assert {shop.status(claim.id) for claim in others} == {Status.PROCESSING}
    assert all(_let_go(shop.row(claim.id)) for claim in mine)


# hand over, with ON_UNKNOWN=fail


def test_hand_over_notes_whose_bytes_are_about_to_be_written(shop: Shop) -> None:
    _, held = shop.claimed(2)
    assert shop.write(claims.hand_over, held[:1]) == {held[0].id}
    assert shop.row(held[0].id).handed_at is not None
    assert shop.row(held[1].id).handed_at is None


@pytest.mark.parametrize("end", ENDS)
def test_every_end_forgets_the_hand_over(shop: Shop, end: Callable[[Claim], Ends]) -> None:
    _, (claim,) = shop.claimed()
    shop.write(claims.hand_over, [claim])
    assert shop.write(recording.record, end(claim)) == {claim.id}
    assert shop.row(claim.id).handed_at is None


# The fence


def _others_claim(claim: Claim) -> Claim:
    return _with(claim, owner=uuid4())


def _earlier_claim(claim: Claim) -> Claim:
    return _with(claim, claim_no=claim.claim_no - 1)


def _with(claim: Claim, *, owner: UUID | None = None, claim_no: int | None = None) -> Claim:
    return Claim(
        claim.id,
        claim.claim_no if claim_no is None else claim_no,
        owner or claim.owner,
        claim.list_id,
        claim.contact_id,
        claim.email,
        claim.item_url,
        claim.locale,
        claim.tries,
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("late", [_others_claim, _earlier_claim])
def test_a_late_record_changes_nothing_of_somebody_elses_claim(
    shop: Shop, late: Callable[[Claim], Claim], end: Callable[[Claim], Ends]
) -> None:
    _, (claim,) = shop.claimed()
    before = shop.rows()
    ends = end(late(claim))
    ends.log.append(Try(late(claim), "rejected", 550, None, "late"))
    assert shop.write(recording.record, ends) == set()
    assert shop.rows() == before
    assert shop.attempts(claim.id) == []


@pytest.mark.parametrize("late", [_others_claim, _earlier_claim])
def test_a_late_hand_over_changes_nothing(shop: Shop, late: Callable[[Claim], Claim]) -> None:
    _, (claim,) = shop.claimed()
    before = shop.rows()
    assert shop.write(claims.hand_over, [late(claim)]) == set()
    assert shop.rows() == before


@pytest.mark.parametrize("end", ENDS)
def test_after_a_rescue_and_another_claim_the_first_owner_is_fenced_off(
    shop: Shop, end: Callable[[Claim], Ends]
) -> None:
    dead, (stale,) = shop.claimed()
    shop.die(dead)
    shop.rescue()
    shop.claim(shop.owner())
    before = shop.rows()
    assert shop.write(recording.record, end(stale)) == set()
    assert shop.rows() == before


@pytest.mark.parametrize("end", [failed, deferred, released])
def test_after_a_rescue_only_a_late_success_counts(shop: Shop, end: Callable[[Claim], Ends]) -> None:
    dead, (stale,) = shop.claimed()
    shop.die(dead)
    shop.rescue()
    before = shop.rows()
    assert shop.write(recording.record, end(stale)) == set()
    assert shop.write(claims.hand_over, [stale]) == set()
    assert shop.rows() == before


def test_a_late_success_on_a_row_rescued_and_not_claimed_again_is_recorded(shop: Shop) -> None:
    dead, (stale,) = shop.claimed()
    shop.die(dead)
    shop.rescue()
    assert shop.write(recording.record, told(stale)) == {stale.id}
    row = shop.row(stale.id)
    assert (row.status, row.auto_notified, row.rescues) == (Status.NOTIFICATION_SENT, True, 1)


TWICE = [(first, end) for first in (told, failed, deferred) for end in ENDS]
TWICE.remove((deferred, told))  # a success may record a request that waits, see above


@pytest.mark.parametrize(("first", "end"), TWICE)
def test_what_has_ended_is_not_recorded_again(
    shop: Shop, first: Callable[[Claim], Ends], end: Callable[[Claim], Ends]
) -> None:
    _, (claim,) = shop.claimed()
    shop.write(recording.record, first(claim))
    before = shop.rows()
    assert shop.write(recording.record, end(claim)) == set()
    assert shop.rows() == before


@pytest.mark.parametrize("end", ENDS)
def test_a_request_deleted_while_it_is_being_sent_is_gone(shop: Shop, end: Callable[[Claim], Ends]) -> None:
    _, (claim,) = shop.claimed()
    assert shop.write(requests.remove, claim.id)
    ends = end(claim)
    ends.log.append(Try(claim, "rejected", 550, None, "late"))
    assert shop.write(recording.record, ends) == set()
    assert shop.rows() == []
    assert shop.count() == 0


def _per_list(shop: Shop, claimed: Claimed) -> dict[CatalogReference, int]:
    reference_of = {shop.list_id(reference): reference for reference in (MUG, CUP, RED)}
    counts: dict[CatalogReference, int] = {}
    for claim in claimed.claims:
        reference = reference_of[claim.list_id]
        counts[reference] = counts.get(reference, 0) + 1
    return counts
