"""Double opt-in: who has not confirmed gets no mail but one that asks, and is forgotten after a week."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from tests.contract.shop import CUP, MUG, Shop
from tests.contract.web.site import SECRET
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.models import Confirmation, Contact, Request, Status
from worker.services import requests as requests_service
from worker.services.importing import import_requests
from worker.services.signing_up import Desk, OptIn, SignUp
from worker.services.wire import request_json
from worker.store import admin, confirmations, contacts, erasure, figures, pauses, suppression, sweep
from worker.store.confirmations import Asked, Due
from worker.store.requests import Filter, NewRequest

JANE = "Jane@example.com"
TOKENS = Tokens([SECRET.encode()])
WEEK = 7 * 86_400


class Added(NamedTuple):
    request_id: UUID
    is_new: bool


def sign_up(shop: Shop, reference: Any = MUG, opt_in: OptIn = "on", **given: Any) -> Added:
    new = NewRequest(given.pop("email", JANE), reference, "https://shop.example/p", "de")
    done = Desk(shop.database, TOKENS, opt_in).sign_up(SignUp(new, "k", is_public=False, **given))
    assert done.request_id is not None
    return Added(done.request_id, done.is_new)


def contact_of(shop: Shop, request_id: UUID) -> UUID:
    found: UUID = shop.row(request_id).contact_id
    return found


def claim(shop: Shop) -> Due | None:
    return shop.write(confirmations.claim)


def send(shop: Shop) -> Due:
    """Sends the mail that is due."""
    due = claim(shop)
    assert due
    shop.write(confirmations.sent, due)
    return due


def confirm(shop: Shop, request_id: UUID) -> Asked | None:
    return shop.write(confirmations.confirm, contact_of(shop, request_id), TOKENS)


def suppress(shop: Shop, cause: Cause) -> UUID:
    found = shop.write(contacts.add, {JANE.lower()}).contacts[JANE.lower()].id
    shop.write(suppression.suppress, [found], cause, "test")
    return found


def shown(shop: Shop, request_id: UUID) -> dict[str, object]:
    found: list[Any] = []
    requests_service.each(shop.database, Filter(ids=[request_id]), 0, found.append)
    return request_json(found[0])


def age(shop: Shop, seconds: float) -> None:
    """Makes it that much later for who was asked, and for what is unconfirmed."""
    for table, column in (
        ("confirmation", "asked_at"),
        ("confirmation", "sent_at"),
        ("confirmation", "expires_at"),
        ("request", "not_before"),
        ("contact", "confirmed_at"),
    ):
        for row in shop.ask(f"SELECT DISTINCT {column} AS at FROM {table} WHERE {column} IS NOT NULL", at="time"):
            shop.change(
                f"UPDATE {table} SET {column} = :new WHERE {column} = :at",
                new=row.at - timedelta(seconds=seconds),
                at=row.at,
            )


def names(items: Sequence[Any]) -> list[str]:
    return sorted(row.catalog_item_id for row in items)


def test_who_has_not_confirmed_waits_and_gets_no_mail(shop: Shop) -> None:
    request = sign_up(shop).request_id
    shop.tell(MUG)
    shop.write(sweep.put_in_line)
    assert shop.claim(shop.owner()).claims == []
    assert shop.with_work() == set()
    found = shown(shop, request)
    assert (found["status"], found["waiting"], found["failureCode"]) == ("RECEIVED", "unconfirmed", "UNCONFIRMED")
    assert "notBefore" not in found
    counts = shop.database.read(figures.read, 60)
    assert (counts.unconfirmed, counts.oldest_due_seconds, counts.due, counts.by_status["RECEIVED"]) == (1, None, 0, 1)
    assert shop.write(confirmations.expire) == 0


def test_who_confirms_waits_as_others_and_once_is_enough(shop: Shop) -> None:
    mug, cup = sign_up(shop).request_id, sign_up(shop, CUP).request_id
    due = send(shop)
    assert (due.email, due.locale, names(due.items)) == (JANE, "de", ["cup-1", "mug-1"])
    shop.tell(MUG)
    for _ in range(2):
        done = confirm(shop, mug)
        assert done
        assert (done.is_done, names(done.items)) == (True, ["cup-1", "mug-1"])
    assert shop.waiting_for(cup) == "noStock"
    assert "failureCode" in shown(shop, mug)
    assert shown(shop, mug)["failureCode"] is None
    assert [each.id for each in shop.claim(shop.owner()).claims] == [mug]
    assert (shop.count(Confirmation), claim(shop)) == (0, None)


def test_the_first_confirmation_tells_which_lists_have_work(shop: Shop) -> None:
    mug = sign_up(shop).request_id
    shop.tell(MUG)
    done = confirm(shop, mug)
    assert done
    assert done.lists == {shop.list_id(MUG)} == shop.with_work()
    again = confirm(shop, mug)
    assert again
    assert again.lists == set()


@pytest.mark.parametrize(("opt_in", "waits"), [("off", "noStock"), ("first", "noStock"), ("on", "unconfirmed")])
def test_who_has_confirmed_once_is_asked_again_only_with_on(shop: Shop, opt_in: OptIn, waits: str) -> None:
    assert confirm(shop, sign_up(shop, opt_in="first").request_id)
    assert shop.waiting_for(sign_up(shop, CUP, opt_in).request_id) == waits


def test_a_server_may_vouch_for_its_customer(shop: Shop) -> None:
    request = sign_up(shop)
    again = sign_up(shop, is_confirmed=True)
    assert (again.request_id, again.is_new, shop.waiting_for(request.request_id)) == (
        request.request_id,
        False,
        "noStock",
    )
    assert shop.waiting_for(sign_up(shop, CUP, "first").request_id) == "noStock"
    assert claim(shop) is None


def test_an_import_and_a_command_confirm_an_equal_request(shop: Shop) -> None:
    mug, cup, other = (
        sign_up(shop).request_id,
        sign_up(shop, CUP).request_id,
        sign_up(shop, email="bob@example.com").request_id,
    )
    import_requests(shop.database, [NewRequest(JANE.lower(), MUG)], lambda _: None, TOKENS)
    assert [shop.waiting_for(each) for each in (mug, cup, other)] == ["noStock", "unconfirmed", "unconfirmed"]
    assert requests_service.create(shop.database, NewRequest(JANE, CUP), TOKENS) == (True, cup)
    assert requests_service.create(shop.database, NewRequest(JANE, CUP), TOKENS) == (False, cup)
    assert [shop.waiting_for(each) for each in (mug, cup, other)] == ["noStock", "noStock", "unconfirmed"]


def test_a_thousand_sign_ups_of_one_address_lead_to_one_mail(shop: Shop) -> None:
    for number in range(10):
        for reference in (MUG, CUP):
            sign_up(shop, reference)
        if number in (0, 5):
            age(shop, 40_000)
        due = claim(shop)
        assert bool(due) == (number == 0), number
        if due:
            shop.write(confirmations.sent, due)
    age(shop, 50_000)  # a day after the mail
    assert claim(shop) is None  # nobody signed her up since
    sign_up(shop)
    assert send(shop).tries == 1


def test_a_mail_is_one_process_own_until_its_lease_ends(shop: Shop) -> None:
    sign_up(shop)
    late = claim(shop)
    assert late
    assert claim(shop) is None
    shop.change("UPDATE confirmation SET due_at = stockbell_now(-1)")
    again = send(shop)
    assert again.tries == 2
    sent_at = shop.ask("SELECT sent_at FROM confirmation", sent_at="time")[0].sent_at
    shop.write(confirmations.later, late, 0.0, "too late to say so")
    shop.write(confirmations.sent, late, "too late to say so")
    found = shop.ask("SELECT sent_at, why FROM confirmation", sent_at="time")[0]
    assert (found.sent_at, found.why) == (sent_at, None)
    assert claim(shop) is None


def test_a_mail_that_was_put_off_is_tried_again(shop: Shop) -> None:
    sign_up(shop)
    due = claim(shop)
    assert due
    shop.write(confirmations.later, due, 60.0, "450 later")
    assert claim(shop) is None
    shop.change("UPDATE confirmation SET due_at = stockbell_now(-1)")
    assert send(shop).tries == 2


def test_nothing_goes_out_while_the_breaker_is_open_or_everything_is_paused(shop: Shop) -> None:
    sign_up(shop)
    shop.change("UPDATE relay SET state = 'open', since = stockbell_now(0)")
    assert claim(shop) is None
    shop.change("UPDATE relay SET state = 'closed'")
    shop.write(pauses.pause, None)
    assert claim(shop) is None
    shop.write(pauses.resume, None)
    shop.write(pauses.pause, MUG)
    assert claim(shop)


def test_no_verb_sends_what_is_unconfirmed(shop: Shop) -> None:
    request = sign_up(shop).request_id
    for verb in (admin.report, lambda c, ids: admin.retry(c, ids, ordered=True, force=True)):
        assert shop.write(verb, [request]).refused == {request: "the customer has not confirmed yet"}
    assert shop.waiting_for(request) == "unconfirmed"
    assert shop.write(admin.mark_sent, [request]).ids == [request]
    assert shop.row(request).failure_code is None
    assert claim(shop) is None


def test_after_a_week_the_request_is_forgotten_and_the_link_too(shop: Shop) -> None:
    mug, bob = sign_up(shop), sign_up(shop, email="bob@example.com")
    send(shop)
    jane = contact_of(shop, mug.request_id)
    age(shop, WEEK - 5)
    sign_up(shop, CUP, email="bob@example.com")
    age(shop, 10)
    assert shop.database.read(confirmations.asked, jane) is None
    assert shop.write(confirmations.confirm, jane, TOKENS) is None
    assert shop.write(confirmations.expire) == 2
    assert [row.email for row in shop.rows()] == ["bob@example.com"]
    assert bob.request_id not in {row.id for row in shop.rows()}


def test_the_address_of_one_who_never_confirmed_is_forgotten_too_and_no_other(shop: Shop) -> None:
    confirm(shop, sign_up(shop, email="confirmed@example.com").request_id)
    told = sign_up(shop, MUG, "off", email="told@example.com").request_id
    shop.write(admin.mark_sent, [told])
    for email in ("never@example.com", "told@example.com", "confirmed@example.com", "left@example.com"):
        sign_up(shop, CUP, email=email)
    left = contact_of(shop, sign_up(shop, CUP, email="left@example.com").request_id)
    shop.write(suppression.suppress, [left], Cause.UNSUBSCRIBED, "test")
    requests_service.delete(shop.database, shop.ask("SELECT id FROM request WHERE email LIKE 'left%'", id="uuid")[0].id)
    age(shop, WEEK + 1)
    shop.write(confirmations.expire)
    assert shop.count(Confirmation) == 4  # they are forgotten once an hour
    age(shop, 3600)
    shop.write(confirmations.expire)
    assert shop.count(Confirmation) == 0
    addresses = sorted(row.address.partition(":")[0] for row in shop.ask("SELECT address FROM contact"))
    assert addresses == ["confirmed@example.com", "erased", "left@example.com", "told@example.com"]
    assert sign_up(shop, email="never@example.com").is_new  # and is a new customer from then on
    assert claim(shop)


def test_a_confirmed_request_never_expires(shop: Shop) -> None:
    mug = sign_up(shop).request_id
    confirm(shop, mug)
    age(shop, WEEK + 5)
    assert shop.write(confirmations.expire) == 0
    assert confirm(shop, mug) is None  # the link has worn out by then
    assert shop.waiting_for(mug) == "noStock"


@pytest.mark.parametrize("cause", [Cause.UNSUBSCRIBED, Cause.BOUNCED])
def test_who_left_is_asked_once_in_thirty_days_and_waits_again_once_she_confirms(shop: Shop, cause: Cause) -> None:
    old = sign_up(shop, opt_in="off").request_id
    suppress(shop, cause)
    request = sign_up(shop, CUP)
    assert (request.is_new, shop.status(request.request_id)) == (True, Status.FAILED)
    assert names(send(shop).items) == ["cup-1"]
    age(shop, 3 * 86_400)
    assert sign_up(shop, CUP).request_id == request.request_id
    assert claim(shop) is None
    shop.tell(CUP)
    done = confirm(shop, request.request_id)
    assert done
    assert (names(done.items), set(done.lists)) == (["cup-1"], {shop.list_id(CUP)})
    assert [each.id for each in shop.claim(shop.owner(), CUP).claims] == [request.request_id]
    assert shop.status(old) is Status.FAILED
    assert shop.read_one(Contact, contact_of(shop, old)).suppressed_why is None


def test_who_left_is_asked_again_after_thirty_days(shop: Shop) -> None:
    suppress(shop, Cause.UNSUBSCRIBED)
    sign_up(shop)
    send(shop)
    age(shop, WEEK + 1)
    shop.write(confirmations.expire)
    sign_up(shop)
    assert claim(shop) is None
    age(shop, 24 * 86_400)
    shop.write(confirmations.expire)
    request = sign_up(shop).request_id
    assert names(send(shop).items) == ["mug-1"]
    assert confirm(shop, request)
    assert shop.status(request) is Status.RECEIVED


@pytest.mark.parametrize("cause", [Cause.COMPLAINED, Cause.MANUAL])
def test_who_complained_is_not_asked(shop: Shop, cause: Cause) -> None:
    suppress(shop, cause)
    request = sign_up(shop).request_id
    assert (claim(shop), confirm(shop, request)) == (None, None)
    assert shop.status(request) is Status.FAILED


@pytest.mark.parametrize("cause", list(Cause))
def test_who_leaves_before_the_mail_gets_none(shop: Shop, cause: Cause) -> None:
    request = sign_up(shop).request_id
    suppress(shop, cause)
    assert shop.row(request).failure_code == "SUPPRESSED"
    assert claim(shop) is None
    assert shop.count(Confirmation) == 0


def test_an_erased_customer_confirms_nothing(shop: Shop) -> None:
    request = sign_up(shop).request_id
    jane = contact_of(shop, request)
    shop.write(erasure.erase, jane, TOKENS)
    assert claim(shop) is None, "what is left says only when she was asked, so that nobody has her asked again"
    shop.write(confirmations.ask, jane, None)
    assert (claim(shop), confirm(shop, request)) == (None, None)
    assert shop.status(request) is Status.FAILED


def test_a_deleted_request_needs_no_mail(shop: Shop) -> None:
    requests_service.delete(shop.database, sign_up(shop).request_id)
    assert claim(shop) is None
    assert (shop.count(Request), shop.count(Confirmation)) == (0, 0)


def test_an_equal_request_that_waits_already_is_not_held(shop: Shop) -> None:
    request = sign_up(shop, opt_in="off").request_id
    assert sign_up(shop) == Added(request, is_new=False)
    assert (shop.waiting_for(request), claim(shop)) == ("noStock", None)


def test_switched_off_a_second_sign_up_is_enough(shop: Shop) -> None:
    request = sign_up(shop).request_id
    assert sign_up(shop, opt_in="off") == Added(request, is_new=False)
    assert shop.waiting_for(request) == "noStock"


def test_who_confirms_after_the_item_has_gone_again_waits_for_it(shop: Shop) -> None:
    request = sign_up(shop).request_id
    shop.tell(MUG)
    shop.tell(MUG, in_stock=False)
    confirm(shop, request)
    assert shop.waiting_for(request) == "soldOut"
