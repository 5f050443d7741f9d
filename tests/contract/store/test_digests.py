"""What a claim takes for one mail: all that a customer can be told of now. On SQLite and PostgreSQL."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Thread
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.contract.shop import LEASE, LONG_AGO, Shop, ref, shop_at, somebody_waits
from tests.contract.store.test_wave_races import DEADLOCKS
from tests.polling import eventually
from worker.domain.catalog import CatalogReference
from worker.domain.events import Event
from worker.domain.policies import Policies
from worker.models import Status
from worker.store import admin, breaker, claims, digests, lists, pauses, recording, requests, seat_claims, stock
from worker.store.claims import Claim
from worker.store.recording import Ends
from worker.store.requests import NewRequest
from worker.store.sql import Sql

ON: Final = Policies(digest=True)
TWO_A_PIECE: Final = Policies(digest=True, per_unit=2)
ANN: Final = "ann@example.com"
BOB: Final = "bob@example.com"


def things(number: int) -> list[CatalogReference]:
    return [ref(f"thing-{n}") for n in range(number)]


def wants(shop: Shop, email: str, some: Sequence[CatalogReference]) -> list[UUID]:
    """Signs a customer up for these, each a second after the one before. Returns the requests."""
    return [shop.sign_up(each, email, created=LONG_AGO + timedelta(seconds=n)) for n, each in enumerate(some)]


def come_in(shop: Shop, some: Sequence[CatalogReference], policies: Policies = ON, quantity: int | None = None) -> None:
    """All of these are back at once."""
    events = [shop.event(each) for each in some]
    if quantity is not None:
        events = [
            Event(each.entry_id, None, each.reference, each.occurred_at, False, None, quantity, {}, ())
            for each in events
        ]
    shop.write(stock.apply, events, policies)


def mails(
    shop: Shop, *some: CatalogReference, policies: Policies = ON, most: int = 100, first: bool = True
) -> list[Claim]:
    """Claims, for a bell about these lists. Returns a claim for each mail."""
    list_ids = [shop.list_id(each) for each in some]
    return list(shop.write(claims.claim, shop.owner(), LEASE, list_ids, most, policies, first=first).claims)


def ids(mail: Claim) -> list[UUID]:
    return [each.id for each in mail.together]


def test_twenty_items_that_are_back_at_once_go_in_one_mail_whichever_list_is_served(shop: Shop) -> None:
    some = things(20)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    (mail,) = mails(shop, some[7])
    assert ids(mail) == wanted
    assert [each.mail_id for each in mail.together] == [None, *[wanted[0]] * 19]
    assert {row.status for row in shop.rows()} == {Status.PROCESSING}
    assert {(row.owner, row.claim_no) for row in shop.rows()} == {(mail.owner, 1)}


@pytest.mark.parametrize("at_once", [True, False], ids=["one bell", "a bell for each"])
def test_of_more_than_twenty_each_mail_has_the_oldest_that_are_left(shop: Shop, *, at_once: bool) -> None:
    some = things(45)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    found = mails(shop, *some) if at_once else [mail for each in some for mail in mails(shop, each)]
    assert [len(mail.together) for mail in found] == [20, 20, 5]
    assert sorted(id_ for mail in found for id_ in ids(mail)) == sorted(wanted)
    assert not at_once or [ids(mail) for mail in found] == [wanted[:20], wanted[20:40], wanted[40:]]


def test_everybody_has_a_mail_of_their_own(shop: Shop) -> None:
    some = things(3)
    ann, bob = wants(shop, ANN, some), wants(shop, BOB, some[:2])
    carl = shop.sign_up(some[0], "carl@example.com")
    come_in(shop, some)
    found = mails(shop, some[0])
    assert sorted(map(ids, found)) == sorted([ann, bob, [carl]])
    assert all(each.contact_id == mail.contact_id for mail in found for each in mail.together)


def test_without_a_digest_every_request_has_its_own_mail(shop: Shop) -> None:
    some = things(3)
    wants(shop, ANN, some)
    come_in(shop, some)
    assert [len(mail.together) for mail in mails(shop, *some, policies=Policies())] == [1, 1, 1]


def test_the_oldest_request_gives_the_mail_its_id_whichever_list_is_served(shop: Shop) -> None:
    some = things(3)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    (mail,) = mails(shop, some[2])
    assert mail.id == wanted[0]
    assert mail.list_id == shop.list_id(some[0])


def test_of_equal_dates_the_same_request_is_the_oldest_whichever_list_is_served(shop: Shop) -> None:
    """Imports have such dates. A mail that is sent again after a crash must have the same Message-ID."""
    some = things(3)
    wanted = [shop.sign_up(each, ANN, created=LONG_AGO) for each in some]
    come_in(shop, some)
    for each in some:
        (mail,) = mails(shop, each)
        assert ids(mail) == sorted(wanted)
        shop.change("UPDATE request SET status = 'RECEIVED'")


def test_the_mail_has_the_facts_about_all_its_items(shop: Shop) -> None:
    some = things(2)
    wants(shop, ANN, some)
    for each in some:
        shop.tell(each, name=each.item.catalog_item_id.title())
    list_ids = [shop.list_id(some[1])]
    claimed = shop.write(claims.claim, shop.owner(), LEASE, list_ids, 10, ON, first=True)
    assert {claimed.items[each.list_id].name for each in claimed.claims[0].together} == {"Thing-0", "Thing-1"}


STOPS: Final[dict[str, Callable[[Shop, CatalogReference], object]]] = {
    "sold out": lambda shop, other: shop.tell(other, in_stock=False),
    "item paused": lambda shop, other: shop.write(pauses.pause, other),
    "backing off": lambda shop, other: _of(shop, other, "not_before = stockbell_now(60)"),
    "signed up later": lambda shop, other: _of(shop, other, "created_date = stockbell_now(60)"),
    "told": lambda shop, other: _of(shop, other, "status = 'NOTIFICATION_SENT'"),
    "failed": lambda shop, other: _of(shop, other, "status = 'FAILED'"),
    "with another worker": lambda shop, other: _of(shop, other, "status = 'PROCESSING', claim_no = 7"),
    "suspect": lambda shop, other: _of(shop, other, "rescues = 2"),
    "behind a door": lambda shop, other: shop.change(
        "UPDATE waiting_list SET opens_at = stockbell_now(60) WHERE id = :id", id=shop.list_id(other)
    ),
    "has to settle": lambda shop, other: shop.change(
        "UPDATE waiting_list SET settles_at = stockbell_now(60) WHERE id = :id", id=shop.list_id(other)
    ),
}


def _of(shop: Shop, reference: CatalogReference, change: str) -> None:
    shop.change(f"UPDATE request SET {change} WHERE waiting_list_id = :id", id=shop.list_id(reference))


@pytest.mark.parametrize("stop", STOPS)
def test_what_may_not_be_told_now_is_left_out(shop: Shop, stop: str) -> None:
    mug, other = things(2)
    wanted, left = wants(shop, ANN, [mug, other])
    come_in(shop, [mug, other])
    STOPS[stop](shop, other)
    before = shop.row(left)
    assert [ids(mail) for mail in mails(shop, mug)] == [[wanted]]
    assert shop.row(left) == before


@pytest.mark.parametrize("own", ["ordered", "woken"])
def test_what_an_admin_ordered_goes_along_whatever_the_stock(shop: Shop, own: str) -> None:
    mug, other = things(2)
    wanted = wants(shop, ANN, [mug, other])
    come_in(shop, [mug, other])
    shop.write(admin.report, [wanted[0] if own == "ordered" else wanted[1]])
    if own == "woken":
        shop.tell(other, in_stock=False)
    assert [ids(mail) for mail in mails(shop, mug)] == [wanted]


def test_a_suspect_is_sent_alone(shop: Shop) -> None:
    some = things(2)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    _of(shop, some[0], "rescues = 2")
    list_ids = [shop.list_id(some[0])]
    claimed = shop.write(claims.claim, shop.owner(), LEASE, list_ids, 10, ON, first=True)
    assert claimed.is_suspect
    assert [ids(mail) for mail in claimed.claims] == [wanted[:1]]


def test_a_relay_is_tried_with_one_item(shop: Shop) -> None:
    some = things(3)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    shop.write(breaker.trip, "421", "relay")
    claimed = shop.write(claims.claim_these, shop.owner(), LEASE, wanted[:1], ON)
    assert [ids(mail) for mail in claimed.claims] == [wanted[:1]]


def test_of_all_it_is_known_since_when_they_could_be_told(shop: Shop) -> None:
    some = things(2)
    wants(shop, ANN, some)
    come_in(shop, some)
    (mail,) = mails(shop, some[0])
    assert all(each.since is not None for each in mail.together)


def test_a_restock_begins_with_a_claim_for_its_own_bell(shop: Shop) -> None:
    """Its list is not locked: whoever holds it may wait for ours."""
    mug, other = things(2)
    wants(shop, ANN, [mug, other])
    come_in(shop, [mug, other])
    (mail,) = mails(shop, mug)
    restocks = {each.list_id: each.restock for each in mail.together}
    assert restocks[shop.list_id(mug)] is not None
    assert restocks[shop.list_id(other)] is None
    assert shop.list_row(other).begun_at is None


def test_a_claim_is_full_by_what_its_own_lists_had(shop: Shop) -> None:
    some = things(5)
    wants(shop, ANN, some)
    come_in(shop, some)
    list_ids = [shop.list_id(some[0])]
    assert shop.write(claims.claim, shop.owner(), LEASE, list_ids, 1, ON, first=True).full == list_ids
    come_in(shop, some)
    assert shop.write(claims.claim, shop.owner(), LEASE, list_ids, 2, ON, first=True).full == []


def test_who_has_many_requests_is_told_of_all_in_the_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some of them are looked at, perhaps none that is due."""
    monkeypatch.setattr(digests, "LOOKED_AT", 5)
    some = things(60)
    wanted = wants(shop, ANN, some)
    come_in(shop, some[30:])
    found = [mail for list_id in _woken(shop) for mail in mails_of(shop, list_id)]
    assert sorted(id_ for mail in found for id_ in ids(mail)) == sorted(wanted[30:])


def _woken(shop: Shop) -> Iterator[UUID]:
    while found := shop.with_work():
        yield min(found)


def mails_of(shop: Shop, list_id: UUID) -> list[Claim]:
    return list(shop.write(claims.claim, shop.owner(), LEASE, [list_id], 100, ON, first=True).claims)


def test_a_customer_with_ten_thousand_requests_is_told_of_twenty_at_a_time(shop: Shop) -> None:
    some = things(10_000)
    new = [NewRequest(ANN, each, created_date=LONG_AGO) for each in some]
    for start in range(0, len(new), 1000):
        shop.write(requests.create, new[start : start + 1000])
    shop.change("UPDATE waiting_list SET in_stock = true, last_in_stock_at = stockbell_now(0)")
    (mail,) = mails(shop, some[-1])
    assert len(mail.together) == 20
    assert len(shop.ask("SELECT id FROM request WHERE status = 'PROCESSING'")) == 20


# Items that tell only so many


def test_who_is_next_in_line_takes_a_seat_along(shop: Shop) -> None:
    mug, rare = things(2)
    wanted = wants(shop, ANN, [mug, rare])
    come_in(shop, [mug, rare], TWO_A_PIECE, quantity=1)
    (mail,) = mails(shop, mug, policies=TWO_A_PIECE)
    assert ids(mail) == wanted
    seat = mail.others[0].seat
    assert seat is not None
    assert (seat.options, seat.wave) == ("{}", 1)
    assert _seats_of(shop, rare) == 1


def test_nobody_passes_those_who_have_waited_longer_for_a_seat(shop: Shop) -> None:
    mug, rare = things(2)
    older = [shop.sign_up(rare, f"older{n}@example.com", created=LONG_AGO - timedelta(days=2 - n)) for n in range(2)]
    wanted = wants(shop, ANN, [mug, rare])
    come_in(shop, [mug, rare], TWO_A_PIECE, quantity=1)
    assert [ids(mail) for mail in mails(shop, mug, policies=TWO_A_PIECE)] == [wanted[:1]]
    assert _seats_of(shop, rare) == 2
    assert [mail.id for mail in mails(shop, rare, policies=TWO_A_PIECE)] == older


def test_with_a_seat_for_all_who_are_older_one_goes_along(shop: Shop) -> None:
    mug, rare = things(2)
    for n in range(3):
        shop.sign_up(rare, f"older{n}@example.com", created=LONG_AGO - timedelta(days=3 - n))
    wanted = wants(shop, ANN, [mug, rare])
    come_in(shop, [mug, rare], TWO_A_PIECE, quantity=2)
    assert [ids(mail) for mail in mails(shop, mug, policies=TWO_A_PIECE)] == [wanted]
    assert _seats_of(shop, rare) == 3


def test_who_is_too_far_behind_to_be_looked_for_goes_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_claims, "MOST_IN_TURN", 2)
    monkeypatch.setattr(seat_claims, "LEAST", 1)
    mug, rare = things(2)
    for n in range(3):
        shop.sign_up(rare, f"older{n}@example.com", created=LONG_AGO - timedelta(days=3 - n))
    wanted = wants(shop, ANN, [mug, rare])
    come_in(shop, [mug, rare], TWO_A_PIECE, quantity=5)
    assert [ids(mail) for mail in mails(shop, mug, policies=TWO_A_PIECE)] == [wanted[:1]]
    assert len(mails(shop, rare, policies=TWO_A_PIECE)) == 4


def test_who_goes_along_takes_the_seat_of_their_turn(shop: Shop) -> None:
    """Not another one, which may be the only one for somebody who has waited longer."""
    one_each = Policies(digest=True, per_unit=1)
    mug, pan, red, blue = ref(), ref("pan-1"), ref(color="red"), ref(color="blue")
    for number, (reference, email) in enumerate([(mug, "a@example.com"), (red, "b@example.com"), (mug, ANN)]):
        shop.sign_up(reference, email, created=LONG_AGO + timedelta(seconds=number))
    shop.sign_up(pan, ANN, created=LONG_AGO)
    come_in(shop, [blue, mug, pan], one_each, quantity=1)
    # The first takes the mug of any colour, for whichever there are as many. None is left for a red one, and the blue
    # one is Ann's.
    (mail,) = mails(shop, pan, policies=one_each)
    assert [each.seat and each.seat.options for each in mail.together] == ["{}", '{"color":"blue"}']


def test_who_is_not_claimed_leaves_the_seats_as_they_were(shop: Shop) -> None:
    """A wave begins an interval after the last seat was taken: to look must not count."""
    mug, rare = things(2)
    for n in range(2):
        shop.sign_up(rare, f"older{n}@example.com", created=LONG_AGO - timedelta(days=2 - n))
    wants(shop, ANN, [mug, rare])
    come_in(shop, [mug, rare], TWO_A_PIECE, quantity=1)
    before = shop.ask("SELECT * FROM stock ORDER BY item_id")
    mails(shop, mug, policies=TWO_A_PIECE)
    after = shop.ask("SELECT * FROM stock ORDER BY item_id")
    assert [row for row in after if row.seats == 2] == [row for row in before if row in after]
    assert {row.seat_at is None for row in after} == {True, False}


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "held",
    [
        "SELECT id FROM item WHERE catalog_item_id = 'thing-1' FOR NO KEY UPDATE",
        """SELECT w.id FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id
        WHERE i.catalog_item_id = 'thing-1' FOR NO KEY UPDATE OF w""",
        """SELECT r.id FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        JOIN item AS i ON i.id = w.item_id WHERE i.catalog_item_id = 'thing-1' FOR UPDATE OF r""",
    ],
    ids=["item", "its list", "the request"],
)
def test_what_others_hold_is_left_to_them(shop: Shop, held: str) -> None:
    mug, rare = things(2)
    wanted = wants(shop, ANN, [mug, rare])
    come_in(shop, [mug, rare], TWO_A_PIECE, quantity=1)
    found = while_locked(shop, held, lambda: mails(shop, mug, policies=TWO_A_PIECE))
    assert [ids(mail) for mail in found] == [wanted[:1]]
    assert [ids(mail) for mail in mails(shop, rare, policies=TWO_A_PIECE)] == [wanted[1:]]


def while_locked(shop: Shop, words: str, work: Callable[[], list[Claim]]) -> list[Claim]:
    """Returns what `work` returns while somebody else's transaction holds these rows. It must not wait for that."""
    statement = Sql(words)
    done: list[list[Claim]] = []

    def hold(c: Connection) -> None:
        assert statement(c)
        thread = Thread(target=lambda: done.append(work()), daemon=True)
        thread.start()
        thread.join(20)

    with shop_at(shop.url) as other:
        other.write(hold)
    assert done, "it waits for what others hold"
    return done[0]


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_a_claim_and_a_bell_do_not_wait_crosswise(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    mug, rare = things(2)
    wanted = wants(shop, ANN, [mug, rare])
    shop.change("UPDATE item SET per_unit = 2 WHERE catalog_item_id = 'thing-1'")
    come_in(shop, [mug, rare], quantity=1)
    (before,) = shop.ask(DEADLOCKS)
    list_ids = [shop.list_id(mug), shop.list_id(rare)]
    claim_beside = digests.claim_beside
    with shop_at(shop.url) as other, ThreadPoolExecutor(1) as pool:

        def then_somebody_rings(*args: Any) -> list[Any]:
            rows = claim_beside(*args)
            pool.submit(other.write, lists.ring, list_ids)
            eventually(lambda: somebody_waits(shop_watching))
            return rows

        with shop_at(shop.url) as shop_watching:
            monkeypatch.setattr(digests, "claim_beside", then_somebody_rings)
            (mail,) = mails(shop, mug, first=False)
    assert ids(mail) == wanted
    assert shop.ask(DEADLOCKS)[0].n == before.n


def _seats_of(shop: Shop, reference: CatalogReference) -> int:
    (row,) = shop.ask(
        f"""SELECT s.seats FROM stock AS s JOIN item AS i ON i.id = s.item_id
        WHERE i.catalog_item_id = '{reference.item.catalog_item_id}'"""
    )
    seats: int = row.seats
    return seats


# How they end


def test_what_was_told_in_one_mail_is_told_each_by_its_own(shop: Shop) -> None:
    some = things(3)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    (mail,) = mails(shop, some[0])
    assert shop.write(recording.record, Ends(told=list(mail.together))) == set(wanted)
    assert {row.status for row in shop.rows()} == {Status.NOTIFICATION_SENT}


def test_claims_of_which_the_first_is_gone_are_joined_anew(shop: Shop) -> None:
    some = things(3)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    (mail,) = mails(shop, some[0])
    rest = claims.joined(mail.others)
    assert ids(rest) == wanted[1:]
    assert [each.mail_id for each in rest.together] == [None, wanted[1]]
    assert claims.joined(rest.others).others == ()
